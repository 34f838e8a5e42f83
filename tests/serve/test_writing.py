"""What a writer makes of an event, and where."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest

from edgeproxy.decode.pieces import Piece
from edgeproxy.prompts.formats import Message
from edgeproxy.serve.events import Ended, Event, Said
from edgeproxy.serve.protocol import Sent
from edgeproxy.serve.wanted import Wanted
from edgeproxy.serve.writing import taken
from tests.helpers.openai_events import FakeTurn, with_documents

SAID = Said(Piece("Hello", 1, -1.0))
ENDED = Ended("stop", cast(Any, FakeTurn()), cast(Any, None))
READ = with_documents()


class Writes:
    """Says in which thread it takes an event; nothing else is asked of it."""

    def take(self, event: Event) -> list[Sent]:
        return [Sent(threading.current_thread().name)]

    def whole(self) -> dict[str, Any]:
        raise AssertionError

    def failed(self, error: BaseException) -> list[Sent]:
        raise AssertionError(error)


@pytest.mark.parametrize(
    ("event", "record", "is_apart"),
    [(SAID, 0, False), (SAID, 5, False), (ENDED, 0, False), (ENDED, 5, True), (READ, 0, True)],
)
def test_what_takes_long_at_the_end_is_made_in_a_thread(
    event: Event, record: int, is_apart: bool
) -> None:
    wanted = Wanted((Message("user", "Hello"),), record=record)
    (sent,) = asyncio.run(taken(Writes(), event, wanted))
    assert (sent.data == "edgeproxy writing") is is_apart
