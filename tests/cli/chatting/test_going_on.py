"""Chats that end and go on, in a real terminal: after a kill, two at once, on a disk that fails."""

from __future__ import annotations

import os
import re
import signal
import stat
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.history.history import History
from tests.cli.chatting.test_screens import chat as fake_chat
from tests.cli.chatting.test_screens import home
from tests.helpers.disks import cannot, folder_to_lock
from tests.helpers.screens import Screen, need_tmux

__all__ = ["home"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX systems"),
]
READY = "tokens"
"""The bottom line has it: a chat waits for a message."""


@pytest.fixture(autouse=True)
def _tmux() -> None:
    need_tmux()


def chat(home: Path, *arguments: str, **fake: Any) -> Screen:
    """As `test_screens.chat`, with a trio that is found by its name."""
    return fake_chat(home, *arguments, name="factbook", **fake)


def kept(home: Path) -> list[list[str]]:
    """What each session has in the branch in use, the latest first."""
    with History(home / "history" / "sessions.sqlite") as history:
        return [
            [entry.said.text for entry in history.load(session.id).entries]
            for session in history.sessions()
        ]


def same(text: str) -> str:
    """A screen's text with ids and times made the same."""
    text = re.sub(r"\b\d{4}-\d\d-\d\d \d\d:\d\d", "TIME", text)
    return re.sub(r"^[a-z0-9]{5}:", "ID:", text, flags=re.MULTILINE)


def leave(screen: Screen) -> str:
    screen.press("C-d")
    return screen.wait_for("exit code 0")


def test_leaving_tells_how_to_go_on_and_going_on_shows_what_was_said(home: Path) -> None:
    with chat(home) as screen:
        screen.wait_for(READY)
        screen.say("Hi")
        screen.wait_for("Hello.\n>")
        screen.say("Bye")
        screen.wait_for("See you.\n>")
        assert "to go on with this conversation: edgeproxy chat --continue\nexit" in leave(screen)
    with chat(home, "--continue") as screen:
        text = screen.wait_for("23/20,000 tokens")
        assert same(text) == "\n".join(
            [
                "factbook, alpha 1. /help tells the commands; Ctrl-D leaves.",
                "ID: 4 messages, the last of TIME",
                "> Hi",
                "Hello.",
                "> Bye",
                "See you.",
                ">",
                " factbook · alpha 1 · 23/20,000 tokens",
            ]
        )
        styled = "\n".join(screen.lines(styled=True))
        assert re.search(r"\x1b\[2m[^\x1b]*See you\.", styled)
        screen.say("/save two words")
        screen.wait_for("saved as two words; edgeproxy chat --session 'two words' goes on with")
        leave(screen)
    with chat(home, "--session", "two words") as screen:
        screen.wait_for("two words (", "4 messages", READY)
        screen.write("/load two")
        screen.press("Tab")
        screen.wait_for("> /load two words")
    assert stat.S_IMODE((home / "history").stat().st_mode) == 0o700


@pytest.mark.parametrize("moment", [" 5 ", " 60 ", " 200 "])
def test_a_kill_in_mid_reply_takes_only_the_reply(home: Path, tmp_path: Path, moment: str) -> None:
    number = tmp_path / "pid"
    with chat(home, seconds=0.005, pid_file=str(number)) as screen:
        screen.wait_for(READY)
        screen.say("Hi")
        screen.wait_for("Hello.\n>")
        screen.say("Count")
        screen.wait_for(moment)
        os.kill(int(number.read_text()), signal.SIGKILL)
        screen.wait_for("exit code 137")
    assert kept(home) == [["Hi", "Hello.", "Count"]]
    with chat(home, "--continue") as screen:
        screen.wait_for(
            "2 messages",
            "> Hi\nHello.\n(your last message has no reply; here it is again)\n> Count\n",
        )
        screen.press("Enter")
        screen.wait_for("399\n>")
        leave(screen)
    (said,) = kept(home)
    assert said[:3] == ["Hi", "Hello.", "Count"]
    assert said[3].endswith("399")
    with History(home / "history" / "sessions.sqlite") as history:
        (session,) = history.sessions()
        assert session.messages == 4  # the question is not there twice


def test_two_chats_at_once(home: Path) -> None:
    with chat(home, "--session", "one") as one, chat(home, "--session", "two") as two:
        for screen in (one, two):
            screen.wait_for(READY)
        for _ in range(3):
            for screen in (one, two):
                screen.say("Hi")
            for screen in (one, two):
                screen.say("Bye")
        for screen in (one, two):
            screen.wait_for("69/20,000 tokens")
            leave(screen)
    assert kept(home) == [["Hi", "Hello.", "Bye", "See you."] * 3] * 2


def test_two_chats_in_the_same_session_go_on_in_branches_of_their_own(home: Path) -> None:
    with chat(home, "--session", "one") as screen:
        screen.wait_for(READY)
        screen.say("Hi")
        screen.wait_for("Hello.\n>")
        leave(screen)
    with chat(home, "--continue") as one, chat(home, "--session", "one") as two:
        for screen in (one, two):
            screen.wait_for("2 messages", READY)
        one.say("Bye")
        one.wait_for("See you.\n>")
        two.say("Capital?")
        two.wait_for("It is Lima.\n>")
        leave(one)
        leave(two)
    assert kept(home) == [["Hi", "Hello.", "Capital?", "It is Lima."]]
    with History(home / "history" / "sessions.sqlite") as history:
        (session,) = history.sessions()
        assert session.messages == 6


def test_a_home_that_is_read_only(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    with folder_to_lock(folder) as lock:
        if not lock():
            cannot("no folder can be made read-only here")
        with chat(folder) as screen:
            screen.wait_for(READY)
            screen.say("Hi")
            screen.wait_for("this conversation is not being saved: ", "Hello.\n>")
            screen.say("Bye")
            screen.wait_for("See you.\n>")
            screen.say("/save letters")
            screen.wait_for("EDGEPROXY_HOME", "> /save letters\n")
            text = leave(screen)
        assert text.count("is not being saved") == 1
        assert "Traceback" not in text
        assert "to go on" not in text


def test_the_walk_through_a_reply_and_back_to_the_prompt(home: Path) -> None:
    with chat(home) as screen:
        screen.wait_for(READY)
        screen.say("Hi")
        screen.wait_for("Hello.\n>")
        screen.say("/explain walk")
        screen.wait_for("q: leave")
        screen.press("Right", "q")
        screen.wait_for("Hello.\n> /explain walk\n", gone="q: leave")
        screen.say("Bye")
        screen.wait_for("See you.\n>")
        assert "23/20,000 tokens" in screen.text()
