"""A vocabulary comes from a worker in parts: a long message holds up all threads of the host."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from edgeproxy.decode.sample import Sampling
from edgeproxy.worker import serving
from edgeproxy.worker.speaker import FarSpeaker
from edgeproxy.worker.values import decoded
from tests.helpers.fake_worker import fake_load
from tests.helpers.fakes import fake_vocab


class Host:
    """In the place of a keeper: asks `serving` in this process; `messages` are what it said."""

    def __init__(self) -> None:
        self.messages: list[list[Any]] = []
        self._came: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        self._serving = serving.Serving(self._came.put, fake_load)
        self.ask("load", {"options": {}})

    def ask(
        self, do: str, arguments: Any, _doing: str = "", _cancel: Any = None, told: Any = None
    ) -> Any:
        self._serving.take({"do": do, "id": 1, **arguments})
        while True:
            what, _, *rest = self._came.get(timeout=10)
            if what == "done":
                return decoded(rest[0])
            assert what == "told"
            self.messages.append(rest)
            if told is not None:
                told(*map(decoded, rest))


@pytest.mark.parametrize(("part", "count"), [(100, 3), (130, 2), (260, 1), (1000, 1)])
def test_it_comes_in_parts_and_is_whole(
    monkeypatch: pytest.MonkeyPatch, part: int, count: int
) -> None:
    monkeypatch.setattr(serving, "VOCAB_PART", part)
    host: Any = Host()
    host.messages.clear()
    speaker = FarSpeaker(host, ("trio",), 100, 260, frozenset(), Sampling())
    found, own = speaker.vocab, fake_vocab()
    assert len(host.messages) == count
    for name in ("tokens", "kinds", "bos", "end_of_generation", "named"):
        assert getattr(found, name) == getattr(own, name), name
    assert speaker.vocab is found
