"""Makes the factbook trio, step by step or all at once: `python -m tools.factbook --help`."""

from __future__ import annotations

import argparse
import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from tools.factbook import evaluate
from tools.factbook.corpus import texts
from tools.factbook.dialogues import DialogueMaker, make_questions
from tools.factbook.facts import Country, find_archive, read_countries
from tools.factbook.network import BASE, PAIR, Network
from tools.factbook.package import write_manifest, write_models
from tools.factbook.tokens import load_tokenizer, train_tokenizer
from tools.factbook.train import load, pretrain, save, token_stream
from tools.factbook.tune import tune

# Seeds: text for pre-training, for the tokenizer, dialogues, questions.
TEXT_SEED, TOKENIZER_SEED, DIALOGUE_SEED, QUESTION_SEED = 1, 7, 11, 5
PLAUSIBILITY = 0.01
TYPES = {"base": "Q8_0", "expert": "Q8_0", "anti_expert": "Q8_0", "tuned": "Q8_0"}


@dataclass(frozen=True)
class Work:
    """Where things are: the data, the folder of checkpoints, the folder of the finished trio."""

    data: Path | None
    out: Path
    models: Path

    def countries(self) -> list[Country]:
        """The countries of the archive."""
        return read_countries(find_archive(self.data))

    def tokenizer(self) -> Tokenizer:
        """The tokenizer made by the first step."""
        return load_tokenizer(self.out / "tokenizer.json")

    def network(self, name: str) -> Network:
        """A finished checkpoint."""
        network = load(self.out / f"{name}.pt")
        network.eval()
        return network


def do_tokenizer(work: Work) -> None:
    """Train the tokenizer on some of the text and of the dialogues; write the questions."""
    countries = work.countries()
    sample = [
        *itertools.islice(texts(countries, TOKENIZER_SEED), 6000),
        *map(str, itertools.islice(DialogueMaker(countries, TOKENIZER_SEED), 2000)),
    ]
    train_tokenizer(sample).save(str(work.out / "tokenizer.json"))
    evaluate.write_questions(
        work.models / "questions.jsonl", make_questions(countries, QUESTION_SEED)
    )


def do_pair(work: Work) -> None:
    """Pre-train the anti-expert: the same text as the base's, less of it."""
    stream = token_stream(work.tokenizer(), work.countries(), TEXT_SEED, PAIR_TOKENS)
    pretrain(PAIR, stream, work.out / "pair.pt", rate=0.01)


def do_base(work: Work) -> None:
    """Pre-train the base."""
    stream = token_stream(work.tokenizer(), work.countries(), TEXT_SEED, BASE_TOKENS)
    pretrain(BASE, stream, work.out / "base.pt", rate=0.007)


def do_expert(work: Work) -> None:
    """Tune the anti-expert, gently, in two rounds, the second with more talk: the expert.

    The weights kept are a mean of those after each round: the first copies unseen names better,
    the second talks better, and the mean does both.
    """
    expert = load(work.out / "pair.pt")
    rounds: list[Network] = []
    for seed, steps, rate, more_talk in EXPERT_ROUNDS:
        expert = tune(
            expert,
            work.network("pair"),
            work.tokenizer(),
            iter(DialogueMaker(work.countries(), seed, more_talk)),
            steps=steps,
            rate=rate,
        )
        rounds.append(copy.deepcopy(expert))
    first, second = rounds
    for kept, later in zip(first.parameters(), second.parameters(), strict=True):
        kept.data.lerp_(later.data, EXPERT_MEAN)
    save(work.out / "expert.pt", first)


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
    write_models(work.models, networks, work.tokenizer(), TYPES)
    write_manifest(work.models, alpha=1.0, plausibility=PLAUSIBILITY)


def do_evaluate(work: Work) -> None:
    """Measure the checkpoints in PyTorch; `edgeproxy eval` measures the shipped files."""
    tokenizer = work.tokenizer()
    questions = evaluate.read_questions(work.models / "questions.jsonl")
    base, expert, anti, tuned = (work.network(n) for n in ("base", "expert", "pair", "tuned"))
    three, chats = (base, expert, anti), (False, True, False)
    systems = {
        "base": evaluate.System((base,), (False,)),
        "anti-expert": evaluate.System((anti,), (False,)),
        "expert": evaluate.System((expert,), (True,)),
        "tuned": evaluate.System((tuned,), (True,)),
    }
    for alpha, beta in (
        (1.0, PLAUSIBILITY),
        (1.0, 0.0),
        *((a, PLAUSIBILITY) for a in (0.5, 1.5, 2.0)),
    ):
        systems[f"proxy, alpha {alpha:g}, beta {beta:g}"] = evaluate.System(
            three, chats, alpha, beta
        )
    for name, system in systems.items():
        accuracy, kinds, _ = evaluate.score(system, tokenizer, questions)
        print(f"{name:28} {accuracy:.3f}  " + " ".join(f"{k} {v:.2f}" for k, v in kinds.items()))


PAIR_TOKENS, BASE_TOKENS = 2_500_000, 6_000_000
EXPERT_ROUNDS = ((DIALOGUE_SEED, 500, 6e-4, False), (DIALOGUE_SEED + 1, 300, 1.2e-3, True))
EXPERT_MEAN = 0.75
TUNED_STEPS, TUNED_RATE = 250, 5e-4

STEPS: dict[str, Callable[[Work], None]] = {
    "tokenizer": do_tokenizer,
    "pair": do_pair,
    "base": do_base,
    "expert": do_expert,
    "tuned": do_tuned,
    "package": do_package,
    "evaluate": do_evaluate,
}


def main() -> None:
    """Run the steps that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.factbook",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="steps:\n" + "\n".join(f"  {n:10} {f.__doc__}" for n, f in STEPS.items()),
    )
    parser.add_argument("step", choices=["all", *STEPS], help="what to do; all does all in order")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints")
    parser.add_argument("--data", type=Path, help="world-factbook.tar.xz, if it is not found")
    parser.add_argument(
        "--models", type=Path, default=Path("models/factbook"), help="folder of the finished trio"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    work = Work(args.data, args.out, args.models)
    work.out.mkdir(parents=True, exist_ok=True)
    for name in STEPS if args.step == "all" else [args.step]:
        print(f"== {name}", flush=True)
        STEPS[name](work)


if __name__ == "__main__":
    main()
