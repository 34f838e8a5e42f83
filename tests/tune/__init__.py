"""Tests of `edgeproxy.tune`."""
