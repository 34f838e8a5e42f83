"""What models have read of long sessions: kept, put back, and no more than the budget allows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.history import states
from edgeproxy.history.states import States
from edgeproxy.prompts.messages import Message
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.trios.find import Recipe
from tests.helpers.disks import Usage

LONG = "You are a terse assistant, and very careful. " * 30


def file(folder: Path, name: str, size: int, used: int) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.state"
    path.write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    kept = States(tmp_path / "states", budget=250)
    for name, used in (("bbb", 3), ("ccc", 1), ("ddd", 2)):
        file(kept.folder, name, 100, used)
    (kept.folder / "notes.txt").write_text("mine")
    assert kept.size() == 300
    kept.tidy()
    assert sorted(path.name for path in kept.folder.iterdir()) == [
        "bbb.state",
        "ddd.state",
        "notes.txt",
    ]
    kept.budget = 50
    kept.tidy(but=kept.path("ddd"))
    assert (kept.has("ddd"), kept.has("bbb")) == (True, False)


def test_a_folder_that_is_not_there_has_none(tmp_path: Path) -> None:
    kept = States(tmp_path / "states")
    kept.tidy()
    kept.remove("bbb")
    assert (kept.size(), kept.has("bbb")) == (0, False)
    assert not kept.folder.exists()


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a\0b", "A", "x" * 33, "x.state"])
def test_only_an_id_makes_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="id"):
        States(tmp_path).path(name)


def talked(session: Session) -> list[Message]:
    """A conversation that the models have just had."""
    conversation = session.conversation(LONG)
    for _ in conversation.say("What is the capital of Mongolia?", max_tokens=8):
        pass
    return list(conversation.messages)


def prompt_kept(session: Session, messages: Sequence[Message]) -> tuple[int, int]:
    """Of the prompt of a further question: its tokens, and those that were not read again."""
    turn = session.reply([*messages, Message("user", "And of Chad?")], max_tokens=2)
    for _ in turn:
        pass
    return turn.usage.prompt, turn.usage.kept


@pytest.mark.weights
def test_a_long_session_goes_on_without_reading_it_again(
    factbook_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "LEAST_TOKENS", 100)
    kept = States(tmp_path / "states")
    with load(factbook_recipe) as session:
        messages = talked(session)
        tokens = kept.keep(session, "bbb", messages)
        assert tokens > 100
        again = prompt_kept(session, messages)
    if os.name == "posix":
        assert kept.path("bbb").stat().st_mode & 0o777 == 0o600
    with load(factbook_recipe) as session:
        assert kept.put_back(session, "nothing") == 0
        assert kept.put_back(session, "bbb") == tokens
        prompt, spared = prompt_kept(session, messages)
        assert (prompt, spared) == again
        assert tokens - 2 <= spared <= tokens
        data = bytearray(kept.path("bbb").read_bytes())
        data[len(data) // 2] ^= 1
        kept.path("bbb").write_bytes(data)
        assert kept.put_back(session, "bbb") == 0
        kept.path("bbb").write_text("a letter")
        assert kept.put_back(session, "bbb") == 0
        prompt_kept(session, messages)


@pytest.mark.weights
def test_nothing_is_kept_of_what_is_short_large_or_where_the_disk_is_full(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = States(tmp_path / "states")
    messages = talked(session)
    with monkeypatch.context() as patch:
        patch.setattr(states, "LEAST_TOKENS", 100_000)
        assert kept.keep(session, "bbb", messages) == 0
    monkeypatch.setattr(states, "LEAST_TOKENS", 1)
    assert kept.keep(session, "bbb", []) == 0
    kept.budget = 1000
    assert kept.keep(session, "bbb", messages) == 0
    kept.budget = states.BUDGET
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, states.RESERVE + 1))
        assert kept.keep(session, "bbb", messages) == 0
    assert not list(kept.folder.iterdir())
    kept.folder.rmdir()
    kept.folder.write_text("in the way")
    assert kept.keep(session, "bbb", messages) == 0
    assert kept.folder.read_text() == "in the way"
    assert prompt_kept(session, messages)[1] > 0
