"""The verb `sessions`: what it prints, asks and refuses, and that no text drives a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy.cli import main
from edgeproxy.history.history import History
from edgeproxy.history.keeper import Keeper
from edgeproxy.history.states import States

REPOSITORY = Path(__file__).parents[2]
EVIL = "red \x1b[31m\x1b]0;title\x07 \x9b2J bell \x07 turned \u202e\r over"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without sessions; the tests are in an empty folder."""
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def talk(*texts: str, name: str | None = None, trio: str = "factbook") -> str:
    """A session in which these were said; its id."""
    with Keeper(trio, {"base": "ab" * 32}, print) as keeper:
        for question, answer in zip(texts[::2], texts[1::2], strict=True):
            keeper.say(question)
            keeper.answer(answer, "stop")
        keeper.save(name)
        assert keeper.id
        return keeper.id


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """What the verb prints to standard output and to standard error."""
    capsys.readouterr()
    assert main(["sessions", *arguments]) == code
    captured = capsys.readouterr()
    return captured.out, captured.err


def test_without_sessions_it_says_so_and_makes_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no sessions yet" in run(capsys, "ls")[1]
    assert json.loads(run(capsys, "ls", "--json")[0]) == {"sessions": []}
    assert "nothing was found" in run(capsys, "search", "word")[1]
    for verb in ("show", "export", "rm"):
        assert "no session 'x'" in run(capsys, verb, "x", code=1)[1]
    assert not home.exists()


def test_of_a_trio_without_sessions_it_says_that(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk("What is a fjord?", "A long inlet.")
    assert "no sessions with the trio 'chad'" in run(capsys, "ls", "--trio", "chad")[1]


def test_they_are_listed_with_the_latest_above(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = talk("What is a fjord?", "An inlet.")
    two = talk("hello", "hello", "more", "more", name="letters", trio="other")
    lines = run(capsys, "ls")[0].splitlines()
    assert lines[0].split() == [
        "id",
        "changed",
        "trio",
        "messages",
        "name,",
        "or",
        "what",
        "it",
        "began",
        "with",
    ]
    assert [line.split()[0] for line in lines[1:]] == [two, one]
    assert lines[1].split()[3:] == ["other", "4", "letters"]
    assert lines[2].endswith("What is a fjord?")
    assert one not in run(capsys, "ls", "--trio", "other")[0]
    out, err = run(capsys, "ls", "--count", "1")
    assert one not in out
    assert "--all" in err
    assert len(run(capsys, "ls", "--count", "1", "--all")[0].splitlines()) == 3
    assert len(json.loads(run(capsys, "ls", "--count", "1", "--json")[0])["sessions"]) == 1


def test_a_conversation_is_shown_to_be_read(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Keeper("factbook", {}, print) as keeper:
        keeper.begin("Be brief.")
        keeper.say("What is a fjord?")
        keeper.answer("An in", "cancelled")
        keeper.again()
        keeper.answer("An inlet\nof the", "length")
        keeper.say("And a geyser?")
        keeper.save("letters")
    out = run(capsys, "show", "letters")[0]
    lines = out.splitlines()
    assert lines[0] == "letters"
    assert lines[2:] == [
        "",
        "system:",
        "Be brief.",
        "",
        "you:",
        "What is a fjord?",
        "",
        "reply:",
        "An inlet",
        "of the",
        "(cut off at the limit of tokens)",
        "",
        "you:",
        "And a geyser?",
        "",
        "(there is no reply to this)",
        "",
        "(there are other branches; edgeproxy sessions export has them)",
    ]
    content = json.loads(run(capsys, "show", "letters", "--json")[0])
    assert [m["role"] for m in content["messages"]] == ["system", "user", "assistant", "user"]


def test_what_was_found_is_marked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = talk("What is the capital of Mongolia?", "Ulaanbaatar, its capital.")
    out = run(capsys, "search", "capital")[0].splitlines()
    assert out[0].startswith(name)
    assert out[1] == "  reply: Ulaanbaatar, its *capital*."
    assert out[3] == "  you: What is the *capital* of Mongolia?"
    assert len(run(capsys, "search", "capital", "--count", "1")[0].splitlines()) == 2
    hits = json.loads(run(capsys, "search", "capital", "mongolia", "--json")[0])["hits"]
    assert [hit["spans"] for hit in hits] == [[[12, 19], [23, 31]]]


def test_it_is_exported_to_a_file_or_to_standard_output(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk("one", "1", name="letters")
    out = run(capsys, "export", "letters")[0]
    assert [m["text"] for m in json.loads(out)["messages"]] == ["one", "1"]
    run(capsys, "export", "letters", "-o", "a.json")
    assert Path("a.json").read_text("utf-8") == out
    if os.name == "posix":
        assert Path("a.json").stat().st_mode & 0o777 == 0o600
    assert "--force" in run(capsys, "export", "letters", "-o", "a.json", code=2)[1]
    run(capsys, "export", "letters", "--format", "markdown", "-o", "a.json", "--force")
    assert Path("a.json").read_text("utf-8").startswith("# letters\n")
    for wrong in (".", "nowhere/a.json"):
        assert run(capsys, "export", "letters", "-o", wrong, "--force", code=2)[0] == ""
    assert [path.name for path in Path().iterdir()] == ["a.json"]


def test_removing_asks(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = talk("one", "1"), talk("two", "2", name="letters")
    states = States()
    states.folder.mkdir()
    for name in (one, two):
        states.path(name).write_text("x")
    assert "--yes" in run(capsys, "rm", one, code=2)[1]
    assert "no session 'nowhere'" in run(capsys, "rm", one, "nowhere", "--yes", code=1)[1]
    with History() as history:
        assert history.count() == 2
    assert run(capsys, "rm", "letters", two, "--yes")[0] == f"removed {two} (letters; 2 messages)\n"
    assert (states.has(one), states.has(two)) == (True, False)
    assert json.loads(run(capsys, "rm", one, "--yes", "--json")[0]) == {"removed": [one]}
    assert "no sessions yet" in run(capsys, "ls")[1]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_no_text_of_a_session_drives_a_terminal(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pty

    name = talk(EVIL, EVIL)
    with History() as history, history.writing() as connection:
        connection.execute("UPDATE sessions SET title = ?, trio = ?", (EVIL, EVIL))
    for arguments in (
        ["ls"],
        ["ls", "--json"],
        ["show", name],
        ["show", name, "--json"],
        ["search", "red"],
        ["search", "red", "--json"],
        ["export", name],
        ["export", name, "--format", "markdown"],
        ["rm", name, "--yes"],
    ):
        master, slave = pty.openpty()
        command = [sys.executable, "-m", "edgeproxy", "sessions", *arguments]
        with subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=REPOSITORY
        ) as child:
            os.close(slave)
            seen = b""
            while block := _read(master):
                seen += block
        os.close(master)
        assert child.returncode == 0, seen
        text = seen.replace(b"\r\n", b"\n").decode("utf-8")
        assert "red" in text
        text = text.replace("\x1b[1mred\x1b[0m", "red")  # how it marks what was found
        assert not {"\x1b", "\x07", "\x9b", "\r"} & set(text), arguments


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("typed", "left"), [(b"n\n", 1), (b"\n", 1), (b"y\n", 0)])
def test_removing_waits_for_a_yes(home: Path, typed: bytes, left: int) -> None:
    import pty

    name = talk("one", "1")
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "edgeproxy", "sessions", "rm", name]
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, cwd=REPOSITORY
    ) as child:
        os.close(slave)
        os.write(master, typed)
        seen = b""
        while block := _read(master):
            seen += block
    os.close(master)
    assert child.returncode == left
    assert f"Remove {name} (one; 2 messages)?".encode() in seen
    with History() as history:
        assert history.count() == left


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody is at the other end
        return b""


def test_shown_text_is_safe_for_who_pipes_it_on(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = talk(EVIL, EVIL)
    for arguments in (["ls"], ["show", name], ["search", "red"], ["rm", name, "--yes"]):
        out = run(capsys, *arguments)[0]
        assert "red" in out
        assert not {"\x1b", "\x07", "\x9b", "\r", "\u202e"} & set(out), arguments


def test_half_a_surrogate_pair_breaks_nothing(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = talk("half \ud800 a pair", "\udfff")
    for arguments in (["ls"], ["show", name], ["search", "half"], ["export", name]):
        run(capsys, *arguments)
    run(capsys, "export", name, "-o", "a.json")
    content = json.loads(Path("a.json").read_text("utf-8"))
    assert content["messages"][0]["text"] == "half \ud800 a pair"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["search", "?!"], 2, "no word"),
        (["search"], 2, "WORDS"),
        (["show"], 2, "NAME"),
        (["ls", "--count", "0"], 2, "--count"),
        (["export", "x", "--format", "pdf"], 2, "markdown"),
        (["show", "x" * 10_000], 1, "no session"),
        (["show", ""], 1, "no session"),
        (["rm"], 2, "NAME"),
        (["nothing"], 2, "nothing"),
    ],
)
def test_what_is_wrong_is_said(
    home: Path, arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = run(capsys, *arguments, code=code)
    assert said in err
    assert out == ""
    assert len(err) < 400


def test_a_history_that_is_damaged_or_newer_is_told(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    talk("one", "1")
    path = home / "history" / "sessions.sqlite"
    path.write_bytes(b"x" * 5000)
    for arguments in (["ls"], ["show", "x"], ["search", "x"], ["rm", "x", "--yes"]):
        assert "no history" in run(capsys, *arguments, code=1)[1]
