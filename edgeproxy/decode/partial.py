"""Rows of which only the likeliest tokens are known, as a server gives them, made whole.

Of the others two things are certain: none is likelier than the least likely one that is known, and
together they have the rest of the probability,

    rest = 1 - sum of p(x) over the known x.

How that rest lies among them nobody says. Here it lies as the anti-expert has it, which is what the
base's relation to the expert rests on anyway, each held below what is certain:

    base(x) = min(log rest + log anti(x) - log sum of anti(y) over the unknown y, least known)

So fused rows rank unknown tokens as the expert does, on the scale that the rest allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeproxy.core.model import Logits

_LEAST_REST = 1e-7
"""A rest below what float32 sums of probabilities can tell from none."""


@dataclass
class Coverage:
    """How many rows were partial, and in how many the expert's best token was not known."""

    rows: int = 0
    missed: int = 0

    @property
    def share(self) -> float | None:
        """The share of rows that knew the expert's best token; None where there were none."""
        return 1.0 - self.missed / self.rows if self.rows else None


def whole_rows(base: Logits, anti_expert: Logits) -> Logits:
    """Log-probabilities for every token, of `base`, where those that are not known are -inf.

    Both of shape (rows, n_vocab). Returns a new array; a row that knows all is as it was.
    """
    out: Logits = base.copy()
    for row, anti in zip(out, anti_expert, strict=True):
        unknown = np.isneginf(row)
        if not unknown.any() or unknown.all():
            continue
        known = row[~unknown]
        rest = max(1.0 - float(np.exp(known.astype(np.float64)).sum()), _LEAST_REST)
        of_anti = anti[unknown].astype(np.float64)
        largest = of_anti.max()
        total = largest + np.log(np.exp(of_anti - largest).sum())
        row[unknown] = np.minimum(np.log(rest) + of_anti - total, known.min())
    return out


def count_coverage(coverage: Coverage, base: Logits, expert: Logits) -> None:
    """Note of each row of `base`, -inf where it is not known, whether it has the expert's best."""
    best = expert.argmax(axis=-1)
    coverage.rows += len(base)
    coverage.missed += int(np.isneginf(base[np.arange(len(base)), best]).sum())
