"""Measure what the engine adds to llama.cpp's own time for a token of a trio.

    python -m tools.measure.overhead TRIO [--tokens 64] [--repeats 5] [--threads N] [--json]

A step of the trio (three evals, fusion, sampling, text, log-probability) is compared with three
bare `llama_decode` calls of the same token, on contexts of their own over the same weights. The two
take turns, token by token, so that whatever else the machine does meets both. Run it on a quiet
machine; the figure to hold is a ratio of at most 1.03 (greedy) on the trio that
`tools.models.random_trio` makes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, NamedTuple

import llama_cpp

from edgeproxy.align import align
from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.threads import default_threads
from edgeproxy.decode.pieces import complete
from edgeproxy.decode.sample import Sampler, Sampling
from edgeproxy.decode.trio import Trio
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.trios.find import find_recipe
from tools.command import add_json, at_least, make_parser, run

BAR = 1.03
PROMPT_TOKENS = 32
_BATCH, _AT_ONCE = 256, 64  # as the engine has them

lib: Any = llama_cpp.llama_cpp


class Case(NamedTuple):
    """How a trio is asked to choose its tokens."""

    name: str
    temperature: float
    plausibility: float


CASES = (
    Case("greedy, no mask", 0.0, 0.0),
    Case("greedy, mask 0.03", 0.0, 0.03),
    Case("temperature 0.8, no mask", 0.8, 0.0),
    Case("temperature 0.8, mask 0.03", 0.8, 0.03),
)


@dataclass(frozen=True)
class Result:
    """Median times in milliseconds, `bare` being the sum of the other three, and trio / bare."""

    case: str
    ratio: float
    trio: float
    bare: float
    base: float
    expert: float
    anti_expert: float


class BareContext:
    """One llama.cpp context with nothing of ours around it."""

    def __init__(self, weights: Weights, n_ctx: int, n_threads: int) -> None:
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_batch, params.n_ubatch = n_ctx, _BATCH, _AT_ONCE
        params.flash_attn_type = 0
        params.n_threads = params.n_threads_batch = n_threads
        self._context = lib.llama_init_from_model(weights.pointer, params)
        self._batch = lib.llama_batch_init(_BATCH, 0, 1)
        self._n_past = 0

    def restart(self, tokens: Sequence[int]) -> None:
        """Forget everything and read `tokens`."""
        lib.llama_memory_clear(lib.llama_get_memory(self._context), False)
        self._n_past = 0
        self.seconds(tokens)

    def seconds(self, tokens: Sequence[int]) -> float:
        """Read `tokens`; how long `llama_decode` alone took."""
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = self._n_past + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i == len(tokens) - 1
        started = time.perf_counter()
        result = lib.llama_decode(self._context, batch)
        spent = time.perf_counter() - started
        if result != 0:
            raise RuntimeError(f"llama_decode failed with code {result}")
        self._n_past += len(tokens)
        return spent

    def close(self) -> None:
        """Give the memory back."""
        lib.llama_batch_free(self._batch)
        lib.llama_free(self._context)


class Step(NamedTuple):
    """Seconds of one token: by the trio, and by each of its three models bare."""

    trio: float
    bare: tuple[float, ...]


def measure(
    name: str,
    tokens: int,
    repeats: int,
    threads: int | None = None,
    told: Callable[[str], None] = lambda what: None,
) -> list[Result]:
    """Measure each case on the trio called `name`, or at that path."""
    n_ctx = PROMPT_TOKENS + tokens + 1
    steps: dict[Case, list[Step]] = {case: [] for case in CASES}
    with ExitStack() as stack:
        weights = [
            stack.enter_context(Weights(role.path)) for role in find_recipe(name).roles.values()
        ]
        counts = [threads or default_threads(each.n_params) for each in weights]
        base, expert, anti_expert = (
            LlamaModel(each, n_ctx=n_ctx, n_threads=count)
            for each, count in zip(weights, counts, strict=True)
        )
        aligned = align(expert, anti_expert, base.vocab)
        trio = Trio(base, aligned.expert, aligned.anti_expert)
        bare = [
            BareContext(each, n_ctx, count) for each, count in zip(weights, counts, strict=True)
        ]
        for context in bare:
            stack.callback(context.close)
        for number in range(1, repeats + 1):
            for case in CASES:
                told(f"repeat {number} of {repeats}: {case.name}")
                steps[case] += _take_turns(trio, bare, case, tokens)
    return [_result(case, found) for case, found in steps.items()]


def _take_turns(trio: Trio, bare: Sequence[BareContext], case: Case, tokens: int) -> Iterator[Step]:
    prompt = [token % len(trio.vocab) for token in range(300, 300 + PROMPT_TOKENS)]
    trio.rewind(trio.n_past)
    trio.steering = trio.steering.changed({"plausibility": case.plausibility})
    for context in bare:
        context.restart(prompt)
    sampler = Sampler(trio.vocab, Sampling(temperature=case.temperature, seed=1))
    pieces = complete(prompt, trio, trio.vocab, sampler, max_tokens=tokens + 1, endings=frozenset())
    token = next(pieces).token
    for number in range(tokens):
        assert token is not None
        told: tuple[float, ...] = ()
        if number % 2:
            told = tuple(context.seconds([token]) for context in bare)
        started = time.perf_counter()
        piece = next(pieces)
        spent = time.perf_counter() - started
        if not told:
            told = tuple(context.seconds([token]) for context in bare)
        token = piece.token
        yield Step(spent, told)
    sampler.close()


def _result(case: Case, steps: Sequence[Step]) -> Result:
    trio = median(step.trio for step in steps)
    bare = median(sum(step.bare) for step in steps)
    parts = [1000 * median(times) for times in zip(*(step.bare for step in steps), strict=True)]
    return Result(case.name, trio / bare, 1000 * trio, 1000 * bare, *parts)


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    parser = make_parser("tools.measure.overhead", __doc__)
    parser.add_argument("trio", help="a trio's name, its folder, or its trio.toml")
    parser.add_argument("--tokens", type=at_least(1), default=64, help="tokens of a repeat")
    parser.add_argument("--repeats", type=at_least(1), default=5)
    parser.add_argument(
        "--threads", type=at_least(1), help="for each model [default: as edgeproxy does]"
    )
    add_json(parser)

    def work(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
        results = measure(asked.trio, asked.tokens, asked.repeats, asked.threads, working.tell)
        return {
            "bar": BAR,
            "medians_of": asked.repeats * asked.tokens,
            "milliseconds": [asdict(result) for result in results],
        }

    return run(parser, work, lambda found: "\n".join(as_text(found)))


def as_text(found: dict[str, Any]) -> Iterator[str]:
    """The same for a person, as lines."""
    yield f"milliseconds a token, medians of {found['medians_of']}; bar {found['bar']}"
    yield f"{'':28}{'ratio':>8}{'trio':>9}{'bare':>9}{'base':>9}{'expert':>9}{'anti':>9}"
    for result in found["milliseconds"]:
        name, ratio, *times = result.values()
        yield f"{name:28}{ratio:8.3f}" + "".join(f"{spent:9.2f}" for spent in times)


if __name__ == "__main__":
    sys.exit(main())
