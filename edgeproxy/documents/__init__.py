"""A person's documents: readers of file kinds, passages, the index in SQLite, finding."""
