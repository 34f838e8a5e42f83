"""`tools.servers`: an archive unpacked, commands told and stopped, a server started and ended."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tarfile
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from edgeproxy.cli.ui.progress import Working, working
from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled, EdgeproxyError, RemoteUnreachableError
from edgeproxy.remote.transport import Server
from tools.servers import build
from tools.servers.build import PROGRAM, build_llama_server, call, unpack
from tools.servers.serve import llama_server

REPOSITORY = Path(__file__).parents[2]

FAKE = """\
#!{python}
import sys
import http.server, json, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
print("listening", *sys.argv[1:], flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"status": "ok", "key": __import__("os").environ.get("LLAMA_API_KEY")}})
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""
"""In place of llama-server: it answers on the port that it is told."""

FAILS = "#!{python}\nprint('no such model', flush=True)\nraise SystemExit(3)\n"
HANGS = "#!{python}\nimport time\nprint('thinking', flush=True)\ntime.sleep(600)\n"

posix = pytest.mark.skipif(sys.platform == "win32", reason="scripts are no programs on Windows")


def program(folder: Path, source: str) -> Path:
    path = folder / "server"
    path.write_text(source.format(python=sys.executable))
    path.chmod(0o700)
    return path


@pytest.fixture
def work() -> Working:
    return Working()


def archive(path: Path, names: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, data in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            file.addfile(member, io.BytesIO(data))
    return path


def test_only_llama_cpp_is_unpacked(tmp_path: Path, work: Working) -> None:
    names = {
        "llama/vendor/llama.cpp/CMakeLists.txt": b"project(x)",
        "llama/vendor/llama.cpp/src/a.cpp": b"int a;",
        "llama/setup.py": b"",
        "llama/vendor/llama.cpp/../../../escaped": b"",
        "/vendor/llama.cpp/rooted": b"rooted",
    }
    into = tmp_path / "deep" / "source"
    assert unpack(archive(tmp_path / "a.tar.gz", names), into, work) == into
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert {path for path in found if Path(path).suffix in (".txt", ".cpp", ".py")} == {
        "deep/source/CMakeLists.txt",
        "deep/source/src/a.cpp",
    }
    assert not any("escaped" in path for path in found)


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b" + b"\0" * 50])
def test_a_damaged_archive_is_told(data: bytes, tmp_path: Path, work: Working) -> None:
    (tmp_path / "a.tar.gz").write_bytes(data)
    with pytest.raises(EdgeproxyError, match=r"a\.tar\.gz"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "source", work)


def test_an_archive_without_llama_cpp_is_told(tmp_path: Path, work: Working) -> None:
    with pytest.raises(EdgeproxyError, match=r"no llama\.cpp"):
        unpack(archive(tmp_path / "a.tar.gz", {"x/y": b""}), tmp_path / "source", work)


def test_a_command_that_fails_shows_its_end(work: Working) -> None:
    lines = "for i in range(50): print('line', i)\nraise SystemExit(7)"
    with pytest.raises(EdgeproxyError, match="ended with 7") as caught:
        call([sys.executable, "-c", lines], "trying", work)
    assert "line 49" in str(caught.value)
    assert "line 5\n" not in str(caught.value)
    with pytest.raises(EdgeproxyError, match="cannot be run"):
        call(["no-such-program-at-all"], "trying", work)


def test_a_command_is_stopped() -> None:
    with working() as work:
        work.stop.set()
        endless = "while True: print('[ 5%] more', flush=True)"
        with pytest.raises(Cancelled):
            call([sys.executable, "-c", endless], "trying", work)


def test_what_is_built_is_not_built_again(
    tmp_path: Path, work: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Path] = []

    def compile_server(source: Path, folder: Path, jobs: int, work: Working) -> Path:
        folder.mkdir()
        (folder / "made").write_text("program")
        built.append(source)
        return folder / "made"

    source = archive(tmp_path / "a.tar.gz", {"x/vendor/llama.cpp/CMakeLists.txt": b""})
    monkeypatch.setattr(build, "download", lambda *_: source)
    monkeypatch.setattr(build, "compile_server", compile_server)
    folder = tmp_path / "servers"
    path = build_llama_server(folder, work, 1)
    assert path == folder / f"llama-server-{version('llama-cpp-python')}" / PROGRAM
    assert path.read_text() == "program"
    assert build_llama_server(folder, work, 1) == path
    assert len(built) == 1
    assert list(folder.glob(".incoming-*")) == []


def test_a_build_that_fails_leaves_nothing(
    tmp_path: Path, work: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Path:
        raise EdgeproxyError("no compiler")

    monkeypatch.setattr(build, "download", fail)
    with pytest.raises(EdgeproxyError, match="no compiler"):
        build_llama_server(tmp_path, work)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@posix
@pytest.mark.slow
def test_a_server_is_ready_and_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fake = program(tmp_path, FAKE)
    with llama_server(fake, tmp_path / "m.gguf", parallel=2, ctx=64, key="k1", log=log) as running:
        with Server(running.url, retries=0) as server:
            assert server.get("/health") == {"status": "ok", "key": "k1"}
        told = log.read_text()
    assert f"--model {tmp_path / 'm.gguf'}" in told
    assert "--ctx-size 128 --threads 1" in told
    assert "k1" not in told
    with Server(running.url, retries=0) as server, pytest.raises(RemoteUnreachableError):
        server.get("/health")


@posix
@pytest.mark.slow
def test_a_server_that_ends_shows_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(EdgeproxyError, match="ended with 3") as caught,
        llama_server(program(tmp_path, FAILS), tmp_path / "m.gguf"),
    ):
        pass
    assert "no such model" in str(caught.value)


@posix
@pytest.mark.slow
def test_a_server_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    hangs = program(tmp_path, HANGS)
    with (
        pytest.raises(EdgeproxyError, match="not ready in time"),
        llama_server(hangs, tmp_path / "m.gguf", timeout=0.5),
    ):
        pass
    flag = Flag()
    flag.set()
    with pytest.raises(Cancelled), llama_server(hangs, tmp_path / "m.gguf", cancel=flag):
        pass


@posix
@pytest.mark.slow
def test_a_server_dies_with_who_started_it(tmp_path: Path) -> None:
    fake = program(tmp_path, FAKE)
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom tools.servers.serve import llama_server\n"
        "with llama_server(Path(sys.argv[1]), Path('m.gguf')) as running:\n"
        "    print(running.url, flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(fake)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        url = parent.stdout.readline().strip()
        with Server(url, retries=0) as server:
            assert server.get("/health")["status"] == "ok"
            os.kill(parent.pid, signal.SIGKILL)
            parent.wait()
            end = time.monotonic() + 60
            while time.monotonic() < end:
                try:
                    server.get("/health")
                except RemoteUnreachableError:
                    break
                time.sleep(0.05)
            else:
                pytest.fail("the server outlives who started it")
