"""Tests of `edgeproxy.explain`."""
