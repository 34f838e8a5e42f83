"""Kills and several writers at once: nothing is lost but the reply in progress."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.history.history import History
from edgeproxy.history.keeper import Keeper
from tests.helpers.history_child import lost, text_of

REPOSITORY = Path(__file__).parents[2]
KILLS = 50
SECONDS = float(os.environ.get("EDGEPROXY_TEST_SECONDS", "4"))
"""How long several processes write at once; 60 by hand."""

forks = pytest.mark.skipif(sys.platform == "win32", reason="forks, and kills as POSIX does")


def child(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.helpers.history_child", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.slow
@forks
def test_a_kill_at_any_moment_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    found = child("kills", tmp_path, KILLS)
    assert found["wrong"] == []
    assert found["kept"] > KILLS, "the kills came before anything was kept"


@pytest.mark.slow
@forks
def test_several_processes_write_at_once(tmp_path: Path) -> None:
    found = child("together", tmp_path, SECONDS)
    assert found["wrong"] == []
    assert all(found["kept"]), found["kept"]


def test_what_is_lost_would_be_found(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with Keeper("factbook", {}, print, path=path) as keeper:
        keeper.say(text_of("q", 0, 0))
        keeper.answer(text_of("a", 0, 0))
    assert list(lost(path, ["q0.0", "a0.0"])) == []
    assert list(lost(path, ["q0.0", "a0.0", "q0.1"])) == ["q0.1"]
    assert list(lost(path, ["! no"])) == ["! no"]
    with Keeper("factbook", {}, print, path=path) as keeper:
        keeper.resume()
        keeper.say(text_of("q", 0, 3)[:-1])
    assert list(lost(path, ["q0.0"])) == [f"{text_of('q', 0, 3)[:9]} is cut short"]
    assert list(lost(tmp_path / "b.sqlite", ["q0.0"])) == ["q0.0 is gone with the file"]


def test_a_message_is_there_before_its_reply(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    keeper = Keeper("factbook", {}, print, path=path)
    keeper.begin("Be brief.")
    keeper.say("What is a fjord?")
    with History.open(path) as other:
        (session,) = other.sessions()
        loaded = other.load(session.id)
    assert loaded.unanswered == "What is a fjord?"
    assert [message.role for message in loaded.messages] == ["system"]
    keeper.close()
