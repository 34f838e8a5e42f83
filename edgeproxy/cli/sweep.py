"""`edgeproxy sweep`: a trio answers the same questions under many settings.

May touch: the file of questions, read-only; the file of replies and the plot that it is asked to
write.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.asking import Asking, asking_options
from edgeproxy.cli.ui.completing import complete_trio
from edgeproxy.cli.ui.evaluating import (
    check_cost,
    chosen_recipe,
    kept_replies,
    lanes_at_once,
    shown,
)
from edgeproxy.cli.ui.opening import opened
from edgeproxy.cli.ui.options import Models, Reply, json_option, model_options, sampling_options
from edgeproxy.cli.ui.output import say, write_json, write_lines
from edgeproxy.errors import Cancelled
from edgeproxy.measure.evaluate import Question
from edgeproxy.units import duration

if TYPE_CHECKING:
    from edgeproxy.measure.grid import Grid
    from edgeproxy.measure.replies import Replies
    from edgeproxy.measure.sweep import Asked
    from edgeproxy.measure.took import Took
    from edgeproxy.session.turn import Stats
    from edgeproxy.trios.find import Recipe


@click.command(
    "sweep",
    short_help="Try many settings of a trio: how often right, how much is changed, how fast.",
    epilog="""\b
Examples:
  edgeproxy sweep factbook questions.jsonl --alpha 0:2:0.25
  edgeproxy sweep factbook questions.jsonl --alpha 0:2:0.25 --plot alpha.svg
  edgeproxy sweep mine.toml questions.jsonl --alpha 0.5,1,1.5 --plausibility 0,0.01,0.1
  edgeproxy sweep mine.toml questions.jsonl --base-weight 0:1:0.1 --replies sweep.jsonl
  edgeproxy sweep mine.toml questions.jsonl --base-weight 0:1:0.1 --replies sweep.jsonl --resume

\b
VALUES are a range START:STOP:STEP or values with commas between; several options
make a grid of at most 200 settings. What is not swept is as in the trio's manifest.
QUESTIONS is as for eval.

\b
Shares have a 95% interval (Wilson). Each setting is compared with the trio's own
by the questions that one of them alone answers right (McNemar's exact test): in
"better (9 : 2, p = 0.065)" it is right alone 9 times, the trio's own 2 times.
"changed" is in how many tokens the pair has changed the likeliest choice, "tokens"
the replies' mean length, "tokens/s" the median of their speeds.""",
)
@click.argument("trio", shell_complete=complete_trio)
@click.argument("questions", type=click.Path(path_type=Path))
@click.option("--alpha", "alphas", metavar="VALUES", help="Weights of the pair's opinion to try.")
@click.option(
    "--base-weight",
    "base_weights",
    metavar="VALUES",
    help="Weights to try of what only the base knows.",
)
@click.option(
    "--plausibility", "plausibilities", metavar="VALUES", help="Betas of the mask to try."
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw it, as FILE.png or FILE.svg says. Needs the extra [plot].",
)
@asking_options()
@model_options(trio_flag=False, swept=True)
@sampling_options
@json_option
def command(
    questions: Path,
    alphas: str | None,
    base_weights: str | None,
    plausibilities: str | None,
    plot: Path | None,
    asking: Asking,
    models: Models,
    reply: Reply,
    as_json: bool,
) -> None:
    """Let TRIO answer QUESTIONS under many settings, and compare each with its own setting.

    Greedy unless a temperature is given. Ctrl-C ends it with what is there by then.
    """
    from edgeproxy.measure.grid import make_grid, read_values

    given = {"alpha": alphas, "base_weight": base_weights, "plausibility": plausibilities}
    swept = {name: read_values(name, text) for name, text in given.items() if text is not None}
    asked = asking.read(questions)
    recipe = chosen_recipe(models, asking.max_cost, asking.parallel)
    grid = make_grid(recipe.steering.changed(models.steering), swept)
    if plot is not None:
        from edgeproxy.measure.sweep_plot import check_plot

        check_plot(plot, (questions, asking.replies))
    work = _Work(recipe, grid, asked, models, reply, asking)
    total = len(grid.systems) * len(asked)
    with kept_replies(asking, [questions], work.run, asked, total) as kept:
        found = work.measured(kept)
    if as_json:
        write_json(found, indent=2)
    else:
        from edgeproxy.cli.ui.swept import sweep_as_text

        write_lines([*sweep_as_text(found), f"took {duration(found['seconds'])}"])
    if found["ending"] == "interrupted":
        raise Cancelled("the sweep was interrupted")
    if plot is not None:
        from edgeproxy.measure.sweep_plot import draw

        draw(found, plot)
        say(f"drawn to {plot}", dim=True)


@dataclass(frozen=True)
class _Work:
    """What is to be measured."""

    recipe: Recipe
    grid: Grid
    questions: Sequence[Question]
    models: Models
    reply: Reply
    asking: Asking

    @property
    def run(self) -> Mapping[str, Any]:
        """What replies depend on. Raises `UsageError` for impossible settings."""
        from edgeproxy.measure.replies import run_of

        settings = {
            "verb": "sweep",
            **asdict(self.grid.own),
            "max_tokens": self.asking.longest or max(each.max_tokens for each in self.questions),
            "ctx": self.models.ctx,
            "kv": self.models.kv,
            "draft": self.models.draft,
        }
        sampling = self.reply.sampling()
        return run_of(self.recipe, self.grid.systems, self.questions, sampling, settings)

    def measured(self, kept: Replies | None) -> dict[str, Any]:
        """Load the trio, let it answer what is not `kept`, and judge.

        Raises `Cancelled` where it was interrupted before anything was there.
        """
        from edgeproxy.decode.steering import PAPER
        from edgeproxy.measure.answering import Answering, Ask
        from edgeproxy.measure.sweep import sweep_report
        from edgeproxy.measure.took import Took

        replies: dict[Asked, str] = dict(kept.known) if kept is not None else {}
        took: dict[Asked, Took] = dict(kept.took) if kept is not None else {}
        ending, seconds = "finished", 0.0
        # Whatever the manifest leaves the say to, all three models are needed.
        all_three = replace(PAPER, expert_ends=self.grid.own.expert_ends)
        with opened(self.models, replace(self.recipe, steering=all_three)) as ready:
            session, started = ready.session, time.perf_counter()
            session.steering = self.grid.own

            def ended(system: str, number: int, stats: Stats) -> None:
                took[system, number] = Took.of(stats)

            def heard(system: str, number: int, text: str) -> None:
                replies[system, number] = text
                if kept is not None:
                    kept.add(system, number, text, took[system, number])
                check_cost(session, self.asking.max_cost)

            ask = Ask(self.reply.sampling(), self.asking.longest)
            at_once = lanes_at_once(session, self.models, self.asking.parallel, needs_trio=True)
            work = Answering(
                session,
                self.grid.systems,
                self.questions,
                ask,
                dict(replies),
                heard,
                at_once,
                took=ended,
                by_question=True,
            )
            try:
                shown(work, 1, len(replies))
                if kept is not None:
                    kept.finish(self.grid.systems)
            except Cancelled:
                if not replies:
                    raise
                ending = "interrupted"
            seconds = time.perf_counter() - started
            spent = session.spent
        return {
            "trio": self.recipe.name,
            **sweep_report(self.grid, self.questions, replies, took),
            "ending": ending,
            "seconds": round(seconds, 3),
            **({} if spent is None else {"spent": asdict(spent) | {"money": spent.money}}),
        }
