"""Kinds of values in a request's JSON: how one is read, and what its JSON Schema is.

What is refused is a `RefusedError` that names the field as OpenAI does, `messages[0].content`, with
OpenAI's words for programs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgeproxy.core.utf8 import check_text
from edgeproxy.errors import PromptError
from edgeproxy.serve.protocol import RefusedError

Schema = dict[str, Any]

_SHOWN = 60
"""So many characters of a value or a name are repeated in an error."""

_LARGEST_SHOWN = 10**15
_BOUND_SHOWN = 10**9


class Kind(Protocol):
    """A kind of value."""

    def read(self, value: Any, where: str) -> Any:
        """`value`, which is not null, checked; `where` names it. Raises `RefusedError`."""

    def schema(self) -> Schema:
        """The JSON Schema of the values that are taken, without null."""


def said(value: Any) -> str:
    """A value as an error repeats it: short, in ASCII, and without what is inside of it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return ascii(value) if len(value) <= _SHOWN else ascii(value[:_SHOWN]) + "..."
        case int():
            # Python refuses to write down an int of many thousand digits.
            return str(value) if abs(value) < _LARGEST_SHOWN else "a number that is too large"
        case float():
            return repr(value)
        case Mapping():
            return "an object"
    return "a list"


def shown_name(name: str) -> str:
    """A field's name as an error repeats it."""
    plain = name[:_SHOWN].encode("ascii", "backslashreplace").decode()
    return plain if len(name) <= _SHOWN else plain + "..."


def wrong_kind(where: str, wanted: str, value: Any) -> RefusedError:
    """The error for a value of another kind than the wanted one."""
    return RefusedError(f"{where} must be {wanted}, not {said(value)}", where, "invalid_type")


@dataclass(frozen=True)
class Truth:
    """True or false."""

    def read(self, value: Any, where: str) -> bool:
        """As `Kind.read`."""
        if not isinstance(value, bool):
            raise wrong_kind(where, "true or false", value)
        return value

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Whole:
    """A whole number, least <= value <= most. 2.0 is none."""

    least: int
    most: int

    def read(self, value: Any, where: str) -> int:
        """As `Kind.read`."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong_kind(where, "a whole number", value)
        if not self.least <= value <= self.most:
            raise _out_of_range(where, self.least, self.most, value)
        return value

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}


@dataclass(frozen=True)
class Number:
    """A number, least <= value <= most; NaN and infinities are none."""

    least: float
    most: float

    def read(self, value: Any, where: str) -> float:
        """As `Kind.read`."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise wrong_kind(where, "a number", value)
        if not self.least <= value <= self.most:  # so is NaN, which compares with nothing
            raise _out_of_range(where, self.least, self.most, value)
        return float(value)

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        return {"type": "number", "minimum": self.least, "maximum": self.most}


def _out_of_range(where: str, least: float, most: float, value: Any) -> RefusedError:
    bounds = f"between {least:,} and {most:,}"
    if most >= _BOUND_SHOWN:
        bounds = f"at least {least:,} and at most {most:.0e}"
    code = "below_min_value" if value < least else "above_max_value"
    prefix = "integer_" if isinstance(least, int) else "decimal_"
    return RefusedError(f"{where} must be {bounds}, not {said(value)}", where, prefix + code)


@dataclass(frozen=True)
class Text:
    """Valid Unicode of so many characters, without NUL."""

    most: int
    least: int = 0
    pattern: str | None = None

    def read(self, value: Any, where: str) -> str:
        """As `Kind.read`."""
        if not isinstance(value, str):
            raise wrong_kind(where, "text", value)
        if len(value) > self.most:
            what = f"{where} has {len(value):,} characters; at most {self.most:,} are taken"
            raise RefusedError(what, where, "string_above_max_length")
        if len(value) < self.least:
            raise RefusedError(f"{where} is empty", where, "empty_string")
        try:
            check_text(value, where)
        except PromptError as error:
            raise RefusedError(str(error), where, "invalid_value") from None
        if self.pattern is not None and not re.fullmatch(self.pattern.strip("^$"), value):
            what = f"{where} must be text that fits {self.pattern}, not {said(value)}"
            raise RefusedError(what, where, "invalid_value")
        return value

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        found: Schema = {"type": "string", "maxLength": self.most}
        if self.least:
            found["minLength"] = self.least
        if self.pattern is not None:
            found["pattern"] = self.pattern
        return found


@dataclass(frozen=True)
class Choice:
    """One of these words."""

    words: Sequence[str]

    def read(self, value: Any, where: str) -> str:
        """As `Kind.read`."""
        if not isinstance(value, str):
            raise wrong_kind(where, f"one of {', '.join(self.words)}", value)
        if value not in self.words:
            what = f"{where} must be one of {', '.join(self.words)}, not {said(value)}"
            raise RefusedError(what, where, "invalid_value")
        return value

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        return {"enum": list(self.words)}


@dataclass(frozen=True)
class Only:
    """A field of which only these values are taken: those that ask for nothing special."""

    values: Sequence[Any]
    why: str

    def read(self, value: Any, where: str) -> Any:
        """As `Kind.read`."""
        if not any(type(each) is type(value) and each == value for each in self.values):
            raise RefusedError(f"{where}: {self.why}", where, "unsupported_value")
        return value

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        return {"enum": list(self.values)}


@dataclass(frozen=True)
class Never:
    """A field of OpenAI's that is refused, whatever its value."""

    why: str

    def read(self, value: Any, where: str) -> Any:
        """As `Kind.read`."""
        raise RefusedError(f"{where}: {self.why}", where, "unsupported_parameter")

    def schema(self) -> Schema:
        """As `Kind.schema`."""
        return {"type": "null"}
