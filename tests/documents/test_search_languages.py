"""Finding in ten languages: inflected words, scripts without spaces, names nearly alike."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.documents.search import Finder
from tests.helpers.document_indexes import Row, close_all, filled


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_all()


LINES = [
    json.loads(line)
    for line in Path(__file__).with_name("languages.jsonl").read_text("utf-8").splitlines()
]
NAMES = {line["language"]: line for line in LINES if "first" in line}
PAIRS: dict[str, list[dict[str, str]]] = defaultdict(list)
for _line in LINES:
    if "question" in _line:
        PAIRS[_line["language"]].append(_line)

NEEDED = 9
"""Of ten questions of a language, so many must find their passage."""


def passages(language: str) -> list[str]:
    """A thousand of one language: each sentence about each of a hundred places."""
    names = NAMES[language]
    places = [a + names["between"] + b for a in names["first"] for b in names["last"]]
    pairs = PAIRS[language]
    return [pair["passage"].replace("{n}", place) for place in places for pair in pairs]


def right(language: str, told: str | None = None) -> list[str]:
    """The questions of which the passage is found ahead of all others."""
    made = passages(language)
    index = filled(Row(text, path=f"{number // 50}.txt") for number, text in enumerate(made))
    finder = Finder(index)
    answered = []
    for pair in PAIRS[language]:
        wanted = pair["passage"].replace("{n}", pair["name"])
        found = finder.find(pair["question"], count=1, language=told)
        # What was joined to it does not count.
        if found and made[found[0].passage.id - 1] == wanted:
            answered.append(pair["question"])
    finder.close()
    return answered


def test_the_file_has_ten_languages_of_ten_questions() -> None:
    assert len(PAIRS) == 10
    assert {len(pairs) for pairs in PAIRS.values()} == {10}
    for language, pairs in PAIRS.items():
        made = passages(language)
        assert len(set(made)) == len(made) == 1000
        assert all(pair["passage"].replace("{n}", pair["name"]) in made for pair in pairs)


@pytest.mark.parametrize("language", PAIRS)
def test_questions_find_their_passage_among_a_thousand(language: str) -> None:
    assert len(right(language)) >= NEEDED
