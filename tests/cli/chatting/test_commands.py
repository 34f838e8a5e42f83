"""The commands of a chat, each over models that are tables, through a pipe."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.cli.chatting.commands import COMMANDS
from edgeproxy.cli.chatting.settings import SETTINGS
from edgeproxy.errors import ModelFileError
from edgeproxy.session import load as loader
from tests.helpers.command_line import Run
from tests.helpers.fake_sessions import ANSWERS, FakeSession
from tests.helpers.fakes import FakeModel, saying

REPLIES = {"Hi\n": "Hello.", "Bye\n": "See you.", "Capital?\n": "Lima it is.", "Long\n": "x" * 50}


@pytest.fixture(autouse=True)
def _replies(models: list[FakeModel]) -> None:
    models[:] = [saying(REPLIES) for _ in range(3)]


def lines(*each: str) -> bytes:
    return "".join(f"{line}\n" for line in each).encode()


# Help


def test_help_names_every_command(run: Run) -> None:
    code, out, err = run("chat", stdin=lines("/help"))
    assert (code, out) == (0, "")
    for name, command in COMMANDS.items():
        assert f"{command.usage} " in err
        assert command.usage.startswith(name)


@pytest.mark.parametrize("topic", [*COMMANDS, *SETTINGS, "alpha", "repeat_penalty"])
def test_help_about_a_topic(run: Run, topic: str) -> None:
    code, _, err = run("chat", stdin=lines(f"/help {topic}"))
    assert code == 0
    assert topic.replace("_", "-") in err


def test_help_about_alpha_tells_the_formula_and_its_value(run: Run) -> None:
    err = run("chat", "--alpha", "0.5", stdin=lines("/help alpha"))[2]
    assert "base + alpha * (expert - anti-expert)" in err
    assert "it is 0.5" in err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/hlep", "there is no command /hlep, did you mean /help?"),
        ("/regenerate", "did you mean /regen?"),
        ("/xyzzy", "there is no command /xyzzy; /help lists them"),
        ("/", "there is no command /;"),
        ("/help alhpa", "no help about 'alhpa', did you mean alpha?"),
        ("/set temprature 1", "no setting 'temprature', did you mean temperature?"),
        ("/set xyzzy", "there is no setting 'xyzzy'; /set lists them"),
    ],
)
def test_the_nearest_name_is_suggested(run: Run, line: str, said: str) -> None:
    code, out, err = run("chat", stdin=lines(line, "Hi"))
    assert (code, out) == (1, "Hello.\n")
    assert said in err


# Settings

GOOD = {
    "alpha": "0.5",
    "base-weight": "0.5",
    "plausibility": "0.1",
    "expert-ends": "on",
    "temperature": "0.7",
    "top-k": "5",
    "top-p": "0.5",
    "min-p": "0.2",
    "repeat-penalty": "1.1",
    "frequency-penalty": "0.3",
    "presence-penalty": "-0.3",
    "repeat-last-n": "9",
    "dry-multiplier": "0.8",
    "dry-base": "1.5",
    "dry-allowed-length": "3",
    "dry-last-n": "99",
    "logit-bias": "65=1.5 66=-2",
    "seed": "7",
    "max-tokens": "12",
    "record": "on",
    "draft": "off",
    "overflow": "trim",
    "markdown": "off",
    "wrap": "on",
}
BAD = {
    "alpha": "nan",
    "base-weight": "2",
    "plausibility": "-1",
    "expert-ends": "maybe",
    "temperature": "hot",
    "top-k": "1.5",
    "top-p": "2",
    "min-p": "-1",
    "repeat-penalty": "0",
    "frequency-penalty": "1e9",
    "presence-penalty": "inf",
    "repeat-last-n": "-1",
    "dry-multiplier": "-1",
    "dry-base": "0",
    "dry-allowed-length": "0",
    "dry-last-n": "many",
    "logit-bias": "99999=1",
    "seed": "-1",
    "max-tokens": "0",
    "json-schema": "/nowhere/x.json",
    "grammar": "/nowhere/x.gbnf",
    "record": "yes",
    "draft": "maybe",
    "overflow": "ignore",
    "markdown": "yes",
    "wrap": "80",
}


def test_every_setting_is_tried_here() -> None:
    files = {"json-schema", "grammar"}
    assert {*GOOD, *files, "stops"} == {*BAD, "stops"} == set(SETTINGS)


@pytest.mark.parametrize(("name", "value"), GOOD.items())
def test_a_setting_is_changed_shown_and_taken_back(run: Run, name: str, value: str) -> None:
    asked = [f"/set {name}", f"/set {name} {value}", f"/set {name}"]
    code, _, err = run("chat", stdin=lines(*asked))
    before, after, again = err.splitlines()
    assert code == 0
    assert before.startswith(f"{name} is ")
    assert after == again == f"{name} is {value}"
    assert before != after
    if name in ("max-tokens", "record", "draft", "overflow", "markdown", "wrap"):
        return
    err = run("chat", stdin=lines(*asked, f"/set {name} default"))[2]
    assert err.splitlines()[-1] == before


@pytest.mark.parametrize(("name", "value"), BAD.items())
def test_an_impossible_value_changes_nothing(run: Run, name: str, value: str) -> None:
    code, out, err = run(
        "chat", stdin=lines(f"/set {name}", f"/set {name} {value}", f"/set {name}", "Hi")
    )
    before, said, after = err.splitlines()
    assert (code, out) == (1, "Hello.\n")
    assert before == after
    assert value in said or name.replace("-", "_") in said or name in said


def test_settings_reach_the_replies(run: Run) -> None:
    code, out, err = run("chat", stdin=lines("/set max-tokens 3", "Hi", "/set max-tokens 99", "Hi"))
    assert (code, out) == (0, "Hel\nHello.\n")
    assert "cut off at the longest reply asked for; /set max-tokens" in err
    out = run("chat", stdin=lines("/set logit-bias 90=1000", "/set max-tokens 2", "Hi"))[1]
    assert out == "ZZ\n"


def test_stops(run: Run) -> None:
    asked = lines(
        '/set stops "o." "\\n"', "/set stops", "Hi", "/set stops off", "Hi", '/set stops "a'
    )
    code, out, err = run("chat", stdin=asked)
    assert (code, out) == (1, "Hell\nHello.\n")
    assert err.splitlines()[:3] == [r"stops is 'o.' '\n'"] * 2 + ["stops is none"]
    assert "a quotation mark is not closed" in err


def test_all_settings_are_listed(run: Run) -> None:
    err = run("chat", "--temperature", "0.5", stdin=lines("/set"))[2]
    assert [line.split()[0] for line in err.splitlines()] == list(SETTINGS)
    assert "temperature         0.5" in err


HOSTILE = [
    "9" * 5000,
    "1e999",
    "-0",
    "²",
    "\x1b[2J",
    "\u202e",
    "'",
    "0x10",
    "1_0",
    " ",
    "%s",
    "🙂" * 99,
]


@pytest.mark.parametrize("value", HOSTILE)
def test_no_value_ends_a_chat(run: Run, value: str) -> None:
    asked = [f"/set {name} {value}" for name in SETTINGS]
    asked += [f"{name} {value}" for name in COMMANDS if name not in ("/quit", "/trio")]
    code, _, err = run("chat", stdin=lines(*asked, "/reset"))
    assert code in (0, 1)
    assert "bug" not in err
    assert "\x1b" not in err
    assert err.splitlines()[-1] == "the conversation begins anew"


# What was said


def test_regen_answers_once_more(run: Run, models: list[FakeModel]) -> None:
    asked = lines("Hi", "/regen", "/set max-tokens 3", "/regen", "Bye")
    code, out, err = run("chat", stdin=asked)
    assert (code, out) == (0, "Hello.\nHello.\nHel\nSee\n")
    assert err.count("temperature is 0, which gives the same again") == 1
    assert bytes(models[0].history) == b"Hi\nHel\nBye\nSe"


def test_undo_goes_back_a_change_at_a_time(run: Run, models: list[FakeModel]) -> None:
    asked = ["Hi", "Bye", "/undo", "/undo", "/undo", "Capital?"]
    code, out, err = run("chat", stdin=lines(*asked))
    assert (code, out) == (1, "Hello.\nSee you.\nLima it is.\n")
    assert "(took back 'Bye'; the last message is 'Hi')\n(took back 'Hi')\n" in err
    assert "there is nothing to take back" in err
    assert bytes(models[0].history).startswith(b"Capital?\n")


def test_an_edit_branches_and_undo_goes_back(run: Run, models: list[FakeModel]) -> None:
    asked = ["Hi", "Bye", "Hi", "/edit 2 Capital?", "/undo", "/show"]
    code, out, err = run("chat", stdin=lines(*asked))
    assert (code, out) == (0, "Hello.\nSee you.\nHello.\nLima it is.\n")
    assert "(left behind, with a message after it: /undo goes back there)" in err
    assert [line for line in err.splitlines() if line.startswith("message")] == [
        "message 1    Hi",
        "message 2    Bye",
        "message 3    Hi",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/edit 3 Hi", "takes the number of a message of yours, 1 to 2, not '3'"),
        ("/edit 0 Hi", "1 to 2, not '0'"),
        ("/edit -1 Hi", "1 to 2, not '-1'"),
        ("/edit x", "1 to 2, not 'x'"),
        ("/edit " + "9" * 5000, "1 to 2, not '999"),
        ("/edit ²", "1 to 2, not '²'"),
        ("/edit 1", "say what it is to be: /edit 1 TEXT"),
        ("/edit", "say what it is to be: /edit 2 TEXT"),
    ],
)
def test_what_cannot_be_edited(run: Run, line: str, said: str) -> None:
    code, _, err = run("chat", stdin=lines("Hi", "Bye", line))
    assert code == 1
    assert said in err


@pytest.mark.parametrize(
    "line", ["/regen", "/undo", "/edit 1 x", "/compare", "/explain", "/stats", "/cite"]
)
def test_what_needs_something_said_before_says_so(run: Run, line: str) -> None:
    code, out, err = run("chat", stdin=lines(line, "Hi"))
    assert (code, out) == (1, "Hello.\n")
    assert err.count("\n") == 1
    assert "bug" not in err


def test_system_and_reset_can_be_taken_back(run: Run) -> None:
    err = run("chat", "--system", "S", stdin=lines("Hi", "/reset", "/undo", "/show"))[2]
    assert "message 1    Hi" in err
    assert "system       S" in err


# Who answers


def test_without_the_proxy_the_base_alone_answers(run: Run, models: list[FakeModel]) -> None:
    models[:] = [saying({"Hi\n": text}) for text in ("base", "expert", "b")]
    out = run(
        "chat", "--alpha", "9", stdin=lines("Hi", "/proxy off", "/regen", "/proxy on", "/regen")
    )[1]
    assert out.splitlines()[1] == "base"
    assert out.splitlines()[0] == out.splitlines()[2] != "base"
    code, _, err = run("chat", stdin=lines("/proxy", "/proxy off", "/proxy", "/proxy maybe"))
    assert code == 1
    assert err.splitlines()[:3] == [
        "proxy is on: the pair steers the base",
        *["proxy is off: the base alone answers"] * 2,
    ]
    assert "/proxy takes on or off, not 'maybe'" in err


def test_compare_answers_by_each(run: Run, models: list[FakeModel]) -> None:
    models[0] = saying({"Capital?\n": "Base says."})
    models[2] = saying({})
    code, out, err = run("chat", stdin=lines("Capital?", "/compare", "/show"))
    assert code == 0
    _, *compared = out.splitlines()
    assert compared == [
        "the base alone:",
        "Base says.",
        "",
        "the expert alone:",
        ANSWERS["expert"],
        "",
        "proxy, alpha 1:",
        out.splitlines()[0],
    ]
    assert "message 2" not in err


def test_another_trio_goes_on_with_the_conversation(
    run: Run, monkeypatch: pytest.MonkeyPatch, sessions: list[FakeSession]
) -> None:
    made = loader.load

    def load(trio: Any, **asked: Any) -> Any:
        if trio == "factbook-phi":
            raise ModelFileError("base.gguf", "it is damaged")
        return made(trio, **asked)

    monkeypatch.setattr(loader, "load", load)
    asked = [
        "Hi",
        "/trio factbook",
        "Bye",
        "/alpha 2",
        "/trio factbook-phi",
        "/trio nothing",
        "/show",
    ]
    code, out, err = run("chat", "--ctx", "99", "--base-weight", "1", stdin=lines(*asked))
    assert (code, out) == (1, "Hello.\nSee you.\n")
    assert "base.gguf: it is damaged" in err
    assert "no trio 'nothing'" in err or "nothing" in err
    assert [session.asked["trio"] for session in sessions] == ["factbook"] * 3
    assert [session.asked["n_ctx"] for session in sessions] == [99] * 3
    assert [session._files.is_closed for session in sessions] == [True] * 3  # type: ignore[attr-defined]
    assert sessions[2].asked["alpha"] == 2  # it came back as it was
    assert "message 2    Bye" in err


# Files


def test_a_file_goes_with_the_next_message(
    run: Run, models: list[FakeModel], tmp_path: Path
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("\nLima.\n", "utf-8")
    asked = lines(f"/file {path}", "/file", "Hi", "/file", "Bye")
    code, out, err = run("chat", stdin=asked)
    assert (code, out) == (0, "Hello.\nSee you.\n")
    text = "notes.txt:\n\nLima."
    size = f"{len(text) + 1} tokens"
    assert f"notes.txt goes with the next message: {size} (/file off takes it out)" in err
    assert f"notes.txt: {len(text) + 1} tokens" in err
    assert "no file goes with the next message" in err
    assert bytes(models[0].history).startswith(f"{text}\n\nHi\nHello.\nBye\n".encode())


def hostile(folder: Path) -> Sequence[tuple[str, str]]:
    """Paths that are no files of text, and what is said of them."""
    (folder / "nul").write_bytes(b"ELF\0\1\2" * 50)
    (folder / "latin").write_bytes(b"caf\xe9")
    (folder / "utf16").write_bytes("Hi".encode("utf-16"))
    (folder / "empty").write_bytes(b" \n")
    (folder / "large").write_bytes(b"x" * (9 << 20))
    (folder / "long").write_bytes(b"word " * 2000)
    os.mkfifo(folder / "fifo")
    return [
        ("nul", "it is a binary file, not text"),
        ("latin", "is not UTF-8 text: byte 0xe9 at offset 3"),
        ("utf16", "it looks like UTF-16"),
        ("empty", "there is no text in it"),
        ("large", "it has more than 8,388,608 bytes"),
        ("long", "it has 10,008 tokens, and 3,840 of the context's 4,096 are free"),
        ("fifo", "it is a FIFO (a named pipe) and no regular file"),
        ("", "it is a directory and no regular file"),
        ("missing", "No such file"),
        ("a" * 5000, "too long"),
    ]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs of POSIX systems")
def test_what_is_no_text_is_refused_clearly(run: Run, tmp_path: Path) -> None:
    for name, said in hostile(tmp_path):
        code, out, err = run("chat", stdin=lines(f"/file {tmp_path / name}", "Hi"))
        assert (code, out) == (1, "Hello.\n")
        assert said in err, name
        assert err.count("\n") == 1


def test_a_file_stays_until_a_message_with_it_was_answered(
    run: Run, models: list[FakeModel], tmp_path: Path
) -> None:
    models[:] = [saying(REPLIES, n_ctx=60) for _ in range(3)]
    (tmp_path / "a").write_text("fact")
    asked = lines(f"/file {tmp_path / 'a'}", "x" * 60, "Hi", "/file")
    code, out, err = run("chat", stdin=asked)
    assert (code, out) == (1, "Hello.\n")
    assert "does not fit the context of 60 tokens" in err
    assert b"fact" in bytes(models[0].history)


# Long conversations


def test_the_oldest_turns_are_dropped_only_where_that_was_asked_for(
    run: Run, models: list[FakeModel]
) -> None:
    models[:] = [saying(REPLIES, n_ctx=48) for _ in range(3)]
    asked = ["Hi", "Bye", "Capital?", "Hi"]
    code, out, err = run(
        "chat", "--overflow", "trim", "--system", "S", "--max-tokens", "12", stdin=lines(*asked)
    )
    assert (code, out) == (0, "Hello.\nSee you.\nLima it is.\nHello.\n")
    dropped = [line for line in err.splitlines() if "dropped" in line]
    assert "(dropped the 2 oldest messages and what was answered, from 'Hi' on" in dropped[0]
    assert bytes(models[0].history).startswith(b"S\n")
    models[:] = [saying(REPLIES, n_ctx=12) for _ in range(3)]
    code, out, err = run("chat", stdin=lines("Hi", "Bye"))
    assert code == 1
    assert "/set overflow trim drops the oldest turns" in err
    assert out.startswith("Hello.\n")


def test_a_message_that_fits_nothing_drops_nothing(run: Run, models: list[FakeModel]) -> None:
    models[:] = [saying(REPLIES, n_ctx=48) for _ in range(3)]
    asked = lines("Hi", "x" * 60, "Bye", "/show")
    code, out, err = run("chat", "--overflow", "trim", "--max-tokens", "12", stdin=asked)
    assert (code, out) == (1, "Hello.\nSee you.\n")
    assert "dropped" not in err
    assert "message 1    Hi" in err


# Figures


def test_stats_and_show(run: Run) -> None:
    asked = lines("Hi", "/stats", "/set seed 5", "/show")
    code, _, err = run("chat", "--trio", "factbook", stdin=asked)
    assert code == 0
    assert "7 tokens" in err
    assert "context      10 of 4,096 tokens used, 0%" in err
    assert "last reply   3 tokens of prompt, 0 of them known before; 7 of reply" in err
    assert "seed         5" in err


def test_what_a_chat_says_is_on_standard_error(run: Run) -> None:
    said = lines("/help", "/set", "/show", "/trio", "/proxy", "/file", "/docs")
    assert run("chat", stdin=said)[1] == ""
