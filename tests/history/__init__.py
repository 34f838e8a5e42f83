"""Tests of `edgeproxy.history`."""
