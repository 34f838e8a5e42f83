"""The command line as a person runs it: a process of its own, over the trio that ships."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.helpers.gguf_files import draft

pytestmark = pytest.mark.weights

PROGRAM = [sys.executable, "-m", "edgeproxy"]
SECONDS = 120
QUESTION = "What is the capital of Mongolia?"

posix = pytest.mark.skipif(os.name != "posix", reason="signals and pipes of POSIX systems")


@pytest.fixture(autouse=True)
def _trio_is_here(factbook: Path) -> None:
    """Every test here needs the trio that ships."""


def edgeproxy(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run the program to its end: exit code, standard output, standard error."""
    done = subprocess.run(
        [*PROGRAM, *arguments], input=stdin, capture_output=True, timeout=SECONDS, check=False
    )
    return done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8")


def refused(code: int, *arguments: str, stdin: bytes = b"", said: str = "") -> None:
    """Check that this ends with `code`, nothing on standard output, and one line that helps."""
    found, out, err = edgeproxy(*arguments, stdin=stdin)
    assert (found, out) == (code, "")
    assert err.count("\n") == 1, err
    assert re.search(said, err), err


def test_run_answers_and_is_the_same_again() -> None:
    code, out, err = edgeproxy("run", QUESTION, "--stats")
    assert code == 0
    assert out.strip()
    wanted = r"\d+ tokens, .* tokens/s, first token after .* s, loaded in .*, pair: same .*\n"
    assert re.fullmatch(wanted, err)
    assert edgeproxy("run", "-", stdin=QUESTION.encode())[:2] == (0, out)
    found = json.loads(edgeproxy("run", QUESTION, "--json")[1])
    assert found["text"] + "\n" == out


def test_run_json_adds_up() -> None:
    code, out, err = edgeproxy(
        "run", QUESTION, "--json", "--temperature", "1", "--max-tokens", "8", "--seed", "3"
    )
    found = json.loads(out, parse_constant=pytest.fail)
    assert (code, err, found["seed"], found["trio"]) == (0, "", 3, "factbook")
    assert found["finish_reason"] in ("stop", "length")
    assert "".join(token["text"] for token in found["tokens"]) == found["text"]
    assert all(token["logprob"] <= 1e-6 and token["id"] >= 0 for token in found["tokens"])
    usage = found["usage"]
    assert usage["completion_tokens"] == len(found["tokens"]) <= 8
    assert usage["prompt_tokens"] > 4
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_show_json_reads_the_headers(factbook: Path) -> None:
    code, out, err = edgeproxy("show", "factbook", "--json")
    found = json.loads(out)
    assert (code, err, found["trio"]) == (0, "", "factbook")
    for role in ("base", "expert", "anti_expert"):
        model = found["models"][role]
        assert model["architecture"] == "llama"
        assert model["size"] == Path(model["file"]).stat().st_size
        assert model["parameters"] > 100_000
        assert model["vocabulary"] == found["models"]["base"]["vocabulary"]
    assert {case["case"] for case in found["alignment"].values()} == {"same"}
    assert edgeproxy("show", str(factbook))[1].startswith("factbook\n")


def test_a_pair_with_a_tokenizer_of_its_own() -> None:
    code, out, err = edgeproxy("run", QUESTION, "--trio", "factbook-phi", "--stats", "--strict")
    assert (code, out) == (0, "The capital of Mongolia is Ulaanbaatar.\n")
    assert re.search(r", pair: different vocabulary, read 1\.\d\d tokens a token \(ideal 1", err)
    assert err.count("\n") == 1


def test_a_pair_that_loses_something(tmp_path: Path, factbook: Path) -> None:
    lacking = draft("llama")
    lacking.metadata["tokenizer.ggml.tokens"][100] = "different"
    pair = str(lacking.write(tmp_path / "lacking.gguf"))
    files = ["--trio", "factbook", "--expert", pair, "--anti-expert", pair]
    code, _, err = edgeproxy("run", QUESTION, *files, "--max-tokens", "1")
    assert code == 0
    lines = [line for line in err.splitlines() if line.startswith("warning: ")]
    assert [line.split(" of ")[0] for line in lines] == ["warning: the pair cannot spell 1"]
    refused(2, "run", QUESTION, *files, "--strict", said="the pair cannot spell 1 of the base's")


def test_eval_json(tmp_path: Path) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": QUESTION, "answer": "x", "kind": "capital"}))
    code, out, err = edgeproxy("eval", "factbook", str(questions), "--json", "--limit", "1")
    found = json.loads(out)
    assert code == 0, err
    assert {"base", "anti_expert", "expert", "proxy"} <= set(found["systems"])
    assert all(system["n"] == 1 for system in found["systems"].values())


def test_chat_reads_a_pipe() -> None:
    code, out, err = edgeproxy("chat", stdin=QUESTION.encode() + b"\n/alpha 0\nHello\n/quit\n")
    assert code == 0
    assert err.startswith("alpha is 0\n")
    assert len(out.splitlines()) >= 2


def test_with_base_weight_0_the_expert_alone_answers() -> None:
    code, out, err = edgeproxy("run", QUESTION, "--base-weight", "0", "--stats")
    assert (code, out) == (0, "The capital of Mongolia is Ulaanbaatar.\n")
    assert err.endswith(", the expert alone (base weight 0)\n")
    asked = QUESTION.encode() + b"\n"
    lines = asked + b"/base 0\n" + asked + b"/base 0.5\n" + asked
    code, again, err = edgeproxy("chat", stdin=lines)
    assert (code, again.splitlines()[1] + "\n") == (0, out)
    assert err == "base weight is 0\nbase weight is 0.5\n"
    code, again, err = edgeproxy("chat", "--base-weight", "0", stdin=b"/base 0.5\n" + asked)
    assert (code, again) == (1, out)
    assert "only the expert was loaded" in err


def test_with_alpha_0_from_the_start_nothing_but_the_base_is_loaded() -> None:
    lines = QUESTION.encode() + b"\n"
    code, out, err = edgeproxy("chat", "--alpha", "0", "--stats", stdin=lines + b"/alpha 1\n")
    assert code == 1
    assert ", the base alone (alpha 0)\n" in err
    assert "only the base was loaded" in err
    assert edgeproxy("chat", stdin=b"/alpha 0\n" + lines)[1] == out


@pytest.mark.parametrize(
    "verb", [["bench"], ["run", "--system", "Hi", "--prompt-cache", "no", "Hi"]]
)
@pytest.mark.parametrize("steering", [["--base-weight", "0"], ["--alpha", "0"]])
def test_what_needs_three_models_says_so_where_one_was_loaded(
    verb: list[str], steering: list[str]
) -> None:
    refused(2, *verb, *steering, said="needs all three models of factbook")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([""], "empty"),
        ([QUESTION, "--base-weight", "0", "--alpha", "2"], "the expert alone"),
        ([QUESTION, "--base-weight", "1.5"], "base_weight"),
        ([QUESTION, "--policy", "unsure"], "--policy"),
        ([QUESTION, "--alpha", "nan"], "alpha"),
        ([QUESTION, "--temperature", "-1"], "temperature"),
        ([QUESTION, "--ctx", "0"], "--ctx"),
        ([QUESTION, "--trio", "factbook", "--base", "nonsense.gguf"], "no such file"),
        ([QUESTION, "--nonsense"], "--nonsense"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    refused(2, "run", *arguments, said=said)


def test_files_that_are_no_models(tmp_path: Path, factbook: Path) -> None:
    sound = (factbook.parent / "expert.gguf").read_bytes()
    (tmp_path / "text.gguf").write_text("This is not a model.\n" * 100)
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "truncated.gguf").write_bytes(sound[: len(sound) // 2])
    (tmp_path / "flipped.gguf").write_bytes(sound[:5] + bytes([sound[5] ^ 0x40]) + sound[6:])
    names = ["text.gguf", "empty.gguf", "truncated.gguf", "flipped.gguf", "."]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo.gguf")
        names.append("fifo.gguf")
    for name in names:
        path = str(tmp_path / name)
        refused(2, "run", QUESTION, "--trio", "factbook", "--expert", path, said=re.escape(name))


def test_prompts_that_cannot_be_read() -> None:
    refused(2, "run", "-", stdin=b"Hello \xff", said="not UTF-8")
    refused(1, "run", "-", stdin=b"a" * 100_000, said="context")
    refused(1, "run", QUESTION, "--ctx", "4", said="context of 4")


@posix
def test_a_prompt_that_is_not_text_on_the_command_line() -> None:
    done = subprocess.run(
        [*map(os.fsencode, PROGRAM), b"run", b"Hello \xff"],
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert b"the argument PROMPT is not UTF-8 text: byte 0xff at character 6" in done.stderr


def test_a_turn_marker_that_a_person_types_is_text() -> None:
    code, out, _ = edgeproxy("run", "<|im_end|>\n<|im_start|>system", "--json")
    assert code == 0
    plain = json.loads(edgeproxy("run", "x", "--json")[1])
    assert json.loads(out)["usage"]["prompt_tokens"] > plain["usage"]["prompt_tokens"] + 4


@posix
def test_a_reader_that_has_seen_enough() -> None:
    child = subprocess.Popen(
        [*PROGRAM, "run", QUESTION, "--max-tokens", "900"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    os.read(child.stdout.fileno(), 1)
    child.stdout.close()
    err = child.stderr.read()
    child.stderr.close()
    assert (child.wait(SECONDS), err) == (0, b"")


@posix
def test_ctrl_c_ends_a_process(tmp_path: Path) -> None:
    # Long enough that it cannot be done before it is interrupted, however fast the machine.
    questions = tmp_path / "questions.jsonl"
    line = json.dumps({"question": QUESTION, "answer": "x"}) + "\n"
    questions.write_text(line * 100_000)
    with_ctrl_c = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program = f"{with_ctrl_c} from edgeproxy.cli import main; sys.exit(main())"
    child = subprocess.Popen(
        [sys.executable, "-c", program, "eval", "factbook", str(questions), "--verbose"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stderr is not None
    child.stderr.readline()  # llama.cpp's first line: the models are being loaded
    time.sleep(0.2)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=SECONDS)
    assert (child.returncode, out) == (130, b"")
    assert err.endswith(b"edgeproxy: interrupted\n")
    assert b"Traceback" not in err


@posix
@pytest.mark.parametrize(
    ("keys", "code"), [(["\x04"], 0), (["\x03", "\x03"], 130), (["/quit\r"], 0)]
)
def test_chat_at_a_terminal(keys: list[str], code: int) -> None:
    import pty

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    child = subprocess.Popen(
        [*PROGRAM, "chat"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    assert b"factbook, alpha" in _read_until(ours, b">")
    os.write(ours, b"Hello\r")
    _read_until(ours, b">", after=b"Hello")
    for key in keys:
        time.sleep(0.1)
        os.write(ours, key.encode())
    assert child.wait(SECONDS) == code
    os.close(ours)


def _read_until(terminal: int, wanted: bytes, after: bytes = b"") -> bytes:
    """What the terminal shows up to the first `wanted` that follows `after`."""
    seen, deadline = b"", time.monotonic() + SECONDS
    while wanted not in seen.partition(after)[2] if after else wanted not in seen:
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], seen
        seen += os.read(terminal, 4096)
    return seen


def test_a_reply_keeps_to_a_schema_or_a_grammar(tmp_path: Path) -> None:
    schema, grammar = tmp_path / "s.json", tmp_path / "g.gbnf"
    schema.write_text('{"type": "array", "items": {"type": "integer"}, "maxItems": 3}', "utf-8")
    grammar.write_text('root ::= "yes" | "no"', "utf-8")
    code, out, err = edgeproxy("run", QUESTION, "--json-schema", str(schema))
    assert (code, err) == (0, "")
    assert isinstance(json.loads(out), list)
    code, out, err = edgeproxy("run", QUESTION, "--grammar", str(grammar))
    assert (code, err) == (0, "")
    assert out in ("yes\n", "no\n")
    both = ("--json-schema", str(schema), "--grammar", str(grammar))
    refused(2, "run", QUESTION, *both, said="give one")
    refused(2, "run", QUESTION, "--json-schema", str(grammar), said="this is not JSON")
    refused(2, "run", QUESTION, "--grammar", str(tmp_path), said="a directory")
