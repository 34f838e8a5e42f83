"""Finds the passages of an index that answer a question best."""

from __future__ import annotations

from typing import NamedTuple

from edgeproxy.documents.passage import Passage


class Found(NamedTuple):
    """A passage, how well it fits, and its words that were looked for."""

    passage: Passage
    score: float
    words: tuple[str, ...]
