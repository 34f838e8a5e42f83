"""JSON lines over standard input and output: what is answered, what is refused, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy import __version__
from edgeproxy.errors import ModelFileError
from edgeproxy.serve import pipes, stdio
from tests.conftest import left_out
from tests.helpers.stdio_fakes import (
    GUARD_SECONDS,
    REPLY,
    FakeEngine,
    Host,
)

REPOSITORY = Path(__file__).parents[2]
SHORT_LINE = 10_000


@pytest.fixture
def host() -> Iterator[Host]:
    with Host(longest_line=SHORT_LINE) as made:
        assert made.hear()["event"] == "ready"
        yield made


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is slow to take what is left counts as alive."""
    monkeypatch.setattr(pipes, "PATIENCE_SECONDS", GUARD_SECONDS)


def error_of(event: dict[str, Any]) -> dict[str, Any]:
    assert event["event"] == "error"
    found = event["data"]["error"]
    assert isinstance(found, dict)
    return found


# What is answered


def test_the_first_line_says_that_it_is_ready() -> None:
    with Host() as host:
        assert host.hear() == {
            "event": "ready",
            "pid": os.getpid(),
            "trio": "fake",
            "version": __version__,
        }


def test_a_stream_comes_in_chunks(host: Host) -> None:
    host.ask("1", stream=True)
    *chunks, last = host.hear_of("1")
    assert {chunk["event"] for chunk in chunks} == {"chunk"}
    assert tuple(c["data"]["choices"][0]["delta"]["content"] for c in chunks) == REPLY
    assert last == {"id": "1", "event": "done"}
    assert host.engine.counts_who == [stdio.WHO]


@pytest.mark.parametrize("do", ["chat", "completions", "responses", "explain"])
def test_a_plain_call_gets_one_answer(host: Host, do: str) -> None:
    host.ask("a", do=do)
    assert host.hear_of("a") == [{"id": "a", "event": "answer", "data": {"text": "".join(REPLY)}}]


def test_an_explanation_has_an_event_of_its_own(host: Host) -> None:
    host.ask("a", do="explain", stream=True)
    assert [each["event"] for each in host.hear_of("a")][-2:] == ["explanation", "done"]


def test_tokens_are_counted_and_facts_told(host: Host) -> None:
    host.ask("1", "12345", do="count")
    assert host.hear_of("1")[0]["data"] == {"input_tokens": 5}
    for do, told in {"models": {"data": ["fake"]}, "health": {"status": "ok"}}.items():
        host.say({"id": do, "do": do})
        assert host.hear_of(do) == [{"id": do, "event": "answer", "data": told}]


def test_several_are_under_way_and_one_is_cancelled(host: Host) -> None:
    host.ask("waits", "Wait")
    host.ask("another", stream=True)
    assert host.hear_of("another")[-1]["event"] == "done"
    assert not host.engine.withdrawn.is_set()
    host.say({"do": "cancel", "id": "waits"})
    assert host.hear_of("waits") == [{"id": "waits", "event": "cancelled"}]
    assert host.engine.withdrawn.is_set()


def test_one_that_takes_long_to_read_holds_nothing_up_and_can_be_cancelled(host: Host) -> None:
    host.ask("slow", slow=True)
    host.say({"id": "well", "do": "health"})
    assert host.hear() == {"id": "well", "event": "answer", "data": {"status": "ok"}}
    host.say({"do": "cancel", "id": "slow"})
    assert host.hear() == {"id": "slow", "event": "cancelled"}
    host.engine.may_read.set()


def test_requests_are_asked_in_the_order_they_came_in(host: Host) -> None:
    names = [f"{n}" for n in range(40)]
    host.ask("slow", slow=True)
    for name in names:
        host.ask(name)
    host.say({"id": "well", "do": "health"})
    assert host.hear()["id"] == "well"
    host.engine.may_read.set()
    assert [host.hear()["id"] for _ in ("slow", *names)] == ["slow", *names]


def test_a_reply_under_way_is_cancelled(host: Host) -> None:
    host.ask("1", "Long", stream=True)
    assert host.hear()["event"] == "chunk"
    host.say({"do": "cancel", "id": "1"})
    assert host.hear_of("1")[-1]["event"] == "cancelled"
    assert host.engine.withdrawn.is_set()


def test_to_cancel_what_has_ended_does_nothing(host: Host) -> None:
    host.say({"do": "cancel", "id": "1"})
    host.ask("1")
    assert host.hear()["event"] == "answer"
    host.say({"do": "cancel", "id": "1"})
    host.ask("1")
    assert host.hear()["event"] == "answer"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("what", "kind"), [("Fail", "EngineError"), ("Bug", "KeyError"), ("a\0b", "PromptError")]
)
def test_what_fails_gets_one_error_and_others_are_answered(
    host: Host, what: str, kind: str, stream: bool
) -> None:
    host.ask("1", what, stream=stream)
    events = host.hear_of("1")
    assert error_of(events[-1])["type"] == kind
    assert [each["event"] for each in events].count("error") == 1
    host.ask("1")
    assert host.hear()["event"] == "answer"


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_no_json_is_an_error_and_never_sent(host: Host, stream: bool) -> None:
    host.ask("1", odd=True, stream=stream)
    assert error_of(host.hear())["type"] == "ValueError"


def test_a_status_stands_beside_an_error(host: Host) -> None:
    host.say({"id": "1", "do": "chat", "body": {"messages": 3}})
    event = host.hear()
    assert event["data"]["status"] == 400
    assert error_of(event)["param"] == "messages"


# What is refused


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"hello", "no_json"),
        (b"[1, 2]", "no_json"),
        (b"null", "no_json"),
        (b'{"id": "1"', "no_json"),
        (b'{"id": "1", "do": "health"}\0', "no_json"),
        (b'{"id": "\xff", "do": "health"}', "no_json"),
        (b"\xff\xfe{\0}\0", "no_json"),
        (b'{"id": "1", "do": "chat", "body": {"seed": NaN}}', "no_json"),
        (b'{"id": "1", "do": "chat", "body": {"seed": 1e999}}', "no_json"),
        (b'{"a":' * 1500 + b"1" + b"}" * 1500, "no_json"),
        (b'{"id": "' + b"x" * SHORT_LINE + b'", "do": "health"}', "line_too_long"),
        (b'{"id": 1, "do": "health"}', "wrong_id"),
        (b'{"id": "", "do": "health"}', "wrong_id"),
        (b'{"id": null, "do": "health"}', "wrong_id"),
        (b'{"id": ["1"], "do": "health"}', "wrong_id"),
        (b'{"id": "\\ud800", "do": "health"}', "wrong_id"),
        (b'{"id": "a\\u0000b", "do": "health"}', "wrong_id"),
        (b'{"id": "' + b"x" * 201 + b'", "do": "health"}', "wrong_id"),
        (b'{"do": "health"}', "wrong_id"),
        (b'{"do": "cancel"}', "wrong_id"),
        (b'{"do": "cancel", "id": {}}', "wrong_id"),
        (b'{"do": "cancel", "id": "1", "why": "so"}', "unknown_field"),
        (b'{"do": "close", "now": true}', "unknown_field"),
        (b'{"id": "waits", "do": "health"}', "doubled_id"),
    ],
)
def test_a_line_that_is_no_request_is_one_error(host: Host, line: bytes, code: str) -> None:
    host.ask("waits", "Wait")
    host.say(line)
    event = host.hear()
    assert (event["id"], event["line"]) == (None, 2)
    assert error_of(event)["code"] == code
    host.say({"id": "1", "do": "health"})
    assert host.hear()["event"] == "answer"


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"do": "train"}, "unknown_do"),
        ({"do": 1}, "unknown_do"),
        ({"do": ["chat"]}, "unknown_do"),
        ({}, "unknown_do"),
        ({"do": "chat"}, "wrong_body"),
        ({"do": "count", "body": [1]}, "wrong_body"),
        ({"do": "health", "body": {}}, "unknown_field"),
        ({"do": "chat", "body": {}, "\ud800": 1}, "unknown_field"),
    ],
)
def test_a_request_that_is_wrong_gets_the_error_under_its_id(
    host: Host, more: dict[str, Any], code: str
) -> None:
    host.say({"id": "1", **more})
    event = host.hear()
    assert event["id"] == "1"
    assert error_of(event)["code"] == code


def test_ends_of_lines_may_be_those_of_windows_and_lines_may_be_empty(host: Host) -> None:
    host.say(b'\xef\xbb\xbf{"id": "1", "do": "health"}\r\n\r\n  \n')
    assert host.hear()["event"] == "answer"
    host.say(b"no\r")
    assert host.hear()["line"] == 5


def test_too_many_under_way_are_refused(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    monkeypatch.setattr(stdio, "MOST_UNDER_WAY", 2)
    for name in ("1", "2", "3"):
        host.ask(name, "Wait")
    event = host.hear()
    assert (event["id"], event["data"]["status"]) == ("3", 429)
    host.say({"do": "cancel", "id": "1"})
    assert host.hear()["event"] == "cancelled"
    host.ask("3")
    assert host.hear()["event"] == "answer"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
IDS = st.one_of(st.text(max_size=3), JSON)
ORDERS = st.fixed_dictionaries(
    {},
    optional={
        "id": IDS,
        "do": st.sampled_from(["chat", "count", "cancel", "models", "explain", "x"]) | JSON,
        "body": JSON | st.fixed_dictionaries({"messages": JSON, "stream": JSON}),
        "more": JSON,
    },
)
LINES = st.one_of(
    st.binary(max_size=50),
    JSON.map(lambda value: json.dumps(value).encode()),
    ORDERS.map(lambda order: json.dumps(order).encode()),
    st.tuples(ORDERS, st.integers(0, 40)).map(
        lambda cut: json.dumps(cut[0]).encode()[: -cut[1] or None]
    ),
)


def test_life_goes_on_after_any_line() -> None:
    with Host(longest_line=SHORT_LINE) as host:
        assert host.hear()["event"] == "ready"

        @given(st.lists(LINES, max_size=5))
        def say(lines: list[bytes]) -> None:
            said = [line for whole in lines for line in whole.split(b"\n") if line.strip()]
            for line in said:
                host.say(line)
            host.say({"id": "the last one", "do": "health"})
            ends = 0
            while (event := host.hear()).get("id") != "the last one":
                ends += event["event"] in ("done", "answer", "error", "cancelled")
            assert event["event"] == "answer"
            assert ends <= len(said)

        say()


# How it ends


def test_the_end_of_the_input_ends_what_is_under_way() -> None:
    with Host() as host:
        host.ask("1", "Wait")
        host.ask("2", "Long", stream=True)
        assert host.engine.began.wait(GUARD_SECONDS)
        host.end()
        host.rest()
        assert host.engine.withdrawn.is_set()
        assert host.raised is None


def test_the_end_of_the_input_is_heard_while_models_load() -> None:
    with Host(FakeEngine(loads=False)) as host:
        host.end()
        assert host.rest() == []
        assert host.raised is None


@pytest.mark.usefixtures("_patient")
def test_an_error_that_loading_raises_is_told_and_raised() -> None:
    with Host(FakeEngine(fails=True)) as host:
        event = host.hear()
        assert event["id"] is None
        assert "base.gguf" in error_of(event)["message"]
        assert host.rest() == []
        assert isinstance(host.raised, ModelFileError)


def test_what_is_asked_before_it_is_ready_can_be_cancelled_and_lines_are_refused() -> None:
    with Host(FakeEngine(loads=False)) as host:
        host.ask("1")
        host.say({"do": "cancel", "id": "1"})
        assert host.hear() == {"id": "1", "event": "cancelled"}
        host.say(b"no")
        assert error_of(host.hear())["code"] == "no_json"


@pytest.mark.usefixtures("_patient")
def test_close_lets_what_is_under_way_be_finished() -> None:
    with Host() as host:
        host.ask("1", stream=True)
        host.say({"id": "2", "do": "health"})
        host.say({"do": "close"})
        host.say(b"this is not read any more")
        host.end()
        events = host.rest()
        assert events[0]["event"] == "ready"
        last = {each["id"]: each["event"] for each in events[1:]}
        assert last == {"1": "done", "2": "answer"}
        assert host.raised is None


@pytest.mark.usefixtures("_patient")
def test_errors_are_written_before_the_end() -> None:
    with Host() as host:
        host.hear()
        for _ in range(2000):
            host.say(b"no")
        host.end()
        assert len(host.rest()) == 2000


def test_nobody_reads_any_more() -> None:
    with Host() as host:
        host.ask("1", "Long", stream=True)
        assert host.engine.began.wait(GUARD_SECONDS)
        host.stop_reading()
        host._server.join(GUARD_SECONDS)
        assert not host._server.is_alive()
        assert host.engine.withdrawn.is_set()
        assert host.raised is None


def test_a_host_that_neither_reads_nor_lives_is_not_waited_for() -> None:
    with Host() as host:
        host.say(b"no\n" * 3000)  # their errors are more than a pipe and what may be unsent
        host.ask("1", "Long", stream=True)
        host.end()
        host._server.join(GUARD_SECONDS)
        assert not host._server.is_alive()
        assert host.raised is None


# As a program

COMMAND = [sys.executable, "-m", "tests.helpers.stdio_fakes"]


def started(**streams: Any) -> subprocess.Popen[bytes]:
    wanted = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **streams}
    return subprocess.Popen(COMMAND, cwd=REPOSITORY, **wanted)


def order(name: str, text: str) -> bytes:
    body = {"messages": [{"content": text}], "stream": True}
    return json.dumps({"id": name, "do": "chat", "body": body}).encode() + b"\n"


@pytest.mark.slow
def test_nothing_but_events_goes_to_standard_output() -> None:
    with started(stderr=subprocess.PIPE) as program:
        said = order("1", "Print") + b'{"do": "close"}'  # without an end of the line
        out, err = program.communicate(said, timeout=GUARD_SECONDS)
    assert program.returncode == 0, err
    assert [json.loads(line)["event"] for line in out.splitlines()] == [
        *("ready", *["chunk"] * len(REPLY), "done")
    ]
    assert b"this is no event" in err
    assert b"nor is this" in err


@pytest.mark.slow
@pytest.mark.parametrize("end", ["input", "output"])
def test_a_program_ends_with_its_pipes(end: str) -> None:
    with started() as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write(order("1", "Long"))
        program.stdin.flush()
        assert json.loads(program.stdout.readline())["event"] == "ready"
        assert json.loads(program.stdout.readline())["event"] == "chunk"
        (program.stdin if end == "input" else program.stdout).close()
        assert program.wait(GUARD_SECONDS) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX closes the stream")
@pytest.mark.parametrize("closed", ["<&-", ">&-"])
def test_a_closed_stream_is_a_clear_error(closed: str) -> None:
    shell = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *COMMAND]
    done = subprocess.run(shell, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)
    assert "UsageError: standard input or output is closed" in done.stderr


# The example for Node

EXAMPLE = REPOSITORY / "examples" / "stdio.mjs"
HOW_TO_NODE = "Node 18 or newer runs examples/stdio.mjs"


def run_example(*arguments: str) -> subprocess.CompletedProcess[str]:
    node = shutil.which("node")
    if node is None:
        left_out("node is", HOW_TO_NODE)
    return subprocess.run(
        [node, str(EXAMPLE), *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=GUARD_SECONDS,
    )


@pytest.mark.slow
def test_the_example_prints_the_reply() -> None:
    done = run_example("Hello", *COMMAND)
    assert (done.returncode, done.stdout, done.stderr) == (0, "".join(REPLY) + "\n", "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("question", "command", "said"),
    [
        ("Fail", COMMAND, "the engine failed"),
        ("Hello", ["no-such-program"], "no-such-program cannot be started"),
        ("Hello", [sys.executable, "-c", "raise SystemExit(3)"], "has ended: 3"),
    ],
)
def test_the_example_tells_what_went_wrong(question: str, command: list[str], said: str) -> None:
    done = run_example(question, *command)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
