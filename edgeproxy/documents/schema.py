"""The tables of an index: one SQLite file, with FTS5 for words."""

from __future__ import annotations

APPLICATION_ID = 0x65646F63
"""Marks the file as an index of documents; "edoc" in ASCII."""

VERSION = 1
"""Of the tables, kept as SQLite's user_version; a larger one is of a newer edgeproxy."""

TABLES = """
CREATE TABLE settings(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- The folders and files that a person named; paths are bytes, for they need not be UTF-8.
CREATE TABLE roots(path BLOB PRIMARY KEY) WITHOUT ROWID;

-- problem: why it could not be read; such a document has no passages.
CREATE TABLE documents(
    id INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    kind TEXT NOT NULL,
    encoding TEXT NOT NULL,
    problem TEXT
);

-- trail: a JSON list of texts.
CREATE TABLE passages(
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES documents(id),
    number INTEGER NOT NULL,
    trail TEXT NOT NULL,
    place TEXT NOT NULL,
    text TEXT NOT NULL,
    UNIQUE(document, number)
);

-- What words stand in which passage: rowid is the passage's id, and both columns are as
-- words.spaced makes them. Contentless: to delete a row one gives what was inserted.
CREATE VIRTUAL TABLE words USING fts5(
    trail, text, content='', tokenize="unicode61 remove_diacritics 2 categories 'L* N* Co M*'"
);
CREATE VIRTUAL TABLE vocabulary USING fts5vocab(words, row);

-- Words that stand in many passages, and in how many; counted anew when the index has grown.
CREATE TABLE common(word TEXT PRIMARY KEY, passages INTEGER NOT NULL) WITHOUT ROWID;

-- Optional: what an embedding model made of a passage, float16, of length 1.
CREATE TABLE vectors(passage INTEGER PRIMARY KEY, vector BLOB NOT NULL);
"""
