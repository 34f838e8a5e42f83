"""A JSON schema or a grammar that replies keep to, read and checked before any model is asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from edgeproxy.core.stacks import on_stack
from edgeproxy.core.utf8 import check_text, decode
from edgeproxy.errors import GrammarError, OutOfMemoryError, PromptError
from edgeproxy.files import open_regular, reason

INSTALL = "pip install 'edgeproxy[grammar]'"

LONGEST = 1 << 18
"""A schema or grammar may have so many bytes; longer ones take seconds to read."""

MOST_RULES = 2_000
"""A grammar may have so many rules: where each leads to the next, twice as many take four times as
long to read, and these about a second."""

MOST_NAMES = 4_000
"""An object in a JSON schema may have so many: of properties that may be left out, too, twice as
many take four times as long, and these half a second."""

_LARK = re.compile(r"^[^\S\n]*(?:%llguidance\b|start\s*:)", re.MULTILINE)
"""Where a grammar is Lark, as llguidance sees it, which takes quadratic time for empty lines."""

_LINES, _NAME = re.compile(r"[\r\n]+"), re.compile(r"\s*[!?]*\w")
"""What is between lines, and how one begins that defines a rule."""

_LEAST_STACK_MB, _STACK_BYTES_EACH = 1, 2048
"""The engine recurses for rules, and for references of a schema, that lead to others: a thousand of
them overflow a usual stack, which would end the process. So much for each byte of the text is more
than three times what lists in lists were measured to take, which take the most."""

Found = TypeVar("Found")

_WHITESPACE = r"([ ]|\n[ ]{0,16})?"
"""What may stand between the parts of a JSON text: without a limit a model may never go on."""


@dataclass(frozen=True)
class Grammar:
    """What replies keep to. `text` is as the engine of grammars reads it; `name` says which it is.

    Make one of a JSON schema with `json_schema`, of a grammar with `grammar`. Raises `GrammarError`
    where a reply cannot be held to it: it is damaged, too large, or asks for what is not known.
    """

    text: str
    name: str = "the grammar"

    def __post_init__(self) -> None:
        check = engine().LLMatcher.validate_grammar_with_warnings
        try:
            has_failed, said = on_its_stack(lambda: check(self.text), self.text)
        except OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - of the engine's own kinds
            has_failed, said = True, [str(error)]
        if has_failed:
            raise GrammarError(f"{self.name}: {in_words(said)}")

    @classmethod
    def json_schema(cls, schema: str | Mapping[str, Any], name: str = "the JSON schema") -> Grammar:
        """Replies that are JSON texts of a JSON schema, given as text or as data.

        A keyword of the standard that a reply cannot be held to is an error; one that is in no
        standard says nothing, as in JSON Schema itself. Raises `GrammarError`.
        """
        text = schema if isinstance(schema, str) else _as_json(schema, name)
        _check_size(text, name)
        try:
            kind = type(json.loads(text, object_pairs_hook=_counted))
        except (ValueError, RecursionError) as error:
            raise GrammarError(f"{name}: this is not JSON ({error or 'too deep'})") from None
        except _TooManyError as error:
            raise GrammarError(f"{name}: {error}") from None
        if kind is bool:
            raise GrammarError(f"{name}: true asks for nothing, and no JSON text keeps to false")
        if kind is not dict:
            raise GrammarError(f"{name}: a JSON schema is an object")
        made = engine().LLMatcher.grammar_from_json_schema
        try:
            found = on_its_stack(lambda: made(text, {"whitespace_pattern": _WHITESPACE}), text)
        except ValueError as error:
            raise GrammarError(f"{name}: {in_words([str(error)])}") from None
        return cls(found, name)

    @classmethod
    def grammar(cls, text: str, name: str = "the grammar") -> Grammar:
        """Replies of a context-free grammar: llama.cpp's GBNF, or llguidance's kind of Lark.

        It is Lark where it has a rule `start`, and GBNF where it has a rule `root`. Raises
        `GrammarError`.
        """
        _check_size(text, name)
        count = sum(map(_is_rule, _LINES.split(text)))
        if count > MOST_RULES:
            raise GrammarError(f"{name}: {count:,} rules; at most {MOST_RULES:,} are read")
        convert = engine("gbnf_to_lark").gbnf_to_lark
        try:
            converted = text if _LARK.search(text) else convert(text)
        except RecursionError:
            raise GrammarError(f"{name}: its brackets are nested too deep") from None
        except Exception as error:  # noqa: BLE001 - the converter raises bare ones
            raise GrammarError(f"{name}: {in_words([str(error)])}") from None
        made = engine().LLMatcher.grammar_from_lark
        return cls(on_its_stack(lambda: made(converted), converted), name)


def read_json_schema(path: Path) -> Grammar:
    """The JSON schema in a file. Raises `GrammarError`."""
    return Grammar.json_schema(_read(path), str(path))


def read_grammar(path: Path) -> Grammar:
    """The grammar in a file. Raises `GrammarError`."""
    return Grammar.grammar(_read(path), str(path))


def engine(module: str = "") -> Any:
    """The package that knows grammars, or a module of it. Raises `GrammarError` where it is not."""
    try:
        return import_module(f"llguidance.{module}" if module else "llguidance")
    except ModuleNotFoundError:
        there = "is not installed"
    except (ImportError, OSError) as error:
        there = f"cannot be loaded ({error})"
    raise GrammarError(f"JSON schemas and grammars need llguidance, which {there}: {INSTALL}")


def on_its_stack(work: Callable[[], Found], text: str) -> Found:
    """What the engine's `work` on `text` returns or raises, on a stack that is large enough for it.

    Raises `OutOfMemoryError` where there is no memory for that.
    """
    megabytes = _LEAST_STACK_MB + (len(text) * _STACK_BYTES_EACH >> 20)
    return on_stack(work, megabytes << 20, "edgeproxy grammar", "reads grammars")


def in_words(said: list[str]) -> str:
    """What the engine said of a grammar, without what it says for its own developers."""
    text = " ".join(said).split("<state>")[0].split("<backtrace>")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    faults = [line for line in lines if line.startswith("error: ")]  # below where it is
    first = next(iter(faults or lines), "it cannot be kept to").removeprefix("error: ")
    first = first[:_LONGEST_MESSAGE]
    if lacking := _LACKING.fullmatch(first):
        return _cannot_keep(lacking[1])
    return _KNOWN.get(first.split(":")[0], first)


def _cannot_keep(keywords: str) -> str:
    """Of keywords in quotes, with commas between them, that a reply cannot be held to them."""
    if "," in keywords:
        return f"no reply can be held to the keywords {keywords}; leave them out"
    return f"no reply can be held to the keyword {keywords}; leave it out"


_LACKING = re.compile(r"Unimplemented keys: \[(.+)\]")


_KNOWN = {
    "NoExtensionBias": "no text at all keeps to it",
    "panic": "it is too large",
}


_LONGEST_MESSAGE = 300
"""The engine repeats what it was given, of whatever length."""


def _as_json(schema: object, name: str) -> str:
    try:
        return json.dumps(schema, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise GrammarError(f"{name}: this is not JSON ({error})") from None


def _is_rule(line: str) -> bool:
    """Whether a rule of GBNF or Lark begins in a line, which has its name before a colon."""
    head, colon, _ = line.partition(":")
    return bool(colon and _NAME.match(head)) and '"' not in head and "/" not in head


def _counted(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MOST_NAMES:
        raise _TooManyError(f"{len(pairs):,} names in one object; at most {MOST_NAMES:,} are read")
    return {}


class _TooManyError(Exception):
    """An object has more names than are read."""


def _check_size(text: str, name: str) -> None:
    try:
        size = len(check_text(text, name).encode())
    except PromptError as error:
        raise GrammarError(str(error)) from None
    if size > LONGEST:
        raise GrammarError(f"{name}: {size:,} bytes; at most {LONGEST:,} are read")


def _read(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(LONGEST + 1)
    except (OSError, ValueError) as error:
        raise GrammarError(
            f"{path}: {reason(error)}; give a file with a schema or grammar"
        ) from None
    if len(data) > LONGEST:
        raise GrammarError(f"{path}: more than {LONGEST:,} bytes, which are the most that are read")
    try:
        return decode(data, str(path))
    except PromptError as error:
        raise GrammarError(str(error)) from None
