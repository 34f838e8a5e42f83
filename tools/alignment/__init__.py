"""Measuring how well a pair with a tokenizer of its own steers a base."""
