"""Which failures are tried again, and how long is waited before.

Waits grow twofold and are drawn between nothing and their length ("full jitter", Brooker, AWS
Architecture Blog 2015), so that many clients of a server that comes back do not come all at once.
"""

from __future__ import annotations

import random
import time
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import Cancelled
from edgeproxy.remote.wire import SLICE

REFUSED_FOR_NOW = frozenset({429})
"""Statuses that say that nothing was done, so that any request may be sent again."""
FAILED_FOR_NOW = frozenset({408, 429, 502, 503, 504})
"""Statuses after which a request is sent again that does no harm twice."""

FIRST_WAIT = 0.25
LONGEST_WAIT = 8.0
"""Seconds: the longest draws of the first wait, and of any."""

PATIENCE = 60.0
"""Seconds that all waits between tries of one request may take together."""


def wait_before(attempt: int, asked: float | None) -> float:
    """Seconds to wait before the next try: what the server asked for, else a draw.

    `attempt` counts the tries that failed, from 1.
    """
    drawn = random.uniform(0.0, min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1)))
    return drawn if asked is None else asked + min(drawn, 1.0)


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds that a header Retry-After asks for: a number, or a date; None for anything else."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():  # some servers send fractions
        return float(text[:12])
    try:
        date = parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        then = date.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
    current = datetime.now(timezone.utc).timestamp() if now is None else now
    return max(0.0, then - current)


def pause(seconds: float, cancel: Cancel | None) -> None:
    """Wait. Raises `Cancelled`."""
    end = time.monotonic() + seconds
    while True:
        if cancel is not None and cancel.is_set():
            raise Cancelled("waiting for a server was cancelled")
        left = end - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(left, SLICE))
