"""The child process that searches for patterns (see `pattern`): a line a job, a line an answer.

It ends itself where a search takes too long, which works although the search holds the interpreter.
"""

from __future__ import annotations

import faulthandler
import json
import re
import signal
import sys
import warnings

TOOK_TOO_LONG = 1
"""The exit code of a child that a search took too long in, which `faulthandler` gives it."""


def main() -> None:
    """Answer jobs until standard input ends, which it does when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")
    for line in sys.stdin.buffer:
        job = json.loads(line)
        faulthandler.dump_traceback_later(job["seconds"], exit=True)
        found = re.search(job["pattern"], job["text"]) is not None
        faulthandler.cancel_dump_traceback_later()
        sys.stdout.buffer.write(json.dumps(found).encode("ascii") + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
