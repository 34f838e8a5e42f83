"""Tests of `edgeproxy.trios`."""
