"""A TOML table with typed getters whose errors name the manifest and the key."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from edgeproxy.errors import ManifestError, UsageError


@dataclass(frozen=True)
class Table:
    """The table that begins with `where` (empty, or a dotted name and a dot) in `path`."""

    path: Path
    where: str
    content: Mapping[str, Any]

    def __contains__(self, key: str) -> bool:
        return key in self.content

    def fail(self, what: str) -> NoReturn:
        """Raise `ManifestError` with the manifest and this table before `what`."""
        raise ManifestError(f"{self.path}: {self.where}{what}")

    def _get(self, key: str, kinds: tuple[type, ...], what: str, default: Any) -> Any:
        value = self.content.get(key, default)
        if value is None and default is None:
            self.fail(f"{key} is missing")
        # A bool is an int to Python, and not to a person.
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            self.fail(f"{key} must be {what}")
        return value

    def string(self, key: str, default: str | None = None) -> str:
        """The string at `key`; without a default it must be there."""
        return str(self._get(key, (str,), "a string", default))

    def strings(self, key: str, known: Sequence[str]) -> tuple[str, ...]:
        """The strings of the array at `key`, each of them one of `known`; none where missing."""
        found = self._get(key, (list,), "an array of strings", [])
        for each in found:
            if each not in known:
                self.fail(f"{key} may name {', '.join(known)}, not {each!r}")
        return tuple(found)

    def match(self, key: str, pattern: str, what: str) -> str | None:
        """The string at `key`, which must match `pattern` in full; None where it is missing."""
        if key not in self.content:
            return None
        value = self.string(key)
        if not re.fullmatch(pattern, value, re.ASCII):
            self.fail(f"{key} must be {what}")
        return value

    def flag(self, key: str, default: bool | None = None) -> bool:
        """The bool at `key`; without a default it must be there."""
        return bool(self._get(key, (bool,), "true or false", default))

    def number(self, key: str, default: float, check: Callable[[float], float]) -> float:
        """The number at `key`, which `check` refuses with a `UsageError` or returns."""
        value = self._get(key, (int, float), "a number", default)
        try:
            return float(check(float(value)))
        except (UsageError, OverflowError) as error:
            self.fail(f"{key}: {error}")

    def count(self, key: str, what: str = "a whole number", least: int = 1) -> int | None:
        """The whole number at `key`, at least `least`; None where it is missing."""
        if key not in self.content:
            return None
        value = int(self._get(key, (int,), what, None))
        if value < least:
            self.fail(f"{key} must be {least} or more, not {value}")
        return value

    def table(self, key: str) -> Table:
        """The table at `key`, which must be there."""
        content = self._get(key, (dict,), "a table", None)
        return Table(self.path, f"{self.where}{key}.", content)

    def tables(self, key: str) -> list[Table]:
        """The tables of the array at `key`, of which there must be at least one."""
        content = self._get(key, (list,), f"tables, each under [[{key}]]", None)
        if not content or not all(isinstance(each, dict) for each in content):
            self.fail(f"{key} must be tables, each under [[{key}]]")
        return [
            Table(self.path, f"{self.where}{key}[{n}].", each) for n, each in enumerate(content, 1)
        ]

    def refuse_others(self, known: Iterable[str]) -> None:
        """Raise `ManifestError` for a key that is not among `known`."""
        unknown = sorted(set(self.content) - set(known))
        if unknown:
            raise ManifestError(f"{self.path}: unknown key {self.where}{unknown[0]}")
