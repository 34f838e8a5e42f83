"""Runs `edgeproxy ARGUMENTS` and presses Ctrl-C (SIGINT) when a tuning says that it does something.

    python -m tests.helpers.interrupting TEXT ARGUMENTS...

The signal comes once, at the moment when something that begins with TEXT is said to be under way.
"""

from __future__ import annotations

import os
import signal
import sys

from edgeproxy.cli import main as edgeproxy
from edgeproxy.cli.ui.tuning import Shown


def main() -> None:
    """Do as the arguments say; the exit code is edgeproxy's, 99 where nothing of the kind came."""
    text, *arguments = sys.argv[1:]
    doing, presses = Shown.doing, 0

    def pressing(self: Shown, what: str) -> None:
        nonlocal presses
        doing(self, what)
        if what.startswith(text) and not presses:
            presses += 1
            os.kill(os.getpid(), signal.SIGINT)

    Shown.doing = pressing  # type: ignore[method-assign]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = edgeproxy(arguments)
    sys.exit(code if presses else 99)


if __name__ == "__main__":
    main()
