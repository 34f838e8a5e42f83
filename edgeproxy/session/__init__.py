"""A trio in memory that answers: loading, replies, conversations, kept prompts."""
