"""Tests of `edgeproxy.measure`."""
