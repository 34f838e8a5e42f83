"""Tests of `edgeproxy.core`."""
