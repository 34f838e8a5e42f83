"""What went to a server and came back, counted."""

from __future__ import annotations

from typing import NamedTuple


class Traffic(NamedTuple):
    """Requests answered, requests sent again, bytes, and seconds in which a caller waited.

    Bytes are those of HTTP, headers included, inside of TLS. Seconds of callers that wait at the
    same time are added.
    """

    requests: int = 0
    retries: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    seconds: float = 0.0

    def plus(self, other: Traffic) -> Traffic:
        """Both together."""
        return Traffic(
            self.requests + other.requests,
            self.retries + other.retries,
            self.bytes_sent + other.bytes_sent,
            self.bytes_received + other.bytes_received,
            self.seconds + other.seconds,
        )

    def since(self, earlier: Traffic) -> Traffic:
        """What came after `earlier`."""
        return Traffic(
            self.requests - earlier.requests,
            self.retries - earlier.retries,
            self.bytes_sent - earlier.bytes_sent,
            self.bytes_received - earlier.bytes_received,
            self.seconds - earlier.seconds,
        )
