"""Measure how fast an index of documents is made, brought up to date and searched; in what memory.

    python -m tools.measure.documents FOLDER [--megabytes 100] [--json]

Texts of random words are written into FOLDER, which must be empty, and removed at the end: many
files, one large file, very many short passages. Each is indexed by a process of its own, and
another one searches it for words of such texts. The bars: 8 MB/s or more, less than 300 MB of
memory, less than 2 s for a change of one file among 10,000, and 100 ms for a search among 1,000,000
passages.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.cancel import Cancel
from edgeproxy.core.memory_free import peak_memory
from edgeproxy.documents.index import Index
from edgeproxy.documents.indexing import index_documents
from edgeproxy.documents.kinds import TEXT, Reading, open_document
from edgeproxy.documents.passage import Block
from edgeproxy.documents.search import Finder
from edgeproxy.errors import EdgeproxyError, UsageError
from edgeproxy.units import in_units
from tools.command import add_json, at_least, make_parser, run

SPEED, MEMORY, CHANGE, SEARCH = 8e6, 300e6, 2.0, 0.1
"""The bars: bytes a second, bytes, seconds, seconds."""

FILES = 10_000
SHORT_PASSAGES = 1_000_000
VOCABULARY = 60_000
SEARCHES, WORDS = 30, 6
"""Questions that an index is asked, and words of each."""


@contextmanager
def rows(path: Path, _cancel: Cancel | None) -> Iterator[Reading]:
    """A reader of lines, each a field of its own."""
    with path.open(encoding="ascii") as file:
        yield Reading(TEXT, "ascii", (Block(line, (f"row {at}",)) for at, line in enumerate(file)))


def indexed(index: str, root: str) -> dict[str, float]:
    """What it took this process to index `root`."""
    reader = rows if (Path(root) / "rows.txt").exists() else open_document
    started, spent = time.perf_counter(), time.process_time()
    report = index_documents(Path(index), [Path(root)], reader=reader)
    return {
        "seconds": time.perf_counter() - started,
        "processor": time.process_time() - spent,
        "memory": peak_memory() or 0,
        "bytes": report.read,
        "passages": report.passages,
        "size": Path(index).stat().st_size,
    }


def searched(index: str, *questions: str) -> dict[str, float]:
    """Seconds of the median search of this process for `questions`, and of the longest one."""
    seconds = []
    with Index(Path(index)) as opened:
        finder = Finder(opened.connection)
        for question in questions:
            started = time.perf_counter()
            finder.find(question)
            seconds.append(time.perf_counter() - started)
    return {"search": median(seconds), "longest_search": max(seconds)}


def in_child(index: Path, root: Path) -> dict[str, float]:
    """As `indexed`, of a fresh process, with its start in the seconds."""
    started = time.perf_counter()
    found = _child_says("indexed", str(index), str(root))
    return found | {"seconds": time.perf_counter() - started}


def _child_says(function: str, *arguments: str) -> dict[str, float]:
    program = f"import json, sys; from tools.measure.documents import {function}; "
    program += f"print(json.dumps({function}(*sys.argv[1:])))"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise EdgeproxyError((done.stderr.splitlines() or ["the process was killed"])[-1])
    found: dict[str, float] = json.loads(done.stdout)
    return found


class Texts:
    """Writes texts of random words, of which few are frequent, as in a language."""

    def __init__(self) -> None:
        self._random = random.Random(1)
        letters = "abcdefghijklmnopqrstuvwxyz"
        self._words = [
            "".join(self._random.choices(letters, k=self._random.randint(2, 11)))
            for _ in range(VOCABULARY)
        ]
        # By Zipf's law: a word is the rarer the further down in the list.
        self._weights = list(itertools.accumulate(1 / (rank + 1) for rank in range(VOCABULARY)))

    def paragraph(self, words: int) -> str:
        """A paragraph of so many words."""
        chosen = self._random.choices(self._words, cum_weights=self._weights, k=words)
        chosen[::12] = [f"{word}." for word in chosen[::12]]
        return " ".join(chosen) + "\n\n"

    def questions(self) -> list[str]:
        """Questions of such words, as frequent as they are in the texts."""
        return [self.paragraph(WORDS).strip() for _ in range(SEARCHES)]

    def write(self, path: Path, size: int) -> None:
        """Write a file of about `size` bytes."""
        with path.open("w", encoding="ascii") as file:
            while file.tell() < size:
                file.write(self.paragraph(self._random.randint(20, 200)))


def measure(
    folder: Path, size: int, told: Callable[[str], None] = lambda what: None
) -> dict[str, dict[str, float]]:
    """What each task takes; `size` is that of the files, in bytes."""
    if any(folder.iterdir()):
        raise UsageError(f"{folder}: it has to be empty, for what is in it is removed")
    texts, found = Texts(), {}
    index, root = folder / "index.sqlite", folder / "texts"
    try:
        told("writing many files")
        for number in range(FILES):
            part = root / f"{number % 100:02}"
            part.mkdir(parents=True, exist_ok=True)
            texts.write(part / f"{number}.txt", size // FILES)
        told("indexing many files")
        found["many files"] = in_child(index, root)
        in_child(index, root)
        texts.write(part / f"{number}.txt", size // FILES + 1000)
        told("indexing a change")
        found["a change"] = in_child(index, root)
        found["no change"] = in_child(index, root)
        told("searching many files")
        found["many files"] |= _child_says("searched", str(index), *texts.questions())
        _clear(folder)
        told("writing a large file")
        root.mkdir()
        texts.write(root / "large.txt", size)
        told("indexing a large file")
        found["a large file"] = in_child(index, root)
        _clear(folder)
        told("writing short passages")
        root.mkdir()
        with (root / "rows.txt").open("w", encoding="ascii") as file:
            for _ in range(SHORT_PASSAGES):
                file.write(texts.paragraph(8).strip() + "\n")
        told("indexing short passages")
        found["short passages"] = in_child(index, root)
        told("searching short passages")
        found["short passages"] |= _child_says("searched", str(index), *texts.questions())
    finally:
        _clear(folder)
    return found


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """The same for a person, as lines."""
    for name, one in found["tasks"].items():
        yield (
            f"{name:16}{one['seconds']:8.1f} s{one['processor']:8.1f} s of processor"
            f"{one['bytes'] / one['seconds'] / 1e6:8.1f} MB/s   {in_units(one['memory'])} of memory"
            f"   {one['passages']:,} passages   index of {in_units(one['size'])}"
        )
    for name, one in found["tasks"].items():
        if "search" in one:
            yield (
                f"a search among {one['passages']:,} passages ({name}): "
                f"{one['search'] * 1e3:.0f} ms at the median, "
                f"{one['longest_search'] * 1e3:.0f} ms at the longest"
            )
    yield (
        f"bars: {SPEED / 1e6:.0f} MB/s, {in_units(int(MEMORY))}, a change in {CHANGE:.0f} s, "
        f"a search among 1,000,000 passages in {SEARCH * 1e3:.0f} ms"
    )


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    parser = make_parser("tools.measure.documents", __doc__)
    parser.add_argument("folder", type=Path, help="an empty folder")
    parser.add_argument("--megabytes", type=at_least(1), default=100)
    add_json(parser)

    def work(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
        return {"tasks": measure(asked.folder, asked.megabytes * 1_000_000, working.tell)}

    return run(parser, work, lambda found: "\n".join(as_text(found)))


if __name__ == "__main__":
    sys.exit(main())
