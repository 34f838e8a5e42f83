"""The command line, with models that answer from a table: no weights, milliseconds."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy import __version__
from edgeproxy.__main__ import main as started
from edgeproxy.align import Cost, Match
from edgeproxy.cli import VERBS, main
from edgeproxy.cli import chat as chat_verb
from edgeproxy.cli.chatting import lines as lines_of_chat
from edgeproxy.cli.ui import output
from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.stats import pair_in_words
from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import EngineError, ModelFileError, UsageError, VocabularyError
from edgeproxy.prompts.formats import plain
from edgeproxy.session import load as loader
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import SoloSpeaker
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import FakeModel, fake_vocab, saying, script
from tests.helpers.gguf_files import draft

REPLIES = {
    "Hi\n": "Hello.",
    "Lines\n": "one\ntwo",
    "Capital?\n": "It is Lima.\nAnd more",
    "Escape\n": "\x1b[31mred\u202e",
    "Unicode\n": "Ünïcödé 🙂",
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Ctrl-C as at a terminal, also where the tests themselves run behind `nohup`."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture
def models() -> list[FakeModel]:
    return [saying(REPLIES) for _ in range(3)]


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch, models: list[FakeModel]) -> list[FakeSession]:
    """The sessions opened so far; `loader.load` opens fakes."""
    made: list[FakeSession] = []

    def load(trio: object, *, cancel: Cancel, **asked: Any) -> FakeSession:
        made.append(FakeSession(models, trio=trio, **asked))
        return made[-1]

    monkeypatch.setattr(loader, "load", load)
    return made


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    sessions: list[FakeSession],
) -> Run:
    """Run the command line in this process: exit code, standard output, standard error."""

    def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


# The whole


def test_help_needs_neither_numpy_nor_llama_cpp() -> None:
    code = (
        "import sys; from edgeproxy.cli import main; assert main(['--help']) == 0; "
        "sys.exit(str({'numpy', 'llama_cpp', 'jinja2', 'logging'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == "set()\n"
    assert all(verb in done.stdout for verb in VERBS)


def test_each_verb_has_help_and_the_summary_that_the_list_shows(run: Run) -> None:
    from importlib import import_module

    for verb, summary in VERBS.items():
        code, out, _ = run(verb, "--help")
        assert code == 0
        assert f"Usage: edgeproxy {verb}" in out
        assert import_module(f"edgeproxy.cli.{verb}").command.short_help == summary


def test_help_tells_what_is_on_when_tokens_are_drawn(run: Run) -> None:
    said, usual = " ".join(run("run", "--help")[1].split()), Sampling()
    assert "as it is only with --top-k 0 --top-p 1 --min-p 0" in said
    assert f"Draw among the N best; 0 is off. [default: {usual.top_k}]" in said
    assert f"Draw among the best that sum to P; 1 is off. [default: {usual.top_p}]" in said
    assert f"less than P of the best's share; 0 is off. [default: {usual.min_p}]" in said
    assert f"repeat less. [default: {usual.repeat_penalty:g}]" in said
    assert "the text is the same, bar rounding" in said


def test_without_a_verb_the_help(run: Run) -> None:
    assert run()[:2] == run("--help")[:2]
    assert run("--version")[:2] == (0, f"edgeproxy {__version__}\n")


@pytest.mark.parametrize("verb", ["bundle", "index", "sessions"])
def test_a_verb_that_has_verbs_says_without_one_which(run: Run, verb: str) -> None:
    assert run(verb) == run(verb, "--help")
    assert run(verb)[1].startswith(f"Usage: edgeproxy {verb} ")


def test_choices_are_named_in_a_line(run: Run) -> None:
    assert "Choose from: bash, zsh, fish. See: edgeproxy completion --help" in run("completion")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["nonsense"],
        ["run"],
        ["run", "Hi", "there"],
        ["run", "Hi", "--nonsense"],
        ["run", ""],
        ["run", " \n"],
        ["run", "Hi", "--temperature", "-1"],
        ["run", "Hi", "--temperature", "nan"],
        ["run", "Hi", "--temperature", "warm"],
        ["run", "Hi", "--alpha", "nan"],
        ["run", "Hi", "--alpha", "inf"],
        ["run", "Hi", "--plausibility", "2"],
        ["run", "Hi", "--top-p", "nan"],
        ["run", "Hi", "--top-k", "-1"],
        ["run", "Hi", "--top-k", "99999999999999999999"],
        ["run", "Hi", "--min-p", "1.5"],
        ["run", "Hi", "--repeat-penalty", "0"],
        ["run", "Hi", "--ctx", "0"],
        ["run", "Hi", "--ctx", "-5"],
        ["run", "Hi", "--ctx", "99999999999"],
        ["run", "Hi", "--threads", "0"],
        ["run", "Hi", "--max-tokens", "0"],
        ["run", "Hi", "--seed", "-1"],
        ["run", "Hi", "--seed", "4294967296"],
        ["chat", "--temperature", "-1"],
        ["show", "nonsense"],
        ["show", "/nonsense/trio.toml"],
        ["eval", "factbook"],
        ["eval", "factbook", "/nonsense.jsonl"],
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(run: Run, arguments: list[str]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("edgeproxy: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (EngineError("it failed"), 1, "it failed"),
        (UsageError("not so"), 2, "not so"),
        (VocabularyError("it loses"), 2, "it loses"),
        (ModelFileError("a\x1b[2J\nb.gguf", "it is bad"), 2, r"a\x1b[2J b.gguf: it is bad"),
        (MemoryError(), 1, "there is not enough memory"),
        (FileNotFoundError(2, "No such file", "x"), 1, "x: No such file"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("by zero"), 1, "this is a bug in edgeproxy: ZeroDivisionError: by zero"),
        (BrokenPipeError(), 0, None),
    ],
)
def test_every_error_is_one_line_and_a_code(
    run: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str | None
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(loader, "load", fail)
    monkeypatch.setattr("edgeproxy.cli.silence_stdout", lambda: None)
    found, _, err = run("run", "Hi")
    assert found == code
    assert err.count("\n") == (said is not None)
    assert said is None or f"edgeproxy: {said}" in err


def test_a_traceback_is_there_for_the_asking(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_DEBUG", "1")
    assert "Traceback" in run("run", "")[2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "caf\udce9"], "the argument PROMPT is not UTF-8 text: byte 0xe9 at character 3;"),
        (["run", "Hi", "--system", "\udce9"], "--system is not UTF-8 text: byte 0xe9 at charac"),
        (["chat", "--system", "H\0i\0"], "--system has a NUL at character 1, which is not text"),
        (["bench", "--ask", "Hi", "--ask", "\udcff"], "--ask is not UTF-8 text: byte 0xff at char"),
        (["run", "\ud83d"], "the argument PROMPT holds '\\ud83d' at character 0, half of a surro"),
    ],
)
def test_an_argument_that_is_no_text(run: Run, arguments: list[str], said: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"edgeproxy: {said}")


def test_a_latin_1_argument_of_a_real_process() -> None:
    if os.name != "posix":
        pytest.skip("arguments are not bytes here")
    command = [sys.executable.encode(), b"-m", b"edgeproxy", b"run", b"caf\xe9"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"the argument PROMPT is not UTF-8 text: byte 0xe9 at character 3" in done.stderr


def test_flags_reach_the_loader(run: Run, sessions: list[FakeSession]) -> None:
    run("run", "Hi")
    run("run", "Hi", "--base", "b", "--expert", "e", "--anti-expert", "a")
    run("run", "Hi", "--trio", "mine", "--base", "b", "--alpha", "0.5", "--ctx", "9", "--strict")
    first, second, third = (session.asked for session in sessions)
    assert first["trio"] == "factbook"
    assert (second["trio"], second["base"], second["anti_expert"]) == (None, Path("b"), Path("a"))
    assert (third["trio"], third["base"], third["alpha"]) == ("mine", Path("b"), 0.5)
    assert third["n_ctx"] == 9
    assert [first["strict"], third["strict"]] == [False, True]


@pytest.mark.parametrize("verb", ["run", "chat", "eval"])
def test_what_a_pair_loses_is_told_once(
    run: Run, monkeypatch: pytest.MonkeyPatch, trio: Path, questions: Path, verb: str
) -> None:
    monkeypatch.setattr(FakeSession, "loses", ["it cannot say a", "nor\x1b b"])
    arguments = {"run": ["Hi"], "chat": [], "eval": [str(trio), str(questions), "--threads", "1"]}
    code, _, err = run(verb, *arguments[verb], stdin=b"Hi\nHi\n")
    assert (code, err) == (0, "warning: it cannot say a\nwarning: nor\\x1b b\n")


# Terminals


def test_a_terminal_gets_no_control_characters(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("run", "Escape")[1] == "\x1b[31mred\u202e\n"
    monkeypatch.setattr(output, "is_terminal", lambda _stream: True)
    assert run("run", "Escape")[1] == "\ufffd[31mred\u202e\n"
    assert output.clean("a\x00\r\x7f\x9b\n\té") == "a\ufffd\ufffd\ufffd\ufffd\n\té"
    assert output.clean_message("a\nb\u202e\x9b") == "a b\\u202e\\x9b"


def test_a_status_line_wipes_itself(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = output.StatusLine(patience=0)
    quiet.show("nobody sees this")
    monkeypatch.setattr(output, "is_terminal", lambda _stream: True)
    hasty = output.StatusLine()
    hasty.show("too early")
    hasty.clear()
    seen = output.StatusLine(patience=0)
    seen.show("halfway")
    seen.clear()
    assert capsys.readouterr().err == "\rhalfway\r       \r"


# run


def test_run_prints_the_reply_alone(run: Run) -> None:
    assert run("run", "Hi") == (0, "Hello.\n", "")
    assert run("run", "Unicode")[1] == "Ünïcödé 🙂\n"


def test_run_reads_standard_input(run: Run) -> None:
    assert run("run", "-", stdin=b"Hi\n") == (0, "Hello.\n", "")
    assert run("run", "-", stdin=b"\xef\xbb\xbfHi\r\n") == (0, "Hello.\n", "")
    code, out, err = run("run", "-", stdin=b"H\xffi")
    assert (code, out) == (2, "")
    assert "not UTF-8 text: byte 0xff at offset 1" in err
    assert run("run", "-")[0] == 2


def test_run_says_why_a_reply_ended_early(run: Run) -> None:
    code, out, err = run("run", "Hi", "--max-tokens", "3")
    assert (code, out) == (0, "Hel\n")
    assert "--max-tokens" in err


def test_run_json(run: Run) -> None:
    code, out, err = run("run", "Hi", "--json", "--seed", "7", "--alpha", "0.5")
    found = json.loads(out, parse_constant=pytest.fail)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert list(found) == [
        "text",
        "finish_reason",
        "tokens",
        "usage",
        "alpha",
        "base_weight",
        "plausibility",
        "expert_ends",
        "seed",
        "trio",
        "changed",
    ]
    assert found["text"] == "Hello." == "".join(token["text"] for token in found["tokens"])
    assert found["finish_reason"] == "stop"
    assert (found["alpha"], found["seed"], found["trio"]) == (0.5, 7, "fake")
    assert found["tokens"][0] == {
        "id": ord("H"),
        "text": "H",
        "logprob": pytest.approx(0, abs=1e-3),
    }
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
    assert found["changed"] == {"tokens": 0, "of": 7, "share": 0.0}


def test_run_json_draws_a_seed(run: Run) -> None:
    seeds = {json.loads(run("run", "Hi", "--json")[1])["seed"] for _ in range(3)}
    assert len(seeds) > 1


def test_run_json_keeps_text_that_came_late(run: Run) -> None:
    found = json.loads(run("run", "Unicode", "--json", "--max-tokens", "3")[1])
    assert found["text"] == "Ün\ufffd"[: len(found["text"])]
    assert "".join(token["text"] for token in found["tokens"]) == found["text"]


def test_stats_tell_what_was_drafted(run: Run) -> None:
    for mode in ("off", "ngram", "expert", "auto"):
        _, out, err = run("run", "Hi", "--stats", "--draft", mode)
        assert out == "Hello.\n"
        assert f"drafts: {mode}" in err
    code, _, err = run("run", "Hi", "--draft", "sideways")
    assert code == 2
    assert "sideways" in err


def test_stats_are_one_line(run: Run) -> None:
    _, out, err = run("run", "Hi", "--stats")
    assert out == "Hello.\n"
    assert err.count("\n") == 1
    assert all(part in err for part in ("7 tokens", "tokens/s", "first token", "loaded in"))
    assert ", pair: same vocabulary, drafts: auto, " in err
    assert ", threads: 1 for the base, 1 for the pair, " in err
    little = "of so few tokens that says little; 13 to 25% is usual over longer replies"
    assert err.endswith(f", the pair changed 0% of the tokens ({little})\n")


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ([], ""),
        ([None], ""),
        ([Cost(0, 0, 0)], ""),
        ([Cost(100, 131, 122)], ", read 1.31 tokens a token (ideal 1.22, 1.07x)"),
        (
            [Cost(10, 12, 10), None, Cost(30, 36, 30)],
            ", read 1.20 tokens a token (ideal 1.00, 1.20x)",
        ),
    ],
)
def test_stats_tell_what_the_pair_took(
    run: Run, sessions: list[FakeSession], costs: list[Cost | None], said: str
) -> None:
    run("run", "Hi")
    (session,) = sessions
    session.matches = {"expert": Match("permuted", 9), "anti_expert": Match("different", 5)}
    assert pair_in_words(session, costs) == f"pair: different vocabulary{said}"


def test_a_system_message_comes_first(run: Run, models: list[FakeModel]) -> None:
    run("run", "Hi", "--system", "Be kind.")
    assert bytes(models[0].history).startswith(b"Be kind.\nHi\n")


# Ctrl-C


def pressing_after(n: int, presses: int = 1) -> FakeModel:
    """A model during whose n-th eval Ctrl-C is pressed; it would talk for ever."""
    vocab = fake_vocab()
    evals = 0

    def row(_history: Sequence[int]) -> NDArray[np.float32]:
        nonlocal evals
        evals += 1
        if evals == n:
            for _ in range(presses):
                signal.raise_signal(signal.SIGINT)
        return script({"": "a"}, vocab)([])

    return FakeModel(row, vocab=vocab)


def test_ctrl_c_stops_a_reply_and_keeps_what_was_written(run: Run, models: list[FakeModel]) -> None:
    models[0] = pressing_after(3)
    assert run("run", "x", "--max-tokens", "1000") == (130, "aaa\n", "edgeproxy: interrupted\n")


def test_ctrl_c_while_loading(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    load = loader.load

    def slow_load(*arguments: Any, **settings: Any) -> Session:
        signal.raise_signal(signal.SIGINT)
        assert settings["cancel"].is_set()
        return load(*arguments, **settings)

    monkeypatch.setattr(loader, "load", slow_load)
    assert run("run", "Hi") == (130, "", "edgeproxy: interrupted\n")


def test_ctrl_c_before_the_command_line_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Pressing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "edgeproxy.cli":
                raise KeyboardInterrupt

    monkeypatch.setattr(sys, "meta_path", [Pressing(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "edgeproxy.cli")
    assert started() == 130
    assert capsys.readouterr() == ("", "edgeproxy: interrupted\n")


def test_ctrl_c_calls_stop_and_never_raises_before_the_third() -> None:
    flag = Flag()
    with on_interrupt(flag.set) as presses:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert flag.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert presses.count == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with on_interrupt(lambda: None) as presses:
        signal.raise_signal(signal.SIGINT)
    assert presses.count == 0


# chat


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


class Typist:
    """Types these lines; an exception among them is raised, and the end is Ctrl-D."""

    def __init__(self, *lines: str | type[BaseException]) -> None:
        self._lines = list(lines)

    def __call__(self, text: str = "") -> str:
        line = self._lines.pop(0) if self._lines else EOFError
        if isinstance(line, str):
            return line
        raise line


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


# show


@pytest.fixture
def drafted(tmp_path: Path) -> Callable[..., Path]:
    """Writes a trio of small files; the expert's tokens, and the anti-expert's, are changed."""

    def write(*changes: Callable[[dict[str, Any]], object]) -> Path:
        lines = ['name = "drafted"']
        for role, change in zip(("base", "expert", "anti_expert"), (len, *changes), strict=True):
            made = draft("llama")
            change(made.metadata)
            for name in ("token_embd.weight", "output.weight"):
                made.tensors[name] = ((32, len(made.metadata["tokenizer.ggml.tokens"])), 0)
            made.write(tmp_path / f"{role}.gguf")
            lines += [f"[{role}]", f'file = "{role}.gguf"']
        path = tmp_path / "trio.toml"
        path.write_text("\n".join(lines))
        return path

    return write


def longer(metadata: dict[str, Any]) -> None:
    metadata["tokenizer.ggml.tokens"].append("<unused>")
    metadata["tokenizer.ggml.token_type"].append(5)


def reversed_words(metadata: dict[str, Any]) -> None:
    metadata["tokenizer.ggml.tokens"][3:] = metadata["tokenizer.ggml.tokens"][:2:-1]


def without_a_byte(metadata: dict[str, Any]) -> None:
    metadata["tokenizer.ggml.tokens"][100] = "different"


@pytest.mark.parametrize(
    ("changes", "alignments", "lines"),
    [
        (
            (len, longer),
            [("same", 268, 0), ("padded", 268, 0)],
            [
                "expert fits        same: the base's own vocabulary; a row costs nothing more",
                "anti-expert fits   padded: the first 268 of the base's 268 tokens; "
                "a row costs a slice more",
            ],
        ),
        (
            (reversed_words, without_a_byte),
            [("permuted", 268, 0), ("different", 264, 1)],
            [
                "expert fits        permuted: 268 of the base's 268 tokens, under other ids; "
                "a row costs a gather more",
                "anti-expert fits   different: 264 of the base's 265 tokens of text are one token "
                "of its own; a row costs a projection through bytes and some reading again",
                "anti-expert lacks  1 of the base's 265 tokens of text: there it has no say",
            ],
        ),
    ],
)
def test_show_names_the_case_and_what_it_costs(
    run: Run,
    drafted: Callable[..., Path],
    changes: tuple[Callable[[dict[str, Any]], object], ...],
    alignments: list[tuple[str, int, int]],
    lines: list[str],
) -> None:
    path = str(drafted(*changes))
    code, out, err = run("show", path)
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if " fits " in line or " lacks " in line] == lines
    found = json.loads(run("show", path, "--json")[1])["alignment"]
    assert list(found) == ["expert", "anti_expert"]
    for alignment, (case, shared, unspelled) in zip(found.values(), alignments, strict=True):
        assert alignment == {
            "case": case,
            "shared": shared,
            "unspelled": unspelled,
            "tokens": 268,
            "text_tokens": 265,
        }


# eval


@pytest.fixture
def trio(tmp_path: Path) -> Path:
    roles = "".join(f'[{r}]\nfile = "none.gguf"\n' for r in ("base", "expert", "anti_expert"))
    path = tmp_path / "trio.toml"
    path.write_text(f'name = "fake"\n{roles}')
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text(
        '{"question": "Capital?", "answer": ["Quito", "Lima"], "kind": "city"}\n'
        '{"question": "Lines", "answer": "two", "kind": "line"}\n'
    )
    return path


def test_eval_json(run: Run, trio: Path, questions: Path, tmp_path: Path) -> None:
    replies = tmp_path / "replies.jsonl"
    arguments = ("--json", "--threads", "1", "--replies", str(replies))
    code, out, err = run("eval", str(trio), str(questions), *arguments)
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert list(found) == [
        "trio",
        "alpha",
        "base_weight",
        "plausibility",
        "expert_ends",
        "questions",
        "systems",
        "gap_closed",
        "comparisons",
        "general",
        "seconds",
    ]
    assert list(found["systems"]) == ["base", "anti_expert", "expert", "proxy"]
    assert found["questions"] == 2
    assert found["gap_closed"] is None
    proxy = found["systems"]["proxy"]
    assert (proxy["accuracy"], proxy["n"], proxy["f1"], proxy["said"]) == (0.5, 2, None, None)
    assert proxy["interval"] == pytest.approx([0.0945, 0.9055], abs=1e-4)
    assert {kind: of["accuracy"] for kind, of in proxy["kinds"].items()} == {"city": 1.0, "line": 0}
    pairs = [(pair["one"], pair["other"], pair["p"]) for pair in found["comparisons"]]
    assert pairs == [("proxy", "base", 1.0), ("proxy", "expert", 1.0)]
    assert found["general"] is None
    assert found["systems"]["base"]["accuracy"] == 0.0
    lines = [json.loads(line) for line in replies.read_text().splitlines()]
    assert len(lines) == 8
    assert {
        "question": "Capital?",
        "kind": "city",
        "answer": ["Quito", "Lima"],
        "system": "proxy",
        "reply": "It is Lima.",
        "judge": "contains",
        "right": True,
    } in lines


def test_eval_as_text(run: Run, trio: Path, questions: Path) -> None:
    arguments = ("--threads", "1", "--systems", "proxy,anti-expert", "--limit", "1", "--stats")
    code, out, err = run("eval", str(trio), str(questions), *arguments)
    assert code == 0
    assert out.splitlines()[:4] == [
        "kind  n  anti-expert      proxy",
        "city  1         0.0%     100.0%",
        "all   1         0.0%     100.0%",
        "95%          [0, 79]  [21, 100]",
    ]
    assert "2 replies in" in err
    assert err.endswith(", pair: same vocabulary\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--systems", "nonsense"],
        ["--systems", "tuned"],
        ["--systems", ""],
        ["--replies", "/nonsense/replies"],
        ["--limit", "0"],
        ["--judge", "nobody"],
        ["--systems", "expert/alpha=2"],
        ["--systems", "proxy/"],
        ["--systems", "proxy/beta=1"],
        ["--systems", "proxy/alpha=much"],
        ["--systems", "proxy/base_weight=2"],
        ["--systems", "proxy/policy=unsure"],
        ["--systems", "proxy/base_weight=0/alpha=2"],
        ["--general", "/nonsense.jsonl"],
        ["--general", "{questions}", "--systems", "proxy"],
        ["--rejudge"],
        ["--rejudge", "--resume", "--replies", "x"],
    ],
)
def test_eval_wrong_usage(run: Run, trio: Path, questions: Path, arguments: list[str]) -> None:
    given = [word.format(questions=questions) for word in arguments]
    code, out, err = run("eval", str(trio), str(questions), *given)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_eval_does_not_overwrite_its_questions(run: Run, trio: Path, questions: Path) -> None:
    before = questions.read_text()
    assert run("eval", str(trio), str(questions), "--replies", str(questions))[0] == 2
    assert questions.read_text() == before


def test_eval_stops_at_ctrl_c(
    run: Run, trio: Path, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def solo(session: FakeSession, role: str) -> SoloSpeaker:
        signal.raise_signal(signal.SIGINT)
        return SoloSpeaker(saying({}), plain)

    monkeypatch.setattr(FakeSession, "solo", solo)
    code, out, err = run("eval", str(trio), str(questions), "--threads", "1")
    assert (code, out, err) == (130, "", "edgeproxy: interrupted\n")


def test_a_system_that_fails_ends_the_evaluation(
    run: Run, trio: Path, questions: Path, models: list[FakeModel]
) -> None:
    models[:] = [saying(REPLIES, n_ctx=4) for _ in range(3)]
    code, out, err = run("eval", str(trio), str(questions), "--threads", "1")
    assert (code, out) == (1, "")
    assert "context of 4" in err


@pytest.mark.parametrize("verb", [["run", "Hi"], ["chat"]])
def test_prompt_formats_are_named_for_roles(
    run: Run, sessions: list[FakeSession], verb: list[str]
) -> None:
    given = ["expert=chatml", "anti-expert=gguf", "base=plain", "tuned=gemma"]
    run(*verb, *(word for each in given for word in ("--prompt", each)))
    assert sessions[0].asked["prompts"] == {
        "expert": "chatml",
        "anti_expert": "gguf",
        "base": "plain",
        "tuned": "gemma",
    }
    run(*verb, "--prompt", "anti_expert=zephyr")
    assert sessions[1].asked["prompts"] == {"anti_expert": "zephyr"}
    run(*verb)
    assert sessions[2].asked["prompts"] == {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("chatml", "'chatml': write ROLE=FORMAT, where ROLE is one of base, expert, anti-expert"),
        ("=chatml", "write ROLE=FORMAT"),
        ("nobody=chatml", "anti-expert, tuned. See: edgeproxy "),
        ("expert", "there are plain, chatml, zephyr, llama2, llama3, gemma, phi3, mistral, gguf"),
        ("expert=", "there are plain, chatml, zephyr, llama2, llama3, gemma, phi3, mistral, gguf"),
        ("expert=ChatML", "no prompt format 'ChatML'; there are plain, chatml"),
        ("judge=chatml", "'judge=chatml': write ROLE=FORMAT"),
    ],
)
def test_a_prompt_format_that_cannot_be_is_refused(run: Run, given: str, said: str) -> None:
    code, out, err = run("run", "Hi", "--prompt", given)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_the_help_of_prompt_formats_names_them_all(run: Run) -> None:
    from edgeproxy.prompts.formats import FORMATS, FROM_FILE

    _, out, _ = run("run", "--help")
    text = " ".join(out.partition("--prompt ROLE=FORMAT")[2].split())
    assert all(name in text[:400] for name in [*FORMATS, FROM_FILE])
