"""Finding passages: which come first, what is joined, budgets, vectors, damage, hostile text."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeproxy.core.cancel import Flag
from edgeproxy.documents.query import Asked
from edgeproxy.documents.ranking import labels
from edgeproxy.documents.search import MOST, Finder, Found
from edgeproxy.errors import Cancelled, EdgeproxyError, UsageError
from tests.helpers.document_indexes import Row, close_all, filled

COUNTRIES = {
    "Chad": ("franc", "N'Djamena", "French"),
    "Kenya": ("shilling", "Nairobi", "Swahili"),
    "Saint Kitts and Nevis": ("dollar", "Basseterre", "English"),
    "Saint Lucia": ("dollar", "Castries", "English"),
    "Nevia": ("crown", "Nev", "Nevish"),
}


def atlas() -> list[Row]:
    """A little book of facts, of two files for each country."""
    rows = []
    for name, (currency, capital, language) in COUNTRIES.items():
        economy, government = (name, "Economy"), (name, "Government", "Capital")
        rows += [
            Row(f"{currency}s per dollar", (*economy, "Rates", "Currency"), f"{name}.json"),
            Row("606 in 2024", (*economy, "Rates", "Rates 2024"), f"{name}.json"),
            Row("what was made where and by whom", (*economy, "Industries"), f"{name}.json"),
            Row("investment: 15%", (*economy, "Fixed capital of firms"), f"{name}.json"),
            Row(capital, (*government, "name"), f"{name}.json"),
            Row("UTC+1", (*government, "time difference"), f"{name}.json"),
            Row(f"{language} (official)", (name, "People", "Languages"), f"{name}.json"),
            Row(
                f"{name} has known many rulers. What they wanted of the people is the subject of "
                "the songs; the capital is what they are about.",
                (name, "Introduction"),
                f"{name}.json",
            ),
        ]
    return rows


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_all()


def find(rows: list[Any], question: str | Asked, **more: Any) -> list[Found]:
    with Finder(filled(rows)) as finder:
        return finder.find(question, **more)


@pytest.mark.parametrize("name", COUNTRIES)
@pytest.mark.parametrize(
    ("question", "which"),
    [
        ("What is the currency of {n}?", 0),
        ("Which currencies does {n} have?", 0),
        ("what is the capital of {n}", 1),
        ("Tell me the official language of {n}.", 2),
    ],
)
def test_facts_are_found_first(name: str, question: str, which: int) -> None:
    found = find(atlas(), question.format(n=name), count=1)
    assert COUNTRIES[name][which] in found[0].passage.text
    assert found[0].passage.trail[0] == name


def test_what_has_all_rare_words_beats_what_repeats_one() -> None:
    rows = [
        "heron " * 20,
        "The heron of the mill sleeps.",
        "mill " * 20,
        *(f"filler {n}" for n in range(50)),
    ]
    assert "sleeps" in find(rows, "heron mill", count=1)[0].passage.text


def test_a_text_with_all_words_beats_a_trail_with_one() -> None:
    rows = [
        Row("nothing to see", ("Heron",)),
        Row("The heron ate a blue pike near the mill.", ("Tuesday",)),
        *(Row(f"filler {n}", (f"Part {n}",)) for n in range(50)),
    ]
    found = find(rows, "did the heron eat a blue pike at the mill", count=1)
    assert "pike" in found[0].passage.text


def test_words_side_by_side_beat_the_same_words_apart() -> None:
    rows = ["a mill and then another heron, grey", "a heron mill and then another, grey"]
    rows += [f"filler {n}" for n in range(50)]
    assert find(rows, "heron mill", count=1)[0].passage.id == 2


def test_words_are_those_that_hit() -> None:
    [found] = find(["two currencies of Chad", "nothing"], "Chad's currency?", language="en")
    assert set(found.words) == {"chad", "currencies"}


def test_a_question_of_common_words_alone_finds_something() -> None:
    rows = [f"the end of day {n}" for n in range(3000)]
    assert len(find(rows, "the end of the day", count=3)) == 3


@pytest.mark.parametrize("question", ["", "?", "zyzzyva", "\0", "\ud800"])
def test_a_question_without_known_words_finds_nothing(question: str) -> None:
    assert find(atlas(), question) == []


def test_an_empty_index_has_nothing() -> None:
    assert find([], "What is the capital of Chad?") == []


def test_a_conversation_is_filled_in() -> None:
    asked = Asked("And of Kenya?", "What is the currency of Chad?")
    assert "shilling" in find(atlas(), asked, count=1)[0].passage.text


def test_the_same_text_in_two_documents_is_found_once() -> None:
    same = "The mill of Ashby grinds rye on every second Monday but oats on all other days, as "
    same += "the miller has decided in the year of the flood."
    rows = [Row(same, ("A",), "a.txt"), Row(same, ("B",), "b.txt"), Row("rye", (), "c.txt")]
    found = find(rows, "When does the mill of Ashby grind rye?")
    assert [one.passage.text for one in found].count(same) == 1


def test_a_short_text_under_another_trail_is_another_passage() -> None:
    rows = [Row("franc", ("Chad", "Currency"), "a"), Row("franc", ("Niger", "Currency"), "b")]
    assert len(find(rows, "currency of Chad and of Niger")) == 2


LONG = [f"Sentence {n} tells of {word} at length." for n, word in enumerate("abcdefgh" * 3)]


def test_cuts_of_a_paragraph_are_joined_and_the_seam_is_written_once() -> None:
    cuts = [" ".join(LONG[at : at + 6]) for at in (0, 5, 10)]
    rows = [Row("other", ("X",)), *(Row(cut, ("Long",)) for cut in cuts), Row("more", ("Y",))]
    [found, *_] = find(rows, "Sentence 7", count=1)
    assert found.passage.text == " ".join(LONG[:16])
    assert found.passage.trail == ("Long",)


def test_neighbours_under_another_trail_stay_apart() -> None:
    rows = [Row("the heron sings", ("A",)), Row("the heron sleeps", ("B",))]
    assert {one.passage.text for one in find(rows, "heron")} == {
        "the heron sings",
        "the heron sleeps",
    }


def test_fields_of_a_record_that_is_asked_for_are_joined() -> None:
    found = find(atlas(), "capital of Kenya", count=1)[0].passage
    assert found.full_text == (
        "Kenya - Government - Capital: name: Nairobi\ntime difference: UTC+1"
    )


def test_a_field_that_is_asked_for_stays_alone() -> None:
    found = find(atlas(), "time difference of the capital of Kenya", count=1)[0].passage
    assert found.full_text == "Kenya - Government - Capital - time difference: UTC+1"


def test_names_of_fields_in_a_text_count_as_a_trail_does() -> None:
    rows = [
        Row(
            "note: the currency of others is what it trades in, a hard currency", ("Chad", "Trade")
        ),
        Row("Rate: 606; Currency: franc", ("Chad", "Exchange")),
        *(Row(f"filler {n}", ("Chad", f"Part {n}")) for n in range(40)),
    ]
    assert find(rows, "What is the currency of Chad?", count=1)[0].passage.id == 2


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Currency: franc; Rate 2024: 606\nnote: none", ["Currency", "Rate 2024", "note"]),
        ("It was said: no. He went; she saw: it.", ["It was said", "she saw"]),
        ("at 10:30 or http://a.b", []),
        (": x; : y;:;", []),
        ("a" * 100 + ": b", []),
        ("; " * 50_000, []),
    ],
)
def test_names_of_fields_are_read(text: str, names: list[str]) -> None:
    assert labels(text) == names


def test_no_passage_comes_twice() -> None:
    found = find(atlas(), "what is the capital of Chad", count=50)
    texts = [one.passage.full_text for one in found]
    assert len(texts) == len(set(texts))
    assert len({one.passage.id for one in found}) == len(found)


def test_a_budget_is_kept() -> None:
    def count(text: str) -> int:
        return len(text.split())

    for budget in range(1, 60):
        found = find(atlas(), "capital of Chad", count=5, budget=budget, tokens=count)
        assert found
        assert sum(count(one.passage.full_text) for one in found) <= budget


def test_what_fits_nowhere_is_cut_at_a_word() -> None:
    [found] = find(["The heron of the mill sleeps until noon."], "heron", budget=4)
    assert found.passage.text == "The heron of"


def test_without_a_count_four_bytes_are_a_token() -> None:
    [found] = find(["heron " + "x" * 400], "heron", budget=10, count=1)
    assert len(found.passage.text) < 40


@pytest.mark.parametrize("count", [0, -1, MOST + 1])
def test_an_impossible_count_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match="number of passages"):
        find(atlas(), "Chad", count=count)


def test_impossible_budgets_and_languages_are_refused() -> None:
    with pytest.raises(UsageError, match="tokens"):
        find(atlas(), "Chad", budget=0)
    with pytest.raises(UsageError, match="ISO 639-1"):
        find(atlas(), "Chad", language="!")


def test_a_language_may_be_told() -> None:
    rows = ["Das Haus am See", "nichts"]
    assert find(rows, "Häuser", language="de")[0].passage.text == rows[0]
    assert find(rows, "Häuser", language="en") == []


def test_finding_can_be_stopped() -> None:
    cancel = Flag()
    cancel.set()
    with pytest.raises(Cancelled):
        find(atlas(), "Chad", cancel=cancel)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE words",
        "DROP TABLE common",
        "DROP TABLE documents",
        "UPDATE passages SET trail = 'no list'",
        "UPDATE passages SET trail = '{}'",
        "UPDATE passages SET trail = '[1]'",
        "UPDATE passages SET trail = '7'",
        f"UPDATE passages SET trail = '{'[' * 100_000}'",
        "UPDATE passages SET text = x'ff'",
        "UPDATE passages SET text = CAST(x'ff' AS TEXT)",
        "UPDATE documents SET path = 'text' WHERE id = 1",
        "INSERT INTO settings VALUES ('language', '???')",
    ],
    ids=lambda damage: damage[:50],
)
def test_a_damaged_index_is_an_error_for_a_person(damage: str) -> None:
    index = filled(atlas())
    index.execute(damage)
    with pytest.raises(EdgeproxyError), Finder(index) as finder:
        finder.find("currency of Chad")


def test_a_passage_that_is_gone_is_left_out() -> None:
    index = filled(["the heron sings", "the heron sleeps"])
    index.execute("DELETE FROM passages WHERE id = 1")
    with Finder(index) as finder:
        assert [one.passage.id for one in finder.find("heron")] == [2]


def test_an_index_is_not_written_to() -> None:
    index = filled(atlas())
    index.execute("PRAGMA query_only = ON")
    index.execute("PRAGMA trusted_schema = OFF")
    changes = index.total_changes
    with Finder(index) as finder:
        assert finder.find("capital of Chad")
    assert index.total_changes == changes


@given(st.text(max_size=80), st.integers(1, 5), st.none() | st.integers(1, 50))
def test_any_question_is_answered(question: str, count: int, budget: int | None) -> None:
    found = find([*atlas(), question.encode(errors="replace").decode()], question, count=count)
    assert len(found) <= count
    with Finder(filled([question.replace("\0", "").encode(errors="replace").decode()])) as finder:
        finder.find(question, budget=budget)
    close_all()


def embedder(vectors: dict[str, list[float]]) -> Any:
    def embed(text: str) -> NDArray[Any]:
        vector = np.array(vectors.get(text, [0.0, 1.0]), np.float32)
        return np.asarray(vector / np.linalg.norm(vector))

    return embed


def with_vectors(rows: list[str], vectors: list[list[float]]) -> sqlite3.Connection:
    index = filled(rows)
    for number, vector in enumerate(vectors, start=1):
        index.execute(
            "INSERT INTO vectors VALUES (?, ?)", (number, np.array(vector, "<f2").tobytes())
        )
    return index


def test_vectors_find_what_shares_no_word() -> None:
    rows = ["francs are paid", "of herons and what not", "money laundering"]
    index = with_vectors(rows, [[1, 0], [0, 1], [0.6, 0.8]])
    embed = embedder({"what money do people pay with": [1.0, 0.0]})
    with Finder(index, embed) as finder:
        found = finder.find("what money do people pay with", count=2)
    assert {one.passage.id for one in found} == {1, 3}


def test_without_vectors_words_alone_count() -> None:
    rows = ["francs are paid", "herons are birds"]
    with Finder(filled(rows), embedder({})) as finder:
        assert [one.passage.text for one in finder.find("heron")] == [rows[1]]


def test_vectors_of_another_model_are_an_error() -> None:
    index = with_vectors(["heron"], [[1, 0, 0]])
    with Finder(index, embedder({})) as finder, pytest.raises(EdgeproxyError, match="dimensions"):
        finder.find("heron")
