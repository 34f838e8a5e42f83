"""`edgeproxy eval`: every model of a trio, and the trio, answer the same questions.

May touch: the file of questions, read-only, and the file of replies that it is asked to write.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.opening import opened
from edgeproxy.cli.ui.options import (
    DEFAULT_TRIO,
    Models,
    Reply,
    json_option,
    model_options,
    reply_options,
    stats_option,
)
from edgeproxy.cli.ui.output import StatusLine, clean_message, say, write, write_json
from edgeproxy.cli.ui.stats import pair_in_words, peak_in_words
from edgeproxy.errors import UsageError
from edgeproxy.measure.evaluate import (
    MAX_REPLY_TOKENS,
    SYSTEMS,
    Question,
    figures,
    gap_closed,
    read_questions,
)
from edgeproxy.measure.judging import is_right
from edgeproxy.units import duration

if TYPE_CHECKING:
    from edgeproxy.align import Cost
    from edgeproxy.measure.answering import Answering, Known
    from edgeproxy.measure.replies import Replies
    from edgeproxy.session.session import Session
    from edgeproxy.trios.find import Recipe


@click.command(
    "eval",
    short_help="Measure how much of the gap to direct tuning a trio closes.",
    epilog="""\b
Examples:
  edgeproxy eval factbook questions.jsonl
  edgeproxy eval factbook questions.jsonl --systems base,proxy --alpha 0.5 --json
  edgeproxy eval factbook questions.jsonl --limit 50 --replies replies.jsonl
  edgeproxy eval factbook questions.jsonl --limit 50 --replies replies.jsonl --resume

\b
A line of QUESTIONS is {"question": ..., "answer": ..., "kind": ...}; answer may be a list of
accepted ones, kind may be missing. A reply is right when an accepted answer stands in its first
line, compared without case, punctuation and the accents of Latin letters. Gap closed is
(proxy - base) / (tuned - base).""",
)
@click.argument("trio")
@click.argument("questions", type=click.Path(path_type=Path))
@click.option(
    "--systems",
    metavar="LIST",
    help=f"Which to measure, with commas between. [default: {','.join(SYSTEMS)}]",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N first questions.")
@click.option(
    "--replies",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write every reply to FILE, as JSON lines; to FILE.part while they come.",
)
@click.option(
    "--resume", is_flag=True, help="Go on with FILE.part of --replies, after it was cut short."
)
@model_options(trio_flag=False)
@reply_options(max_tokens=MAX_REPLY_TOKENS)
@json_option
@stats_option
def command(
    questions: Path,
    systems: str | None,
    limit: int | None,
    replies: Path | None,
    resume: bool,
    models: Models,
    reply: Reply,
    as_json: bool,
    stats: bool,
) -> None:
    """Let TRIO and each of its models answer QUESTIONS, and compare how often they are right.

    Greedy unless a temperature is given.
    """
    if resume and replies is None:
        raise UsageError("--resume goes on with the file of --replies; give both")
    asked = read_questions(questions, limit)
    sampling = reply.sampling()
    from edgeproxy.measure.answering import Answering, FirstLine, workers
    from edgeproxy.measure.replies import run_of
    from edgeproxy.trios.find import find_recipe

    recipe = find_recipe(models.trio or DEFAULT_TRIO)
    chosen = choose_systems(systems, recipe)
    run = run_of(recipe, chosen, asked, sampling, _settings(recipe, models, reply))
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(_kept(replies, questions, run, asked, resume))
        known = dict(kept.known) if kept is not None else {}
        alone = [s for s in chosen if s != "proxy" and _is_needed(s, known, len(asked))]
        ready = stack.enter_context(opened(models, recipe, alone))
        session, started = ready.session, time.perf_counter()
        costs: list[Cost | None] = []

        def heard(system: str, number: int, text: str) -> None:
            if system == "proxy":
                costs.append(session.cost)
            if kept is not None:
                kept.add(system, number, text)

        ask = FirstLine(sampling, reply.max_tokens)
        work = Answering(session, chosen, asked, ask, known, heard)
        answered = _shown(work, workers(recipe, models.threads), len(known))
        seconds = time.perf_counter() - started
        found = _report(session, asked, answered, seconds)
        if kept is not None:
            kept.finish(chosen)
    if as_json:
        write_json(found, indent=2)
    else:
        write(_as_text(found))
    if stats:
        count = len(asked) * len(chosen) - len(known)
        parts = [f"{count} replies in {seconds:.1f} s", f"{count / seconds:.1f} replies/s"]
        parts += [f"loaded in {ready.load_seconds:.2f} s", *peak_in_words()]
        say(", ".join([*parts, pair_in_words(session, costs)]))


def choose_systems(names: str | None, recipe: Recipe) -> list[str]:
    """The systems that `names` asks for, or all that the trio has, in their usual order.

    Raises `UsageError` for an unknown one.
    """
    has_tuned = recipe.tuned_is_here
    if names is None:
        if recipe.tuned is not None and not has_tuned:
            say(
                f"{recipe.tuned.own_files[0].path} is not here, so the tuned model is left out",
                dim=True,
            )
        return [name for name in SYSTEMS if name != "tuned" or has_tuned]
    wanted = {name.strip().replace("-", "_") for name in names.split(",")}
    unknown = sorted(wanted - set(SYSTEMS))
    if unknown:
        raise UsageError(f"there is no system {unknown[0]!r}; there are {', '.join(SYSTEMS)}")
    if "tuned" in wanted and not has_tuned:
        raise UsageError(f"the trio {recipe.name} has no tuned model here")
    return [name for name in SYSTEMS if name in wanted]


def _is_needed(system: str, known: Known, count: int) -> bool:
    """Whether a system has still to answer any of so many questions."""
    return any((system, number) not in known for number in range(count))


def _is_right(question: Question, reply: str) -> bool:
    return is_right(reply, question.answers)


def _report(
    session: Session,
    questions: Sequence[Question],
    replies: Mapping[str, Sequence[str]],
    seconds: float,
) -> dict[str, Any]:
    systems = {
        name: figures(questions, list(map(_is_right, questions, of)))
        for name, of in replies.items()
    }
    return {
        "trio": session.recipe.name,
        "alpha": session.alpha,
        "plausibility": session.plausibility,
        "questions": len(questions),
        "systems": systems,
        "gap_closed": gap_closed(systems),
        "seconds": round(seconds, 3),
    }


def _settings(recipe: Recipe, models: Models, reply: Reply) -> dict[str, Any]:
    """What else replies depend on, besides the models, the questions and the sampling."""
    mask = models.plausibility
    return {
        "alpha": recipe.alpha if models.alpha is None else models.alpha,
        "plausibility": recipe.plausibility if mask is None else mask,
        "max_tokens": reply.max_tokens,
        "ctx": models.ctx,
        "kv": models.kv,
        "draft": models.draft,
    }


@contextlib.contextmanager
def _kept(
    path: Path | None,
    questions: Path,
    run: Mapping[str, Any],
    asked: Sequence[Question],
    resume: bool,
) -> Iterator[Replies | None]:
    """The file to write replies to, opened before minutes are spent on them.

    However the evaluation ends, what came of it is kept, and a person is told.
    """
    from edgeproxy.measure.replies import Replies

    if path is None:
        yield None
        return
    if path.exists() and path.samefile(questions):
        raise UsageError(f"{path}: the replies would overwrite the questions; name another file")
    replies = Replies(path, run, asked, resume)
    try:
        yield replies
    finally:
        count, total = replies.close(), len(asked) * len(run["systems"])
        if count:
            say(f"{count} of {total} replies are kept in {replies.part}; --resume goes on from it")


def _shown(work: Answering, workers: int, known: int) -> dict[str, list[str]]:
    """Let the systems answer, showing how far they are; Ctrl-C ends them."""
    status, started = StatusLine(), time.monotonic()

    def progress(done: int, total: int) -> None:
        elapsed = time.monotonic() - started
        rate = (done - known) / elapsed if elapsed else 0.0
        left = f"{duration((total - done) / rate)} left" if rate else "..."
        filled = "#" * (done * 20 // total)
        status.show(f"[{filled:<20}] {done}/{total} replies, {rate:.0f}/s, {left}")

    try:
        with on_interrupt(work.stop):
            return work.run(workers, progress)
    finally:
        status.clear()


def _as_text(found: Mapping[str, Any]) -> str:
    systems = found["systems"]
    names = list(systems)
    first = systems[names[0]]
    rows = [("kind", "n", *(name.replace("_", "-") for name in names))]
    for kind, of_kind in first["kinds"].items():
        shares = (systems[name]["kinds"][kind]["accuracy"] for name in names)
        rows.append((clean_message(kind), str(of_kind["n"]), *(f"{share:.1%}" for share in shares)))
    rows.append(("all", str(first["n"]), *(f"{systems[name]['accuracy']:.1%}" for name in names)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    gap = found["gap_closed"]
    lines += ["", f"alpha {found['alpha']:g}, plausibility {found['plausibility']:g}"]
    if gap is not None:
        lines.append(f"gap closed {gap:.1%}: (proxy - base) / (tuned - base)")
    return "\n".join(lines) + "\n"
