"""Searching messages, with SQLite's full-text search and without it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.history import searching
from edgeproxy.history.history import History
from tests.history.test_history import talk

TEXTS = (
    "What is the capital of Mongolia? The CAPITALS of Asia.",
    "Le café de l'été, naïve",
    "東京は日本の首都です",
    "हिन्दी में बताओ",
    "don't use C++ or foo_bar",
    "a NUL \0 and half a pair \ud800 zebra",
    'a "quoted" NEAR(word) AND OR NOT ( * ^ : -x',
)


@pytest.fixture(params=["fts", "without"])
def history(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[History]:
    if request.param == "without":
        monkeypatch.setattr(searching, "WORDS", "CREATE VIRTUAL TABLE words USING fts6(text)")
    with History(tmp_path / "sessions.sqlite") as made:
        for text in TEXTS:
            talk(made, text, "yes")
        yield made
        with made.reading() as connection:
            assert connection is not None
            names = connection.execute("SELECT name FROM sqlite_master").fetchall()
        assert (("words",) in names) == (request.param == "fts")


def found(history: History, words: str) -> list[int]:
    """Which of `TEXTS` were found."""
    return sorted(TEXTS.index(hit.entry.said.text) for hit in history.search(words))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("capital", [0]),
        ("CAPITAL mongol", [0]),
        ("capital chad", []),
        ("apital", []),
        ("cafe ete", [1]),
        ("CAFÉ", [1]),
        ("首都", [2]),
        ("京都", []),
        ("हिन्दी", [3]),
        ("don't", [4]),
        ("c++", [0, 1, 4]),  # whatever begins with c
        ("zebra", [5]),
        ("half pair", [5]),
        ("quoted near", [6]),
        ('"quoted"', [6]),
        ("NOT OR and", [6]),
        ("word) AND (x", [6]),
        ("nowhere", []),
    ],
)
def test_what_is_found(history: History, words: str, expected: list[int]) -> None:
    assert found(history, words) == expected


def test_what_was_found_is_marked(history: History) -> None:
    (hit,) = history.search("capital mongolia")
    assert [hit.excerpt[a:b] for a, b in hit.spans] == ["capital", "Mongolia", "CAPITAL"]
    assert hit.session.title.startswith("What is the capital")
    (hit,) = history.search("日本")
    assert [hit.excerpt[a:b] for a, b in hit.spans] == ["日本"]
    (hit,) = history.search("cafe")
    assert [hit.excerpt[a:b] for a, b in hit.spans] == ["café"]


def test_of_a_long_message_the_part_around_it_is_shown(history: History) -> None:
    talk(history, "word " * 200_000 + "a Needle here " + "more " * 1000)
    (hit,) = history.search("needle")
    assert len(hit.excerpt) < 200
    assert [hit.excerpt[a:b] for a, b in hit.spans] == ["Needle"]


def test_what_is_no_word_is_refused(history: History) -> None:
    for words in ("", "  ", "?!", "\0\x1b", "\ud800", "_"):
        with pytest.raises(UsageError, match="no word"):
            history.search(words)
    history.search("word " * 100_000)
    history.search("x" * 100_000)
    history.search(" ".join(f"w{n}" for n in range(10_000)))
    history.search("yes")


def test_the_newest_come_first_up_to_a_limit(history: History) -> None:
    ids = [hit.entry.id for hit in history.search("yes", 3)]
    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 3


def test_a_message_that_came_later_is_found_too(history: History) -> None:
    assert history.search("platypus") == []
    talk(history, "a platypus")
    assert len(history.search("platypus")) == 1


def test_system_messages_are_not_searched(history: History) -> None:
    from edgeproxy.history.records import Said

    saved = history.begin("factbook", {})
    saved.add([Said("system", "Speak of wombats."), Said("user", "hello")], None)
    assert history.search("wombats") == []
    assert saved.id
    history.remove(saved.id)
    assert len(history.search("capital")) == 1


def test_more_messages_than_fit_a_transaction(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_AT_ONCE", 3)
    assert len(history.search("yes")) == len(TEXTS)


def test_words_that_are_damaged_are_done_without(tmp_path: Path) -> None:
    with History(tmp_path / "sessions.sqlite") as history:
        talk(history, "a platypus")
        assert len(history.search("platypus")) == 1
        with history.writing() as connection:
            connection.execute("UPDATE words_data SET block = x'ffffffffff'")
        history.close()
        assert len(history.search("platypus")) == 1
        saved = talk(history, "another platypus")
        assert len(history.search("platypus")) == 2
        assert saved.id
        history.remove(saved.id)
        assert len(history.search("platypus")) == 1
        with history.reading() as connection:
            assert connection is not None
            assert connection.execute("SELECT COUNT(*) FROM words_data").fetchone() == (0,)


def test_a_session_can_be_removed_where_there_is_no_full_text_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with History(tmp_path / "sessions.sqlite") as history:
        saved = talk(history, "a platypus")
        assert len(history.search("platypus")) == 1

        def last(_: sqlite3.Connection) -> int:
            raise sqlite3.OperationalError("no such module: fts5")

        with monkeypatch.context() as patch:
            patch.setattr(searching, "_last", last)
            assert saved.id
            history.remove(saved.id)
        assert history.search("platypus") == []
