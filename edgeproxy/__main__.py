"""`edgeproxy` and `python -m edgeproxy`: the command line, and Ctrl-C while it is imported."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> int:
    """Run the command line with the process's arguments; the exit code."""
    try:
        from edgeproxy.cli import main as run
    except KeyboardInterrupt:  # importing takes a while, above all for the first time
        print("edgeproxy: interrupted", file=sys.stderr)
        return INTERRUPTED
    return run()


if __name__ == "__main__":
    sys.exit(main())
