"""Servers that hold a model, as other people run them: built or found, and started for a while."""
