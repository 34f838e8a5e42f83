"""Makes the factbook trios, step by step or all at once: `python -m tools.factbook --help`."""

from __future__ import annotations

import argparse
import copy
import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from edgeproxy.cli.ui.progress import Working
from tools.command import at_least, make_parser, run
from tools.factbook import evaluate
from tools.factbook.corpus import texts
from tools.factbook.dialogues import DialogueMaker, make_questions
from tools.factbook.facts import Country, find_archive, read_countries
from tools.factbook.lora import add_changes, write_adapter
from tools.factbook.network import BASE, PAIR, PHI_PAIR, Network, Shape
from tools.factbook.package import (
    LORA,
    ROLES,
    copy_models,
    write_lora_manifest,
    write_manifest,
    write_models,
)
from tools.factbook.restore import restore
from tools.factbook.tokens import BOS, load_tokenizer, train_tokenizer
from tools.factbook.train import load, pretrain, save, token_stream
from tools.factbook.tune import tune

# Seeds: text for pre-training, dialogues, questions.
TEXT_SEED, DIALOGUE_SEED, QUESTION_SEED = 1, 11, 5
PLAUSIBILITY = 0.01
TYPE = "Q8_0"


@dataclass(frozen=True)
class Pair:
    """What is particular to a pair; `prefix` begins the names of its steps and checkpoints."""

    prefix: str
    shape: Shape
    tokenizer_seed: int
    tokens: int


# About as much text for either: the second pair's tokens are shorter.
FIRST = Pair("", PAIR, tokenizer_seed=7, tokens=2_500_000)
PHI = Pair("phi-", PHI_PAIR, tokenizer_seed=8, tokens=2_800_000)
BASE_TOKENS = 6_000_000
EXPERT_ROUNDS = ((DIALOGUE_SEED, 500, 6e-4, False), (DIALOGUE_SEED + 1, 300, 1.2e-3, True))
EXPERT_MEAN = 0.75
TUNED_STEPS, TUNED_RATE = 250, 5e-4
LORA_ROUNDS = ((DIALOGUE_SEED, 500, 3e-3, False), (DIALOGUE_SEED + 1, 300, 4e-3, True))
LORA_RANK = 16


@dataclass(frozen=True)
class Work:
    """Where things are: the data, the folder of checkpoints, the folder of the first trio."""

    data: Path | None
    out: Path
    models: Path

    @property
    def phi_models(self) -> Path:
        """The folder of the trio whose pair is Phi-2's architecture."""
        return self.models.with_name(f"{self.models.name}-phi")

    def countries(self) -> list[Country]:
        """The countries of the archive."""
        return read_countries(find_archive(self.data))

    def tokenizer(self, pair: Pair = FIRST) -> Tokenizer:
        """The tokenizer of a pair, made by its first step."""
        return load_tokenizer(self.out / f"{pair.prefix}tokenizer.json")

    def network(self, name: str) -> Network:
        """A finished checkpoint."""
        network = load(self.out / f"{name}.pt")
        network.eval()
        return network


def make_tokenizer(work: Work, pair: Pair) -> None:
    """Train a tokenizer on some of the text and of the dialogues."""
    countries = work.countries()
    sample = [
        *itertools.islice(texts(countries, pair.tokenizer_seed), 6000),
        *map(str, itertools.islice(DialogueMaker(countries, pair.tokenizer_seed), 2000)),
    ]
    made = train_tokenizer(sample, pair.shape.vocab)
    made.save(str(work.out / f"{pair.prefix}tokenizer.json"))


def make_pair(work: Work, pair: Pair) -> None:
    """Pre-train an anti-expert: the same text as the base's, less of it."""
    stream = token_stream(work.tokenizer(pair), work.countries(), TEXT_SEED, pair.tokens)
    pretrain(pair.shape, stream, work.out / f"{pair.prefix}pair.pt", rate=0.01)


def make_expert(work: Work, pair: Pair) -> None:
    """Tune an anti-expert, gently, in two rounds, the second with more talk: its expert.

    The weights kept are a mean of those after each round: the first copies unseen names better,
    the second talks better, and the mean does both.
    """
    expert = load(work.out / f"{pair.prefix}pair.pt")
    rounds: list[Network] = []
    for seed, steps, rate, more_talk in EXPERT_ROUNDS:
        expert = tune(
            expert,
            work.network(f"{pair.prefix}pair"),
            work.tokenizer(pair),
            iter(DialogueMaker(work.countries(), seed, more_talk)),
            steps=steps,
            rate=rate,
        )
        rounds.append(copy.deepcopy(expert))
    first, second = rounds
    for kept, later in zip(first.parameters(), second.parameters(), strict=True):
        kept.data.lerp_(later.data, EXPERT_MEAN)
    save(work.out / f"{pair.prefix}expert.pt", first)


def do_tokenizer(work: Work) -> None:
    """Train the first trio's tokenizer; write the questions."""
    make_tokenizer(work, FIRST)
    questions = make_questions(work.countries(), QUESTION_SEED)
    evaluate.write_questions(work.models / "questions.jsonl", questions)


def do_pair(work: Work) -> None:
    """Pre-train the anti-expert: the same text as the base's, less of it."""
    make_pair(work, FIRST)


def do_base(work: Work) -> None:
    """Pre-train the base."""
    stream = token_stream(work.tokenizer(), work.countries(), TEXT_SEED, BASE_TOKENS)
    pretrain(BASE, stream, work.out / "base.pt", rate=0.007)


def do_expert(work: Work) -> None:
    """Tune the anti-expert, gently: the expert."""
    make_expert(work, FIRST)


def do_tuned(work: Work) -> None:
    """Tune the base directly on the same dialogues, in the ordinary way."""
    dialogues = iter(DialogueMaker(work.countries(), DIALOGUE_SEED))
    tuned = tune(
        load(work.out / "base.pt"),
        None,
        work.tokenizer(),
        dialogues,
        steps=TUNED_STEPS,
        rate=TUNED_RATE,
    )
    save(work.out / "tuned.pt", tuned)


def do_package(work: Work) -> None:
    """Export, quantise and write the manifest."""
    names = {"base": "base", "expert": "expert", "anti_expert": "pair", "tuned": "tuned"}
    networks = {role: work.network(name) for role, name in names.items()}
    write_models(work.models, networks, work.tokenizer(), TYPE)
    write_manifest(
        work.models,
        "A small trio trained from scratch on The World Factbook: ask it about any country.",
        alpha=1.0,
        plausibility=PLAUSIBILITY,
    )


def do_lora(work: Work) -> None:
    """Tune an adapter for the first trio's anti-expert as it ships: another expert."""
    shipped = work.models / ROLES["anti_expert"][0]
    (anti, tokenizer), (expert, _) = restore(shipped), restore(shipped)
    add_changes(expert, LORA_RANK)
    for seed, steps, rate, more_talk in LORA_ROUNDS:
        tune(
            expert,
            anti,
            tokenizer,
            iter(DialogueMaker(work.countries(), seed, more_talk)),
            steps=steps,
            rate=rate,
            exact=True,
            # To the anti-expert the end of a turn is one of many tokens that it never saw, all with
            # the same embedding, which an adapter leaves as it is. It knows the end of a text.
            end=BOS,
        )
    part = (work.models / LORA).with_suffix(".part")
    write_adapter(part, expert, "edgeproxy factbook expert, an adapter")
    part.replace(work.models / LORA)
    write_lora_manifest(
        work.models,
        "The factbook trio with an adapter as its expert: one copy of the pair's weights.",
        alpha=1.0,
        plausibility=PLAUSIBILITY,
    )


def do_phi_tokenizer(work: Work) -> None:
    """Train the second pair's own tokenizer."""
    make_tokenizer(work, PHI)


def do_phi_pair(work: Work) -> None:
    """Pre-train the second anti-expert, of Phi-2's architecture."""
    make_pair(work, PHI)


def do_phi_expert(work: Work) -> None:
    """Tune the second anti-expert, gently: its expert."""
    make_expert(work, PHI)


def do_phi_package(work: Work) -> None:
    """Export the second pair, with copies of the first trio's base and tuned base."""
    networks = {"expert": work.network("phi-expert"), "anti_expert": work.network("phi-pair")}
    write_models(work.phi_models, networks, work.tokenizer(PHI), TYPE)
    copy_models(work.models, work.phi_models, ("base", "tuned"))
    write_manifest(
        work.phi_models,
        "The factbook base under a pair of another family: Phi-2's architecture and a tokenizer"
        " of its own.",
        alpha=1.0,
        plausibility=PLAUSIBILITY,
    )


def do_evaluate(work: Work) -> None:
    """Measure the checkpoints in PyTorch; `edgeproxy eval` measures the shipped files."""
    questions = evaluate.read_questions(work.models / "questions.jsonl")

    def report(name: str, system: evaluate.System, pair: Pair) -> None:
        accuracy, kinds, _ = evaluate.score(system, work.tokenizer(pair), questions)
        print(f"{name:28} {accuracy:.3f}  " + " ".join(f"{k} {v:.2f}" for k, v in kinds.items()))

    base, expert, anti, tuned = (work.network(n) for n in ("base", "expert", "pair", "tuned"))
    report("base", evaluate.System((base,), (False,)), FIRST)
    report("anti-expert", evaluate.System((anti,), (False,)), FIRST)
    report("expert", evaluate.System((expert,), (True,)), FIRST)
    report("tuned", evaluate.System((tuned,), (True,)), FIRST)
    for alpha, beta in (
        (1.0, PLAUSIBILITY),
        (1.0, 0.0),
        *((a, PLAUSIBILITY) for a in (0.5, 1.5, 2.0)),
    ):
        proxy = evaluate.System((base, expert, anti), (False, True, False), alpha, beta)
        report(f"proxy, alpha {alpha:g}, beta {beta:g}", proxy, FIRST)
    report("phi anti-expert", evaluate.System((work.network("phi-pair"),), (False,)), PHI)
    report("phi expert", evaluate.System((work.network("phi-expert"),), (True,)), PHI)


STEPS: dict[str, Callable[[Work], None]] = {
    "tokenizer": do_tokenizer,
    "pair": do_pair,
    "base": do_base,
    "expert": do_expert,
    "tuned": do_tuned,
    "package": do_package,
    "lora": do_lora,
    "phi-tokenizer": do_phi_tokenizer,
    "phi-pair": do_phi_pair,
    "phi-expert": do_phi_expert,
    "phi-package": do_phi_package,
    "evaluate": do_evaluate,
}


def main() -> int:
    """Run the steps that the command line names; the exit code."""
    parser = make_parser("tools.factbook", __doc__)
    parser.epilog = "steps:\n" + "\n".join(f"  {n:14} {f.__doc__}" for n, f in STEPS.items())
    parser.add_argument("step", choices=["all", *STEPS], help="what to do; all does all in order")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--data", type=Path, help="world-factbook.tar.xz, if it is not found")
    parser.add_argument(
        "--models", type=Path, default=Path("models/factbook"), help="folder of the first trio"
    )
    parser.add_argument("--threads", type=at_least(1), default=2, help="threads of PyTorch")
    return run(parser, _make, lambda steps: f"done: {', '.join(steps)}")


def _make(asked: argparse.Namespace, working: Working) -> list[str]:
    torch.set_num_threads(asked.threads)
    work = Work(asked.data, asked.out, asked.models)
    work.out.mkdir(parents=True, exist_ok=True)
    steps = list(STEPS) if asked.step == "all" else [asked.step]
    for name in steps:
        working.tell(name)
        STEPS[name](work)
    return steps


if __name__ == "__main__":
    sys.exit(main())
