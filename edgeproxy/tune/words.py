"""What a tuning tells of itself, in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeproxy.gguf import Header
from edgeproxy.tune.check import Check
from edgeproxy.tune.data import Data, Found
from edgeproxy.tune.memory import Fit
from edgeproxy.tune.progress import Ending, Plan, Trained
from edgeproxy.tune.settings import Settings
from edgeproxy.units import duration, in_units

if TYPE_CHECKING:
    from edgeproxy.tune.lessons import Told

_BILLION, _MILLION = 1_000_000_000, 1_000_000

_KNOWN_AFTER = 1.0
"""Seconds after which the speed of reading is known."""

ENDINGS: dict[Ending, str] = {
    "epochs": "all epochs are done",
    "no better": "the held-out loss has not fallen for a while",
    "minutes": "the time is up",
    "stopped": "stopped",
}


def of_reading(path: Path, share: float, seconds: float) -> str:
    """How far a file of examples has been read in so many seconds, and how long it takes yet."""
    said = f"reading {path.name} {share:.0%}"
    if share <= 0 or seconds < _KNOWN_AFTER:
        return said
    return f"{said}, {duration(seconds / share - seconds)} left"


def of_data(data: Data, n_ctx: int) -> Iterator[str]:
    """What was found in the files of examples."""
    yield f"{data.found.layout}: {_counted(data.found, n_ctx, data.n_in_both)}"
    if data.validation:
        yield f"held out, {data.validation.layout}: {_counted(data.validation, n_ctx)}"
    yield (
        f"{data.n_training:,} to learn from, with {data.training.n_tokens:,} tokens, of which "
        f"{data.training.n_reply_tokens:,} in replies; {data.n_held_out:,} held out"
    )


def _counted(found: Found, n_ctx: int, n_in_both: int = 0) -> str:
    left_out = (
        (found.n_duplicates, "there twice"),
        (found.n_too_long, f"of more than {n_ctx:,} tokens"),
        (found.n_wrong, "wrong"),
        (n_in_both, "held out by the other file as well"),
    )
    said = [f"{count:,} {what}" for count, what in left_out if count]
    return f"{found.n_kept:,} examples" + (f"; left out: {', '.join(said)}" if said else "")


def of_lessons(told: Told) -> str:
    """How often examples are learnt from with which passages."""
    return (
        f"examples are learnt from {told.found:,} times with passages found for them, "
        f"{told.none:,} times without any, and {told.wrong:,} times with passages that do not hold "
        "the answer, which teaches to say so"
    )


def of_model(header: Header, prompt: str) -> str:
    """What is tuned, and how it reads a conversation."""
    n = header.n_params
    size = f"{n / _BILLION:.1f} billion" if n >= _BILLION else f"{n / _MILLION:.3g} million"
    reads = "the template in its file" if prompt == "gguf" else f"the prompt format {prompt}"
    return f"{header.path.name}, {header.architecture}, {size} parameters; it reads {reads}"


def of_settings(settings: Settings) -> str:
    """How it is trained."""
    found = (
        f"at most {settings.epochs} {'epoch' if settings.epochs == 1 else 'epochs'}, "
        f"{settings.batch} examples a step, rate {settings.rate:g}, rank {settings.rank}, "
        f"seed {settings.seed}"
    )
    return found + (f", {settings.minutes:g} minutes" if settings.minutes else "")


def of_memory(fit: Fit, free: int | None) -> str:
    """What it takes of memory."""
    has = "" if free is None else f" of {in_units(free)} that are free"
    again = "; activations are computed twice, to fit" if fit.checkpointing else ""
    return f"about {in_units(fit.estimate.total)}{has}{again}"


def of_plan(plan: Plan) -> str:
    """How fast it will be."""
    threads = "1 thread" if plan.threads == 1 else f"{plan.threads} threads"
    begins = f"goes on at step {plan.step + 1:,} of" if plan.step else "takes"
    return (
        f"{plan.dtype} on {threads}, {plan.tokens_per_second:,.0f} tokens/s: {begins} "
        f"{plan.steps:,} steps, about {duration(plan.seconds)}"
    )


def of_trained(trained: Trained) -> str:
    """What came out."""
    of_epochs = f"{trained.steps:,} steps, {trained.epochs:.3g} epochs"
    took = f"{ENDINGS[trained.ending]}: {of_epochs} in {duration(trained.seconds)}"
    if trained.best_loss is None:
        was = "nothing was held out"
        if trained.first_loss is not None:
            was = "before the held-out loss was looked at again"
        return f"loss {trained.loss:.3f}, {was}; {took}"
    was = "" if trained.first_loss is None else f", {trained.first_loss:.3f} before"
    return f"held-out loss {trained.best_loss:.3f}{was}, best at step {trained.best_step:,}; {took}"


def of_check(check: Check) -> str:
    """What the comparison with llama.cpp found."""
    found = check.agreement
    other = (
        f"all {check.tokens} tokens of {check.texts} replies are PyTorch's too"
        if not check.differing
        else f"of {check.tokens} tokens of {check.texts} replies {check.differing} are PyTorch's "
        "second choice, by rounding"
    )
    return (
        f"llama.cpp says the same: the adapter changes logits by {found.effect:.2g}, of which "
        f"{found.lost:.2g} differ, and rounding alone is {found.rounding:.2g}; {other}"
    )
