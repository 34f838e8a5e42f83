"""Prompt caches of the trios that ship."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.decode.trio import RoleTokens
from edgeproxy.prompts.formats import Message
from edgeproxy.session.load import load
from edgeproxy.session.prompt_cache.prefix import Cached
from edgeproxy.session.session import Session
from edgeproxy.trios.find import Recipe, find_recipe
from tests.helpers.near import NEAR_QUANTISED, assert_same_reply, rows_of

LONG = "You are a careful assistant who knows The World Factbook and is terse. " * 8
MESSAGES = [Message("system", LONG), Message("user", "What is the capital of Mongolia?")]


def tokens_of(session: Session) -> list[int]:
    pieces = session.chat(MESSAGES, max_tokens=24)
    return [piece.token for piece in pieces if piece.token is not None]


def check_same(session: Session, wanted: list[int]) -> None:
    assert_same_reply(tokens_of(session), wanted, rows_of(session, MESSAGES), NEAR_QUANTISED)


def engines(session: Session) -> list[Any]:
    """The contexts behind the three."""
    models: list[Any] = list(session.trio.models)
    return [m._reader._model if hasattr(m, "_reader") else m for m in models]


def on_disk(name: str) -> Callable[[], Session]:
    recipe: Recipe = find_recipe(name)
    return lambda: load(recipe, n_threads=1, draft="off")


@pytest.mark.weights
@pytest.mark.parametrize("name", ["factbook", "factbook-phi"])
def test_the_shipped_trios_say_the_same_and_read_less(path: Path, name: str) -> None:
    make = on_disk(name)
    with make() as session:
        plain = tokens_of(session)
        whole = [model.evaluated for model in engines(session)]
    with make() as session:
        total = session.cache_prompt(LONG, path).tokens
        check_same(session, plain)
    with make() as session:
        assert session.cache_prompt(LONG, path) == Cached(total, total)
        assert [model.evaluated for model in engines(session)] == [0, 0, 0]
        assert [model.n_past > 100 for model in engines(session)] == [True] * 3
        said = tokens_of(session)
        again = [model.evaluated for model in engines(session)]
        assert_same_reply(said, plain, rows_of(session, MESSAGES), NEAR_QUANTISED)
    assert [w - a > 100 for w, a in zip(whole, again, strict=True)] == [True] * 3


@pytest.mark.weights
def test_damage_to_real_states_never_reaches_the_engine(path: Path) -> None:
    make = on_disk("factbook")
    with make() as session:
        session.cache_prompt(LONG, path)
        wanted = tokens_of(session)
        sound = path.read_bytes()
        for place in random.Random(2).sample(range(16, len(sound)), 6):
            damaged = bytearray(sound)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            session.trio.resume(RoleTokens([], [], []))
            done = session.cache_prompt(LONG, path)
            assert done.doubt == f"{path}: it is damaged; it was made anew"
            assert session.cache_prompt(LONG, path) == Cached(done.tokens, done.tokens)
        check_same(session, wanted)


@pytest.mark.weights
def test_a_cache_of_other_files_or_another_context_is_not_used(
    path: Path, factbook_recipe: Recipe
) -> None:
    with on_disk("factbook")() as session:
        session.cache_prompt(LONG, path)
    with load(factbook_recipe, n_ctx=700) as session:
        done = session.cache_prompt(LONG, path)
        assert done.doubt is not None
        assert "another context length for the base" in done.doubt
    with on_disk("factbook-phi")() as session:
        done = session.cache_prompt(LONG, path)
        assert done.doubt is not None
        assert "another " in done.doubt
        assert done.spared == 0
