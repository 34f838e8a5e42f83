"""`edgeproxy eval`: every model of a trio, and the trio, answer the same questions.

May touch: the file of questions, read-only, and the file of replies that it is asked to write.
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
from edgeproxy.cli.ui.measured import as_text
from edgeproxy.cli.ui.opening import opened
from edgeproxy.cli.ui.options import (
    Models,
    Reply,
    json_option,
    model_options,
    sampling_options,
    stats_option,
)
from edgeproxy.cli.ui.output import say, write, write_json
from edgeproxy.cli.ui.stats import ALONE, pair_in_words, peak_in_words, spent_by
from edgeproxy.errors import UsageError
from edgeproxy.measure.evaluate import Question, read_questions
from edgeproxy.measure.judging import JUDGES, REPLY_TOKENS
from edgeproxy.measure.systems import (
    PROXY,
    SYSTEMS,
    read_systems,
    readers_of,
    role_of,
)

if TYPE_CHECKING:
    from edgeproxy.align import Cost
    from edgeproxy.decode.steering import Steering
    from edgeproxy.measure.replies import Replies
    from edgeproxy.measure.took import Took
    from edgeproxy.session.session import Session
    from edgeproxy.session.turn import Stats
    from edgeproxy.trios.find import Recipe

_JUDGES = "\n".join(f"  {judge.name:<9} {judge.means}" for judge in JUDGES.values())


@click.command(
    "eval",
    short_help="Measure how often a trio and its models are right.",
    epilog=f"""\b
Examples:
  edgeproxy eval factbook questions.jsonl
  edgeproxy eval mine.toml questions.jsonl --judge json --replies replies.jsonl
  edgeproxy eval mine.toml questions.jsonl --judge json --replies replies.jsonl --resume
  edgeproxy eval factbook questions.jsonl --systems expert,proxy,proxy/base_weight=0.5
  edgeproxy eval factbook questions.jsonl --general other.jsonl --json

\b
A line of QUESTIONS is {{"question": ..., "answer": ...}}. The answer is a text, a
number, a JSON object (judged by json), or a list of accepted ones. A line may have
  kind      to count by
  judge     its own judge
  choices   of the judge choice: a list of texts, which are A, B, C, or an object of
            texts by their labels
  contains  a text or several: a reply that has one says the right thing, in
            whatever form, which is counted apart

\b
A reply is right when
{_JUDGES}
compared without case, width, punctuation and the accents of Latin letters, in any
script. Judges other than contains let a reply have up to {REPLY_TOKENS} tokens.

\b
Shares have a 95% interval (Wilson). Two systems are compared by the questions that
one of them alone answers right (McNemar's exact test). Gap closed is
(proxy - base) / (tuned - base).""",
)
@click.argument("trio", shell_complete=complete_trio)
@click.argument("questions", type=click.Path(path_type=Path))
@click.option(
    "--systems",
    metavar="LIST",
    help="Which to measure, with commas between; the proxy also steered otherwise, as "
    f"proxy/base_weight=0.5/plausibility=0.05. [default: {','.join(SYSTEMS)}]",
)
@click.option(
    "--general",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Questions outside of the task, to see how much of what the base knows each has kept; "
    "judged by contains, where a question does not say.",
)
@click.option(
    "--rejudge", is_flag=True, help="Judge the replies in FILE of --replies again; ask nothing."
)
@asking_options()
@model_options(trio_flag=False)
@sampling_options
@json_option
@stats_option
def command(
    questions: Path,
    systems: str | None,
    general: Path | None,
    rejudge: bool,
    asking: Asking,
    models: Models,
    reply: Reply,
    as_json: bool,
    stats: bool,
) -> None:
    """Let TRIO and each of its models answer QUESTIONS, and compare how often they are right.

    Greedy unless a temperature is given.
    """
    replies = asking.replies
    if rejudge and replies is None:
        raise UsageError("--rejudge takes the file of --replies; give it too")
    if asking.resume and rejudge:
        raise UsageError("--resume asks the questions left, --rejudge asks none; give one of them")
    asked = asking.read(questions)
    if general is not None:
        asked += [replace(question, is_general=True) for question in read_questions(general)]
    recipe = chosen_recipe(models, asking.max_cost, asking.parallel)
    steering = recipe.steering.changed(models.steering)
    chosen = choose_systems(systems, recipe, steering)
    if general is not None and "base" not in chosen:
        raise UsageError("--general asks what of the base's is kept; add base to --systems")
    work = _Work(recipe, steering, chosen, asked, models, reply, asking)
    if rejudge and replies is not None:
        found = work.judged_again(replies)
    else:
        sources = [questions, general]
        with kept_replies(asking, sources, work.run, asked, len(work.asked)) as kept:
            found = work.measured(kept, stats)
    if as_json:
        write_json(found, indent=2)
    else:
        write(as_text(found))


def choose_systems(names: str | None, recipe: Recipe, steering: Steering) -> list[str]:
    """The systems that `names` asks for, or all that the trio has, in their usual order.

    Raises `UsageError` for an unknown one, or one that the trio has not.
    """
    has_tuned = recipe.tuned_is_here
    if names is None:
        if recipe.tuned is not None and not has_tuned:
            say(
                f"{recipe.tuned.own_files[0].path} is not here, so the tuned model is left out",
                dim=True,
            )
        return [name for name in SYSTEMS if name != "tuned" or has_tuned]
    wanted = read_systems(names, steering)
    if "tuned" in wanted and not has_tuned:
        raise UsageError(f"the trio {recipe.name} has no tuned model here")
    for system in wanted:
        if recipe.documents is None and readers_of(system) not in (None, "nobody"):
            raise UsageError(f"{system} reads documents, and there are none; give --docs NAME too")
    return wanted


@dataclass(frozen=True)
class _Work:
    """What is to be measured."""

    recipe: Recipe
    steering: Steering
    systems: Sequence[str]
    questions: Sequence[Question]
    models: Models
    reply: Reply
    asking: Asking

    @property
    def asked(self) -> list[tuple[str, int]]:
        """The systems and the numbers of the questions that each is asked."""
        from edgeproxy.measure.answering import numbers_asked

        return [(s, n) for s in self.systems for n in numbers_asked(s, self.questions)]

    @property
    def run(self) -> Mapping[str, Any]:
        """What replies depend on. Raises `UsageError` for impossible settings."""
        from edgeproxy.measure.replies import run_of

        needed = max(question.max_tokens for question in self.questions)
        settings = {
            **asdict(self.steering),
            "max_tokens": needed if self.asking.longest is None else self.asking.longest,
            "ctx": self.models.ctx,
            "kv": self.models.kv,
            "draft": self.models.draft,
        }
        sampling = self.reply.sampling()
        return run_of(self.recipe, self.systems, self.questions, sampling, settings)

    def measured(self, kept: Replies | None, stats: bool) -> dict[str, Any]:
        """Load the models, let them answer what is not `kept`, and judge."""
        from edgeproxy.measure.answering import Answering, Ask, workers
        from edgeproxy.measure.took import Took

        known = dict(kept.known) if kept is not None else {}
        missing = [each for each in self.asked if each not in known]
        solo = list(
            dict.fromkeys(role_of(system) for system, _ in missing if role_of(system) != PROXY)
        )
        with opened(self.models, self.recipe, solo) as ready:
            session, started = ready.session, time.perf_counter()
            costs: list[Cost | None] = []
            took = dict(kept.took) if kept is not None else {}

            def ended(system: str, number: int, stats: Stats) -> None:
                took[system, number] = Took.of(stats)
                costs.append(stats.pair)

            def heard(system: str, number: int, text: str) -> None:
                if kept is not None:
                    kept.add(system, number, text, took[system, number])
                check_cost(session, self.asking.max_cost)

            ask = Ask(self.reply.sampling(), self.asking.longest)
            needs_trio = PROXY in (role_of(system) for system, _ in missing)
            at_once = lanes_at_once(
                session, self.models, self.asking.parallel, needs_trio=needs_trio
            )
            work = Answering(
                session, self.systems, self.questions, ask, known, heard, at_once, took=ended
            )
            answered = shown(work, workers(self.recipe, self.models.threads), len(known))
            seconds = time.perf_counter() - started
            found = self._report(answered, took, seconds, session)
            if kept is not None:
                kept.finish(self.systems)
            if stats:
                count = len(missing)
                parts = [f"{count} replies in {seconds:.1f} s", f"{count / seconds:.1f} replies/s"]
                if at_once is not None and at_once > 1:
                    parts.append(f"{at_once} questions at once")
                parts += [f"loaded in {ready.load_seconds:.2f} s", *peak_in_words()]
                alone = session.alone
                who = ALONE[alone] if alone else pair_in_words(session, costs)
                say(", ".join([*parts, who, *spent_by(session)]))
        return found

    def judged_again(self, path: Path) -> dict[str, Any]:
        """Judge the replies in a file that an evaluation has written, and write it anew."""
        from edgeproxy.measure.reply_lines import read_replies, write_replies

        answered, took = read_replies(path, self.systems, self.questions)
        found = self._report(answered, {}, 0.0)  # nobody says how long they could be
        write_replies(path, self.questions, answered, took)
        return found

    def _report(
        self,
        replies: Mapping[str, Sequence[str]],
        took: Mapping[tuple[str, int], Took],
        seconds: float,
        session: Session | None = None,
    ) -> dict[str, Any]:
        from edgeproxy.measure.report import report

        return {
            "trio": self.recipe.name,
            **asdict(self.steering),
            **report(self.questions, replies, took, self.asking.longest),
            "seconds": round(seconds, 3),
            **self._documents(replies, session),
            **self._spent(session),
        }

    def _spent(self, session: Session | None) -> dict[str, Any]:
        """What asking the base's server has cost."""
        if session is None or session.spent is None:
            return {}
        return {"spent": asdict(session.spent) | {"money": session.spent.money}}

    def _documents(
        self, replies: Mapping[str, Sequence[str]], session: Session | None
    ) -> dict[str, Any]:
        """Who read which documents, and how often the passages found hold the answer."""
        if session is None or session.reading is None:
            return {}
        from edgeproxy.measure.finding import found_of

        asked, reading = session.recipe.documents, session.reading
        index = asked.index if asked is not None else ""
        found = found_of(self.questions, replies, reading)
        return {"documents": {"index": index, "to": reading.readers, "found": found}}
