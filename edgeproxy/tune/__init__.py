"""A small GGUF model and a person's examples become an adapter and a trio, on this machine."""
