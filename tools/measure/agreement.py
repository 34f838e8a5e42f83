"""Whether PyTorch's models compute what llama.cpp does, for `tools.measure.peers --torch`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeproxy.core.model import Logits
from edgeproxy.decode.trio import RoleTokens
from edgeproxy.errors import EngineError
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.trios.find import Recipe

if TYPE_CHECKING:
    from tools.measure.torch_peer import TorchTrio

LIKELY = 10.0
"""Logits are compared of tokens at most so many nats below the best one."""

MOST_DIFFERENCE, LEAST_SAME = 0.25, 0.9
"""Bounds of `Agreement`: rounding makes 0.03 to 0.07, a mistake in the rotation 1 or more."""


@dataclass(frozen=True)
class Agreement:
    """Rows beside llama.cpp's own, which differ by a constant at most.

    The root of the mean square and the largest of the differences, over likely tokens, in nats;
    and the share of rows with the same best token.
    """

    difference: float
    largest: float
    same_best: float


def compare(rows: Logits, reference: Logits) -> Agreement:
    """How far `rows` are from `reference`, both of shape (rows, n_vocab)."""
    likely = reference >= reference.max(axis=1, keepdims=True) - LIKELY
    apart = np.where(likely, rows - reference, 0.0)
    # An infinity becomes NaN, which `check` refuses.
    with np.errstate(invalid="ignore"):
        apart -= likely * (apart.sum(axis=1, keepdims=True) / likely.sum(axis=1, keepdims=True))
    return Agreement(
        difference=float(np.sqrt((apart**2).sum() / likely.sum())),
        largest=float(np.abs(apart).max()),
        same_best=float((rows.argmax(axis=1) == reference.argmax(axis=1)).mean()),
    )


def check(found: Agreement, what: str) -> Agreement:
    """`found`. Raises `EngineError` where it is more than rounding explains."""
    # Said this way round, so that NaN fails.
    if not (found.difference <= MOST_DIFFERENCE and found.same_best >= LEAST_SAME):
        raise EngineError(
            f"{what} does not compute what llama.cpp does, so it is not timed: its logits are "
            f"{found.difference:.2g} apart ({MOST_DIFFERENCE} is possible), and the best token is "
            f"the same in {found.same_best:.0%} of the rows ({LEAST_SAME:.0%} is needed)"
        )
    return found


def check_torch(
    trios: Mapping[str, TorchTrio],
    recipe: Recipe,
    prompts: Sequence[RoleTokens],
    replies: Sequence[Sequence[int]],
    threads: int,
    told: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """How each model in PyTorch agrees with llama.cpp's on `replies`; raises as `check` does."""
    found: dict[str, dict[str, Any]] = {name: {} for name in trios}
    for place, (role, part) in enumerate(recipe.roles.items()):
        # As a reply reads: the prompt at once, then token by token.
        texts = [
            [prompt[place], *([token] for token in said)]
            for prompt, said in zip(prompts, replies, strict=True)
        ]
        told(f"checking {role}: llama.cpp")
        reference = _llama_rows(part.path, texts, threads)
        for name, trio in trios.items():
            rows: list[Logits] = []
            for row in chain.from_iterable(map(trio.models[place].rows, texts)):
                told(f"checking {role}: {name}, {len(rows)} of {len(reference)}")
                rows.append(row)
            agreement = check(compare(np.stack(rows), reference), f"{part.path} in {name}")
            found[name][role] = asdict(agreement)
    return found


def _llama_rows(path: Path, texts: Sequence[Sequence[Sequence[int]]], threads: int) -> Logits:
    """llama.cpp's rows after each part of each text."""
    n_ctx = max(sum(map(len, text)) for text in texts)
    rows = []
    with (
        Weights(path) as weights,
        closing(LlamaModel(weights, n_ctx=n_ctx, n_threads=threads)) as model,
    ):
        for text in texts:
            model.rewind(model.n_past)
            rows += [model.eval(part)[-1].copy() for part in text]
    return np.stack(rows)
