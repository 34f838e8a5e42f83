"""Runs a program for as long as standard input stays open: it ends with whoever started this.

    python -m tools.servers.guard PROGRAM ARGUMENT ...

A parent that is killed cannot end its children, but what it held open is closed then, on every
system.

May touch: standard input, the handler of SIGINT; starts the program, and kills it with
what it has started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    """Run the program; its exit code."""
    # At a terminal Ctrl-C comes here as well; whoever started this ends it by what it holds open.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Its output goes where this process's goes.
    with subprocess.Popen(
        sys.argv[1:], stdin=subprocess.DEVNULL, start_new_session=os.name != "nt"
    ) as program:
        threading.Thread(target=_kill_at_the_end, args=(program,), daemon=True).start()
        return program.wait()


def _kill_at_the_end(program: subprocess.Popen[bytes]) -> None:
    # Not sys.stdin, whose lock a thread that waits would hold when this process ends.
    while os.read(0, 1):
        pass
    if os.name == "nt":
        program.kill()
    else:  # what it has started, too: vLLM computes in a process of its own
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
