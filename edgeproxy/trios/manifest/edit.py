"""Settings put into a manifest's text, all else in it left as its owner wrote it.

The text is not parsed into a tree: a line begins a statement where all before it is valid TOML. At
the end both texts are read, and must differ in what was to be changed only.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgeproxy.decode.steering import Steering
from edgeproxy.errors import ManifestError
from edgeproxy.trios.manifest.fitted import Fitted, as_table
from edgeproxy.trios.manifest.recipe import Documents
from edgeproxy.trios.manifest.write import documents_table, to_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SETTINGS = ("alpha", "base_weight", "plausibility")
FITTED, DOCUMENTS = "fitted", "documents"
_HEADING = re.compile(r"\s*\[")


def with_fit(
    text: str, path: Path, steering: Steering, fitted: Fitted, documents: Documents | None = None
) -> str:
    """The manifest `text` with this steering, and with this table `[fitted]` for any it has.

    `documents` take the place of its table `[documents]` in the same way. Comments elsewhere, order
    and line endings stay. Raises `ManifestError`, naming `path` and what to write by hand, where
    the text is laid out in a way that this cannot change.
    """
    ending = "\r\n" if "\r\n" in text else "\n"
    settings: dict[str, object] = {key: getattr(steering, key) for key in SETTINGS}
    tables: dict[str, Mapping[str, object]] = {FITTED: as_table(fitted)}
    if documents is not None:
        tables = {DOCUMENTS: documents_table(documents), **tables}
    lines = _without(tables, text.replace("\r\n", "\n").split("\n"))
    head, rest = _split(lines)
    for key, value in settings.items():
        head = _set(head, key, f"{key} = {to_value(value)}")
    lines = _trimmed([*head, *rest])
    for name, table in tables.items():
        lines += ["", f"[{name}]", *_table_lines(table)]
    changed = "\n".join([*lines, ""])
    _check(text, changed, path, settings, tables)
    return changed.replace("\n", ending)


def _without(tables: Iterable[str], lines: list[str]) -> list[str]:
    """The lines but those of these tables."""
    written = re.compile(rf"\s*\[\[?\s*({'|'.join(tables)})\s*[\].]")
    kept, is_written = [], False
    for at, line in enumerate(lines):
        if _HEADING.match(line) and _is_statement(lines, at):
            is_written = bool(written.match(line))
        if not is_written:
            kept.append(line)
    return kept


def _split(lines: list[str]) -> tuple[list[str], list[str]]:
    """The lines before the first table, and the others."""
    for at, line in enumerate(lines):
        if _HEADING.match(line) and _is_statement(lines, at):
            while at and (not lines[at - 1].strip() or lines[at - 1].lstrip().startswith("#")):
                at -= 1  # what stands right above a table is about that table
            return lines[:at], lines[at:]
    return _trimmed(lines), []


def _is_statement(lines: list[str], at: int) -> bool:
    """Whether line `at` begins a statement, and is not in a text or a list of several lines."""
    try:
        tomllib.loads("\n".join(lines[:at]))
    except tomllib.TOMLDecodeError:
        return False
    return True


def _set(head: list[str], key: str, statement: str) -> list[str]:
    """The lines with a key's line changed, a comment behind it kept, or with one more line."""
    pattern = re.compile(rf"\s*{key}\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s#]+)(\s*(?:#.*)?)")
    for at, line in enumerate(head):
        found = pattern.fullmatch(line)
        if found and _is_statement(head, at):
            return [*head[:at], statement + found[2].rstrip(), *head[at + 1 :]]
    return [*head, statement]


def _table_lines(table: Mapping[str, object]) -> list[str]:
    lines = []
    for key, value in table.items():
        if isinstance(value, list):
            lines += [f"{key} = [", *(f"    {to_value(row)}," for row in value), "]"]
        else:
            lines.append(f"{key} = {to_value(value)}")
    return lines


def _trimmed(lines: list[str]) -> list[str]:
    """The lines without blank ones at the end."""
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    return lines[:end]


def _check(
    before: str,
    after: str,
    path: Path,
    settings: Mapping[str, object],
    tables: Mapping[str, object],
) -> None:
    """Raise `ManifestError` unless the texts differ in these settings and tables only."""
    try:
        was, now = tomllib.loads(before), tomllib.loads(after)
    except tomllib.TOMLDecodeError:
        was, now = {}, {"": None}
    others = [
        {k: v for k, v in content.items() if k not in {*SETTINGS, *tables}}
        for content in (was, now)
    ]
    if others[0] != others[1] or any(now.get(k) != v for k, v in settings.items()):
        by_hand = ", ".join(f"{key} = {to_value(value)}" for key, value in settings.items())
        raise ManifestError(
            f"{path}: this manifest is laid out in a way that cannot be changed safely; write into "
            f"it, above its first table: {by_hand}"
        )
