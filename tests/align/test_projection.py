"""What a projection says where that is plain to see; exact values are for the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeproxy.align import ProjectedModel, align
from edgeproxy.core.vocab import Vocab
from tests.helpers.fakes import FakeModel
from tests.helpers.tokenizing import LARGE, PIECES, SMALL


@pytest.mark.parametrize("own", [SMALL, PIECES], ids=["bpe", "unigram"])
def test_sure_models_are_projected_to_what_they_are_sure_of(own: Vocab) -> None:
    """A model that says one text says it in the base's tokens, whatever its own are."""
    text = "hello there, the world is 2024 and the other"
    spelled = own.encode(text)

    def rows(history: Any) -> Any:
        row = np.zeros(len(own), np.float32)
        at = len(history) - 1
        if list(history[1:]) == spelled[:at]:
            row[spelled[at] if at < len(spelled) else min(own.end_of_generation)] = 12.0
        return row

    model = FakeModel(rows, vocab=own)
    aligned: Any = align(model, FakeModel(rows, vocab=own), LARGE).expert
    assert isinstance(aligned, ProjectedModel)
    row = aligned.eval(aligned.own([0]))[0]
    for token in LARGE.encode(text):
        aligned.refine(np.argsort(row)[::-1][:12].tolist())
        # Others that begin alike may still have the first of their tokens as a bound.
        assert row[token] >= row.max() - 0.05
        row = aligned.eval([token])[0]
    assert int(row.argmax()) in LARGE.end_of_generation
