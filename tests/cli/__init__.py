"""Tests of `edgeproxy.cli`."""
