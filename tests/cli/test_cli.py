"""The command line as a whole, with models that answer from a table: no weights, milliseconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy import __version__
from edgeproxy.cli import VERBS
from edgeproxy.cli.ui import output
from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import EngineError, ModelFileError, UsageError, VocabularyError
from edgeproxy.session import load as loader
from tests.helpers.command_line import Run
from tests.helpers.fake_sessions import FakeSession


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
