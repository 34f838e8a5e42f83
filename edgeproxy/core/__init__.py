"""What everything above speaks: vocabularies, the `Model` protocol, thread counts."""
