"""The flags of verbs that ask a trio a file of questions, gathered into one value: `Asking`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from edgeproxy.cli.ui.options import Command, gather
from edgeproxy.errors import UsageError
from edgeproxy.measure.evaluate import Question, read_questions
from edgeproxy.measure.judging import DEFAULT_JUDGE, JUDGES, LINE_TOKENS, REPLY_TOKENS
from edgeproxy.measure.systems import MOST_AT_ONCE, USUAL_AT_ONCE

_PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Asking:
    """Which questions are asked, how their replies are judged, and where those are kept."""

    judge: str = DEFAULT_JUDGE
    limit: int | None = None
    replies: Path | None = None
    resume: bool = False
    longest: int | None = None
    max_cost: float | None = None
    parallel: int | None = None

    def read(self, questions: Path) -> list[Question]:
        """The questions in a file. Raises `UsageError`, also for `resume` without `replies`."""
        if self.resume and self.replies is None:
            raise UsageError("--resume goes on with the file of --replies; give both")
        return list(read_questions(questions, self.limit, self.judge))


_QUESTIONS = (
    click.option(
        "--judge",
        type=click.Choice(tuple(JUDGES)),
        default=DEFAULT_JUDGE,
        show_default=True,
        help="When a reply is right, where a question does not say.",
    ),
    click.option(
        "--limit", type=click.IntRange(min=1), metavar="N", help="Only N first questions."
    ),
    click.option(
        "--replies",
        type=_PATH,
        metavar="FILE",
        help="Write every reply to FILE, as JSON lines; to FILE.part while they come.",
    ),
    click.option(
        "--resume", is_flag=True, help="Go on with FILE.part of --replies, after it was cut short."
    ),
    click.option(
        "--max-tokens",
        "longest",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"The longest reply. [default: {LINE_TOKENS} to {REPLY_TOKENS}, by judge and answers]",
    ),
)

_SERVER = (
    click.option(
        "--max-cost",
        type=click.FloatRange(min=0.0, min_open=True),
        metavar="X",
        help="End where the base's server has cost X, by the prices in the manifest.",
    ),
    click.option(
        "--parallel",
        type=click.IntRange(1, MOST_AT_ONCE),
        metavar="N",
        help="Ask the base's server N questions at once. [default: as many as it says that it "
        f"works on, or {USUAL_AT_ONCE}]",
    ),
)


def asking_options(*, server: bool = True) -> Callable[[Command], Command]:
    """Give a verb these flags; it is called with `asking`. Without `server` not those of one."""
    return gather("asking", Asking, (*_QUESTIONS, *(_SERVER if server else ())))
