"""Tuning on this machine: a small GGUF model and a person's examples make an adapter and a trio."""
