"""llama-server or vLLM with a model, for the length of a `with` block.

    with llama_server(program, model, ctx=512) as running:
        Server(running.url).get("/health")

May touch: a log in a folder that it is given or makes; starts the server, which listens on this
machine alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import EdgeproxyError, RemoteBusyError, RemoteError, RemoteUnreachableError
from edgeproxy.remote.key import Key
from edgeproxy.remote.retry import pause
from edgeproxy.remote.transport import Server
from tools.servers.environment import program as program_of

REPOSITORY = Path(__file__).parents[2]
LOOKS = 0.05
"""Seconds between two looks whether the server is ready."""
SHOWN = 2000
"""Characters at the end of a log that an error shows."""
VLLM_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
}
"""A GB for what it has read; it tells nobody of its use, and fetches nothing."""

VLLM_BLOCK = 32
"""Tokens of a block of what it has read: what fills none is read again for each of a draft's
prompts, and by itself it takes blocks of 128."""


@dataclass(frozen=True)
class Running:
    """A server that is ready. `pid` is that of its guard."""

    url: str
    log: Path
    pid: int


@contextlib.contextmanager
def llama_server(
    program: Path,
    model: Path,
    *,
    port: int = 0,
    parallel: int = 1,
    ctx: int = 0,
    threads: int = 1,
    arguments: Sequence[str] = (),
    key: str | None = None,
    log: Path | None = None,
    timeout: float = 120.0,
    cancel: Cancel | None = None,
) -> Iterator[Running]:
    """llama-server with `model`, once it is ready; killed at the end, and when this process dies.

    A `port` of 0 is a free one. Each of `parallel` slots has room for `ctx` tokens, the model's own
    context where that is 0. The log is kept where a path is given. Raises `EdgeproxyError` with the
    end of the log where it ends or is not ready after `timeout` seconds, and `Cancelled`.
    """
    port = port or free_port()
    command = [str(program.absolute()), "--model", str(model.absolute())]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    command += ["--parallel", str(parallel), "--ctx-size", str(ctx * parallel)]
    command += ["--threads", str(threads), "--threads-batch", str(threads), *arguments]
    # In the environment, as a command line can be read by everybody.
    env = {} if key is None else {"LLAMA_API_KEY": key}
    with _serving(command, "/health", env, None, port, log, timeout, cancel) as running:
        yield running


@contextlib.contextmanager
def vllm_server(
    environment: Path,
    model: Path,
    *,
    port: int = 0,
    ctx: int = 1024,
    dtype: str = "float32",
    max_logprobs: int = -1,
    arguments: Sequence[str] = (),
    key: str | None = None,
    log: Path | None = None,
    timeout: float = 600.0,
    cancel: Cancel | None = None,
) -> Iterator[Running]:
    """vLLM of an `environment` with the `model` in a folder, as `llama_server`.

    It computes with numbers of type `dtype`, and gives `max_logprobs` of a row, all with -1.
    """
    port = port or free_port()
    command = [str(program_of(environment, "vllm").absolute()), "serve", str(model.absolute())]
    command += ["--served-model-name", model.name, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-model-len", str(ctx), "--max-logprobs", str(max_logprobs)]
    command += ["--dtype", dtype, "--block-size", str(VLLM_BLOCK)]
    # What it would compile before it serves takes minutes on a slow machine.
    command += ["--enforce-eager", *arguments]
    env = {**VLLM_ENVIRONMENT, **({} if key is None else {"VLLM_API_KEY": key})}
    # Its /health says nothing, not even JSON.
    with _serving(command, "/v1/models", env, key, port, log, timeout, cancel) as running:
        yield running


@contextlib.contextmanager
def _serving(
    command: Sequence[str],
    answers: str,
    env: Mapping[str, str],
    key: str | None,
    port: int,
    log: Path | None,
    timeout: float,
    cancel: Cancel | None,
) -> Iterator[Running]:
    """A server started by `command`, with the variables of `env` besides this process's.

    It is ready when it answers JSON at the path `answers`, for which it wants `key`.
    """
    folder = Path(tempfile.mkdtemp(prefix="edgeproxy-server-"))
    log = log or folder / "log"
    try:
        with log.open("wb") as file:
            guard = subprocess.Popen(
                [sys.executable, "-m", "tools.servers.guard", *command],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env={**os.environ, **env},
            )
        assert guard.stdin
        with guard:  # which closes its standard input, and waits
            url = f"http://127.0.0.1:{port}"
            name = Path(command[0]).stem
            _wait_until_ready(name, url, answers, key, guard, log, timeout, cancel)
            yield Running(url, log, guard.pid)
            guard.stdin.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port that is free now; another process may take it first, which ends the server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_until_ready(
    name: str,
    url: str,
    answers: str,
    key: str | None,
    guard: subprocess.Popen[bytes],
    log: Path,
    timeout: float,
    cancel: Cancel | None,
) -> None:
    end = time.monotonic() + timeout
    with Server(url, None if key is None else Key(key), retries=0) as server:
        while True:
            try:
                server.get(answers, cancel)
                return
            except (RemoteBusyError, RemoteUnreachableError):
                why = "is not ready in time"
            except RemoteError as error:
                why = f"cannot be asked ({error})"
            if guard.poll() is not None:
                why = f"ended with {guard.returncode}"
            elif time.monotonic() < end:
                pause(LOOKS, cancel)
                continue
            shown = log.read_text("utf-8", "replace")[-SHOWN:]
            raise EdgeproxyError(f"{name} {why}; the end of its log:\n{shown}")
