"""Lines of a task's files: how they look, where raw data lies, how they are read and written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgeproxy.errors import UsageError
from edgeproxy.files import replacing

Line = dict[str, Any]
"""{"question": text, "answer": text or accepted texts, "kind": text, "judge": name ...}"""

SPLITS = ("train", "validation", "test")
"""What a task consists of; the training lines' answer is the one text to learn."""


def find_data(given: Path | None, name: str, option: str) -> Path:
    """`given`, or `name` in `shared/data` beside one of the folders above; `UsageError`."""
    folders = [Path.cwd(), *Path.cwd().parents, *Path(__file__).resolve().parents]
    places = [given] if given else [folder / "shared" / "data" / name for folder in folders]
    for place in places:
        if place.exists():
            return place
    raise UsageError(f"{given or name}: there is no such file or folder; say where with {option}")


def read_lines(path: Path) -> list[Line]:
    """The objects of a JSON lines file; `UsageError` names the file and line that is wrong."""
    try:
        rows = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: this file cannot be read ({error})") from None
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            line = json.loads(row)
        except ValueError:
            raise UsageError(f"{path}:{number}: this line is not JSON") from None
        if not isinstance(line, dict) or not all(
            isinstance(line.get(key), str) for key in ("question", "answer")
        ):
            raise UsageError(f"{path}:{number}: a line has a question and an answer, both text")
        found.append(line)
    return found


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """Write JSON lines beside `path`, then rename."""
    with replacing(path) as file:
        file.writelines((json.dumps(line, ensure_ascii=False) + "\n").encode() for line in lines)


def by_digest(lines: Iterable[Line]) -> list[Line]:
    """`lines` in the order of their questions' md5: a shuffle that anybody can repeat."""
    return sorted(lines, key=lambda line: hashlib.md5(line["question"].encode()).hexdigest())
