"""The adapter in llama.cpp beside the network in PyTorch that it was taken from, on a few examples.

PyTorch and llama.cpp work by turns, with as many threads; llama.cpp does so in a process of its own
(see `llama_apart`). See `agreement` for when the two say the same.

May touch: a child process, which reads the model's file and the adapter's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import Cancelled, LogitsError, TuningError
from edgeproxy.llama import MAX_ROWS
from edgeproxy.tune.agreement import Agreement, Rows, agreement, plausible
from edgeproxy.tune.llama_apart import Answered, Asked, ask
from edgeproxy.tune.lora import parameters
from edgeproxy.tune.network import Network
from edgeproxy.tune.tokens import Tokens

EXAMPLES, LOOKED_AT = 8, 200
PLACES = MAX_ROWS
"""Of an example's reply so many tokens are compared: what llama.cpp computes in one evaluation."""
PLAUSIBLE = 100
"""At each place the tokens with the largest logits: so many without the adapter and with it."""
TEXTS = 4
"""So many replies are written."""
REPORT = (
    "no adapter was written; this is a fault of edgeproxy's and not of your examples: please "
    "report it, with the model's name"
)

NO_NUMBERS = "the tuned model answers with logits that are not numbers; lower --rate"


@dataclass(frozen=True)
class Check:
    """What the comparison found: `tokens` of `texts` replies were written, `differing` are told.

    `differing` tokens were the second best in PyTorch, by no more than rounding.
    """

    agreement: Agreement
    texts: int
    tokens: int
    differing: int


@dataclass(frozen=True)
class Probe:
    """Token ids, of which those from `first` on are predicted and compared."""

    ids: list[int]
    first: int

    @property
    def context(self) -> list[int]:
        """What is read before the first of them."""
        return self.ids[: self.first]


def probes(examples: Sequence[Tokens]) -> list[Probe]:
    """A few of the shorter examples, each up to some tokens of its first reply."""
    step = max(1, len(examples) // LOOKED_AT)
    by_length = sorted(filter(_has_reply, examples[::step]), key=len)
    shorter = by_length[: max(EXAMPLES, len(by_length) // 2)]
    step = max(1, len(shorter) // EXAMPLES)
    return [_probe(example) for example in shorter[::step][:EXAMPLES]]


def _has_reply(example: Tokens) -> bool:
    return bool(example.is_reply[1:].any())


def _probe(example: Tokens) -> Probe:
    first = 1 + int(np.argmax(example.is_reply[1:]))
    ends = np.flatnonzero(~example.is_reply[first:])
    end = first + min(PLACES, int(ends[0]) if len(ends) else len(example.ids))
    return Probe([int(token) for token in example.ids[:end]], first)


def check_untuned(
    network: Network, model: Path, tries: Sequence[Probe], cancel: Cancel | None = None
) -> None:
    """Raise `TuningError` where PyTorch makes another model of the file than llama.cpp does.

    The network has no adapter yet, or one that changes nothing. Minutes are spent on it afterwards.
    """
    own, seen = [], []
    for probe in tries:
        rows = predictions(network, probe)
        seen.append(plausible(rows, PLAUSIBLE))
        own.append(_those(rows, seen[-1]))
    theirs = _ask(model, None, tries, seen, cancel).plain
    ours = np.concatenate(own)
    _refuse(agreement((theirs, theirs), (ours, ours)), [], f"{model}: ")


def check_adapter(
    network: Network,
    model: Path,
    adapter: Path,
    tries: Sequence[Probe],
    progress: Callable[[str], None] = lambda _: None,
    cancel: Cancel | None = None,
) -> Check:
    """Compare the `network`, as it was trained, with `model` and the file `adapter` in llama.cpp.

    Raises `TuningError` where they differ by more than rounding, `ModelFileError` and `EngineError`
    as loading does, `Cancelled` when asked to stop.
    """

    def step(what: str) -> None:
        if cancel is not None and cancel.is_set():
            raise Cancelled("the comparison with llama.cpp was cancelled")
        progress(f"comparing with llama.cpp: {what}")

    untuned, tuned, seen = [], [], []
    for number, probe in enumerate(tries, start=1):
        step(f"PyTorch reads, {number} of {len(tries)}")
        with_it = predictions(network, probe)
        with without_adapter(network):
            without = predictions(network, probe)
        seen.append(_plausible(without, with_it))
        untuned.append(_those(without, seen[-1]))
        tuned.append(_those(with_it, seen[-1]))
    step("it reads and replies")
    with _telling():
        answered = _ask(model, adapter, tries, seen, cancel)
    theirs = answered.plain, answered.adapted
    replies = []
    for probe, best, logits in zip(tries, answered.best, answered.logits, strict=False):
        read = Probe([*probe.context, *map(int, best[:, 0])], probe.first)
        replies.append(_Reply(read, best, logits))
    found = agreement(theirs, (np.concatenate(untuned), np.concatenate(tuned)))
    gaps = []
    for number, reply in enumerate(replies, start=1):
        step(f"PyTorch reads replies, {number} of {len(replies)}")
        gaps += _differences(network, reply)
    _refuse(found, gaps, "")
    written = sum(len(reply.best) for reply in replies)
    return Check(found, len(replies), written, len(gaps))


def _refuse(found: Agreement, gaps: Sequence[float], whose: str) -> None:
    """Raise `TuningError` for what is no rounding."""
    faults = [*found.faults()]
    far = [gap for gap in gaps if gap > found.widest]
    if far:
        faults.append(
            f"llama.cpp's reply has {len(far)} tokens that PyTorch would not choose, one by "
            f"{max(far):.3g}, where rounding explains {found.widest:.3g}"
        )
    if faults:
        raise TuningError(f"{whose}{'; '.join(faults)}: {REPORT}")


@contextlib.contextmanager
def without_adapter(network: Network) -> Iterator[None]:
    """The network as it was before it was tuned, for as long as this lasts."""
    second = [p for name, p in parameters(network).items() if name.endswith(".lora_b")]
    kept = [p.detach().clone() for p in second]
    with torch.no_grad():
        for p in second:
            p.zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            for p, values in zip(second, kept, strict=True):
                p.copy_(values)


def predictions(network: Network, probe: Probe) -> Rows:
    """PyTorch's logits for each predicted token, shape (predicted tokens, vocabulary).

    Raises `TuningError` where they are not finite.
    """
    with torch.inference_mode():
        hidden = network.hidden(torch.tensor([probe.ids[:-1]]))[0, probe.first - 1 :]
        rows: Rows = network.logits(hidden).float().numpy()
    if not np.isfinite(rows).all():
        raise TuningError(NO_NUMBERS)
    return rows


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """No weights are damaged here: it is what was trained that is too large for llama.cpp."""
    try:
        yield
    except LogitsError:
        raise TuningError(NO_NUMBERS) from None


def _ask(
    model: Path,
    adapter: Path | None,
    tries: Sequence[Probe],
    seen: Sequence[NDArray[np.intp]],
    cancel: Cancel | None,
) -> Answered:
    """What llama.cpp says to all `tries` of the tokens `seen`, and with an adapter its replies."""
    texts, firsts = [probe.ids for probe in tries], [probe.first for probe in tries]
    replies = len(tries[:TEXTS]) if adapter else 0
    threads = torch.get_num_threads()
    return ask(Asked(model, adapter, threads, texts, firsts, seen, replies), cancel)


def _plausible(untuned: Rows, tuned: Rows) -> NDArray[np.intp]:
    return np.concatenate([plausible(untuned, PLAUSIBLE), plausible(tuned, PLAUSIBLE)], axis=1)


def _those(rows: Rows, tokens: NDArray[np.intp]) -> Rows:
    """Of each row the logits of these tokens."""
    found: Rows = np.take_along_axis(rows, tokens, axis=1)
    return found


@dataclass(frozen=True)
class _Reply:
    """What llama.cpp wrote, greedily; of each token its best ones, best first, and their logits."""

    probe: Probe
    best: NDArray[np.intp]
    logits: Rows


def _differences(network: Network, reply: _Reply) -> list[float]:
    """Of each token of a reply that PyTorch would not choose: by how much another one is better.

    In PyTorch or in llama.cpp, where it is more.
    """
    rows = predictions(network, reply.probe)
    gaps = []
    for row, best, logits in zip(rows, reply.best, reply.logits, strict=True):
        ours, theirs = int(row.argmax()), int(best[0])
        if ours == theirs:
            continue
        at = np.flatnonzero(best == ours)
        there = logits[0] - logits[at[0] if len(at) else -1]
        gaps.append(float(max(row[ours] - row[theirs], there)))
    return gaps
