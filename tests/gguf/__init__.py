"""Tests of `edgeproxy.gguf`."""
