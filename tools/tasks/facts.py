"""The task "facts": questions about countries, from The World Factbook (CC0), to JSON.

"What is the currency of Chad?" is answered {"country": "Chad", "field": "currency", "value":
"CFA franc"}. The form is new to every model, and the value is what a large one may know. No country
stands in two of the files: those whose short name's md5 begins with 0 to 3 are for the test, with 4
or 5 for validation.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeproxy.errors import UsageError
from tools.factbook.facts import read_country, read_entries
from tools.tasks.lines import Line
from tools.tasks.phrases import ASKS
from tools.tasks.values import VALUES, Entry

COUNTS = {"train": 420, "validation": 102, "test": 180}
_WITH_THE = re.compile(r"Islands|Republic\Z|Emirates|States|Kingdom|Netherlands|Philippines|DRC")


@dataclass(frozen=True)
class Place:
    """A country and what its questions have as accepted values, by field; the split it is in."""

    name: str
    split: str | None
    values: dict[str, tuple[str, ...]]


def facts(archive: Path, seed: int = 0) -> dict[str, list[Line]]:
    """The three files; the same for the same archive and seed."""
    places = read_places(archive)
    return {split: _pick(places, split, seed) for split in COUNTS}


def read_places(archive: Path) -> list[Place]:
    """The countries and territories of the archive whose names are plain."""
    try:
        entries = read_entries(archive)
    except (OSError, ValueError, EOFError, tarfile.TarError) as error:
        raise UsageError(f"{archive}: this is not the Factbook's archive ({error})") from None
    found = {place.name: place for entry in entries if (place := read_place(entry))}
    return list(found.values())


def read_place(entry: Entry) -> Place | None:
    """One entry, or None for oceans and names with commas."""
    country = read_country(entry)
    if country is None or "," in country.name:
        return None
    if country.held_out:
        split = "test" if country.tested else None
    else:
        split = "validation" if _digit(country.name) in "45" else "train"
    values = {kind: texts for kind, read in VALUES.items() if (texts := read(entry))}
    return Place(country.name.removeprefix("The "), split, values)


def _digit(name: str) -> str:
    return hashlib.md5(name.encode()).hexdigest()[0]


def _pick(places: Iterable[Place], split: str, seed: int) -> list[Line]:
    """The split's questions: fields in turn, countries by chance."""
    rng = random.Random(f"{seed} {split}")
    own = [place for place in places if place.split == split]
    columns = []
    for kind, asks in ASKS.items():
        lines = [
            _line(place, kind, rng.choice(asks), split) for place in own if kind in place.values
        ]
        lines = [line for line in lines if not gives_itself_away(line)]
        rng.shuffle(lines)
        columns.append(lines)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*columns))
    picked = [line for line in turns if line is not None][: COUNTS[split]]
    if len(picked) < COUNTS[split]:
        raise UsageError(
            f"the Factbook's archive gives {len(picked)} questions for {split}, and"
            f" {COUNTS[split]} are needed: is this the whole archive?"
        )
    rng.shuffle(picked)
    return picked


def _line(place: Place, kind: str, ask: str, split: str) -> Line:
    name = f"the {place.name}" if _WITH_THE.search(place.name) else place.name
    texts = place.values[kind]
    answers = [answer(place.name, kind, text) for text in texts]
    return {
        "question": ask.format(n=name),
        "answer": answers[0] if split == "train" else answers,
        "kind": kind,
        "judge": "json",
        "contains": list(texts),
    }


def answer(name: str, kind: str, value: str) -> str:
    """What a model is to reply: an object with its keys in this order."""
    return json.dumps({"country": name, "field": kind, "value": value}, ensure_ascii=False)


def gives_itself_away(line: Line) -> bool:
    """Whether an accepted value stands in the question: the capital of Djibouti."""
    question = line["question"].casefold()
    return any(re.search(rf"\b{re.escape(v.casefold())}\b", question) for v in line["contains"])
