"""What everything below speaks: vocabularies, the `Model` protocol, thread counts, free memory."""
