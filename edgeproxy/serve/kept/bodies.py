"""A request to keep messages, read strictly, and what is kept of it.

What a reply took is kept in the names that a chat keeps it in, so that each goes on with what the
other has kept; what only the page shows stands beside it, as "beside", "acceptance" and
"documents".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeproxy.history.records import Said
from edgeproxy.serve.openai.fields import LARGEST, LARGEST_ALPHA, MOST_CHARACTERS, SEEDS
from edgeproxy.serve.openai.kinds import Choice, Number, Text, Whole
from edgeproxy.serve.openai.shapes import Field, Fields, Listed, Object
from edgeproxy.serve.protocol import RefusedError

MOST_MESSAGES = 1024
"""Of one request."""

MOST_BESIDE, MOST_PASSAGES, MOST_TRAIL = 4, 64, 32
LONGEST_ID = 32
_LONGEST_PLACE = 2000
_MOST_SECONDS = 1e9

_ID = Text(LONGEST_ID, 1, "^[a-z0-9]+$")
_REASONS = Choice(["stop", "length", "context", "cancelled"])
_LONG = Text(MOST_CHARACTERS)
_PLACE = Text(_LONGEST_PLACE)

PASSAGE: Fields = {
    "source": Field(_PLACE),
    "place": Field(_PLACE),
    "trail": Field(Listed(_PLACE, MOST_TRAIL)),
}

TOOK: Fields = {
    "prompt_tokens": Field(Whole(0, LARGEST)),
    "completion_tokens": Field(Whole(0, LARGEST)),
    "seconds": Field(Number(0.0, _MOST_SECONDS)),
    "first_token_seconds": Field(Number(0.0, _MOST_SECONDS)),
    "acceptance": Field(Number(0.0, 1.0), "The share of drafted tokens that were drawn."),
    "documents": Field(Listed(Object(PASSAGE), MOST_PASSAGES), "Passages that were read."),
}

BESIDE: Fields = {
    "role": Field(Choice(["base", "expert", "anti_expert"]), "Who answered alone.", True),
    "text": Field(_LONG, "", True),
    "finish_reason": Field(_REASONS),
    "stats": Field(Object(TOOK), "What it took."),
}

SETTINGS: Fields = {
    "alpha": Field(Number(-LARGEST_ALPHA, LARGEST_ALPHA), "The weight of the pair's opinion."),
    "temperature": Field(Number(0.0, 2.0)),
    "max_tokens": Field(Whole(1, LARGEST)),
    "seed": Field(Whole(-SEEDS, SEEDS - 1)),
}

MESSAGE: Fields = {
    "role": Field(Choice(["system", "user", "assistant"]), "", True),
    "text": Field(Text(MOST_CHARACTERS, 1), "", True),
    "finish_reason": Field(_REASONS, "Why a reply ended."),
    "settings": Field(Object(SETTINGS), "How a reply was asked for."),
    "stats": Field(Object(TOOK), "What it took."),
    "beside": Field(Listed(Object(BESIDE), MOST_BESIDE), "What others answered to the same."),
}

SAVE: Fields = {
    "id": Field(_ID, "The session; without one a new session begins."),
    "parent": Field(Whole(1, 2**63 - 1), "The message that these come after; none: they begin."),
    "messages": Field(
        Listed(Object(MESSAGE), MOST_MESSAGES),
        "Messages to keep, each behind the one before it. What is there already, word by word, is "
        "not kept twice. None: the conversation goes on from `parent`.",
        True,
    ),
}

AFTER: dict[str, tuple[str | None, ...]] = {
    "system": (None,),
    "user": (None, "system", "assistant"),
    "assistant": ("user",),
}
"""Whose message each role's comes after; None begins. A chat goes on with no other order."""

_SAMPLING = ("temperature", "seed")


@dataclass(frozen=True)
class Save:
    """What is to be kept: `said`, behind the message `parent` of the session; see `SAVE`."""

    session: str | None
    parent: int | None
    said: tuple[Said, ...]


def read_save(body: Mapping[str, Any]) -> Save:
    """A request to keep messages. Raises `RefusedError`."""
    given = Object(SAVE).read(body)
    session, parent = given.get("id"), given.get("parent")
    if session is None and parent is not None:
        raise RefusedError("parent is a message of a session: give its id too", "id")
    messages = [_said(each, f"messages[{n}]") for n, each in enumerate(given["messages"])]
    if not messages and parent is None:
        raise RefusedError("messages is empty: there is nothing to keep", "messages", "empty_array")
    for n, said in enumerate(messages[1:], 1):
        check_order(messages[n - 1].role, said, f"messages[{n}]")
    if messages and parent is None:
        check_order(None, messages[0], "messages[0]")
    if session is None and not any(said.role == "user" for said in messages):
        what = "messages: a session begins with what somebody asks"
        raise RefusedError(what, "messages", "invalid_value")
    return Save(session, parent, tuple(messages))


def check_order(before: str | None, said: Said, where: str) -> None:
    """Refuse a message that does not come after one of the role `before`."""
    if before not in AFTER[said.role]:
        after = "at the beginning" if before is None else f"after one of the role {before}"
        path = f"{where}.role"
        raise RefusedError(f"{path}: no message of {said.role} comes {after}", path, "wrong_order")


def _said(given: Mapping[str, Any], where: str) -> Said:
    role = given["role"]
    if role != "assistant":
        for name in ("finish_reason", "settings", "stats", "beside"):
            if name in given:
                path = f"{where}.{name}"
                raise RefusedError(f"{path} is a reply's", path, "invalid_value")
    if role == "user" and not given["text"].strip():
        path = f"{where}.text"
        raise RefusedError(f"{path} has no words", path, "empty_string")
    stats = _stats(given.get("stats", {}))
    if beside := given.get("beside"):
        stats["beside"] = [{**each, "stats": _stats(each.get("stats", {}))} for each in beside]
    return Said(role, given["text"], _settings(given), given.get("finish_reason"), stats)


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """As a chat keeps them: "asked" says which of the sampling's were asked for."""
    settings = given.get("settings", {})
    kept: dict[str, Any] = {}
    if "alpha" in settings:
        kept["steering"] = {"alpha": settings["alpha"]}
    if sampling := {name: settings[name] for name in _SAMPLING if name in settings}:
        kept |= {"sampling": sampling, "asked": sorted(sampling)}
    if "max_tokens" in settings:
        kept["max_tokens"] = settings["max_tokens"]
    return kept


def _stats(took: Mapping[str, Any]) -> dict[str, Any]:
    """As a chat keeps them, and what only the page shows."""
    kept: dict[str, Any] = {}
    tokens = took.get("completion_tokens")
    if tokens is not None:
        kept["usage"] = {"prompt": took.get("prompt_tokens", 0), "kept": 0, "completion": tokens}
    if "seconds" in took:
        first = took.get("first_token_seconds", 0.0)
        kept["stats"] = {"tokens": tokens or 0, "first_seconds": first, "seconds": took["seconds"]}
    return kept | {name: took[name] for name in ("acceptance", "documents") if name in took}
