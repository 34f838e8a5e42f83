"""Whose turn it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.serve.waiting import FairQueue


def filled(*items: str) -> FairQueue[str]:
    """Items named by their owner and a number."""
    queue: FairQueue[str] = FairQueue()
    for item in items:
        queue.add(item[0], item)
    return queue


def emptied(queue: FairQueue[str]) -> list[str]:
    return [queue.pop() for _ in range(len(queue))]


def test_one_of_each_owner_in_turn_and_each_ones_in_order() -> None:
    queue = filled("a1", "a2", "a3", "b1", "c1", "b2")
    assert (len(queue), queue.of("a"), queue.of("z"), queue.owners) == (6, 3, 0, 3)
    assert emptied(queue) == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert len(queue) == queue.owners == 0


def test_who_comes_new_is_before_who_had_the_last_turn() -> None:
    queue = filled("a1", "a2", "a3")
    assert queue.pop() == "a1"
    queue.add("b", "b1")
    queue.add("c", "c1")
    assert emptied(queue) == ["b1", "c1", "a2", "a3"]


def test_who_had_a_turn_and_nothing_left_comes_after_those_who_wait() -> None:
    queue = filled("a1", "b1")
    assert queue.pop() == "a1"
    queue.add("a", "a2")
    assert emptied(queue) == ["b1", "a2"]


def test_what_is_taken_out_is_not_given() -> None:
    queue = filled("a1", "a2", "b1")
    assert queue.remove("a", "a1")
    assert queue.remove("b", "b1")
    assert not queue.remove("b", "b1")
    assert not queue.remove("a", "a1")
    assert emptied(queue) == ["a2"]
    with pytest.raises(KeyError):
        queue.pop()


@given(st.lists(st.one_of(st.sampled_from("abcd"), st.none()), max_size=60))
def test_it_is_told_beforehand_and_nobody_waits_for_two_of_anothers(acts: list[str | None]) -> None:
    queue: FairQueue[tuple[str, int]] = FairQueue()
    given_since: dict[tuple[str, int], list[str]] = {}
    for number, owner in enumerate(acts):
        if owner is not None:
            if not queue.of(owner):
                given_since[owner, number] = []
            queue.add(owner, (owner, number))
            continue
        if not queue:
            continue
        order = list(queue)
        assert len(order) == len(queue)
        item = queue.pop()
        assert order[0] == item
        assert list(queue) == order[1:]
        seen = given_since.pop(item, [])
        assert all(seen.count(each) <= 1 for each in seen), "two of one while another waited"
        for others in given_since.values():
            others.append(item[0])
