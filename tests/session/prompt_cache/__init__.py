"""Tests of `edgeproxy.session`."""
