"""`edgeproxy eval`: every model of a trio, and the trio, answer the same questions.

May touch: the file of questions, read-only, and the file of replies that it is asked to write.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from edgeproxy.cli.ui.answer import FirstLine, answer_all, workers
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
from edgeproxy.cli.ui.output import clean_message, say, write, write_json
from edgeproxy.cli.ui.stats import pair_in_words, peak_in_words
from edgeproxy.errors import UsageError
from edgeproxy.measure.evaluate import (
    MAX_REPLY_TOKENS,
    SYSTEMS,
    Question,
    figures,
    gap_closed,
    is_right,
    read_questions,
)

if TYPE_CHECKING:
    from edgeproxy.align import Cost
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

\b
A line of QUESTIONS is {"question": ..., "answer": ..., "kind": ...}; answer may be a list of
accepted ones, kind may be missing. A reply is right when an accepted answer stands in its first
line, compared without case, accents and punctuation. Gap closed is (proxy - base) /
(tuned - base).""",
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
    help="Write every reply to FILE, as JSON lines.",
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
    models: Models,
    reply: Reply,
    as_json: bool,
    stats: bool,
) -> None:
    """Let TRIO and each of its models answer QUESTIONS, and compare how often they are right.

    Greedy unless a temperature is given.
    """
    asked = read_questions(questions, limit)
    sampling = reply.sampling()
    from edgeproxy.trios.find import find_recipe

    recipe = find_recipe(models.trio or DEFAULT_TRIO)
    chosen = choose_systems(systems, recipe)
    with _replies_file(replies, questions) as file, opened(models, recipe) as ready:
        session, started = ready.session, time.perf_counter()
        answer = FirstLine(sampling, reply.max_tokens)
        costs: list[Cost | None] = []

        def note_cost(system: str) -> None:
            if system == "proxy":
                costs.append(session.cost)

        count = workers(recipe, models.threads)
        answered = answer_all(session, chosen, asked, answer, count, note_cost)
        seconds = time.perf_counter() - started
        found = _report(session, asked, answered, seconds)
        if file is not None:
            _write_replies(file, asked, answered)
    if as_json:
        write_json(found, indent=2)
    else:
        write(_as_text(found))
    if stats:
        count = len(asked) * len(chosen)
        parts = [f"{count} replies in {seconds:.1f} s", f"{count / seconds:.1f} replies/s"]
        parts += [f"loaded in {ready.load_seconds:.2f} s", *peak_in_words()]
        say(", ".join([*parts, pair_in_words(session, costs)]))


def choose_systems(names: str | None, recipe: Recipe) -> list[str]:
    """The systems that `names` asks for, or all that the trio has, in their usual order.

    Raises `UsageError` for an unknown one.
    """
    has_tuned = recipe.tuned is not None and recipe.tuned.path.exists()
    if names is None:
        if recipe.tuned is not None and not has_tuned:
            say(f"{recipe.tuned.path} is not here, so the tuned model is left out", dim=True)
        return [name for name in SYSTEMS if name != "tuned" or has_tuned]
    wanted = {name.strip().replace("-", "_") for name in names.split(",")}
    unknown = sorted(wanted - set(SYSTEMS))
    if unknown:
        raise UsageError(f"there is no system {unknown[0]!r}; there are {', '.join(SYSTEMS)}")
    if "tuned" in wanted and not has_tuned:
        raise UsageError(f"the trio {recipe.name} has no tuned model here")
    return [name for name in SYSTEMS if name in wanted]


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


def _replies_file(path: Path | None, questions: Path) -> AbstractContextManager[TextIO | None]:
    """The file to write replies to, opened before minutes are spent on them."""
    if path is None:
        return nullcontext()
    if path.exists() and path.samefile(questions):
        raise UsageError(f"{path}: the replies would overwrite the questions; name another file")
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; name a file to write replies to") from None


def _write_replies(
    file: TextIO, questions: Sequence[Question], replies: Mapping[str, Sequence[str]]
) -> None:
    for name, of in replies.items():
        for question, reply in zip(questions, of, strict=True):
            line = {
                "question": question.text,
                "kind": question.kind,
                "answer": list(question.answers),
                "system": name,
                "reply": reply,
                "right": _is_right(question, reply),
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


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
