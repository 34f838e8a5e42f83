"""Proxy-tuning with llama-cpp-python alone, as a person would write it, in a process of its own.

    python -m tools.measure.llama_peers < requests

`tools.measure.peers` starts it and talks to it in lines of JSON. It imports nothing of edgeproxy,
whose settings of OpenMP would speed it up. First come the settings; then for each reply a request
with the name of a way and the three prompts in tokens. Every token is answered with a line of true
(go on) or false; a reply that has ended is null.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import llama_cpp
import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float32]

SEED = 1


class Prompts(NamedTuple):
    """A prompt in tokens, as each role reads it."""

    base: list[int]
    expert: list[int]
    anti_expert: list[int]


class Peers:
    """Three `Llama`s as llama-cpp-python has them, and two ways to fuse what they say."""

    def __init__(
        self,
        llamas: Sequence[llama_cpp.Llama],
        alpha: float,
        plausibility: float,
        temperature: float = 0.0,
    ) -> None:
        self._llamas = llamas
        self._settings = alpha, plausibility
        self._temperature = temperature
        self._n_vocab = llamas[0].n_vocab()

    def loop(self, prompts: Prompts) -> Generator[int, None, None]:
        """A loop over all three."""
        random = np.random.default_rng(SEED)
        for llama, tokens in zip(self._llamas, prompts, strict=True):
            llama.reset()
            llama.eval(tokens)
        while True:
            base, expert, anti_expert = map(self._row, self._llamas)
            row = fused(base, expert, anti_expert, *self._settings)
            token = draw(row, self._temperature, random)
            yield token
            for llama in self._llamas:
                llama.eval([token])

    def logits_processor(self, prompts: Prompts) -> Generator[int, None, None]:
        """The base's own loop, in which a logits processor asks the pair."""
        base, expert, anti_expert = self._llamas
        for llama in self._llamas:
            llama.reset()

        def steer(input_ids: Any, scores: Any) -> Any:
            if expert.n_tokens:
                expert.eval(input_ids[-1:].tolist())
                anti_expert.eval(input_ids[-1:].tolist())
            else:
                expert.eval(prompts.expert)
                anti_expert.eval(prompts.anti_expert)
            return fused(scores, self._row(expert), self._row(anti_expert), *self._settings)

        base.set_seed(SEED)
        tokens: Generator[int, None, None] = base.generate(
            prompts.base,
            top_k=0,
            top_p=1.0,
            min_p=0.0,
            temp=self._temperature,
            logits_processor=llama_cpp.LogitsProcessorList([steer]),
        )
        return tokens

    def _row(self, llama: llama_cpp.Llama) -> Row:
        """The row that follows what was read, where llama.cpp has it until it reads on."""
        pointer = llama_cpp.llama_get_logits_ith(llama.ctx, -1)
        row: Row = np.ctypeslib.as_array(pointer, shape=(self._n_vocab,))
        return row


def fused(base: Row, expert: Row, anti_expert: Row, alpha: float, plausibility: float) -> Row:
    """The equation and the mask of `edgeproxy.decode.fuse` for a row, as in NumPy."""
    if not alpha:
        return base
    row: Row = base + np.float32(alpha) * (expert - anti_expert)
    if plausibility:
        least = expert.max() + np.float32(math.log(plausibility))
        row[expert < least] = -np.inf
    return row


def draw(row: Row, temperature: float, random: np.random.Generator) -> int:
    """A token by its probability at `temperature`; at 0 the most probable one."""
    if not temperature:
        return int(row.argmax())
    sums = np.cumsum(np.exp((row - row.max()) / temperature, dtype=np.float64))
    return int(np.searchsorted(sums, random.random() * sums[-1], side="right"))


def main() -> None:
    """Answer requests until there are no more."""

    def say(what: object) -> None:
        print(json.dumps(what), flush=True)

    settings = json.loads(sys.stdin.readline())
    n_threads = settings["n_threads"]
    try:
        llamas = [
            llama_cpp.Llama(
                path, n_ctx=n_ctx, n_threads=n_threads, n_threads_batch=n_threads, verbose=False
            )
            for path, n_ctx in settings["models"]
        ]
    except ValueError as error:
        say({"error": str(error)})
        return
    say({"error": None})
    peers = Peers(llamas, *(settings[key] for key in ("alpha", "plausibility", "temperature")))
    for line in sys.stdin:
        name, *prompts = json.loads(line)
        for token in getattr(peers, name)(Prompts(*prompts)):
            say(token)
            if not json.loads(sys.stdin.readline() or "false"):
                break
        say(None)


if __name__ == "__main__":
    main()
