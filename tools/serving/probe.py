"""Asks a server's /health again and again, in a process of its own, and says how long each took.

It ends when its standard input does, and prints seconds as one JSON list.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time

_PAUSE = 0.02
_TIMEOUT = 30.0


def main() -> int:
    """Ask the host and port that the command line names; the exit code."""
    host, port = sys.argv[1], int(sys.argv[2])
    is_over = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        is_over.set()

    threading.Thread(target=listen, daemon=True).start()
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT)
    seconds = []
    while not is_over.wait(_PAUSE):
        began = time.perf_counter()
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            print(f"/health answered {answer.status}", file=sys.stderr)
            return 1
        seconds.append(time.perf_counter() - began)
    print(json.dumps(seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
