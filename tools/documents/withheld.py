"""A copy of documents without what questions ask for: the Factbook's files, an entry a country.

Of the entry of a country that is asked about, the asked field goes, and every other text in which
an accepted value stands; what the country is called stays.

May touch: the documents of an index, read only; the folder of the copy, which it makes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.documents.index import Index
from edgeproxy.documents.indexing import index_documents
from edgeproxy.documents.named import find
from edgeproxy.errors import UsageError
from edgeproxy.files import reason, replacing
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.judging import is_said
from tools.tasks.facts import read_place

FIELDS = {
    "capital": ("Government", "Capital"),
    "currency": ("Economy", "Exchange rates"),
    "language": ("People and Society", "Languages"),
    "nationality": ("People and Society", "Nationality"),
    "independence": ("Government", "Independence"),
    "internet": ("Communications", "Internet country code"),
}
"""Where an entry has each field that is asked for."""

_NAME = ("Government", "Country name")
"""Where an entry says what the country is called: it leads each of its passages."""

Entry = dict[str, Any]


def asked_of(question: Question) -> tuple[str, str]:
    """The country and the field that a question asks for. Raises `UsageError` for any other."""
    try:
        found = json.loads(question.answers[0])
        country, field = found["country"], found["field"]
    except (ValueError, TypeError, KeyError, RecursionError):
        country, field = "", ""
    if field not in FIELDS or not isinstance(country, str):
        raise UsageError(
            f"{question.text!r} is no question of the task facts; python -m tools.tasks build "
            "FOLDER --only facts makes such ones"
        )
    return country, field


def without(entry: Entry, asked: Sequence[tuple[str, Sequence[str]]]) -> Entry:
    """`entry` without these fields, and without each text in which a value of theirs stands."""
    said = [value for _, values in asked for value in values]
    gone: set[tuple[str, ...]] = {FIELDS[field] for field, _ in asked}
    return dict(_kept(entry, (), gone, said) or {})


def _kept(node: Any, path: tuple[str, ...], gone: set[tuple[str, ...]], said: Sequence[str]) -> Any:
    """What is left of a part of an entry; None for nothing."""
    if path in gone:
        return None
    if path == _NAME:
        return node
    if isinstance(node, dict):
        parts = {key: _kept(value, (*path, key), gone, said) for key, value in node.items()}
        return {key: value for key, value in parts.items() if value is not None} or None
    if isinstance(node, list):
        kept = [_kept(value, path, gone, said) for value in node]
        return [value for value in kept if value is not None] or None
    return None if isinstance(node, str) and is_said(node, said) else node


def make(docs: str, questions: Sequence[Question], folder: Path, work: Working) -> Path:
    """Make the copy, and an index of it, in `folder`; the index.

    `docs` names the index of the documents. Raises `UsageError` where no document is about a
    country that is asked about, and `DocumentError`.
    """
    asked: dict[str, dict[str, Sequence[str]]] = defaultdict(dict)
    for question in questions:
        country, field = asked_of(question)
        asked[country][field] = question.said
    with Index(find(docs)) as index:
        paths, size = [document.path for document in index.documents()], index.sizing.size
    root = Path(os.path.commonpath([path.parent for path in paths]))
    copy = folder / "documents"
    left: dict[str, Mapping[str, Sequence[str]]] = dict(asked)
    try:
        for number, path in enumerate(paths):
            if number % 20 == 0:
                work.tell(f"copying documents: {number} of {len(paths)}")
            target = copy / path.relative_to(root)
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, target, left)
    except OSError as error:
        raise UsageError(f"{error.filename}: {reason(error)}; is the index up to date?") from None
    if left:
        raise UsageError(
            f"no document of {docs} is about {', '.join(sorted(left)[:5])}; give the index of "
            "the Factbook's JSON files, one a country"
        )
    made = folder / "index.sqlite"
    index_documents(made, [copy], size=size, progress=work.progress, cancel=work.stop)
    return made


def _copy(path: Path, target: Path, left: dict[str, Mapping[str, Sequence[str]]]) -> None:
    """Copy a document; one of a country in `left`, from which it goes, without what is asked."""
    place = entry = None
    if path.suffix == ".json":
        try:
            entry = json.loads(path.read_text("utf-8"))
            place = read_place(entry)
        except (ValueError, TypeError, AttributeError, RecursionError):
            place = None
    if place is None or place.name not in left or entry is None:
        shutil.copyfile(path, target)
        return
    rest = without(entry, list(left.pop(place.name).items()))
    with replacing(target) as file:
        file.write(json.dumps(rest, ensure_ascii=False).encode())
