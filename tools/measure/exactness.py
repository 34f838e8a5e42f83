"""Show that drafts change nothing but the speed: the same tokens, and the same distribution.

    python -m tools.measure.exactness TRIO QUESTIONS [--part NAME]... [--count 200]
                                      [--samples 20000] [--max-tokens 48] [--threads N]
                                      [--seed 1] [--json]

- `floats`: the trio in float32, greedily. A drafted reply is token for token the stepwise one,
  but where two tokens are as good as equal: batches round otherwise than single steps.
- `files`: the trio's own files, greedily. Quantised weights round by more, so a reply may part from
  the stepwise one where two tokens are nearly as good; by how many nats is shown.
- `draws`: three tokens, drawn again and again with other seeds. How well the first two, and all
  three, fit the exact distribution of the stepwise rows (chi-square), with drafts and without.

Every cycle drafts, by every length in turn, whatever would be fastest. Prompts are the questions
and others about their answers. Each loop begins where the same prompt was read in the same way.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.model import Logits
from edgeproxy.decode.draft_length import LONGEST, DraftLength
from edgeproxy.decode.drafted import Draft, Drafter
from edgeproxy.decode.sample import Sampler, Sampling
from edgeproxy.decode.stepwise import stepwise
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import UsageError
from edgeproxy.gguf import read
from edgeproxy.measure.evaluate import Question, read_questions
from edgeproxy.prompts.formats import Message
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.trios.find import Recipe, Role, find_recipe
from tools.command import add_json, at_least, make_parser, run
from tools.measure.goodness import Fit, Tokens, counted, expected, fit, probabilities, together
from tools.models.grow import grow, shape_of

PARTS = ("floats", "files", "draws")
MODES: tuple[Draft, ...] = ("off", "ngram", "expert", "auto")
"""With "off" a reply is stepped a second time: a control."""

TEMPERATURES = (1.0, 0.7)
DRAWN = 3
"""Tokens a draw: one from the prompt's row, one that was drafted for, one from behind a draft."""

OPENING = "Once upon a time"
"""What a trio has no one answer to, whatever it was tuned for."""

_FORMS = (
    "{question}",
    "Tell me about {answer}.",
    "Write a story about {answer}.",
    "{question} Tell me all that you know of it.",
)
_LOOKED_AT = 24

Told = Callable[[str], None]


class Always(DraftLength):
    """Wants drafts whatever they cost: of every length in turn, so that batches of all sizes occur.

    What it recommends does not depend on the clock, and so can be repeated.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lengths = cycle(range(1, LONGEST + 1))

    def length(self, most: int = LONGEST) -> int:
        """As `DraftLength.length`."""
        return min(next(self._lengths), most)

    def is_worth(self, chance: float, drafted: int, length: int) -> bool:
        """As `DraftLength.is_worth`."""
        return True


class Parting(NamedTuple):
    """Where a drafted reply parts from the stepwise one.

    After so many tokens, of which the stepwise row likes one better than the drafted loop's by
    `margin` nats.
    """

    prompt: int
    after: int
    margin: float


@dataclass
class Compared:
    """Replies of one mode beside the stepwise ones."""

    replies: int = 0
    tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    parted: list[Parting] = field(default_factory=list)

    @property
    def same(self) -> int:
        """How many are token for token the same."""
        return self.replies - len(self.parted)


def make_prompts(questions: Sequence[Question], count: int) -> list[str]:
    """Prompts of several kinds, so that replies vary in length.

    Raises `UsageError` for more than the questions give.
    """
    most = len(questions) * len(_FORMS)
    if count > most:
        raise UsageError(f"{len(questions)} questions give {most} prompts, and not {count}")
    return [
        _FORMS[n % len(_FORMS)].format(question=question.text, answer=question.answers[0])
        for n in range(count)
        for question in [questions[n * len(questions) // count]]
    ]


def in_float32(recipe: Recipe, folder: Path) -> Recipe:
    """The trio with its weights in float32, in the empty `folder`.

    Raises `UsageError` where that cannot be, and where the folder is not empty: a trio's own files
    may be in it.
    """
    if any(folder.iterdir()):
        raise UsageError(f"{folder}: files are here already; give an empty folder")
    roles = []
    for name, role in recipe.roles.items():
        header = read(role.path)
        n_tokens = len(header.metadata["tokenizer.ggml.tokens"])
        target = folder / f"{name}.gguf"
        try:
            grow(role.path, target, shape_of(header), n_tokens, kind="F32")
        except ValueError as error:
            raise UsageError(f"no float32 copy can be made: {error}") from None
        roles.append(Role(target, role.prompt))
    base, expert, anti_expert = roles
    return replace(recipe, base=base, expert=expert, anti_expert=anti_expert)


def prompt_of(session: Session, text: str) -> RoleTokens:
    """`text` as each role reads it."""
    return session.trio_speaker.encode([Message("user", text)])


def after(prompt: RoleTokens, said: Sequence[int]) -> RoleTokens:
    """`prompt` and what was said then."""
    return RoleTokens(*([*tokens, *said] for tokens in prompt))


def best(row: Logits) -> int:
    """The greedy choice."""
    return int(row.argmax())


def begin(trio: Trio, prompt: RoleTokens) -> None:
    """Have `prompt` read, at once: then all that resume from it go on from the same numbers."""
    trio.resume(RoleTokens([], [], []))
    trio.eval(prompt)


def compare(
    session: Session,
    prompts: Sequence[str],
    modes: Sequence[Draft] = MODES,
    max_tokens: int = 48,
    told: Told = lambda what: None,
) -> dict[Draft, Compared]:
    """Greedy replies to `prompts` with drafts of each mode, beside those of the stepwise loop."""
    trio = session.trio
    found = {mode: Compared() for mode in modes}
    drafters = {mode: Drafter(trio, mode, Always()) for mode in modes}
    for number, text in enumerate(prompts):
        told(f"prompt {number + 1} of {len(prompts)}")
        prompt = prompt_of(session, text)
        begin(trio, prompt)
        stepwise = _greedy(trio, prompt, None, max_tokens)
        for mode, drafter in drafters.items():
            reply = _greedy(trio, prompt, drafter, max_tokens)
            one = found[mode]
            one.replies += 1
            one.tokens += len(reply)
            one.drafted += drafter.done.drafted
            one.accepted += drafter.done.accepted
            if reply != stepwise:
                place = _first_difference(reply, stepwise)
                margin = _margin(trio, prompt, stepwise[place], reply[place], place)
                one.parted.append(Parting(number, place, margin))
    return found


def _greedy(trio: Trio, prompt: RoleTokens, drafter: Drafter | None, max_tokens: int) -> list[int]:
    said: list[int] = []
    with closing((drafter or stepwise)(trio.resume(prompt), trio, best, max_tokens)) as steps:
        for token, _ in steps:
            said.append(token)
            if token in trio.vocab.end_of_generation:
                break
    return said


def _first_difference(reply: Sequence[int], stepwise: Sequence[int]) -> int:
    # Both ended by themselves or are as long as may be, so neither is the beginning of the other.
    return next(n for n, (a, b) in enumerate(zip(reply, stepwise, strict=False)) if a != b)


def _margin(trio: Trio, prompt: RoleTokens, ours: int, theirs: int, place: int) -> float:
    """By how much the stepwise row at `place` likes `ours` better than `theirs`."""
    *_, (_, row) = stepwise(trio.resume(prompt), trio, best, place + 1)
    return float(row[ours] - row[theirs])


def least_sure(session: Session, prompts: Sequence[str], max_tokens: int) -> RoleTokens:
    """A prompt and as much of its greedy reply as leads to the row of the largest entropy."""
    trio = session.trio
    found, most = RoleTokens([], [], []), -1.0
    for text in prompts:
        prompt = prompt_of(session, text)
        said: list[int] = []
        for token, row in stepwise(trio.resume(prompt), trio, best, max_tokens):
            chances = probabilities(row, 1.0)
            chances = chances[chances > 0.0]
            entropy = float(-(chances * np.log(chances)).sum())
            if entropy > most:
                found, most = after(prompt, said), entropy
            said.append(token)
            if token in trio.vocab.end_of_generation:
                break
    return found


@dataclass(frozen=True)
class Drawn:
    """What was drawn from one place, how many tokens were drafted for it, and how many drawn."""

    said: list[Tokens]
    drafted: int
    accepted: int


def draw(
    trio: Trio,
    prompt: RoleTokens,
    drafter: Drafter | None,
    temperature: float,
    seeds: Sequence[int],
    told: Told = lambda what: None,
) -> Drawn:
    """The `DRAWN` tokens that follow `prompt`, once for each seed, at `temperature` alone."""
    said: list[Tokens] = []
    drafted = accepted = 0
    by = "stepwise" if drafter is None else "drafted"
    for number, seed in enumerate(seeds):
        if number % 100 == 0:
            told(f"temperature {temperature}, {by}: draw {number:,} of {len(seeds):,}")
        sampler = Sampler(
            trio.vocab, Sampling(temperature, top_k=0, top_p=1.0, min_p=0.0, seed=seed)
        )
        with closing(sampler):
            steps = (drafter or stepwise)(trio.resume(prompt), trio, sampler, DRAWN)
            said.append(tuple(token for token, _ in steps))
        if drafter is not None:
            drafted += drafter.done.drafted
            accepted += drafter.done.accepted
    return Drawn(said, drafted, accepted)


def distribution(
    trio: Trio,
    places: Sequence[RoleTokens],
    temperature: float,
    samples: int,
    random: np.random.Generator,
    make_drafter: Callable[[Trio], Drafter] = lambda trio: Drafter(trio, pace=Always()),
    told: Told = lambda what: None,
) -> dict[str, Any]:
    """How draws with drafts, and stepwise ones of the same seeds, fit the exact distribution.

    `samples` are drawn from the `places` in equal parts. Raises `UsageError` where that is too few.
    """
    each = samples // len(places)
    loops: dict[str, Drafter | None] = {"drafted": make_drafter(trio), "stepwise": None}
    fits: dict[tuple[str, int], list[Fit]] = {
        (loop, tokens): [] for loop in loops for tokens in (DRAWN - 1, DRAWN)
    }
    drafted = accepted = same = 0
    for place in places:
        begin(trio, place)
        cells = expected(_stepwise_rows(trio, place), temperature, each, DRAWN)
        seeds = random.integers(0, 2**32 - 1, each).tolist()
        said = {}
        for loop, drafter in loops.items():
            drawn = draw(trio, place, drafter, temperature, seeds, told)
            drafted += drawn.drafted
            accepted += drawn.accepted
            said[loop] = drawn.said
            counts = counted(drawn.said, cells)
            for tokens in (DRAWN - 1, DRAWN):
                fits[loop, tokens].append(fit(counts, cells, tokens))
        same += sum(a == b for a, b in zip(*said.values(), strict=True))
    whole = {key: together(parts) for key, parts in fits.items()}
    return {
        "temperature": temperature,
        "samples": each * len(places),
        "drafted": drafted,
        "accepted": accepted,
        "same": same,
        "fits": [
            {"loop": loop, "tokens": tokens, **one._asdict(), "p": one.p}
            for (loop, tokens), one in whole.items()
        ],
    }


def _stepwise_rows(trio: Trio, prompt: RoleTokens) -> Callable[[Tokens], Logits]:
    """What gives the row after `prompt` and a beginning of the reply, read token by token."""

    def row_after(said: Tokens) -> Logits:
        row: Logits = trio.eval(trio.resume(after(prompt, said)))[-1]
        return row

    return row_after


def measure(
    recipe: Recipe,
    questions: Sequence[Question],
    parts: Sequence[str] = PARTS,
    count: int = 200,
    samples: int = 20_000,
    max_tokens: int = 48,
    threads: int | None = None,
    seed: int = 1,
    told: Told = lambda what: None,
) -> dict[str, Any]:
    """The figures of the `parts`, as JSON will have them.

    `told` hears what is done at the moment, and may raise. Raises as `load` does, and `UsageError`
    for a trio for which nothing is drafted, or which cannot be written in floats.
    """
    prompts = make_prompts(questions, count)
    found: dict[str, Any] = {"trio": recipe.name, "prompts": count, "max_tokens": max_tokens}
    with load(recipe, n_threads=threads) as session:
        check_drafts(session)
        if "floats" in parts:
            told("writing the trio in float32")
            found["floats"] = _in_floats(recipe, prompts, max_tokens, threads, told)
        if "files" in parts:
            found["files"] = _comparison(session, prompts, max_tokens, told)
        if "draws" in parts:
            told("looking for where the trio is least sure")
            places = [
                prompt_of(session, OPENING),
                least_sure(session, prompts[:_LOOKED_AT], max_tokens),
            ]
            random = np.random.default_rng(seed)
            found["draws"] = [
                distribution(session.trio, places, temperature, samples, random, told=told)
                for temperature in TEMPERATURES
            ]
    return found


def check_drafts(session: Session) -> None:
    """Raises `UsageError` for a trio for which nothing is drafted."""
    if session.trio.is_stepwise:
        raise UsageError(
            f"the pair of {session.recipe.name!r} has a tokenizer of its own, for which nothing is "
            "drafted: every reply is a stepwise one, so there is nothing to compare"
        )


def _in_floats(
    recipe: Recipe, prompts: Sequence[str], max_tokens: int, threads: int | None, told: Told
) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="edgeproxy-") as folder,
        load(in_float32(recipe, Path(folder)), n_threads=threads) as session,
    ):
        return _comparison(session, prompts, max_tokens, lambda what: told(f"float32, {what}"))


def _comparison(
    session: Session, prompts: Sequence[str], max_tokens: int, told: Told
) -> dict[str, Any]:
    found = compare(session, prompts, max_tokens=max_tokens, told=told)
    return {
        mode: {
            "same": one.same,
            "tokens": one.tokens,
            "drafted": one.drafted,
            "accepted": one.accepted,
            "parted": [
                {**parting._asdict(), "prompt": prompts[parting.prompt]} for parting in one.parted
            ],
        }
        for mode, one in found.items()
    }


def table(found: Mapping[str, Any]) -> str:
    """What `measure` found, for a terminal."""
    lines = []
    for part, title in (("floats", "in float32"), ("files", "files as they are")):
        if part in found:
            lines += [f"{title}, greedy:", *_replies(found[part], found["prompts"]), ""]
    for one in found.get("draws", ()):
        n, fits = one["samples"], one["fits"]
        lines += [
            f"drawn at temperature {one['temperature']}, {n:,} times:",
            f"  {one['drafted']:,} second tokens were drafted; {one['accepted']:,} were drawn, "
            "so the third is from the row behind",
            f"  {one['same']:,} draws are the stepwise ones of the same seed",
            *map(_fit, fits),
            "",
        ]
    return "\n".join(lines[:-1])


def _fit(one: Mapping[str, Any]) -> str:
    impossible = f", {one['impossible']} impossible" if one["impossible"] else ""
    return (
        f"  {one['loop']:8}  the first {one['tokens']} tokens: chi-square {one['statistic']:.1f}, "
        f"{one['freedom']} degrees of freedom, p = {one['p']:.3g}{impossible}"
    )


def _replies(modes: Mapping[str, Any], count: int) -> Iterator[str]:
    for mode, one in modes.items():
        name = "stepwise again" if mode == "off" else f"drafts by {mode}"
        parted = one["parted"]
        yield (
            f"  {name:16} {one['same']} of {count} replies are the stepwise ones; "
            f"{one['tokens']:,} tokens, {one['drafted']:,} drafted, {one['accepted']:,} accepted"
        )
        for parting in sorted(parted, key=lambda parting: -parting["margin"]):
            yield (
                f"    {parting['margin']:.4f} nats apart after {parting['after']} tokens: "
                f"{parting['prompt']}"
            )


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("tools.measure.exactness", __doc__)
    parser.add_argument("trio", help="a trio's name, its folder, or its trio.toml")
    parser.add_argument("questions", type=Path, help="JSONL, as for edgeproxy eval")
    parser.add_argument(
        "--part", action="append", dest="parts", choices=PARTS, help="only this; may be repeated"
    )
    parser.add_argument("--count", type=at_least(1), default=200, metavar="N", help="prompts")
    parser.add_argument(
        "--samples", type=at_least(100), default=20_000, metavar="N", help="draws a temperature"
    )
    parser.add_argument(
        "--max-tokens", type=at_least(2), default=48, metavar="N", help="the longest reply"
    )
    parser.add_argument(
        "--threads", type=at_least(1), metavar="N", help="for the models [what is fastest]"
    )
    parser.add_argument("--seed", type=at_least(0), default=1, metavar="N", help="of the draws")
    add_json(parser)
    return parser


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    return run(_parser(), _measure_asked, table)


def _measure_asked(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
    return measure(
        find_recipe(asked.trio),
        read_questions(asked.questions),
        asked.parts or PARTS,
        asked.count,
        asked.samples,
        asked.max_tokens,
        asked.threads,
        asked.seed,
        working.tell,
    )


if __name__ == "__main__":
    sys.exit(main())
