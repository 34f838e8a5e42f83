"""What a person sees of a chat, in a real terminal: kept as text where it is stable."""

from __future__ import annotations

import json
import os
import random
import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.screens import PYTHON, Screen, need_tmux

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="terminals of POSIX systems"),
]

MARKDOWN = """# Title

Some **bold** and *slanted* words, `code`.

- one
- two, which is a line so long that a terminal has to break it somewhere

```python
def f(x):
    return x ** 2  # squared
```"""
WIDE = "日本語のテキスト, e\u0301 combining, Ünïcödé"
REPLIES = {
    "Markdown?": MARKDOWN,
    "Wide?": WIDE,
    "Hi": "Hello.",
    "Bye": "See you.",
    "Count": " ".join(map(str, range(400))),
    "Capital?": "It is Lima.",
}
PROMPT_AGAIN = "\n> \n"


@pytest.fixture(autouse=True)
def _tmux() -> None:
    need_tmux()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def chat(
    home: Path,
    *arguments: str,
    size: tuple[int, int] = (80, 24),
    after: str = "",
    environment: dict[str, str] | None = None,
    **fake: Any,
) -> Screen:
    """A chat over models that are tables; `fake` is how they answer."""
    given = {
        "EDGEPROXY_HOME": str(home),
        "EDGEPROXY_FAKE": json.dumps({"replies": REPLIES, "n_ctx": 20_000, **fake}),
        **(environment or {}),
    }
    command = [PYTHON, "-m", "tests.helpers.fake_chat", "chat", "--max-tokens", "2000", *arguments]
    return Screen(command, given, *size, after)


def answered(screen: Screen, line: str, *wanted: str) -> str:
    """Say `line` and wait for all of the reply: the bottom line comes after it."""
    screen.wait_for("tokens")
    screen.say(line)
    return screen.wait_for(*wanted)


def test_a_reply_with_markdown(home: Path) -> None:
    with chat(home) as screen:
        answered(screen, "Markdown?", "accepted")
        assert screen.text() == "\n".join(
            [
                "fake, alpha 1. /help tells the commands; Ctrl-D leaves.",
                "> Markdown?",
                "Title",
                "Some bold and slanted words, code.",
                "- one",
                "- two, which is a line so long that a terminal has to break it somewhere",
                "```python",
                "def f(x):",
                "    return x ** 2  # squared",
                "```",
                ">",
                " fake · alpha 1 · N tokens/s · N% accepted · 196/20,000 tokens",
            ]
        )
        styled = "\n".join(screen.lines(styled=True))
        assert re.search(r"\x1b\[[\d;]*1m[^\x1b]*bold", styled)
        assert re.search(r"\x1b\[3m[^\x1b]*slanted", styled)
        assert "\x1b[94m" in styled or "\x1b[34m" in styled  # the colour of a word of code
        screen.say("/set markdown off")
        screen.wait_for("markdown is off")
        screen.say("/regen")
        screen.wait_for("Some **bold** and *slanted* words, `code`.")


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [(("--plain",), {}), ((), {"TERM": "dumb"}), ((), {"NO_COLOR": "1"})],
    ids=["plain", "dumb", "no colours"],
)
def test_where_nothing_is_styled(
    home: Path, arguments: tuple[str, ...], environment: dict[str, str]
) -> None:
    with chat(home, *arguments, environment=environment) as screen:
        screen.wait_for("Ctrl-D leaves")
        time.sleep(0.2)
        screen.say("Markdown?")
        screen.wait_for("squared\n```\n>")
        assert MARKDOWN.replace("\n\n", "\n") in screen.text()
        styled = "\n".join(screen.lines(styled=True))
        colours = {
            int(n) for each in re.findall(r"\x1b\[([\d;]*)m", styled) for n in each.split(";") if n
        }
        assert not colours & {*range(30, 38), *range(90, 98), 38, 48}
        screen.press("C-d")
        screen.wait_for("exit code 0")


def test_through_a_pipe_only_the_replies_are_on_standard_output(home: Path) -> None:
    with chat(home, after="2>/dev/null | cat -v") as screen:
        time.sleep(0.5)
        screen.say("Markdown?")
        text = screen.wait_for("squared\n```")
        assert MARKDOWN.replace("\n\n", "\n") in text
        screen.press("C-d")
        screen.wait_for("exit code 0")
        assert "^[" not in screen.text()


def test_wide_and_combining_characters(home: Path) -> None:
    with chat(home, size=(40, 20)) as screen:
        text = answered(screen, "Wide?", "/20,000 tokens", "Ünïcödé\n>")
        assert WIDE in text.replace("\n", "")
        screen.write("日本é")
        screen.wait_for("> 日本é")
        screen.press("BSpace", "BSpace", "Enter")
        text = screen.wait_for("> 日\n", "(the reply is empty)")


def test_forty_columns(home: Path) -> None:
    with chat(home, size=(40, 60)) as screen:
        answered(screen, "Hi", "Hello.\n>")
        assert screen.text().splitlines()[-1] == " fake · alpha 1 · 10/20,000 tokens"
        screen.say("/help")
        screen.wait_for("/quit", "leave; Ctrl-D does too")


def test_another_size_amid_typing(home: Path) -> None:
    with chat(home) as screen:
        answered(screen, "Hi", "Hello.\n>")
        screen.write("By")
        screen.wait_for("> By")
        for size in ((40, 10), (120, 40), (20, 8), (80, 24)):
            screen.resize(*size)
            time.sleep(0.1)
        screen.say("e")
        screen.wait_for("See you.", "23/20,000 tokens")


def test_a_paste_of_many_lines_is_one_message(home: Path) -> None:
    lines = "".join(f"line {n} of a paste\n" for n in range(1, 501))
    with chat(home) as screen:
        screen.wait_for("0/20,000 tokens")
        screen.paste(lines)
        screen.wait_for("line 500 of a paste")
        screen.press("Enter")
        screen.wait_for("(the reply is empty)")
        screen.say("/show")
        text = screen.wait_for("message 1    line 1 of a paste line 2 of a paste")
        assert "message 2" not in text
        screen.press("Up", "Up")  # such a long one is not kept for later
        screen.press("C-d")


def test_lines_of_a_message_and_the_editor(home: Path, tmp_path: Path) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nprintf "Hi" > "$1"\n')
    editor.chmod(0o755)
    with chat(home, environment={"EDITOR": str(editor), "VISUAL": str(editor)}) as screen:
        screen.wait_for("0/20,000 tokens")
        screen.say('"""')
        screen.say("one")
        screen.say('two"""')
        screen.wait_for("(the reply is empty)", "/20,000 tokens")
        screen.write("three")
        screen.press("M-Enter")
        screen.say("four")
        screen.wait_for("> three\n  four\n(the reply is empty)")
        screen.say("/show")
        text = screen.wait_for("/set lists all")
        assert "message 1    one two\nmessage 2    three four\n" in text
        screen.write("anything")
        screen.press("C-o")
        screen.wait_for("> Hi")
        screen.press("Enter")
        screen.wait_for("> Hi\nHello.")


def test_history_and_completion(home: Path) -> None:
    with chat(home) as screen:
        answered(screen, "Hi", "Hello.\n>")
        screen.press("C-d")
        screen.wait_for("exit code 0")
    with chat(home) as screen:
        screen.wait_for("0/20,000 tokens")
        screen.press("C-r")
        screen.write("H")
        screen.wait_for("> Hi", "I-search backward: H")
        screen.press("Enter", "Enter")
        screen.wait_for("Hello.\n>")
        screen.write("/set poli")
        screen.press("Tab")
        screen.wait_for("> /set policy")
        screen.write(" un")
        screen.press("Tab")
        screen.wait_for("unchanged", "unsure")
        screen.press("C-c")
        screen.wait_for("press Ctrl-C again")
        screen.write("/trio factb")
        screen.press("Tab")
        screen.wait_for("factbook-phi")


def test_an_earlier_message_in_the_line_editor(home: Path) -> None:
    with chat(home) as screen:
        answered(screen, "Hi", "Hello.\n>")
        answered(screen, "Count", "399\n>")
        screen.say("/edit 1")
        screen.wait_for("> /edit 1\n> Hi")
        screen.press("C-c")
        screen.wait_for("(nothing was changed)")
        screen.say("/edit 1")
        screen.wait_for("> /edit 1\n> Hi\n(nothing was changed)\n> /edit 1\n> Hi")
        screen.press("BSpace", "BSpace")
        screen.say("Bye")
        screen.wait_for(
            "> Bye\nSee you.\n(left behind, with a message after it: /undo goes back there)"
        )


def test_keys_during_a_reply_wait_for_the_next_prompt(home: Path) -> None:
    with chat(home, seconds=0.005) as screen:
        screen.wait_for("0/20,000 tokens")
        screen.say("Count")
        screen.wait_for(" 20 ")
        screen.write("Hi")
        screen.paste(" one\ntwo")
        text = screen.wait_for("> Hi one\n  two")
        counted = re.sub(r"\s+", "", text.partition("Count")[2].partition(">")[0])
        assert counted == "".join(map(str, range(400)))


def test_a_reply_is_stopped_at_any_moment_and_the_chat_goes_on(home: Path) -> None:
    chance = random.Random(7)
    with chat(home, seconds=0.002) as screen:
        screen.wait_for("0/20,000 tokens")
        for number in range(1, 11):
            screen.say("Count")
            time.sleep(chance.uniform(0.0, 1.0))
            screen.press("C-c")
            screen.wait_for("tokens")
            screen.say(f"/set seed {number}")
            screen.wait_for(f"seed is {number}")
            screen.say("Hi")
            deadline = time.monotonic() + 60
            while screen.text().count("Hello.") < number:
                assert time.monotonic() < deadline, screen.text()
                time.sleep(0.05)
        screen.say("/reset")
        screen.wait_for("begins anew")
        screen.say("Capital?")
        assert "Traceback" not in screen.wait_for("It is Lima.")


def test_reading_a_long_prompt_shows_how_far_it_is_and_can_be_stopped(home: Path) -> None:
    with chat(home, batch_seconds=0.2) as screen:
        answered(screen, "Hi", "Hello.\n>")
        screen.paste("word " * 1500)
        screen.press("Enter")
        text = screen.wait_for("reading 7,50", "s left (Ctrl-C stops)")
        assert re.search(r"reading 7,50\d tokens: \d+%, \d+ s left \(Ctrl-C stops\)", text)
        screen.press("C-c")
        text = screen.wait_for("(stopped)", gone="reading")
        answered(screen, "Bye", "See you.", "23/20,000 tokens")


@pytest.mark.parametrize("width", [120, 60])
def test_three_answers_beside_or_below_each_other(home: Path, width: int) -> None:
    with chat(home, size=(width, 24)) as screen:
        answered(screen, "Capital?", "It is Lima.\n>")
        screen.say("/compare")
        text = screen.wait_for(
            "the base alone", "the expert alone", "proxy, alpha 1", "It is Lima.\n>"
        )
        if width == 120:
            row = next(line for line in text.splitlines() if line.startswith("the base alone "))
            assert row.startswith("the base alone  ")
            assert "the expert alone" in row
            assert "proxy, alpha 1" in row
        else:
            assert "the base alone:\nIt is Lima.\nthe expert alone:\n" in text


def test_comparing_can_be_stopped(home: Path) -> None:
    with chat(home, seconds=0.01) as screen:
        screen.wait_for("0/20,000 tokens")
        screen.say("Count")
        screen.wait_for(" 5 ")
        screen.press("C-c")
        screen.wait_for("(stopped)\n>")
        screen.say("/compare")
        screen.wait_for("the base alone:\n0 1 2")
        screen.press("C-c")
        text = screen.wait_for("(stopped)\n> /compare", "(stopped)\n>\n")
        assert "the expert alone" not in text


def test_ctrl_c_twice_leaves(home: Path) -> None:
    with chat(home) as screen:
        screen.wait_for("0/20,000 tokens")
        screen.press("C-c")
        screen.wait_for("press Ctrl-C again or type /quit to leave\n>")
        screen.press("C-c")
        screen.wait_for("edgeproxy: interrupted\nexit code 130")
