"""Runs the command line in children that start at once, and is the client of that.

A fresh interpreter spends most of a short pull on imports. This process has made them, except of
`huggingface_hub`, which reads its environment then; each run is a fork of it with an environment of
its own. `Forks` is what a test uses. POSIX only, as SIGKILL is.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

_MODULES = (
    *(
        "edgeproxy.cli.pull",
        "edgeproxy.cli.show",
        "edgeproxy.trios.store",
        "edgeproxy.trios.find",
    ),
    *("edgeproxy.align", "edgeproxy.gguf", "logging", "httpx", "httpx2", "tqdm.auto", "filelock"),
    *("yaml", "packaging.version", "importlib.metadata", "importlib.resources", "fsspec"),
)

FILE_LIMIT = "TESTS_FILE_LIMIT"
"""A run with this in its environment can write no file larger than so many bytes."""


class Done(NamedTuple):
    """How a run ended: its exit code (negative is the signal's number), and what it wrote."""

    code: int
    out: str
    err: str


@dataclass
class Run:
    """A run of the command line that may still be under way."""

    forks: Forks
    pid: int
    folder: Path

    def kill(self, signum: int = signal.SIGKILL) -> None:
        """Send it a signal; nothing where it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signum)

    def wait(self) -> Done:
        """How it ended, when it has."""
        code = self.forks.ask({"wait": self.pid})
        return Done(code, *((self.folder / n).read_text("utf-8") for n in ("out", "err")))


class Forks:
    """The process that forks; `start` a command line, or `run` it to its end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.forked"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, arguments: list[str], env: Mapping[str, str]) -> Run:
        self._count += 1
        folder = self._folder / str(self._count)
        folder.mkdir()
        for name in ("out", "err"):
            (folder / name).touch()  # a run may be killed before it opens them
        pid = self.ask({"arguments": arguments, "env": dict(env), "folder": str(folder)})
        return Run(self, pid, folder)

    def run(self, arguments: list[str], env: Mapping[str, str]) -> Done:
        return self.start(arguments, env).wait()

    def ask(self, what: Mapping[str, Any]) -> int:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(what) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def close(self) -> None:
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


@contextlib.contextmanager
def forks_running(folder: Path) -> Iterator[Forks]:
    """A `Forks` for the length of a `with` block."""
    forks = Forks(folder)
    try:
        yield forks
    finally:
        forks.close()


def _serve() -> None:
    import importlib

    for name in _MODULES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert "huggingface_hub" not in sys.modules
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            status = os.waitpid(asked["wait"], 0)[1]
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if not pid:
            _run(asked["arguments"], asked["env"], Path(asked["folder"]))
        print(pid, flush=True)


def _run(arguments: list[str], env: dict[str, str], folder: Path) -> None:
    """Be the command line, with standard streams of its own, and end."""
    code = 99
    try:
        os.environ.clear()
        os.environ.update(env)
        # Whoever started these tests in the background had them ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if FILE_LIMIT in env:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(env[FILE_LIMIT]),) * 2)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        for number, name in ((0, os.devnull), (1, folder / "out"), (2, folder / "err")):
            opened = os.open(name, flags if number else os.O_RDONLY, 0o600)
            os.dup2(opened, number)
        from edgeproxy.cli import main

        code = main(arguments)
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
