"""Citing: the rules one by one, replies of every form, and what only a hostile model writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeproxy.documents.citing import Part, as_data, cite, in_words
from edgeproxy.documents.passage import Passage

CAPITAL = "What is the capital of Chad?"


def passages(*written: str) -> list[Passage]:
    """Passages from "Trail - of it: text"."""
    found = []
    for number, one in enumerate(written):
        trail, _, text = one.rpartition(": ")
        path, place = Path("facts.txt"), f"line {number + 1}"
        found.append(Passage(number, path, number, tuple(trail.split(" - ")), place, text))
    return found


CHAD = passages(
    "Chad - Capital: N'Djamena",
    "Chad - Currency: Central African francs",
    "Chad - Population: 19,093,595 in 2024",
    "Chad - Provinces: 23",
    "Chad - Airports: 2",
    "Chad - Internet country code: .td",
)


def cited(reply: str, question: str = "", given: list[Passage] = CHAD) -> list[int | None]:
    return [part.passage.id if part.passage else None for part in cite(reply, given, question)]


def only(reply: str, question: str = "", given: list[Passage] = CHAD) -> Part:
    (part,) = cite(reply, given, question)
    return part


def test_each_leaf_of_json_is_a_part_and_no_key_is() -> None:
    reply = '{"country": "Chad", "of": {"capital": ["N\'Djamena", 23]}}'
    parts = cite(reply, CHAD, CAPITAL)
    assert [reply[part.start : part.end] for part in parts] == ["Chad", "N'Djamena", "23"]
    assert [part.is_echo for part in parts] == [True, False, False]
    assert [part.passage for part in parts] == [None, CHAD[0], CHAD[3]]


def test_places_in_json_with_escapes_are_those_of_the_reply() -> None:
    reply = '["\\u004e\'Dj\\u0061mena \\ud83d\\ude00 [1] 23 x"]'
    part = only(reply)
    assert [part.said(span) for span in part.words] == ["\\u004e", "Dj\\u0061mena", "23"] or part
    for start, end in part.words:
        assert part.start <= start < end <= part.end


def test_json_in_a_fence_is_json() -> None:
    assert cited('```json\n{"a": "N\'Djamena"}\n```\n', CAPITAL) == [0]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("One here. Two, e.g. Dr. Who! Three?", ["One here.", "Two, e.g. Dr. Who!", "Three?"]),
        ("# Title\n- first\n2. second\n\n---\n", ["first", "second"]),
        ("| a | b |\n|---|---|\n| c | d |\n| e | f |", ["| c | d |", "| e | f |"]),
        ("```py\nx = 1\n\ny = 2\n```\nEnd", ["x = 1", "y = 2", "End"]),
        ("首都是北京。人口很多!", ["首都是北京。", "人口很多!"]),
        ("राजधानी दिल्ली है। यह बड़ा है।", ["राजधानी दिल्ली है।", "यह बड़ा है।"]),
        ("Am 3. Oktober war es. Ja.", ["Am 3. Oktober war es.", "Ja."]),
        ("It costs 3.5 million. Fine", ["It costs 3.5 million.", "Fine"]),
        ("[1] (source: a.pdf)", []),
        ("", []),
        (" \n...\n", []),
    ],
)
def test_the_parts_are_what_says_something(reply: str, said: list[str]) -> None:
    assert [reply[part.start : part.end] for part in cite(reply, CHAD)] == said


def test_what_the_question_says_is_an_echo() -> None:
    part = only("The capital of Chad.", CAPITAL)
    assert part.is_echo
    assert part.passage is None
    assert in_words([part]) == []


def test_a_form_of_a_word_of_the_question_is_no_evidence() -> None:
    given = passages("Chad - Currency: francs", "Chad - People: Chadian")
    ask = "What is the adjective for Chad?"
    assert cited('["Chadian"]', ask, given) == [1]
    assert cited('["Chadian"]', ask, given[:1]) == [None]
    assert cited('["Chadian franc"]', ask, given[:1]) == [0]


@pytest.mark.parametrize(
    "said", ["19093595", "19.093.595", "19 million", "19.1 million", "１９０９３５９５"]
)
def test_numbers_are_compared_by_value(said: str) -> None:
    assert cited(json.dumps([said]), "How many people?") == [2]


@pytest.mark.parametrize("said", ["19093590", "18 million", "-19093595", "2020", "2023"])
def test_another_number_is_no_evidence(said: str) -> None:
    assert cited(json.dumps([said]), "How many people live in Chad?") == [None]


def test_little_evidence_needs_the_question_too() -> None:
    assert cited('{"value": 2}', "How many airports has Chad?") == [4]
    assert cited('{"value": 2}', "How many rivers are in the south of the country?") == [None]


def test_an_answer_of_one_word_that_stands_nowhere_is_from_no_document() -> None:
    assert cited('{"value": "Abéché"}', CAPITAL) == [None]


def test_a_domain_is_more_than_its_letters() -> None:
    assert cited('{"value": ".td"}', "What do web addresses from Chad end in?") == [5]
    assert cited('{"value": ".us"}', "What do web addresses end in?", passages("A: per us")) == [
        None
    ]


def test_of_several_passages_it_is_the_one_that_fits_the_question() -> None:
    given = passages("Togo - Language: French", "Chad - Language: French", "Chad - Trade: French")
    assert cited('["French"]', "What is the language of Chad?", given) == [1]
    assert cited('["French"]', "", given) == [0]


def test_common_words_are_no_evidence() -> None:
    assert cited("It is what they have been there for.", "", passages("A: it is there")) == [None]


def test_markers_of_the_model_count_for_nothing() -> None:
    said = "The best dish there is fried fish [3], see passage 2 (source: facts.txt, line 2)."
    assert cited(said) == [None]


def test_an_index_can_say_what_is_rare() -> None:
    given = passages("A: ordinary content")
    assert cited('["ordinary content"]', "", given) == [0]
    assert [p.is_echo for p in cite('["ordinary content"]', given, "", lambda _: 0.0)] == [True]


def test_names_and_numbers_that_stand_nowhere_are_told_apart() -> None:
    given = passages("Bridge: The suspension bridge was opened in 1932 by governor Harold Game")
    part = only("The suspension bridge was opened by governor Philip Game in 1932.", "", given)
    assert [part.said(span) for span in part.unsupported] == ["Philip"]
    assert not part.is_supported


@pytest.mark.parametrize(("said", "held"), [("Paris", "parity"), ("Austria", "Australia")])
def test_words_that_begin_alike_are_not_all_forms_of_one(said: str, held: str) -> None:
    assert cited(f'["{said}"]', "", passages(f"A: {held}")) == [None]


def test_niger_is_not_nigeria() -> None:
    given = passages("Neighbours: Nigeria")
    assert cited("The river is the Niger.", "", given) == [None]
    assert cited('["Niger"]', "Which neighbours?", given) == [None]


@pytest.mark.parametrize(
    ("said", "held"), [("franc", "francs"), ("Москве", "Москва"), ("서울입니다", "서울")]
)
def test_a_form_of_a_word_is_that_word(said: str, held: str) -> None:
    question = "Which city or money?"
    assert cited(f'["{said}"]', question, passages(f"City or money: {held}")) == [0]


def test_lines_name_each_passage_once_and_what_stands_in_none() -> None:
    parts = cite("It is N'Djamena. Again N'Djamena. They eat fried fish.", CHAD, CAPITAL)
    assert in_words(parts) == [
        '[1] facts.txt, line 1: "N\'Djamena"',
        "from no document: They eat fried fish.",
    ]


def test_lines_hold_no_control_characters() -> None:
    lines = in_words(cite("Fried\x1b[31m fish \ud800 \u202e eaten\x00 daily", CHAD))
    assert lines == ["from no document: Fried [31m fish eaten daily"]


def test_data_can_be_written_as_json() -> None:
    data = json.loads(json.dumps(as_data(cite("N'Djamena and \ud800 Paris", CHAD))))
    assert data[0]["sources"] == [] or data[0]["sources"][0]["file"] == "facts.txt"


def test_a_quotation_is_short_and_has_what_matches() -> None:
    long = "word " * 400 + "The suspension bridge was opened in 1932. " + "word " * 400
    (line,) = in_words(cite("The suspension bridge opened in 1932.", passages(f"A: {long}")))
    assert "1932" in line
    assert len(line) < 250


STRANGE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("0123456789.,-+/ '\"{}[]()|`#:=½²٣万億\u0301\u200d\ud800\n字กা가ア。।\\u"),
    ),
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(reply=STRANGE, text=STRANGE, question=STRANGE)
def test_nothing_is_too_strange(reply: str, text: str, question: str) -> None:
    given = [Passage(0, Path("a"), 0, (text[:9],), "", text), *CHAD]
    at = 0
    for part in cite(reply, given, question):
        assert at <= part.start < part.end <= len(reply)
        at = part.end
        for start, end in (*part.words, *part.unsupported):
            assert part.start <= start < end <= part.end
        in_words([part])
        json.dumps(as_data([part]))


LONG = 200_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "1",
        "1 ",
        "minus 3 ",
        "[1]",
        "(",
        '{"a":',
        "| ",
        "字",
        "Abc ",
        "a. ",
        "```\n",
        "- x\n",
        "\\",
    ],
)
def test_long_replies_end(unit: str) -> None:
    reply = unit * (LONG // len(unit))
    assert all(part.end <= len(reply) for part in cite(reply, [*CHAD] * 16, CAPITAL))


@pytest.mark.slow
def test_many_like_words_end() -> None:
    text = " ".join(f"abcd{chr(97 + n % 26)}{chr(97 + n // 26 % 26)}" for n in range(10_000))
    cite(text, passages(*[f"A: {text[:4000]}"] * 100), "abcdzz")


GAMBIA = passages("The Gambia - Capital: Banjul", "Chad - Rivers: Chari and Logone")


@pytest.mark.parametrize(
    ("question", "reply", "lacks"),
    [
        ("What is the capital of Chad?", "Banjul", ("Chad",)),
        ("Which city is the capital of Burkina Faso?", "Banjul", ("Burkina Faso",)),
        ("What is the capital of the Gambia?", "Banjul", ()),
        ("Does the Chari or the Logone flow through Chad?", "The Logone.", ()),
        ("What is Banjul in Senegal?", "A capital", ()),
        ("And the capital?", "Banjul", ()),
        ("Was ist die Hauptstadt von Irland?", "Banjul", ()),
        ("what is the capital of chad?", "Banjul", ()),
        ("", "Banjul", ()),
    ],
)
def test_a_passage_without_any_name_of_the_question_is_marked(
    question: str, reply: str, lacks: tuple[str, ...]
) -> None:
    found = [source.lacks for part in cite(reply, GAMBIA, question) for source in part.sources]
    assert set(found) <= {lacks}
    assert found or not lacks


def test_a_file_is_named_after_what_it_is_about() -> None:
    notes = [replace(GAMBIA[0], path=Path("chad and neighbours.md"))]
    assert [s.lacks for s in only("Banjul", CAPITAL, notes).sources] == [()]


def test_what_a_passage_lacks_is_told_in_words_and_as_data() -> None:
    parts = cite("Banjul", GAMBIA, "What is the capital of Burkina Faso?")
    assert in_words(parts) == ['[1] facts.txt, line 1: "Banjul", which does not say "Burkina Faso"']
    (found,) = as_data(parts)
    assert found["sources"][0]["lacks"] == ["Burkina Faso"]
