"""Tests of `edgeproxy.serve.page`."""
