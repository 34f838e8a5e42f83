"""What a client may send, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass

from edgeproxy.core.check import number, whole

_MOST_BODY = 1 << 30
_MOST_SECONDS = 86_400.0


@dataclass(frozen=True)
class Limits:
    """Limits of requests and connections. Raises `UsageError` for impossible ones.

    - `body`: bytes of a request's body, and `depth` how deep its JSON may be nested.
    - `head`, `headers`: bytes of a request's line and headers together, and how many headers.
    - `target`: bytes of a path with its query.
    - `head_seconds`, `body_seconds`: for sending them, from the first byte to the last.
    - `stuck_seconds`: a client that takes nothing of what it is sent is cut off after these.
    - `idle_seconds`: a connection without a request is kept so long.
    - `start_seconds`: a stream begins after these, be there something to send or not; before, an
      error still has its own status. `beat_seconds`: a stream has a sign of life that often.
    - `connections`: at once.
    """

    body: int = 4 << 20
    depth: int = 64
    head: int = 16 << 10
    headers: int = 64
    target: int = 2048
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    stuck_seconds: float = 60.0
    idle_seconds: int = 30
    start_seconds: float = 1.0
    beat_seconds: float = 5.0
    connections: int = 256

    def __post_init__(self) -> None:
        whole("body", self.body, 1, _MOST_BODY)
        for name in ("depth", "head", "headers", "target", "idle_seconds", "connections"):
            whole(name, getattr(self, name), 1)
        for name in ("head_seconds", "body_seconds", "stuck_seconds"):
            number(name, getattr(self, name), 0.01, _MOST_SECONDS)
        for name in ("start_seconds", "beat_seconds"):
            number(name, getattr(self, name), 0.001, _MOST_SECONDS)


LIMITS = Limits()
"""Those that hold unless others are given."""
