"""`edgeproxy fit`: finds the way of combining a trio's models that serves best, and writes it down.

May touch: the file of questions, read-only; the trio's manifest; the file of replies that it is
asked to write.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeproxy import __version__
from edgeproxy.cli.ui.asking import Asking, asking_options
from edgeproxy.cli.ui.completing import complete_trio
from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.opening import opened
from edgeproxy.cli.ui.options import DEFAULT_TRIO, Models, json_option, model_options
from edgeproxy.cli.ui.output import StatusLine, columns, say, write_json, write_lines
from edgeproxy.errors import Cancelled, UsageError
from edgeproxy.measure.evaluate import Question
from edgeproxy.units import duration

if TYPE_CHECKING:
    from edgeproxy.decode.steering import Steering
    from edgeproxy.measure.fit import Fit, Progress, Tried
    from edgeproxy.measure.fit_replies import FitReplies
    from edgeproxy.trios.find import Recipe
    from edgeproxy.trios.manifest import Fitted
    from edgeproxy.trios.rewrite import OwnManifest


@click.command(
    "fit",
    short_help="Find how a trio's models serve best together, the expert alone included.",
    epilog="""\b
Examples:
  edgeproxy fit mine/trio.toml validation.jsonl
  edgeproxy fit mine/trio.toml validation.jsonl --minutes 10 --dry-run
  edgeproxy fit mine/trio.toml validation.jsonl --replies fit.jsonl
  edgeproxy fit mine/trio.toml validation.jsonl --replies fit.jsonl --resume

\b
QUESTIONS is as for eval; take other questions than those that you measure on afterwards. Settings
race: all answer the same questions, and one that cannot win any more is not asked again. A costlier
way is preferred only where it is ahead by more than chance would explain: the base and the paper's
equation with p < 0.3, the many others with p < 0.05 (McNemar's test).""",
)
@click.argument("trio", shell_complete=complete_trio)
@click.argument("questions", type=click.Path(path_type=Path))
@click.option(
    "--minutes",
    type=click.FloatRange(min=0.0, min_open=True),
    metavar="M",
    help="End after M minutes of answers, with the best by then.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Order of the questions."
)
@click.option("--dry-run", is_flag=True, help="Leave the trio's manifest as it is.")
@asking_options(server=False)
@model_options(trio_flag=False, steering=False)
@json_option
def command(
    questions: Path,
    minutes: float | None,
    seed: int,
    dry_run: bool,
    asking: Asking,
    models: Models,
    as_json: bool,
) -> None:
    """Find how the models of TRIO answer QUESTIONS best, and write that into its manifest.

    Tried are the expert alone, the base alone, the paper's equation and settings around it.
    """
    asked = asking.read(questions)
    from edgeproxy.session.reading import chosen_documents
    from edgeproxy.trios.find import find_recipe
    from edgeproxy.trios.manifest.recipe import is_index_name
    from edgeproxy.trios.rewrite import OwnManifest

    name = models.trio or DEFAULT_TRIO
    recipe = find_recipe(name)
    documents = chosen_documents(recipe.documents, models.docs, None)
    recipe = replace(recipe, documents=documents)
    if documents is not None and not dry_run and not is_index_name(documents.index):
        raise UsageError(
            f"{documents.index}: a manifest names documents by the name of their index, and this "
            "is a path; give --dry-run, or the name"
        )
    manifest = None if dry_run else OwnManifest(name)
    started = time.perf_counter()
    with _kept(asking, questions, recipe, asked, models) as kept:
        fit = _fit(models, recipe, asked, seed, minutes, asking.longest, kept)
        if kept is not None and fit.ending != "interrupted":
            kept.finish()
    seconds = time.perf_counter() - started
    written = _written(manifest, recipe, fit, questions)
    found = _report(recipe, fit, seconds, written)
    if as_json:
        write_json(found, indent=2)
    else:
        write_lines(_as_text(found))
    if fit.ending == "interrupted":
        raise Cancelled("nothing was written")


def _fit(
    models: Models,
    recipe: Recipe,
    asked: Sequence[Question],
    seed: int,
    minutes: float | None,
    max_tokens: int | None,
    kept: FitReplies | None,
) -> Fit:
    """Load the trio, and let settings race."""
    from edgeproxy.decode.sample import Sampling
    from edgeproxy.decode.steering import PAPER
    from edgeproxy.measure.answering import Ask
    from edgeproxy.measure.fit import NONE, Fitting
    from edgeproxy.measure.fit_replies import own_setting
    from edgeproxy.measure.fit_session import ALONE, SessionAnswers

    order = list(range(len(asked)))
    random.Random(seed).shuffle(order)
    # Whatever the manifest says by now, all three models are needed.
    all_three = replace(PAPER, expert_ends=recipe.steering.expert_ends)
    with opened(models, replace(recipe, steering=all_three), ALONE) as ready:
        answers = SessionAnswers(ready.session, asked, Ask(Sampling(), max_tokens))
        fitting = Fitting(
            answers,
            lambda number, text: asked[number].verdict(text).right,
            order,
            also=[] if recipe.steering.alone else [own_setting(recipe)],
            with_documents=recipe.documents is not None,
            known=NONE if kept is None else kept.answers,
            heard=_ignored if kept is None else kept.heard,
            seconds=None if minutes is None else 60 * minutes,
        )
        status = StatusLine()
        try:
            with on_interrupt(answers.stop):
                return fitting.run(lambda progress: status.show(_in_a_line(progress)))
        finally:
            status.clear()


def _ignored(*_: object) -> None:
    pass


@contextlib.contextmanager
def _kept(
    asking: Asking, questions: Path, recipe: Recipe, asked: Sequence[Question], models: Models
) -> Iterator[FitReplies | None]:
    """The file to write replies to. However the fit ends, what came of it is kept."""
    from edgeproxy.measure.fit_replies import FitReplies

    path = asking.replies
    if path is None:
        yield None
        return
    if path.exists() and path.samefile(questions):
        raise UsageError(f"{path}: the replies would overwrite the questions; name another file")
    how = {"ctx": models.ctx, "kv": models.kv, "draft": models.draft}
    replies = FitReplies(path, recipe, asked, {"max_tokens": asking.longest, **how}, asking.resume)
    try:
        yield replies
    finally:
        count = replies.close()
        if count:
            say(f"{count} replies are kept in {replies.part}; --resume goes on from it")


def _written(
    manifest: OwnManifest | None, recipe: Recipe, fit: Fit, questions: Path
) -> Path | None:
    """Put what was found into the manifest; its path, or None where it is left as it is."""
    if manifest is None or fit.ending == "interrupted" or fit.is_blank:
        return None
    chosen, documents = fit.chosen.setting, recipe.documents
    if documents is not None:
        documents = replace(documents, to=chosen.readers)
    manifest.write(chosen.steering, _fitted(fit, questions), documents)
    return manifest.path


def _fitted(fit: Fit, questions: Path) -> Fitted:
    from edgeproxy.files import hash_file
    from edgeproxy.measure.verdict import verdict
    from edgeproxy.trios.manifest import Fitted, Result

    return Fitted(
        questions=questions.name,
        sha256=hash_file(questions),
        count=fit.questions,
        date=date.today().isoformat(),
        edgeproxy=__version__,
        verdict=verdict(fit),
        results=tuple(Result(t.name, len(t.right), sum(t.right), t.seconds) for t in fit.tried),
    )


def _in_a_line(progress: Progress) -> str:
    left = "..." if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
    racing = ", ".join(f"{name} {share:.0%}" for name, share in progress.racing)
    return f"{progress.answers} of at most {progress.at_most} answers, {left}; {racing}"


def _report(recipe: Recipe, fit: Fit, seconds: float, written: Path | None) -> dict[str, Any]:
    from edgeproxy.measure.verdict import verdict

    return {
        "trio": recipe.name,
        "questions": fit.questions,
        "answers": fit.answers,
        "seconds": round(seconds, 3),
        "ending": fit.ending,
        "chosen": {
            "setting": fit.chosen.name,
            **_weights(fit.chosen.setting.steering),
            **({} if recipe.documents is None else {"docs_to": fit.chosen.setting.readers}),
        },
        "verdict": verdict(fit, is_written=written is not None),
        "settings": [_of(tried) for tried in fit.tried],
        "written": None if written is None else str(written),
    }


def _of(tried: Tried) -> dict[str, Any]:
    from edgeproxy.measure.compare import interval

    n, right = len(tried.right), sum(tried.right)
    low, high = interval(right, n)
    return {
        "setting": tried.name,
        "asked": n,
        "right": right,
        "accuracy": round(right / n, 4),
        "interval": [round(low, 4), round(high, 4)],
        "seconds_per_reply": None if tried.seconds is None else round(tried.seconds, 3),
        "dropped": tried.is_dropped,
    }


def _as_text(found: dict[str, Any]) -> list[str]:
    rows = [("setting", "right", "", "95% interval", "a reply takes")]
    for each in found["settings"]:
        low, high = each["interval"]
        took = each["seconds_per_reply"]
        rows.append(
            (
                each["setting"],
                f"{each['right']} of {each['asked']}",
                f"{each['accuracy']:.0%}",
                f"[{100 * low:.0f}, {100 * high:.0f}]",
                "" if took is None else f"{took:.2f} s",
            )
        )
    chosen = found["chosen"]["setting"]
    lines = [
        f"{line}  <-" if row[0] == chosen else line
        for row, line in zip(rows, columns(rows), strict=True)
    ]
    took = f"{found['answers']} answers in {duration(found['seconds'])}"
    return [*lines, "", found["verdict"], "", took, *_what_was_written(found)]


def _weights(steering: Steering) -> dict[str, float]:
    """What of a steering is a setting's: where replies end is the trio's own."""
    return {key: value for key, value in asdict(steering).items() if key != "expert_ends"}


def _what_was_written(found: dict[str, Any]) -> list[str]:
    settings = ("alpha", "base_weight", "plausibility")
    said = [f"{key} = {found['chosen'][key]:g}" for key in settings]
    if "docs_to" in found["chosen"]:
        said.append(f'documents to "{found["chosen"]["docs_to"]}"')
    if found["written"]:
        return [f"written into {found['written']}: {', '.join(said)}, and [fitted]"]
    return [f"not written: {', '.join(said)}"]
