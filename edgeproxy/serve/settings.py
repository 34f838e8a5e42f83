"""What an engine allows: how many wait, how long a reply may be and take, how long models stay."""

from __future__ import annotations

from dataclasses import dataclass

from edgeproxy.core.check import number, whole

LEAST_SECONDS = 0.01

MOST_SECONDS = 10_000_000.0
"""About four months; a loop cannot wait for infinity."""


@dataclass(frozen=True)
class Settings:
    """The limits of an engine. Raises `UsageError` for impossible ones.

    - `most_waiting`: so many requests may wait while one is answered, and so many who only count
      tokens. `most_waiting_each` is how many may wait of those with the same `Wanted.who`; None
      sets no such limit.
    - `most_tokens`: the longest reply, in tokens, whatever a request asks for.
    - `most_seconds`: so long a request may be answered, counted from when the models are its own.
      A reply that is under way then ends as by `max_tokens`, with "length"; where its prompt was
      still being read, it is a `TooSlowError`.
    - `most_buffered`: so many pieces of a reply are made ahead of a client that takes none. A piece
      that was recorded with n of each row's best tokens counts as 1 + n.
    - `patience`: a client that takes nothing for so many seconds, while there is something to take,
      has its request withdrawn with `TooSlowError`.
    - `keep_alive`: seconds without a request after which the models are unloaded: 0 unloads them at
      once, None never.
    - `preload`: whether the models are loaded at the start, and after their process has ended,
      rather than at the next request.
    """

    most_waiting: int = 64
    most_waiting_each: int | None = None
    most_tokens: int = 4096
    most_seconds: float = 600.0
    most_buffered: int = 4096
    patience: float = 30.0
    keep_alive: float | None = 300.0
    preload: bool = False

    def __post_init__(self) -> None:
        whole("most_waiting", self.most_waiting, 0)
        if self.most_waiting_each is not None:
            whole("most_waiting_each", self.most_waiting_each, 0)
        whole("most_tokens", self.most_tokens, 1)
        whole("most_buffered", self.most_buffered, 1)
        number("most_seconds", self.most_seconds, LEAST_SECONDS, MOST_SECONDS)
        number("patience", self.patience, LEAST_SECONDS, MOST_SECONDS)
        if self.keep_alive is not None:
            number("keep_alive", self.keep_alive, 0.0, MOST_SECONDS)
