"""Leaving passages out where the base is on a server: as with the base here, or said to be none."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.session.reading import Reading
from tests.helpers.fakes import FakeModel
from tests.helpers.reading_fakes import PASSAGES, QUESTION, REPLY, ROWS, STEERING, VOCAB, Fakes
from tests.helpers.served_trios import ALL, Speaking, speaking


def served(**settings: Any) -> Any:
    base, expert, anti_expert = (FakeModel(rows, vocab=VOCAB) for rows in ROWS)
    reading = Reading(lambda _messages: PASSAGES, "all")
    return speaking(base, expert, anti_expert, vocab=VOCAB, reading=reading, **settings)


def test_what_a_reply_needs_is_the_same_wherever_the_base_is() -> None:
    fakes = Fakes("all")
    here = fakes.ask()
    assert here.text == REPLY
    wanted = [part.drops for part in here.cite()]
    each: Speaking
    with served(steering=STEERING, logprobs=ALL) as each:
        turn = each.speaker.reply(QUESTION, max_tokens=80)
        list(turn)
        assert turn.text == REPLY
        found = [part.drops for part in turn.cite()]
        assert len(found) == len(wanted) == 3
        for a, b in zip(found, wanted, strict=True):
            assert a == pytest.approx(b, abs=1e-3)
        assert each.ask(QUESTION, max_tokens=80) == REPLY


def test_a_base_that_draws_weighs_no_passages() -> None:
    each: Speaking
    with served(way="bias") as each:
        turn = each.speaker.reply(QUESTION, max_tokens=5)
        list(turn)
        said = turn.text
        with pytest.raises(
            UsageError, match=r"does not say how likely they are.*choose the way rows"
        ):
            turn.cite()
        assert each.ask(QUESTION, max_tokens=5) == said
