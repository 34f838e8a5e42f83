"""Tests of `edgeproxy.prompts`."""
