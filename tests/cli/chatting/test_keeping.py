"""Conversations of a chat that are kept: saved, gone on with, branched, named and found again."""

from __future__ import annotations

import io
import re
import sqlite3
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from edgeproxy.cli import chat as chat_verb
from edgeproxy.cli import main
from edgeproxy.cli.chatting import lines as lines_of_chat
from edgeproxy.cli.chatting import resuming
from edgeproxy.cli.chatting.completing import completions
from edgeproxy.cli.chatting.keeping import Keeping
from edgeproxy.decode.sample import Sampling
from edgeproxy.history import database
from edgeproxy.history.history import History
from edgeproxy.history.keeper import Keeper
from edgeproxy.history.records import Loaded
from tests.cli.chatting.test_commands import lines
from tests.helpers.command_line import Run, Typist
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import FakeModel, saying

REPLIES = {"Hi\n": "Hello.", "Bye\n": "See you.", "Capital?\n": "Lima it is."}


@pytest.fixture(autouse=True)
def _replies(models: list[FakeModel]) -> None:
    models[:] = [saying(REPLIES) for _ in range(3)]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with nothing in it; the fakes' trio is one that is found by its name."""
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(resuming, "trio_names", lambda: ["fake", "factbook"])
    return tmp_path / "home"


@pytest.fixture
def person(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sessions: list[FakeSession]
) -> Run:
    """Run a chat with a person who types these lines: exit code, standard output and error."""

    def type_in(*arguments: str, typed: tuple[Any, ...] = ()) -> tuple[int, str, str]:
        monkeypatch.setattr(chat_verb, "is_interactive", lambda: True)
        monkeypatch.setattr(lines_of_chat, "line_reader", lambda _talk, **_how: Typist(*typed))
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
        code = main(["chat", *arguments])
        return code, *capsys.readouterr()

    return type_in


def latest(wanted: str | None = None) -> Loaded:
    """A session as it is in the file, by default the latest."""
    with History() as history:
        found = history.latest() if wanted is None else history.find(wanted)
        assert found is not None
        return history.load(found.id)


def texts(wanted: str | None = None) -> list[str]:
    return [entry.said.text for entry in latest(wanted).entries]


def everything() -> list[str]:
    """All texts of all branches of all sessions."""
    with History() as history:
        return [e.said.text for s in history.sessions() for e in history.tree(s.id)[1]]


# What is kept


def test_what_a_person_says_is_kept_by_itself(person: Run) -> None:
    code, out, err = person("--system", "S", typed=("Hi", "Bye"))
    assert (code, out) == (0, "Hello.\nSee you.\n")
    assert err.endswith("to go on with this conversation: edgeproxy chat --continue\n")
    loaded = latest()
    assert texts() == ["S", "Hi", "Hello.", "Bye", "See you."]
    assert loaded.session.trio == "fake"
    reply = loaded.entries[2].said
    assert reply.finish_reason == "stop"
    assert reply.stats["usage"]["completion"] == 7
    assert reply.settings["steering"]["alpha"] == 1.0


def test_a_pipe_is_kept_only_under_a_name(run: Run, home: Path) -> None:
    assert run("chat", stdin=lines("Hi")) == (0, "Hello.\n", "")
    assert not home.exists()
    assert run("chat", "--session", "notes", stdin=lines("Hi")) == (0, "Hello.\n", "")
    assert run("chat", "--session", "notes", stdin=lines("Bye")) == (0, "See you.\n", "")
    assert texts("notes") == ["Hi", "Hello.", "Bye", "See you."]
    assert run("chat", "--continue", stdin=lines("Hi"))[0] == 0
    assert len(texts("notes")) == 6


def test_without_saving_nothing_is_kept_until_it_is_asked_for(person: Run, home: Path) -> None:
    code, _, err = person("--no-save", typed=("Hi", "/show", "/reset", "Bye", "/undo"))
    assert code == 0
    assert "not saved; /save keeps it" in err
    assert "go on" not in err
    assert not home.exists()
    err = person("--no-save", typed=("Hi", "/save notes", "Bye"))[2]
    assert "saved as notes, and from now on it is saved by itself" in err
    assert texts("notes") == ["Hi", "Hello.", "Bye", "See you."]


def test_the_line_editor_keeps_nothing_without_saving(
    run: Run, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    asked: list[bool] = []

    def reader(_talk: object, *, remembers: bool, **_how: object) -> Typist:
        asked.append(remembers)
        return Typist()

    monkeypatch.setattr(lines_of_chat, "line_reader", reader)
    run("chat")
    run("chat", "--no-save")
    assert asked == [True, False]


def test_the_seed_that_was_drawn_is_kept(run: Run) -> None:
    run("chat", "--session", "a", "--temperature", "1", stdin=lines("Hi", "/regen"))
    with History() as history:
        _, entries = history.tree(history.find("a").id)
    seeds = [e.said.settings["sampling"]["seed"] for e in entries if e.said.role == "user"]
    assert all(isinstance(seed, int) for seed in seeds)
    sampling = Sampling(temperature=1.0)
    assert sampling.seed is None  # none was asked for


def test_a_reply_that_fails_leaves_the_question_as_a_branch(
    run: Run, models: list[FakeModel]
) -> None:
    models[:] = [saying(REPLIES, n_ctx=40) for _ in range(3)]
    code, out, _ = run("chat", "--session", "a", stdin=lines("Hi", "x" * 90, "Bye"))
    assert (code, out) == (1, "Hello.\nSee you.\n")
    assert texts("a") == ["Hi", "Hello.", "Bye", "See you."]
    assert "x" * 90 in everything()


# Branches


def test_another_reply_and_an_edit_are_branches_and_undo_goes_back_to_the_same_one(
    run: Run,
) -> None:
    asked = ["Hi", "/set max-tokens 3", "/regen", "/undo", "/set max-tokens 99"]
    assert run("chat", "--session", "a", stdin=lines(*asked))[0] == 0
    assert texts("a") == ["Hi", "Hello."]
    assert everything() == ["Hi", "Hello.", "Hel"]
    asked = ["Bye", "/edit 1 Capital?", "/edit 1 Bye", "/undo"]
    assert run("chat", "--session", "a", stdin=lines(*asked))[0] == 0
    assert texts("a") == ["Capital?", "Lima it is."]
    assert sorted(everything()) == sorted(
        ["Hi", "Hello.", "Hel", "Bye", "See you.", "Capital?", "Lima it is.", "Bye", "See you."]
    )


def test_another_reply_takes_the_place_of_the_one_before_once_it_has_come(
    run: Run, models: list[FakeModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    answered = Keeping.answered

    def looks(*arguments: Any) -> None:
        seen.append(texts("a"))  # as a kill would leave it
        answered(*arguments)

    monkeypatch.setattr(Keeping, "answered", looks)
    run("chat", "--session", "a", stdin=lines("Hi", "/set max-tokens 3", "/regen", "/edit 1 Bye"))
    assert seen == [["Hi"], ["Hi", "Hello."], ["Bye"]]
    assert texts("a") == ["Bye", "See"]


def test_what_is_taken_back_stays_as_a_branch(run: Run) -> None:
    run("chat", "--session", "a", stdin=lines("Hi", "Bye", "/undo"))
    assert texts("a") == ["Hi", "Hello."]
    run("chat", "--session", "a", stdin=lines("Capital?"))
    assert texts("a") == ["Hi", "Hello.", "Capital?", "Lima it is."]
    assert everything() == ["Hi", "Hello.", "Bye", "See you.", "Capital?", "Lima it is."]


def test_a_session_of_which_all_was_taken_back_is_not_empty(run: Run) -> None:
    run("chat", "--session", "a", stdin=lines("Hi", "/undo"))
    assert texts("a") == ["Hi", "Hello."]


@pytest.mark.parametrize("command", ["/reset", "/system Be brief."])
def test_beginning_anew_is_another_session_and_undo_goes_back(run: Run, command: str) -> None:
    run("chat", "--session", "a", stdin=lines("Hi", command, "Bye"))
    with History() as history:
        assert len(history.sessions()) == 2
    assert texts("a") == ["Hi", "Hello."]
    assert texts()[-2:] == ["Bye", "See you."]
    run("chat", "--session", "a", stdin=lines(command, "Capital?", "/undo", "/undo", "Bye"))
    assert texts("a") == ["Hi", "Hello.", "Bye", "See you."]
    assert texts()[-2:] == ["Bye", "See you."]  # it is the latest again


def test_a_name_is_the_first_conversations(run: Run) -> None:
    run("chat", "--session", "a", stdin=lines("/system S", "Hi", "/reset", "Bye"))
    assert texts("a") == ["S", "Hi", "Hello."]


# Going on


def test_a_conversation_goes_on_where_it_ended(person: Run, models: list[FakeModel]) -> None:
    person("--system", "S", typed=("Hi", "Bye", "Capital?"))
    models[:] = [saying(REPLIES) for _ in range(3)]
    code, out, err = person("--continue", typed=("Hi", "/undo", "/undo"))
    assert (code, out) == (0, "Hello.\n")
    assert ": 6 messages, the last of " in err
    assert "\n...\n> Bye\nSee you.\n> Capital?\nLima it is.\n" in err
    history = bytes(models[0].history)
    assert history.startswith(b"S\nHi\nHello.\nBye\nSee you.\nCapital?\nLima it is.\nHi\n")
    assert texts() == ["S", "Hi", "Hello.", "Bye", "See you."]


def test_one_by_its_name_or_id_and_a_new_one_where_there_is_none(run: Run) -> None:
    run("chat", "--session", "first letters", stdin=lines("Hi"))
    id_ = latest().session.id
    run("chat", "--session", "other", stdin=lines("Bye"))
    run("chat", "--session", id_, stdin=lines("Capital?"))
    assert texts("first letters") == ["Hi", "Hello.", "Capital?", "Lima it is."]
    run("chat", "--session", "first", stdin=lines("Bye"))  # a name of its own, no beginning
    assert texts("first") == ["Bye", "See you."]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--continue",), "there is no conversation yet; edgeproxy chat begins one"),
        (("--continue", "--trio", "fake"), "there is no earlier conversation with fake"),
        (("--continue", "--session", "a"), "--continue and --session both say"),
        (("--session", ""), "name is empty"),
        (("--session", "x" * 81), "80 characters at most"),
        (("--session", "a\nb"), "cannot be a session's name"),
        (("--session", "\x1b[2J"), "cannot be a session's name"),
    ],
)
def test_what_cannot_be_gone_on_with(
    run: Run, sessions: list[FakeSession], home: Path, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = run("chat", *arguments, stdin=lines("Hi"))
    assert (code in (1, 2), out) == (True, "")
    assert said in err
    assert "\x1b" not in err
    assert not home.exists()


def test_the_conversations_own_trio_is_loaded(run: Run, sessions: list[FakeSession]) -> None:
    run("chat", "--session", "a", stdin=lines("Hi"))
    run("chat", "--session", "a", stdin=lines("Bye"))
    run("chat", "--session", "a", "--trio", "factbook", stdin=lines("Bye"))
    assert [session.asked["trio"] for session in sessions] == ["factbook", "fake", "factbook"]


def test_a_trio_that_is_not_found_is_said(
    run: Run, sessions: list[FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("chat", "--session", "a", stdin=lines("Hi"))
    monkeypatch.setattr(resuming, "trio_names", lambda: ["factbook"])
    code, _, err = run("chat", "--continue", stdin=lines("Hi"))
    assert code == 2
    assert "is with fake, which is no trio's name here; say which trio goes on with it" in err
    assert len(sessions) == 1
    assert run("chat", "--continue", "--trio", "factbook", stdin=lines("Bye"))[0] == 0
    assert len(texts("a")) == 4


def test_another_system_message_is_refused(run: Run) -> None:
    run("chat", "--session", "a", "--system", "S", stdin=lines("Hi"))
    code, out, err = run("chat", "--session", "a", "--system", "T", stdin=lines("Hi"))
    assert (code, out) == (2, "")
    assert "the conversation a began with another system message" in err
    assert run("chat", "--session", "a", "--system", "S", stdin=lines("Bye"))[0] == 0
    assert texts("a") == ["S", "Hi", "Hello.", "Bye", "See you."]


def test_it_is_steered_and_drawn_as_it_was(run: Run) -> None:
    asked = lines("/alpha 0.5", "/set top-k 7", "/set seed 3", "Hi")
    run("chat", "--session", "a", "--temperature", "0.7", stdin=asked)
    shown = lines("/alpha", *(f"/set {name}" for name in ("top-k", "seed", "temperature", "min-p")))
    said = run("chat", "--session", "a", stdin=shown)[2].splitlines()
    assert said == [
        "alpha is 0.5",
        "top-k is 7",
        "seed is 3",
        "temperature is 0.7",
        "min-p is 0.05",
    ]
    said = run("chat", "--session", "a", "--alpha", "2", "--temperature", "0.1", stdin=shown)[
        2
    ].splitlines()
    assert said[0] == "alpha is 2"
    assert said[3] == "temperature is 0.1"


@pytest.mark.parametrize(
    "settings",
    [
        {"steering": {"alpha": "NaN"}, "sampling": {"seed": {}}, "asked": ["seed"]},
        {"steering": 5, "sampling": [], "asked": "seed", "dropped": "x", "trio": 3},
        {"steering": {"alpha": None, "policy": []}, "sampling": {"top_k": -9}, "asked": ["top_k"]},
        {"dropped": 10**9, "asked": [[], None, {}], "sampling": {}},
        {"dropped": -1},
    ],
)
def test_settings_that_nobody_could_have_do_no_harm(
    run: Run, settings: dict[str, Any], models: list[FakeModel]
) -> None:
    with Keeper("fake", {}, print) as keeper:
        for text in ("Hi", "Bye"):
            keeper.say(text, settings)
            keeper.answer("x", "stop")
        keeper.save("a")
    code, out, err = run("chat", "--session", "a", stdin=lines("Hi", "/alpha"))
    assert (code, out, err) == (0, "Hello.\n", "alpha is 1\n")
    assert bytes(models[0].history).startswith(b"Hi\nx\nBye\nx\nHi\n")


def test_what_was_dropped_to_make_room_stays_dropped(run: Run, models: list[FakeModel]) -> None:
    models[:] = [saying(REPLIES, n_ctx=48) for _ in range(3)]
    how = ("chat", "--session", "a", "--overflow", "trim", "--max-tokens", "12")
    run(*how, "--system", "S", stdin=lines("Hi", "Bye", "Capital?", "Hi"))
    before = texts("a")
    replies = [("Hi", "Hello."), ("Bye", "See you."), ("Capital?", "Lima it is."), ("Hi", "Hello.")]
    assert before == ["S", *(text for turn in replies for text in turn)]
    code, out, err = run(*how, stdin=lines("/show", "Bye"))
    assert (code, out) == (0, "See you.\n")
    assert [line for line in err.splitlines() if line.startswith("message")] == [
        "message 1    Capital?",
        "message 2    Hi",
    ]
    assert texts("a") == [*before, "Bye", "See you."]


def test_a_message_without_a_reply_is_shown_again(person: Run) -> None:
    with Keeper("fake", {}, print) as keeper:
        keeper.say("Hi")
        keeper.answer("Hello.", "stop")
        keeper.say("Bye\nnow")
    err = person("--continue", "--plain")[2]
    assert ": 2 messages" in err
    assert "(your last message has no reply, and can be sent again:)\n> Bye\n  now\n" in err


def test_no_text_of_a_session_drives_the_terminal(person: Run) -> None:
    with Keeper("fake", {}, print) as keeper:
        keeper.say("\x1b[2J\u202e" + "line\n" * 99)
        keeper.answer("\x9b31m\r\n" * 3, "stop")
    err = person("--continue")[2]
    assert not set("\x1b\x9b\r\u202e") & set(err)
    assert "(91 more lines)" in err


# Commands


def test_save_load_and_sessions(person: Run) -> None:
    code, out, err = person(
        typed=("/save letters", "Hi", "/save letters", "/save notes", "/reset", "Bye", "/sessions")
    )
    assert code == 0
    assert "the conversation will be saved as letters, from its first message on" in err
    assert "saved as letters; edgeproxy chat --session letters goes on with it" in err
    rows = [line.split() for line in err.splitlines() if " fake " in line]
    assert [row[5:] for row in rows] == [["Bye"], ["notes"]]
    code, out, err = person(
        typed=("Capital?", "/load notes", "Bye", "/load", "/load nothing", "Hi")
    )
    assert out == "Lima it is.\nSee you.\nHello.\n"
    assert "there is no session 'nothing'" in err
    assert texts("notes") == ["Hi", "Hello.", "Bye", "See you."]
    assert texts() == ["Capital?", "Lima it is.", "Hi", "Hello."]
    err = person(typed=("/sessions lima", "/sessions xyzzy", "/sessions -"))[2]
    assert "  reply: *Lima* it is.\n" in err
    assert "nothing was found" in err


def test_a_name_that_is_taken_is_refused_and_the_chat_goes_on(run: Run) -> None:
    run("chat", "--session", "a", stdin=lines("Hi"))
    code, out, err = run("chat", stdin=lines("/save a", "Hi", "/save a", "/save b", "Bye"))
    assert (code, out) == (1, "Hello.\nSee you.\n")
    assert err.count("there is a session called 'a' already") == 2
    assert texts("b") == ["Hi", "Hello.", "Bye", "See you."]


def test_a_loaded_conversation_is_not_mixed_with_the_one_before(
    run: Run, models: list[FakeModel]
) -> None:
    run("chat", "--session", "a", stdin=lines("Hi"))
    code, _, err = run(
        "chat", "--session", "b", stdin=lines("Bye", "/load a", "/undo", "/undo", "Capital?")
    )
    assert code == 1
    assert "there is nothing to take back" in err
    assert texts("b") == ["Bye", "See you."]
    assert texts("a") == ["Capital?", "Lima it is."]


def test_loading_needs_something_to_load(run: Run) -> None:
    code, _, err = run("chat", stdin=lines("/load", "/load x", "/sessions", "/sessions word"))
    assert code == 1
    assert "there is no other conversation with fake" in err
    assert "there are no sessions yet" in err
    assert "nothing was found" in err


def test_names_of_sessions_are_completed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(completions("/load ")) == []
    run("chat", "--session", "letters", stdin=lines("Hi"))
    (tmp_path / "x.gbnf").write_text("")
    monkeypatch.chdir(tmp_path)
    assert [word for word, _ in completions("/load le")] == ["letters"]
    option = next(each for each in chat_verb.command.params if each.name == "session")
    found = option.shell_complete(click.Context(chat_verb.command), "le")
    assert [item.value for item in found] == ["letters"]
    assert [word for word, _ in completions("/explain ")][:2] == ["table", "walk"]
    assert [word for word, _ in completions("/set grammar x")] == ["x.gbnf"]
    assert [word for word, _ in completions("/set json-schema o")] == ["off"]


def test_the_line_at_the_end_names_what_goes_on(person: Run) -> None:
    assert person(typed=("/help",))[2].count("to go on") == 0
    person(typed=("Hi",))
    old = latest().session.id
    person(typed=("Bye",))
    err = person("--session", old, typed=("/show",))[2]
    assert f"edgeproxy chat --session {old}\n" in err
    err = person("--session", "it's", typed=("Hi",))[2]
    assert """edgeproxy chat --session 'it'"'"'s'\n""" in err
    assert "and the same models" not in err


def test_other_models_are_told(person: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with Keeper("fake", {"base": "ab" * 32}, print) as keeper:
        keeper.say("Hi")
        keeper.answer("Hello.", "stop")
        keeper.save("a")
    monkeypatch.setattr(resuming, "hashes", lambda _: {"base": "cd" * 32, "expert": "ef" * 32})
    assert "(base of fake changed since)\n" in person("--continue")[2]
    monkeypatch.setattr(resuming, "hashes", lambda _: {"base": "ab" * 32})
    assert "changed since" not in person("--continue")[2]
    with Keeper("other", {}, print) as keeper:
        keeper.say("Hi")
        keeper.answer("Hello.", "stop")
        keeper.save("b")
    assert "(it was with other, and fake answers now)\n" in person(typed=("/load b",))[2]


def test_a_conversation_that_is_too_long_for_the_context_is_told(
    person: Run, models: list[FakeModel]
) -> None:
    with Keeper("fake", {}, print) as keeper:
        keeper.say("x" * 50)
        keeper.answer("Hello.", "stop")
    models[:] = [saying(REPLIES, n_ctx=40) for _ in range(3)]
    err = person("--continue", typed=("Hi", "/undo", "Hi"))[2]
    assert "of the context's 40 tokens are used" in err
    assert "do not fit the context" in err
    assert texts() == ["Hi", "Hello."]


@pytest.mark.weights
def test_what_was_read_of_a_long_conversation_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "long.txt").write_text("The capital of Mongolia is Ulaanbaatar. " * 130)
    how = ["chat", "--session", "a", "--ctx", "4096", "--max-tokens", "5"]

    def piped(*asked: str) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines(*asked))))
        assert main(how) == 0
        return capsys.readouterr().err

    piped(f"/file {tmp_path / 'long.txt'}", "Capital?")
    err = piped("And Chad?", "/show")
    found = re.search(r"last reply +([\d,]+) tokens of prompt, ([\d,]+) of them known", err)
    assert found is not None
    prompt, known = (int(each.replace(",", "")) for each in found.groups())
    assert known > 1000
    assert prompt - known < 40


# Disks


def test_a_full_disk_is_said_once_and_the_chat_goes_on(
    person: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = database._connect

    def small(path: Path) -> sqlite3.Connection:
        made = connect(path)
        made.execute("PRAGMA max_page_count = 12")
        return made

    monkeypatch.setattr(database, "_connect", small)
    long = "x" * 60_000
    code, out, err = person(typed=("Hi", long, "Bye", "/undo", "/regen", "/save a", "/sessions"))
    assert code == 0
    assert out.startswith("Hello.\n")
    assert out.endswith("See you.\n") or "See you.\n" in out
    assert err.count("this conversation is not being saved: ") == 1
    assert "the disk is full; free some space" in err
    assert "to go on" not in err
    assert texts() == ["Hi", "Hello."]


def test_a_damaged_history_does_not_keep_anybody_from_chatting(person: Run, home: Path) -> None:
    (home / "history").mkdir(parents=True)
    (home / "history" / "sessions.sqlite").write_bytes(b"nonsense" * 999)
    code, out, err = person(typed=("Hi", "Bye", "/sessions", "/load x"))
    assert (code, out) == (0, "Hello.\nSee you.\n")
    assert err.count("this conversation is not being saved: ") == 1
    code, out, err = person("--continue", typed=("Hi",))
    assert (code, out) == (1, "")
    assert "no history of conversations" in err
