"""Tests of `edgeproxy.decode`."""
