"""The tables of a history: sessions, their messages as a tree, and the words of the messages."""

from __future__ import annotations

APPLICATION_ID = 0x65707378
"""Marks the file as a history of conversations; "epsx" in ASCII."""

VERSION = 1
"""Of the tables, kept as SQLite's user_version; a larger one is of a newer edgeproxy."""

TABLES = (
    """
    -- head: the message that the conversation goes on from, the end of the branch in use.
    -- models: a JSON object of sha256 by role. Times are milliseconds since 1970, UTC.
    CREATE TABLE sessions(
        id TEXT PRIMARY KEY,
        name TEXT UNIQUE,
        title TEXT NOT NULL,
        trio TEXT NOT NULL,
        models TEXT NOT NULL,
        version TEXT NOT NULL,
        created INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        head INTEGER
    )
    """,
    "CREATE INDEX recent ON sessions(changed)",
    """
    -- parent: the message before it, which has a smaller id. Siblings are branches, of an edited
    -- message or another reply; none is ever changed. No id is given twice, for words go by it.
    -- text: where it holds half of a surrogate pair a BLOB, of UTF-8 with surrogates.
    CREATE TABLE messages(
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        session TEXT NOT NULL,
        parent INTEGER,
        role TEXT NOT NULL,
        text TEXT NOT NULL,
        settings TEXT NOT NULL,
        finish_reason TEXT,
        stats TEXT NOT NULL,
        created INTEGER NOT NULL
    )
    """,
    "CREATE INDEX messages_of ON messages(session, role)",
)

WORDS = """
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
    text, content='', tokenize="unicode61 remove_diacritics 2 categories 'L* N* Co M*'"
)
"""
"""Made at the first search: a history can be kept where SQLite has no full-text search.

rowid is the message's id, and text as `spaced` makes it. Contentless: to delete a row one gives
what was inserted.
"""
