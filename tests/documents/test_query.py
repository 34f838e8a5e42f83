"""Questions -> what is looked for: groups, phrases, conversations, and hostile text."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.documents.query import (
    MOST_CHARACTERS,
    MOST_GROUPS,
    Asked,
    Query,
    query,
    question_of,
)
from edgeproxy.documents.terms import Terms
from edgeproxy.documents.vocabulary import Vocabulary, quoted
from edgeproxy.prompts.messages import Message
from tests.helpers.document_indexes import close_all, filled


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_all()


SENTENCES = [
    "The currency of Chad is the franc.",
    "Saint Kitts and Nevis has two islands.",
    "Several currencies are used in Kenya.",
    "RFC-2119 says what must and should mean.",
    "The café of São Tomé sells coffee.",
    "乍得的货币是法郎。",
    "สะพานเก่าสร้างด้วยหิน",
    *(f"filler number {n} is about nothing" for n in range(40)),
]


@pytest.fixture
def index() -> sqlite3.Connection:
    return filled(SENTENCES)


@pytest.fixture
def terms() -> Iterator[Terms]:
    made = Terms()
    yield made
    made.close()


def made(index: sqlite3.Connection, terms: Terms, text: str, **more: str) -> Query:
    return query(Asked(text, **more), Vocabulary(index), terms, "english")


def words(found: Query) -> set[str]:
    return {" ".join(form) for group in found.groups for form in group.forms}


def test_a_word_is_looked_for_in_the_forms_that_the_index_has(
    index: sqlite3.Connection, terms: Terms
) -> None:
    assert words(made(index, terms, "Which currency?")) == {"currency", "currencies"}


def test_accents_and_case_do_not_count(index: sqlite3.Connection, terms: Terms) -> None:
    assert {"cafe", "sao", "tome"} <= words(made(index, terms, "CAFÉ sao TOMÉ"))


def test_the_rarest_come_first_and_weigh_most(index: sqlite3.Connection, terms: Terms) -> None:
    groups = made(index, terms, "Is a filler about Chad?").groups
    assert groups[0].forms == (("chad",),)
    weights = [group.weight for group in groups]
    assert weights == sorted(weights, reverse=True)


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("What is the capital of Saint Kitts and Nevis?", "saint kitts and nevis"),
        ("Is Saint Kitts an island?", "saint kitts"),
        ('where does it say "are used in"', "are used in"),
        ("what does RFC-2119 say", "rfc 2119"),
        ("乍得的货币", "乍 得 的 货 币"),
    ],
)
def test_names_quotations_codes_and_runs_are_phrases(
    index: sqlite3.Connection, terms: Terms, text: str, phrase: str
) -> None:
    found = made(index, terms, text).phrases
    assert phrase in {" ".join(form) for group in found for form in group.forms}


def test_scripts_without_spaces_are_looked_for_by_twos(
    index: sqlite3.Connection, terms: Terms
) -> None:
    assert {"乍 得", "货 币"} <= words(made(index, terms, "乍得货币是什么?"))
    assert "ส ะ" in words(made(index, terms, "สะพาน"))


def test_what_the_index_lacks_is_not_looked_for(index: sqlite3.Connection, terms: Terms) -> None:
    assert made(index, terms, "zyzzyva quux").groups == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\0",
        "\ud800chad\udfff",
        '"',
        '"chad',
        "chad AND OR NOT (currency",
        "trail:chad",
        "{trail text}: chad",
        "chad*",
        "^chad + NEAR(chad franc, 2)",
        "'; DROP TABLE passages; --",
        "%s %d {0}",
        "a" * MOST_CHARACTERS,
        "a'" * (MOST_CHARACTERS // 2),
        "Chad " * (MOST_CHARACTERS // 5),
        "乍" * MOST_CHARACTERS,
        "ก่" * (MOST_CHARACTERS // 2),
        "Saint Kitts and " * 5000,
        " ".join(f"w{n}" for n in range(20_000)),
    ],
)
def test_nothing_in_a_question_is_syntax(
    index: sqlite3.Connection, terms: Terms, text: str
) -> None:
    found = made(index, terms, text, earlier=text)
    assert len(found.groups) <= MOST_GROUPS
    for group in (*found.groups, *found.phrases):
        index.execute("SELECT rowid FROM words WHERE words MATCH ?", (group.match,)).fetchall()


@given(st.text(max_size=60), st.text(max_size=30))
def test_any_text_may_be_asked(text: str, earlier: str) -> None:
    index, terms = filled([*SENTENCES[:7], text.encode(errors="replace").decode()]), Terms()
    found = query(Asked(text, earlier), Vocabulary(index), terms)
    for group in (*found.groups, *found.phrases):
        index.execute("SELECT rowid FROM words WHERE words MATCH ?", (group.match,)).fetchall()
    terms.close()


@given(st.lists(st.text(), max_size=4))
def test_quoted_words_are_one_text_of_sqlites(parts: list[str]) -> None:
    inside = quoted(parts)[1:-1]
    assert '"' not in inside.replace('""', "")


def test_thirty_two_of_many_words_are_kept_the_rarest() -> None:
    index = filled([f"word{n} thing{n % 3}" for n in range(100)])
    text = "thing0 thing1 thing2 " + " ".join(f"word{n}" for n in range(100))
    terms = Terms()
    groups = query(Asked(text), Vocabulary(index), terms).groups
    terms.close()
    assert len(groups) == MOST_GROUPS
    assert all(group.passages == 1 for group in groups)


def test_a_conversation_asks_its_last_question() -> None:
    turns = [
        Message("system", "be brief"),
        Message("user", "What is the currency of Chad?"),
        Message("assistant", "The franc."),
        Message("user", "And of Kenya?"),
    ]
    assert question_of(turns) == Asked("And of Kenya?", "What is the currency of Chad?")
    assert question_of(turns[:2]) == Asked("What is the currency of Chad?")
    assert question_of([]) == Asked("")


def test_earlier_words_count_less(index: sqlite3.Connection, terms: Terms) -> None:
    found = made(index, terms, "And Kenya?", earlier="the franc of Chad")
    weights = {group.forms[0][0]: group.weight for group in found.groups}
    assert weights["franc"] == pytest.approx(weights["kenya"] / 2)


def test_earlier_words_do_not_count_beside_a_long_question(
    index: sqlite3.Connection, terms: Terms
) -> None:
    long = "Saint Kitts and Nevis has two islands where several currencies are used for coffee now"
    assert "franc" not in words(made(index, terms, long, earlier="franc"))
