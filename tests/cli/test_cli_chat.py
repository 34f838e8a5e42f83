"""`edgeproxy chat`: through a pipe, at a terminal, and Ctrl-C."""

from __future__ import annotations

import pytest

from edgeproxy.cli import chat as chat_verb
from edgeproxy.cli.chatting import lines as lines_of_chat
from tests.helpers.command_line import REPLIES, Run, Typist, pressing_after
from tests.helpers.fakes import FakeModel, saying


def test_chat_answers_each_line_of_a_pipe(run: Run, models: list[FakeModel]) -> None:
    code, out, err = run("chat", stdin=b"Hi\n\n Hi\nLines")
    assert (code, out, err) == (0, "Hello.\nHello.\none\ntwo\n", "")
    assert bytes(models[0].history) == b"Hi\nHello.\n Hi\nHello.\nLines\none\ntwo"


def test_slash_commands(run: Run, models: list[FakeModel]) -> None:
    lines = b"/help\n/alpha\n/alpha 0.5\n/system\n/system Be kind.\nHi\n/reset\nLines\n/quit\nHi\n"
    code, out, err = run("chat", stdin=lines)
    assert (code, out) == (0, "Hello.\none\ntwo\n")
    assert "/quit" in err
    assert "alpha is 1\nalpha is 0.5\nno system message\n" in err
    assert bytes(models[0].history) == b"Be kind.\nLines\none\ntwo"


def test_slash_commands_of_the_steering(run: Run) -> None:
    lines = b"/base\n/base 0.5\n/mask 0.1\n/alpha 2\n"
    code, _, err = run("chat", stdin=lines)
    assert code == 0
    assert err == "base weight is 1\nbase weight is 0.5\nplausibility is 0.1\nalpha is 2\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"/nonsense", "there is no command /nonsense"),
        (b"/alpha nan", "alpha must be a finite number"),
        (b"/alpha much", "/alpha takes a number"),
        (b"/base 2", "base_weight must be between 0"),
        (b"/base half", "/base takes a number"),
        (b"/mask -1", "plausibility must be between 0"),
        (b"/policy unsure", "there is no command /policy"),
    ],
)
def test_a_wrong_command_does_not_end_the_chat(run: Run, line: bytes, said: str) -> None:
    code, out, err = run("chat", stdin=line + b"\nHi\n")
    assert (code, out) == (1, "Hello.\n")
    assert said in err


def test_a_full_context_says_what_helps(run: Run, models: list[FakeModel]) -> None:
    models[:] = [saying(REPLIES, n_ctx=24) for _ in range(3)]
    code, out, err = run("chat", stdin=b"Hi\n" + b"x" * 20 + b"\n/reset\nHi\n" + b"x" * 30)
    assert (code, out) == (1, "Hello.\nHello.\n")
    full = [line for line in err.splitlines() if "do not fit" in line or "does not fit" in line]
    assert "/reset begins anew" in full[0]
    assert "--ctx N" in full[0]


def test_a_first_message_that_is_too_long_says_so(run: Run, models: list[FakeModel]) -> None:
    models[:] = [saying(REPLIES, n_ctx=24) for _ in range(3)]
    code, out, err = run("chat", stdin=b"x" * 30)
    assert (code, out) == (1, "")
    assert "the message does not fit the context of 24 tokens; send less text" in err


def test_an_empty_reply_is_said(run: Run) -> None:
    code, out, err = run("chat", stdin=b"What?\n")
    assert (code, out) == (0, "")
    assert "(the reply is empty)" in err


def test_chat_notes_and_errors(run: Run, models: list[FakeModel]) -> None:
    assert "/set max-tokens" in run("chat", "--max-tokens", "2", stdin=b"Hi\n")[2]
    models[:] = [saying(REPLIES, n_ctx=12) for _ in range(3)]
    code, out, err = run("chat", stdin=b"A much longer question\nLines\n")
    assert code == 1
    assert "context of 12" in err
    assert out == "one\ntwo\n"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"caf\xe9", "line 2 of standard input is not UTF-8 text: byte 0xe9 at offset 3"),
        (b"\xff\xfeH\0i\0", "line 2 of standard input is not UTF-8: it looks like UTF-16"),
        (b"H\0i\0", "line 2 of standard input has a NUL at character 1, which is not text: it l"),
        (b"x" * (9 << 20), "line 2 of standard input has more than 8,388,608 bytes; send a part"),
    ],
    ids=["Latin-1", "UTF-16", "UTF-16 without a mark", "too long"],
)
def test_a_line_that_is_no_text_does_not_end_the_chat(run: Run, line: bytes, said: str) -> None:
    code, out, err = run("chat", stdin=b"Hi\n" + line + b"\nLines\n")
    assert (code, out) == (1, "Hello.\none\ntwo\n")
    assert err.startswith(said)
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("lines", "code", "warnings"),
    [
        ((), 0, 0),
        ((KeyboardInterrupt,), 0, 1),
        ((KeyboardInterrupt, "Hi", KeyboardInterrupt), 0, 2),
        ((KeyboardInterrupt, KeyboardInterrupt), 130, 1),
        (("/quit", KeyboardInterrupt, KeyboardInterrupt), 0, 0),
    ],
)
def test_ctrl_c_at_the_prompt(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    lines: tuple[str | type[BaseException], ...],
    code: int,
    warnings: int,
) -> None:
    monkeypatch.setattr(chat_verb, "is_interactive", lambda: True)
    monkeypatch.setattr(lines_of_chat, "line_reader", lambda _talk, **_how: Typist(*lines))
    found, _, err = run("chat")
    assert found == code
    assert "fake, alpha 1" in err
    assert err.count("press Ctrl-C again") == warnings


def test_ctrl_c_stops_a_turn_and_the_chat_goes_on(run: Run, models: list[FakeModel]) -> None:
    models[0] = pressing_after(3)
    code, out, err = run("chat", "--max-tokens", "9", stdin=b"x\ny\n")
    assert (code, out) == (0, "aaa\naaaaaaaaa\n")
    assert "(stopped)" in err


def test_ctrl_c_twice_during_a_turn_leaves(run: Run, models: list[FakeModel]) -> None:
    models[0] = pressing_after(3, presses=2)
    assert run("chat", stdin=b"x\ny\n")[:2] == (130, "aaa\n")


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_terminal_that_sends_other_bytes_does_not_end_the_chat(
    run: Run, monkeypatch: pytest.MonkeyPatch, errors: str
) -> None:
    lines = [b"caf\xe9", b"Hi"]

    def typed(_prompt: str) -> str:
        if not lines:
            raise EOFError
        return lines.pop(0).decode("utf-8", errors)

    monkeypatch.setattr(chat_verb, "is_interactive", lambda: True)
    monkeypatch.setattr("builtins.input", typed)
    code, out, err = run("chat", "--plain")
    assert (code, out) == (0, "Hello.\n")
    assert "the line is not UTF-8 text: byte 0xe9" in err


def test_line_editing_falls_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_verb, "is_interactive", lambda: True)
    monkeypatch.setattr(lines_of_chat, "has_editor", lambda: False)
    typed = iter(["Hi", "/quit"])
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    code, out, _ = run("chat")
    assert (code, out) == (0, "Hello.\n")
