"""Tests of `edgeproxy.llama`."""
