"""Words of an index: how many passages have them, their forms, and the index's language."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.documents import languages
from edgeproxy.documents.languages import (
    CODES,
    beginnings,
    check_language,
    function_words,
    language_of,
    stem_of,
)
from edgeproxy.documents.vocabulary import MOST_FORMS, Vocabulary
from edgeproxy.errors import UsageError
from tests.helpers.document_indexes import close_all, filled


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_all()


def test_common_words_are_counted_from_their_table() -> None:
    index = filled(["one two", "one three"])
    index.execute("INSERT INTO common VALUES ('one', 77)")
    vocabulary = Vocabulary(index)
    assert vocabulary.passages("two") == 1
    assert vocabulary.passages("none") == 0
    assert vocabulary.passages("one") == 2  # no more than there are passages


def test_a_phrase_is_counted_as_a_phrase() -> None:
    vocabulary = Vocabulary(filled(["new york", "york new", "a new york post"]))
    assert vocabulary.phrase(["new", "york"]) == 2
    assert vocabulary.phrase(["new", "jersey"]) == 0


def test_forms_leap_over_common_words_and_still_find_them() -> None:
    index = filled(["run running", "runs runner", "runny rung runt"] + ["running"] * 30)
    (said,) = index.execute("SELECT count(*) FROM common WHERE word = 'running'").fetchone()
    assert said == 1
    assert set(Vocabulary(index).forms("runs", "english")) == {"run", "running", "runs"}


def test_forms_are_limited_to_the_frequent_ones() -> None:
    endings = ("s", "ed", "ing", "ings", "ion", "ions", "ive", "ively", "eds", "ingly", "ional")
    words = [f"connect{ending}" for ending in (*endings, "edly", "ivity", "ively", "ivities")]
    index = filled([*words, *["connected"] * 3])
    found = Vocabulary(index).forms("connection", "english")
    assert len(found) <= MOST_FORMS
    assert "connected" in found


@pytest.mark.parametrize(
    ("language", "asked", "there"),
    [
        ("english", "independent", "independence"),
        ("german", "hauser", "haus"),
        ("french", "construits", "construit"),
        ("spanish", "campanas", "campana"),
        (None, "колокола", "колокол"),
        (None, "الحصان", "حصان"),
        (None, "लड़कों", "लड़के"),
    ],
)
def test_forms_in_languages(language: str | None, asked: str, there: str) -> None:
    assert Vocabulary(filled([there])).forms(asked, language) == [there]


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("the cat is in the house and the dog is out", "english"),
        ("der Hund und die Katze sind nicht mit dem Kind auf das Dach", "german"),
        ("le chat est dans la maison et les chiens des voisins", "french"),
        ("el perro y los gatos que viven con la gente del barrio", "spanish"),
        ("zyzzyva", None),
        ("", None),
    ],
)
def test_the_language_of_an_index_is_found_out(text: str, language: str | None) -> None:
    assert Vocabulary(filled([text])).language == language


@pytest.mark.parametrize(("said", "language"), [("de", "german"), ("French", "french")])
def test_a_language_that_was_told_counts(said: str, language: str) -> None:
    index = filled(["the cat is in the house"])
    index.execute("INSERT INTO settings VALUES ('language', ?)", (said,))
    assert Vocabulary(index).language == language


def test_languages_by_name_and_code() -> None:
    assert check_language("de-AT") == "german"
    assert check_language("zh") is None
    for wrong in ("", "x", "deutsch!", "de\0", "ру", "a" * 99):
        with pytest.raises(UsageError, match="ISO 639-1"):
            check_language(wrong)


def test_every_language_named_has_stems() -> None:
    for name in CODES.values():
        assert languages._stemmer(name) is not None, name


def test_function_words_are_terms_of_an_index() -> None:
    index = filled([" ".join(function_words())])
    lacking = [word for word in function_words() if not Vocabulary(index).passages(word)]
    assert lacking == []


def test_without_snowball_a_final_s_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> NoReturn:
        raise ImportError(name)

    monkeypatch.setattr("importlib.import_module", lacking)
    languages._stemmer.cache_clear()
    try:
        stem = stem_of("islands", "english")
        assert stem is not None
        assert (stem("islands"), stem("gas"), stem("glass")) == ("island", "gas", "glass")
        assert Vocabulary(filled(["two islands", "one island"])).forms("islands", "english") == [
            "islands",
            "island",
        ]
    finally:
        languages._stemmer.cache_clear()


@given(st.text(max_size=20), st.sampled_from([None, *CODES.values()]))
def test_any_word_has_a_stem_or_none(word: str, language: str | None) -> None:
    stem = stem_of(word, language)
    if stem is not None:
        for begin in beginnings(word, stem(word)):
            assert begin


@given(st.dictionaries(st.sampled_from(function_words()), st.integers(0, 9)))
def test_any_counts_tell_a_language_or_none(counts: dict[str, int]) -> None:
    found = language_of(counts)
    assert found is None or found in CODES.values()


def test_a_damaged_index_raises_what_sqlite_says() -> None:
    empty = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.Error):
        Vocabulary(empty)
    empty.close()
