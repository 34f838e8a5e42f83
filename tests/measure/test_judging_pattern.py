"""Patterns: they are searched for elsewhere, and one that takes years ends in seconds."""

from __future__ import annotations

import threading

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.measure.judging import pattern
from edgeproxy.measure.judging.pattern import Searcher, no_pattern

ENDLESS = [r"(a+)+$", r"(a|a)*$", r"(.*a){25}$"]


@pytest.mark.parametrize("hostile", ENDLESS)
def test_a_pattern_that_takes_years_is_an_error_that_names_it(hostile: str) -> None:
    searcher = Searcher(seconds=0.3)
    with pytest.raises(UsageError) as caught:
        searcher.finds(hostile, "a" * 60 + "!")
    assert f"the pattern {hostile!r} takes more than 0.3 seconds" in str(caught.value)
    assert searcher.finds("b+", "abba"), "another child searches for the next"


def test_one_child_searches_for_all() -> None:
    searcher = Searcher()
    assert searcher._child is None, "nothing is started before it is needed"
    assert searcher.finds("^ü$", "x\nü") is False
    child = searcher._child
    assert searcher.finds("(?m)^ü$", "x\nü") is True
    assert searcher._child is child


def test_a_child_that_died_is_told_apart_from_an_answer() -> None:
    searcher = Searcher()
    assert searcher.finds("a", "a")
    assert searcher._child is not None
    searcher._child.kill()
    searcher._child.wait()
    with pytest.raises(UsageError, match="the search for the pattern 'a' failed"):
        searcher.finds("a", "a")
    assert searcher.finds("a", "a")


def test_threads_wait_for_each_other() -> None:
    searcher = Searcher()
    found: dict[int, bool] = {}

    def search(n: int) -> None:
        for _ in range(20):
            found[n] = searcher.finds(str(n % 2), "1")

    threads = [threading.Thread(target=search, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: False, 1: True, 2: False, 3: True}


def test_a_long_reply_is_searched_as_far_as_it_may_be() -> None:
    text = "x" * pattern.MAX_REPLY
    assert not Searcher().finds("y", text + "y")


@pytest.mark.parametrize(
    "given", ["", "(", "*", "a{2,1}", r"\p{L}", "(?P<a>x)(?P<a>y)", "x" * 2001]
)
def test_what_is_no_pattern_is_refused(given: str) -> None:
    assert no_pattern(given)


def test_a_pattern_of_older_ways_is_no_warning() -> None:
    assert no_pattern("[[a]") is None
    assert Searcher().finds("[[a]", "a")
