"""A server of this checkout in a process of its own, for tools and tests.

May touch: processes, /proc.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from edgeproxy.errors import EdgeproxyError

KEY = "a-key-of-these-tools"
READY_SECONDS = 300.0
END_SECONDS = 20.0


class Serving:
    """`edgeproxy serve TRIO` on a port of its own; use it as a context manager.

    `ready` is its first line, `url` where it is, `said` what it has written on standard error.
    Raises `EdgeproxyError` where it does not begin.
    """

    def __init__(self, trio: str, *options: str) -> None:
        command = [sys.executable, "-m", "edgeproxy", "serve", trio, "--port", "0", "--json"]
        self._process = subprocess.Popen(
            [*command, *options],
            env={**os.environ, "EDGEPROXY_API_KEY": KEY},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self.said: list[str] = []
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        self.ready = self._wait()
        self.url: str = self.ready["address"]
        self.headers = {"Authorization": f"Bearer {KEY}"}

    def _listen(self) -> None:
        errors = self._process.stderr
        if errors is not None:
            self.said.extend(line.rstrip() for line in errors)

    def _wait(self) -> dict[str, Any]:
        out = self._process.stdout
        assert out is not None
        timer = threading.Timer(READY_SECONDS, self._process.kill)
        timer.start()
        try:
            line = out.readline()
        finally:
            timer.cancel()
        if not line:
            self._process.wait()
            self._close_pipes()
            raise EdgeproxyError(f"the server did not begin: {' '.join(self.said[-3:])}")
        found: dict[str, Any] = json.loads(line)
        return found

    @property
    def pid(self) -> int:
        """The server's own process."""
        return self._process.pid

    @property
    def is_up(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def children(self) -> list[int]:
        """The processes that it has started and that are there."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = status.read_text("utf-8", "replace").rpartition(")")[2].split()
                if int(fields[1]) == self.pid and fields[0] != "Z":
                    found.append(int(status.parent.name))
        return sorted(found)

    def memory(self) -> int:
        """The bytes that it and its children hold for themselves."""
        return sum(map(_held, [self.pid, *self.children()]))

    def descriptors(self) -> int:
        """How many files and connections it has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def close(self) -> None:
        """Tell it to end, and wait. Raises `EdgeproxyError` where it does not end."""
        if self.is_up:
            self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise EdgeproxyError(f"the server did not end in {END_SECONDS:.0f} s") from None
        finally:
            self._close_pipes()

    def _close_pipes(self) -> None:
        self._listening.join()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def _held(pid: int) -> int:
    """Bytes of a process that it shares with no other; 0 for one that is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1]) * 1024
    return 0


def read_questions(path: Path) -> Sequence[str]:
    """The questions of a file as `edgeproxy eval` takes it."""
    lines = path.read_text("utf-8").splitlines()
    return [json.loads(line)["question"] for line in lines if line.strip()]
