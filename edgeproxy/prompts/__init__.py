"""Messages -> the text that a model reads, and its tokens."""
