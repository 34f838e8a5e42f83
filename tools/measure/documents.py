"""Measure how fast an index of documents is made and brought up to date, and in what memory.

    python -m tools.measure.documents FOLDER [--megabytes 100] [--json]

Texts of random words are written into FOLDER, which must be empty, and removed at the end: many
files, one large file, very many short passages. Each is indexed by a process of its own. The bars:
8 MB/s or more, less than 300 MB of memory, and less than 2 s for a change of one file among 10,000.
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
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.cancel import Cancel
from edgeproxy.core.memory_free import peak_memory
from edgeproxy.documents.indexing import index_documents
from edgeproxy.documents.kinds import TEXT, Reading, open_document
from edgeproxy.documents.passage import Block
from edgeproxy.errors import EdgeproxyError, UsageError
from edgeproxy.units import in_units
from tools.command import add_json, at_least, make_parser, run

SPEED, MEMORY, CHANGE = 8e6, 300e6, 2.0
"""The bars: bytes a second, bytes, seconds."""

FILES = 10_000
SHORT_PASSAGES = 1_000_000
VOCABULARY = 60_000


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


def in_child(index: Path, root: Path) -> dict[str, float]:
    """As `indexed`, of a fresh process, with its start in the seconds."""
    program = "import json, sys; from tools.measure.documents import indexed; "
    program += "print(json.dumps(indexed(*sys.argv[1:])))"
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, str(index), str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise EdgeproxyError((done.stderr.splitlines() or ["the process was killed"])[-1])
    found: dict[str, float] = json.loads(done.stdout)
    return found | {"seconds": time.perf_counter() - started}


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
    yield f"bars: {SPEED / 1e6:.0f} MB/s, {in_units(int(MEMORY))}, a change in {CHANGE:.0f} s"


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
