"""Tiny models that can be tuned, and examples to tune them on.

Unlike those of `gguf_files`, whose weights repeat, no two of their tokens have the same logits.
"""

from __future__ import annotations

import json
from math import prod
from pathlib import Path

import numpy as np

from tests.helpers.gguf_files import F32, Draft, draft


def small_model(path: Path, architecture: str = "llama", *, width: int = 32, seed: int = 0) -> Path:
    """A model of two blocks with random weights that its author could have trained: none alike."""
    made = draft(architecture, width=width)
    random_weights(made, seed)
    return made.write(path)


def random_weights(made: Draft, seed: int = 0) -> None:
    """Give all f32 tensors random numbers; norms are about 1."""
    source = np.random.default_rng(seed)
    for name, (shape, kind) in made.tensors.items():
        assert kind == F32
        is_one = "norm.weight" in name or "freqs" in name
        size = 0.05 if is_one or len(shape) == 1 else shape[0] ** -0.5
        numbers = source.normal(float(is_one), size, prod(shape))
        made.data[name] = numbers.astype("<f4").tobytes()


def write_examples(path: Path, count: int = 20) -> Path:
    """Questions and answers, a line each."""
    lines = (
        json.dumps({"question": f"What is {n}?", "answer": f"The number {n}."})
        for n in range(count)
    )
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
