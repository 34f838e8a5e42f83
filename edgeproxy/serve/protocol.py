"""What a protocol is to those who carry it: a reader of requests and a writer of replies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import UsageError
from edgeproxy.serve.events import Event
from edgeproxy.serve.wanted import Wanted

CANCELLED = 499
"""The status for what was cancelled: no client takes it as a reason to try again by itself."""


class RefusedError(UsageError):
    """A request asks for what is impossible or not supported; `param` names its field.

    `status` is that of HTTP, and `code` a word for programs.
    """

    def __init__(
        self, what: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(what)
        self.param = param
        self.code = code
        self.status = status


class WithdrawnError(RefusedError):
    """A reply was cancelled before it had begun."""

    def __init__(self) -> None:
        what = "it was cancelled while it waited; ask again to have a reply"
        super().__init__(what, None, "cancelled", CANCELLED)


@dataclass(frozen=True)
class Known:
    """What a reader of requests must know of the engine.

    `name` is the trio's, `roles` who may answer alone, `n_ctx` the tokens of a conversation,
    `most_tokens` the longest reply, `has_documents` whether it was loaded with an index, and
    `vocab` the tokens' vocabulary, None where the models are not loaded. `sampling` is what the
    trio's manifest asks for, and `can_record` whether replies can keep what each model said: not
    where its steering leaves the say to one model, nor where a server draws the tokens.
    """

    name: str
    roles: tuple[str, ...]
    n_ctx: int
    most_tokens: int
    has_documents: bool
    vocab: Vocab | None = None
    sampling: Sampling = field(default_factory=Sampling)
    can_record: bool = True


@dataclass(frozen=True)
class Sent:
    """One message of a stream: JSON data, or a bare word, and the name of its event, if it has one.

    As server-sent events have it; JSON lines carry the same.
    """

    data: Mapping[str, Any] | str
    event: str | None = None


class Writer(Protocol):
    """Makes of one request's events what is sent."""

    def take(self, event: Event) -> list[Sent]:
        """What a stream sends for this event, nothing more after `Ended`. Take every event."""

    def whole(self) -> dict[str, Any]:
        """What a plain call answers, once `Ended` was taken."""

    def failed(self, error: BaseException) -> list[Sent]:
        """What a stream that has begun sends where this error ends it."""


@dataclass(frozen=True)
class Request:
    """A request that was read: what is wanted, whether as a stream, and who writes the reply."""

    wanted: Wanted
    streams: bool
    make_writer: Callable[[Vocab], Writer]


Read = Callable[[Mapping[str, Any], Known, str], Request]
"""Reads a request's JSON body; the text is `Wanted.who`. Raises `RefusedError`."""
