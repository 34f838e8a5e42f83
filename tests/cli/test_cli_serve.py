"""The verb serve: where it listens, whose key it has, how it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgeproxy.cli import main, serve
from edgeproxy.cli.ui.key_chosen import KEY_VARIABLE, chosen_key
from edgeproxy.errors import UsageError
from edgeproxy.history.database import default_path
from tests.helpers.http_fakes import ASK, FakeEngine

GIVEN = "a-key-that-was-given"
SECONDS = 240.0

needs_posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and sockets of POSIX")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


class Child:
    """A server over fakes, in a process of its own; its first line of JSON is `ready`."""

    def __init__(self, *arguments: str, as_json: bool = True, **environment: str) -> None:
        place = [] if "--socket" in arguments else ["--port", "0"]
        shown = ["--json"] if as_json else []
        command = [sys.executable, "-m", "tests.helpers.serve_child", *place, *shown, *arguments]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ready(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.line())
        return found

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """The exit code and standard error, after a signal."""
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        assert self.process.stderr is not None
        return code, self.process.stderr.read()


@contextlib.contextmanager
def child(*arguments: str, as_json: bool = True, **environment: str) -> Iterator[Child]:
    made = Child(*arguments, as_json=as_json, **environment)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()
        for stream in (made.process.stdin, made.process.stdout, made.process.stderr):
            assert stream is not None
            stream.close()


def asked(ready: dict[str, Any], key: str | None) -> int:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    url = f"{ready['address']}{ASK}"
    return httpx.post(url, json={"text": "x"}, headers=headers).status_code


def answers_at(path: Path) -> bool:
    """Whether a server answers at a socket; it may still load its models."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(SECONDS)
        client.connect(str(path))
        client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return client.recv(1) != b""
    return False


def wait_for(path: Path) -> None:
    """Return once a server answers at a socket."""
    end = time.monotonic() + SECONDS
    while not answers_at(path):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_over_standard_streams_ctrl_c_is_for_the_host_however_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[int] = []

    async def serve_interrupted(*_: object) -> None:
        for _press in range(5):
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(0)
            heard.append(1)

    monkeypatch.setattr("edgeproxy.serve.stdio.serve", serve_interrupted)
    monkeypatch.setattr("edgeproxy.serve.pipes.take_standard_streams", lambda: None)
    monkeypatch.setattr("edgeproxy.serve.told.service_of", lambda _engine: None)
    before, engine = signal.getsignal(signal.SIGINT), FakeEngine()
    serve._run_on_streams(lambda: engine)
    assert (len(heard), engine.closed) == (5, [0.0])
    assert signal.getsignal(signal.SIGINT) is before


# What is refused before anything is loaded


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--no-key", "--key", GIVEN], "do not go together"),
        (["--key-env", "X", "--key", GIVEN], "do not go together"),
        (["--no-key", "--host", "0.0.0.0"], "this machine alone"),
        (["--no-key", "--host", "192.0.2.1"], "this machine alone"),
        (["--key-env", "NO_SUCH_VARIABLE_HERE"], "is not set"),
        (["--key", "short"], "at least 8"),
        (["--key", "with space in it"], "without spaces"),
        (["--socket", "s", "--port", "0"], "do not go together"),
        (["--socket", "s", "--host", "127.0.0.1"], "do not go together"),
        (["--stdio", "--port", "0"], "do not go together"),
        (["--stdio", "--socket", "s"], "do not go together"),
        (["--stdio", "--keep-sessions"], "for the page"),
        (["--port", "70000"], "--port"),
        (["--allow-origin", "*"], "an origin is"),
        (["--allow-host", "a/b"], "a host is"),
        (["--host", "no.such.host.invalid"], "there is no host"),
        (["factbook", "--trio", "factbook"], "named twice"),
    ],
)
def test_what_cannot_be_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *arguments]) == 2
    out, told = capsys.readouterr()
    assert said in told
    assert out == ""
    assert GIVEN not in told


def test_a_history_that_cannot_be_used_is_told_before_it_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path))
    path = default_path()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no history")
    assert main(["serve", "factbook", "--port", "0", "--keep-sessions"]) != 0
    out, told = capsys.readouterr()
    assert out == ""
    assert str(path) in told


@pytest.mark.parametrize("value", ["", "short", "with space", "schl\u00fcssel"])
def test_an_impossible_key_of_the_environment_is_not_told(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, value)
    with pytest.raises(UsageError, match=KEY_VARIABLE) as refused:
        chosen_key(None, None, False, True)
    assert not value or value not in str(refused.value).replace(KEY_VARIABLE, "")


def test_keys_are_chosen_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = chosen_key(None, None, False, True), chosen_key(None, None, False, True)
    assert first.is_minted
    assert first.value != second.value
    assert len(first.value or "") >= 32
    monkeypatch.setenv(KEY_VARIABLE, "of-the-environment")
    monkeypatch.setenv("OTHER", "of-another-variable")
    assert chosen_key(None, None, False, True) == ("of-the-environment", False)
    assert chosen_key(None, "OTHER", False, True) == ("of-another-variable", False)
    assert chosen_key(GIVEN, None, False, False) == (GIVEN, False)
    assert chosen_key(None, None, True, True) == (None, False)


def test_what_is_not_installed_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("edgeproxy.cli.serve.find_spec", lambda _name: None)
    assert main(["serve"]) == 1
    assert "pip install 'edgeproxy[server]'" in capsys.readouterr().err


# A server that runs


@pytest.mark.slow
@needs_posix
def test_the_ready_line_says_where_it_is_and_the_key() -> None:
    with child() as server:
        ready = server.ready()
        assert ready["trio"] == "fake:trio"
        assert ready["pid"] == server.process.pid
        assert ready["socket"] is None
        assert ready["address"] == f"http://127.0.0.1:{ready['port']}"
        assert asked(ready, None) == 401
        assert asked(ready, ready["key"]) == 200
        code, said = server.end()
    assert code == 0
    assert said == "warning: the pair cannot say all\n"


@pytest.mark.slow
@needs_posix
def test_a_key_that_was_given_is_told_to_nobody() -> None:
    with child(EDGEPROXY_API_KEY=GIVEN) as server:
        line = server.line()
        ready = json.loads(line)
        assert ready["key"] is None
        assert ready["needs_key"] is True
        assert asked(ready, GIVEN) == 200
        assert asked(ready, "another-key") == 401
        _, said = server.end()
    assert GIVEN not in line + said


@pytest.mark.slow
@needs_posix
def test_people_are_told_the_address_of_the_page() -> None:
    with child(as_json=False) as server:
        answers, page = server.line(), server.line()
        assert answers.startswith("fake:trio answers at http://127.0.0.1:")
        address = page.removeprefix("the page: ").strip()
        assert "/#key=" in address
        assert httpx.get(address).status_code == 200


@pytest.mark.slow
@needs_posix
def test_without_a_key_everybody_on_this_machine_may_ask() -> None:
    with child("--no-key") as server:
        ready = server.ready()
        assert (ready["key"], ready["needs_key"]) == (None, False)
        assert asked(ready, None) == 200


@pytest.mark.slow
@needs_posix
def test_a_socket_serves_too_and_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with child("--socket", str(path), "--no-key") as server:
        ready = server.ready()
        assert (ready["socket"], ready["port"]) == (str(path), None)
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url=ready["address"]) as client:
            assert client.post(ASK, json={"text": "x"}).json() == {"text": "x"}
        assert server.end()[0] == 0
    assert not path.exists()


@pytest.mark.slow
@needs_posix
def test_a_taken_port_is_said() -> None:
    with child() as server:
        port = server.ready()["port"]
        done = subprocess.run(
            [sys.executable, "-m", "tests.helpers.serve_child", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    assert done.returncode == 1
    assert "taken by another program" in done.stderr
    assert done.stdout == ""


@pytest.mark.slow
@needs_posix
def test_others_are_warned_of() -> None:
    with child("--host", "0.0.0.0") as server:
        server.ready()
        _, said = server.end()
    assert "not encrypted" in said


@pytest.mark.slow
@needs_posix
def test_models_that_cannot_be_loaded_end_it() -> None:
    with child(FAKE="fails") as server:
        assert server.line() == ""
        assert server.process.wait(SECONDS) == 2
        assert server.process.stderr is not None
        assert server.process.stderr.read() == "edgeproxy: base.gguf: it is damaged\n"


@pytest.mark.slow
@needs_posix
def test_with_lazy_it_is_ready_before_the_models_are() -> None:
    with child("--lazy", FAKE="hangs") as server:
        ready = server.ready()
        assert httpx.get(f"{ready['address']}/health").status_code == 200


@pytest.mark.slow
@needs_posix
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)], ids=["ctrl-c", "sigterm"]
)
@pytest.mark.parametrize("how", ["", "hangs"])
def test_signals_end_it_in_good_order(number: int, code: int, how: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with child("--socket", str(path), "--no-key", FAKE=how) as server:
        if how:
            wait_for(path)
        else:
            server.ready()
        found, said = server.end(number)
    assert found == code
    assert "Traceback" not in said


@pytest.mark.slow
@needs_posix
def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with child("--socket", str(path), "--no-key", FAKE="stays") as server:
        server.ready()
        server.process.send_signal(signal.SIGINT)
        while answers_at(path):  # until the first was heard
            time.sleep(0.05)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(SECONDS) == 130
    assert not path.exists()


@pytest.mark.slow
@needs_posix
def test_with_parent_it_ends_when_standard_input_does() -> None:
    with child("--with-parent") as server:
        server.ready()
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert server.process.wait(SECONDS) == 0


@pytest.mark.slow
@needs_posix
def test_without_it_that_means_nothing() -> None:
    with child() as server:
        ready = server.ready()
        assert server.process.stdin is not None
        server.process.stdin.close()
        time.sleep(0.5)
        assert asked(ready, ready["key"]) == 200


def answers(address: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        httpx.get(f"{address}/health")
        return True
    return False


PARENT = """
import subprocess, sys
options = ["--port", "0", "--json", "--with-parent"]
command = [sys.executable, "-m", "tests.helpers.serve_child", *options]
child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
print(child.stdout.readline(), end="", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@needs_posix
def test_with_parent_it_ends_when_that_is_killed() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    ready = json.loads(parent.stdout.readline())
    parent.kill()
    parent.communicate()
    end = time.monotonic() + SECONDS
    while answers(ready["address"]):
        assert time.monotonic() < end
        time.sleep(0.05)
