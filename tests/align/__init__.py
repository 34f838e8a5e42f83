"""Tests of `edgeproxy.align`."""
