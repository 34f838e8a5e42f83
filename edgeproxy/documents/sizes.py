"""How many tokens a text has, about: its characters, by the script that they are of.

A tokenizer takes far longer than everything else that an index does with a text, so it is asked
about a sample only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Count = Callable[[str], int]
"""Of a text its tokens, as a model counts them."""

LATIN, DENSE, OTHER = 4.0, 1.5, 2.5
"""Characters a token where no model was asked."""

LEAST, MOST = 0.25, 12.0
"""Between these is believed what a sample says of characters a token."""

_ENOUGH = 2000
"""So many characters of a script have to be in a sample, or it says nothing about that script."""

_SPACED_DENSE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
_HAN_AND_KANA = "\u3000-\u30ff\u31f0-\u31ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
_DENSE = f"{_SPACED_DENSE}{_HAN_AND_KANA}\U00020000-\U0003ffff"
_BEYOND_LATIN = re.compile("[\u0370-\U0010ffff]")
_DENSE_RUN = re.compile(f"[{_DENSE}]+")
# Spaces between words of a script count with it: that makes for long runs, which are quick to find.
_OTHER_RUN = re.compile(f"(?:[^\\x00-\u036f\u2000-\u206f{_DENSE}]+[ \u2000-\u206f]?)+")


@dataclass(frozen=True)
class Ratios:
    """Characters a token: of Latin letters, of scripts without spaces, and of all others."""

    latin: float = LATIN
    dense: float = DENSE
    other: float = OTHER

    def tokens(self, text: str) -> float:
        """How many tokens `text` has, about."""
        if text.isascii() or not _BEYOND_LATIN.search(text):
            return len(text) / self.latin
        dense = sum(run.end() - run.start() for run in _DENSE_RUN.finditer(text))
        other = sum(run.end() - run.start() for run in _OTHER_RUN.finditer(text))
        latin = len(text) - dense - other
        return latin / self.latin + dense / self.dense + other / self.other


def calibrate(texts: Iterable[str], count: Count) -> Ratios:
    """The ratios of `count` on `texts`; the usual one for a script of which they have little."""
    characters, tokens = dict.fromkeys(_RUNS, 0), dict.fromkeys(_RUNS, 0)
    for text in texts:
        for script, runs in _RUNS.items():
            for run in runs.finditer(text):
                characters[script] += len(run[0])
                tokens[script] += count(run[0])
    found = {
        script: min(max(characters[script] / max(tokens[script], 1), LEAST), MOST)
        for script in _RUNS
        if characters[script] >= _ENOUGH
    }
    return Ratios(**found)


_RUNS = {
    # Long runs alone: a lone word amid another script is no fair sample.
    "latin": re.compile("[\\x00-\u036f\u2000-\u206f]{40,400}"),
    "dense": re.compile(f"[{_DENSE}]{{10,400}}"),
    "other": re.compile(f"(?:[^\\x00-\u036f\u2000-\u206f{_DENSE}]+[ \u2000-\u206f]?){{5,80}}"),
}
