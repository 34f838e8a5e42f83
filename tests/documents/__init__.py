"""Tests of `edgeproxy.documents`."""
