"""The one form of an explained reply, for `explain --json`, the page and the terminal.

`schema.json` beside this file describes what `as_json` makes of it. A change that a reader of the
form would stumble over makes another `VERSION`.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from edgeproxy.decode.compared import Known

FORM = "edgeproxy-explain"
VERSION = 1

LEVELS = (0.05, 0.2, 0.4, 0.7)
"""Where the five steps of `moved` part: below 0.05 the base would have said as much alone."""

DIGITS = 6
"""Decimals of a number in JSON."""

ROLES = ("base", "expert", "anti_expert", "fused")
"""The four rows, as the form calls them."""


def level_of(moved: float) -> int:
    """The step of `moved`, 0 to 4."""
    return bisect.bisect_right(LEVELS, moved)


class Word(NamedTuple):
    """A token of the vocabulary as a person may see it: its bytes as text, where they are text.

    `bytes`, hexadecimal, only where they are none; a `special` one is spelled as its file does.
    """

    text: str
    special: bool = False
    bytes: str | None = None


class Guess(NamedTuple):
    """A token, and the logarithm of its probability in a row."""

    id: int
    logprob: float


@dataclass(frozen=True)
class Model:
    """One of the three: its file's name, hash where its manifest tells one, and prompt format.

    `vocabulary` is how its own is related to the base's, `adapters` are LoRA files by name and
    weight. Where `on_server`, the file is its tokenizer; the address is nobody's business.
    """

    name: str
    sha256: str | None
    prompt: str
    vocabulary: str
    on_server: bool = False
    adapters: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Settings:
    """How the three were put together and how tokens were drawn."""

    alpha: float
    base_weight: float
    plausibility: float
    policy: str
    sampling: Mapping[str, Any]


@dataclass(frozen=True)
class Summary:
    """The figures of the whole reply, and what they mean in words.

    `changed` counts tokens where the base's likeliest token is another one than the fused row's,
    `brought` those that the fused row finds likeliest and none of the three does, `guessed` those
    where a server told a part of the base's row only; `moved` and `kl` are means.
    """

    tokens: int
    changed: int
    changed_share: float | None
    brought: int
    drafted: int
    guessed: int
    moved: float | None
    kl: float | None
    usual_share: tuple[float, float]
    warning_share: float
    said: tuple[str, ...]


@dataclass(frozen=True)
class Far:
    """The rows fused for the farthest alpha that the page's slider reaches."""

    alpha: float
    best: tuple[int, ...]
    log_rest: float


@dataclass(frozen=True)
class Explained:
    """One token of the reply.

    `text` is what it adds to the reply's, where characters that several tokens make belong to the
    last of them; `bytes` are its own, in hexadecimal. `logprobs` are of this token in the four
    rows, `best` the likeliest tokens of each. `offset` is what was added to the base's
    log-probability of it, alpha * (expert - base_weight * anti-expert) + (base_weight - 1) * base,
    in nats. `known` are the tokens to fuse anew, with `log_rest`, `base_rest` and `far` (see
    `Compared`). `spelled` is how the pair spells the word under way up to this token, where its
    tokenizer is another one, by role.
    """

    id: int
    text: str
    bytes: str
    special: bool
    drafted: bool
    alpha: float
    base_weight: float
    moved: float
    kl: float
    changed: bool
    brought: bool
    offset: float
    guessed: bool
    logprobs: Mapping[str, float]
    best: Mapping[str, tuple[Guess, ...]]
    known: tuple[Known, ...]
    log_rest: float
    base_rest: float
    far: Far
    spelled: Mapping[str, tuple[Word, ...]] | None = None

    @property
    def level(self) -> int:
        """How far it moved, as one of five steps."""
        return level_of(self.moved)


@dataclass(frozen=True)
class Explanation:
    """A reply, explained. `words` has every token that is named anywhere in it, by id."""

    trio: str
    models: Mapping[str, Model]
    messages: tuple[Mapping[str, str], ...]
    text: str
    finish_reason: str | None
    settings: Settings
    summary: Summary
    words: Mapping[int, Word]
    tokens: tuple[Explained, ...]


def as_json(explanation: Explanation) -> dict[str, Any]:
    """The form as JSON has it. A logarithm of a probability of 0 is null."""
    return {"form": FORM, "version": VERSION, "levels": list(LEVELS), **_plain(explanation)}


def _plain(value: Any) -> Any:
    match value:
        case Known(token, base, expert, anti_expert, is_guess):
            numbers = [_plain(float(each)) for each in (base, expert, anti_expert)]
            return [token, *numbers, *([1] if is_guess else [])]
        case Guess(token, logprob):
            return [token, _plain(logprob)]
        case Word(text, special, data):
            more = {"special": True} if special else {}
            return {"text": text, **more, **({"bytes": data} if data is not None else {})}
        case float():
            return round(value, DIGITS) if math.isfinite(value) else None
        case str() | int() | None:
            return value
        case Mapping():
            return {str(key): _plain(each) for key, each in value.items()}
        case Sequence():
            return [_plain(each) for each in value]
    return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
