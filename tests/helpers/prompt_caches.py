"""Prompt caches of trios that are tables: made, used and looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.prompts.formats import FORMATS, Message, plain
from edgeproxy.session.prompt_cache.prefix import Cached, cache_prompt, opening
from edgeproxy.session.speaker import TrioSpeaker
from tests.helpers.fakes import FakeModel, fake_vocab, random_trio

SYSTEM = "You are a terse assistant, and very careful. " * 20
OTHER = SYSTEM[:400] + "Now you are another one."
QUESTION = "What is a fjord?"

posix = pytest.mark.skipif(os.name != "posix", reason="modes and special files of POSIX systems")


def speaker_of(trio: Trio) -> TrioSpeaker:
    """A trio's speaker, whose expert has another prompt format."""
    formats = (plain, FORMATS["chatml"], plain)
    vocab = fake_vocab()
    return TrioSpeaker(trio, formats, (vocab,) * 3, vocab.end_of_generation)


def beginning(system: str = SYSTEM) -> RoleTokens:
    """What is kept of this system message."""
    return opening(speaker_of(random_trio()).encode, [Message("system", system)])


def fill(path: Path, trio: Trio | None = None, system: str = SYSTEM) -> Cached:
    """Make a cache, or use it."""
    return cache_prompt(path, trio or random_trio(), beginning(system))


def fakes(trio: Trio) -> Sequence[FakeModel]:
    """The models of the trio, which are tables."""
    return trio.models  # type: ignore[return-value]


def evaluated(trio: Trio) -> list[int]:
    """How many tokens each model has read."""
    return [model.n_evaluated for model in fakes(trio)]


def reply(trio: Trio, system: str = SYSTEM) -> list[Any]:
    """What it replies to the question."""
    messages = [Message("system", system), Message("user", QUESTION)]
    return list(speaker_of(trio).reply(messages, max_tokens=4))


def beside(path: Path) -> list[str]:
    """What the folder holds."""
    return sorted(entry.name for entry in path.parent.iterdir())


def check(path: Path, trio: Trio, done: Cached, spared: int = 0) -> None:
    """Whatever the file was, the trio holds the message, says the same, and the file is good."""
    total = len(beginning().base)
    assert (done.tokens, done.spared) == (total, spared)
    assert [model.history for model in fakes(trio)] == list(beginning())
    assert reply(trio) == reply(random_trio())
    assert beside(path) == [path.name]
    assert fill(path) == Cached(total, total)
