"""The child process that renders chat templates of model files (see `renderer`).

A line of JSON on standard input is a job, a template and some conversations, and a line of JSON on
standard output its answer, a list with one for each. A template gets what Hugging Face's
`apply_chat_template` gives it, in a sandbox. No escape from the sandbox is known, but nested loops
and huge powers can hang or eat all memory, and only a process that can be killed stops them.
"""

from __future__ import annotations

import contextlib
import datetime
import faulthandler
import functools
import json
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import CallBlock, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

_MEMORY_BYTES = 1 << 30
_MAX_OUTPUT = 1 << 20  # characters beside the contents
_MAX_REPEATS = 4  # times that a template may show all the contents
_MAX_WHY = 300  # characters of a template's error


def main() -> None:
    """Answer jobs until standard input ends, which it does when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit_memory()
    answers = sys.stdout.buffer
    answers.write(b"\n")  # ready
    answers.flush()
    for line in sys.stdin.buffer:
        job = json.loads(line)
        # Also where the parent has ended and no one is left who would kill a template that hangs;
        # it works while one computation holds the interpreter.
        faulthandler.dump_traceback_later(job["seconds"], exit=True)
        found = [_answer(job, messages) for messages in job["conversations"]]
        answers.write(json.dumps(found, ensure_ascii=False).encode() + b"\n")
        answers.flush()
        faulthandler.cancel_dump_traceback_later()


def _limit_memory() -> None:
    if sys.platform == "win32":
        return  # there the time limit alone holds
    import resource

    # macOS may refuse: there the time limit alone holds too.
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))


def _answer(job: Mapping[str, Any], messages: list[dict[str, str]]) -> dict[str, str]:
    """{"text": ...}, or {"failed": why}."""
    try:
        text = render_here(job["template"], messages, job["variables"], job["twins"])
        shown = sum(len(message["content"]) for message in messages)
        if len(text) > _MAX_OUTPUT + _MAX_REPEATS * shown:
            return _failed("its output is too long")
        text.encode()  # half of a surrogate pair could not be sent
        return {"text": text}
    except Exception as error:  # noqa: BLE001 - whatever a template raises is told to the parent
        return _failed(f"{type(error).__name__}: {error}".removesuffix(": "))


def _failed(why: str) -> dict[str, str]:
    # The template chose these words: they must neither steer a terminal nor fill it.
    said = "".join(filter(str.isprintable, why[:_MAX_WHY]))
    return {"failed": said.encode(errors="replace").decode()}


def render_here(
    template: str,
    messages: list[dict[str, str]],
    variables: Mapping[str, Any],
    twins: Mapping[str, str],
) -> str:
    """The text of `template`.

    `variables` are the special tokens' texts, `add_generation_prompt`, and as "now" the caller's
    local time in ISO form. `twins` maps characters to those that stand for them in contents.
    """
    variables = dict(variables)
    now = datetime.datetime.fromisoformat(variables.pop("now"))
    content_type = _content_with(tuple(twins.items()))
    return _compiled(template).render(
        messages=[{**message, "content": content_type(message["content"])} for message in messages],
        strftime_now=now.strftime,
        tools=None,
        documents=None,
        **variables,
    )


@functools.lru_cache(maxsize=8)
def _compiled(template: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    del environment.globals["lipsum"]
    environment.globals["raise_exception"] = _refuse
    environment.filters["tojson"] = _tojson
    return environment.from_string(template)


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own escapes HTML, which no model has read.
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


class _Generation(Extension):
    """`{% generation %}` marks what an assistant said, for training; here it is its body alone."""

    tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

    def _said(self, caller: Callable[[], str]) -> str:
        return caller()


@functools.lru_cache(maxsize=8)
def _content_with(twins: tuple[tuple[str, str], ...]) -> type[str]:
    return content_with(dict(twins))


def content_with(twins: Mapping[str, str]) -> type[str]:
    """The type of contents in which `twins` stand for characters.

    Its methods compare as if the characters themselves were there, so that a template finds
    `</think>` in a content. What of a content is shown still has the twins, whatever was done with
    it: joined to other text or formatted into it, it is an ordinary string and not searched any
    more, but no character of it becomes the template's own.
    """
    table = str.maketrans(dict(twins))

    def hidden(value: Any) -> Any:
        if isinstance(value, str):
            return str.translate(value, table)
        return tuple(map(hidden, value)) if isinstance(value, tuple) else value

    def kept(value: Any) -> Any:
        if isinstance(value, str):
            return Content(value)
        if isinstance(value, list | tuple):
            return type(value)(map(kept, value))
        return value

    def comparing(name: str) -> Callable[..., Any]:
        plain = getattr(str, name)

        def method(self: str, *args: Any, **named: Any) -> Any:
            return kept(plain(self, *map(hidden, args), **named))

        return method

    def joining(self: str, other: Any) -> Any:
        return kept(str.__add__(self, other))

    def joined(self: str, other: Any) -> Any:
        return kept(str.__add__(other, self)) if isinstance(other, str) else NotImplemented

    def replaced(self: str, old: str, new: str, count: int = -1) -> Any:
        return kept(str.replace(self, hidden(old), new, count))

    methods: dict[str, Any] = {name: comparing(name) for name in _COMPARING}
    methods.update(__add__=joining, __radd__=joined, replace=replaced)
    methods.update(__str__=lambda self: self, __hash__=str.__hash__, __slots__=())
    Content: type[str] = type("Content", (str,), methods)  # noqa: N806 - it is a class
    return Content


_COMPARING = (
    *("__contains__", "__eq__", "__ne__", "__getitem__", "__mul__", "__rmul__"),
    *("split", "rsplit", "partition", "rpartition", "splitlines", "startswith", "endswith"),
    *("find", "rfind", "index", "rindex", "count", "removeprefix", "removesuffix"),
    *("strip", "lstrip", "rstrip", "lower", "upper", "title", "capitalize", "casefold", "swapcase"),
    *("center", "ljust", "rjust", "zfill", "expandtabs"),
)
