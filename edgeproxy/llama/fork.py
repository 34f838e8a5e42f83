"""Forked children: llama.cpp's threads do not come along, and a child would wait for them for ever.

What was loaded before a fork is its parent's: a child can neither use it nor free it. What a child
loads itself is its own, and works with one thread where its parent has evaluated with several, for
OpenMP, which keeps them, believes that they are still there.
"""

from __future__ import annotations

import os

from edgeproxy.errors import EngineError

generation = 0
"""How many forks lie between this process and the one that imported this module."""

_has_threads = False  # llama.cpp has run several here
_had_threads = False  # in a process that this one was forked from


def _after_fork() -> None:
    global generation, _has_threads, _had_threads
    generation += 1
    _has_threads, _had_threads = False, _had_threads or _has_threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def foreign(name: str) -> EngineError:
    """What is said of a use of `name`, loaded before a fork."""
    return EngineError(
        f"{name}: a loaded model cannot be used in a forked process; "
        "start that process by spawn, or load the model in it"
    )


def check_threads(n_threads: int) -> None:
    """Note that so many threads will evaluate. Raises `EngineError` where they would hang."""
    global _has_threads
    if n_threads == 1:
        return
    if _had_threads:
        raise EngineError(
            "this process was forked from one in which llama.cpp had several threads, and would "
            "wait for them for ever; start it by spawn, or load with one thread (n_threads=1)"
        )
    _has_threads = True
