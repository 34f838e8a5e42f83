"""Measuring: how right trios are, how fast, and what this machine can run."""
