"""Measure edgeproxy beside the ways in which a person would do proxy-tuning without it.

    python -m tools.measure.peers TRIO [--repeats 5] [--prompt TEXT]... [--max-tokens 48]
                                     [--temperature T] [--threads N] [--torch] [--json]

All of them read the same tokens and step the same three files:

- `loop`: three `Llama`s of llama-cpp-python; after `eval`, the rows are fused in NumPy. Without
  `logits_all` its `scores` stay empty, so a row is read where llama.cpp has it.
- `logits_processor`: the base's `Llama.generate`, with a logits processor that evaluates the pair.
  Both have a process of their own (see `tools.measure.llama_peers`), without edgeproxy's
  settings of OpenMP; each token crosses a pipe, which takes about a tenth of a millisecond.
- `torch float32`, `torch bfloat16` (with --torch): the paper's way, see `tools.measure.torch_peer`.
  Its logits are compared with llama.cpp's first; what does not compute the same is not timed.
- `stepwise`, `drafted`: edgeproxy, token by token and with drafts.

Every round runs each of them once over all prompts, in an order that moves on by one from round to
round; each reply begins from nothing. Figures are medians of the rounds, ratios are of medians. The
others get their prompts in tokens; edgeproxy lays them out within the time to its first token.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from edgeproxy.cli.ui.progress import Working
from edgeproxy.core.memory_free import peak_memory
from edgeproxy.decode.drafted import Draft
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.trio import RoleTokens
from edgeproxy.errors import (
    Cancelled,
    ContextFullError,
    EngineError,
    UsageError,
    VocabularyError,
)
from edgeproxy.gguf import read
from edgeproxy.measure.bench import PROMPTS, Reply, _figures
from edgeproxy.measure.machine import machine
from edgeproxy.prompts.formats import Message, encode, make_format
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.trios.find import Recipe, find_recipe
from tools.command import add_json, at_least, make_parser
from tools.command import run as run_command
from tools.measure.agreement import check_torch
from tools.measure.llama_peers import SEED

_CHECKED = 16
_SPOKEN = {
    "loop": "llama-cpp-python, a loop",
    "logits_processor": "llama-cpp-python, processor",
    "torch float32": "PyTorch, float32",
    "torch bfloat16": "PyTorch, bfloat16",
    "stepwise": "edgeproxy, token by token",
    "drafted": "edgeproxy, with drafts",
}
_OURS = ("stepwise", "drafted")
_ENDED = "the process with llama-cpp-python has ended; is there enough memory?"


class Question(NamedTuple):
    """What is asked, and its prompt as each role reads it."""

    text: str
    prompt: RoleTokens


System = Callable[[Question], Generator[int, Any, None]]
"""Yields the tokens of a reply; others may see to it that it ends."""


@dataclass(frozen=True)
class Said(Reply):
    """A reply, and its tokens."""

    ids: tuple[int, ...]


class Peers:
    """`tools.measure.llama_peers` in a process of its own; a context manager."""

    def __init__(
        self,
        recipe: Recipe,
        contexts: Sequence[int],
        n_threads: int,
        temperature: float = 0.0,
    ) -> None:
        # edgeproxy has set this for itself; a person without it would not know it.
        environment = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.measure.llama_peers"],
            cwd=Path(__file__).parents[2],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Ctrl-C is the parent's, which closes it.
            start_new_session=True,
        )
        try:
            paths = [str(part.path.absolute()) for part in recipe.roles.values()]
            self._say(
                {
                    "models": list(zip(paths, contexts, strict=True)),
                    "n_threads": n_threads,
                    "alpha": recipe.steering.alpha,
                    "plausibility": recipe.steering.plausibility,
                    "temperature": temperature,
                }
            )
            error = self._hear()["error"]
            if error:
                raise EngineError(f"llama-cpp-python: {error}")
        except BaseException:
            self.close()
            raise

    def system(self, name: str) -> System:
        """The way called `name`, a method of `llama_peers.Peers`."""

        def reply(question: Question) -> Generator[int, Any, None]:
            self._say([name, *question.prompt])
            while (token := self._hear()) is not None:
                goes_on = False
                try:
                    yield token
                    goes_on = True
                finally:
                    self._say(goes_on)
                    if not goes_on:
                        self._hear()

        return reply

    def _say(self, what: object) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(what) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # a pipe that nobody reads; one that `close` closed
            raise EngineError(_ENDED) from None

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise EngineError(_ENDED)
        return json.loads(line)

    @property
    def peak_memory(self) -> int | None:
        """The most bytes that it has held at once, or None where the system does not tell."""
        return peak_memory(self._process.pid)

    def close(self) -> None:
        """End the process. A second call does nothing."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()


def edgeproxy(session: Session, mode: Draft, temperature: float, max_tokens: int) -> System:
    """edgeproxy itself, drafting as `mode` says."""
    sampling = Sampling(temperature, top_k=0, top_p=1.0, min_p=0.0, seed=SEED)

    def reply(question: Question) -> Generator[int, Any, None]:
        session.drafter.mode = mode
        session.trio.resume(RoleTokens([], [], []))
        messages = [Message("user", question.text)]
        for piece in session.speaker.reply(messages, sampling, max_tokens):
            if piece.token is not None:
                yield piece.token

    return reply


def ask(session: Session, text: str, max_tokens: int) -> Question:
    """`text` as each role of `session` reads it.

    Raises `ContextFullError` where a reply of `max_tokens` may not fit behind it.
    """
    trio = session.trio
    prompt = RoleTokens(
        *(
            encode(make_format(role.prompt, m.vocab, str(role.path))(messages), m.vocab)
            for messages in [[Message("user", text)]]
            for role, m in zip(session.recipe.roles.values(), trio.models, strict=True)
        )
    )
    longest = max(map(len, prompt))
    if longest + max_tokens > trio.n_ctx:
        raise ContextFullError(
            f"a prompt of {longest:,} tokens and a reply of {max_tokens:,} do not fit the context "
            f"of {trio.n_ctx:,}; send less text, or ask for fewer tokens"
        )
    return Question(text, prompt)


def check_vocabulary(session: Session) -> None:
    """Raises `VocabularyError` unless the pair's tokens are the base's under the same ids."""
    for role, found in session.matches.items():
        if found.case != "same":
            raise VocabularyError(
                f"the {role.replace('_', '-')} of {session.recipe.name!r} has another vocabulary "
                f"than the base ({found.case}), which only edgeproxy can fuse: there is nothing to "
                "compare it with, and edgeproxy bench measures it alone"
            )


def run(
    systems: Mapping[str, System],
    questions: Sequence[Question],
    endings: frozenset[int],
    repeats: int,
    max_tokens: int,
    told: Callable[[str], None],
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, list[list[Said]]]:
    """What each system says in each round, after one round that warms up.

    A reply ends with one of `endings`, or at `max_tokens`. Raises `Cancelled` within a token once
    it is `interrupted`.
    """
    rounds: dict[str, list[list[Said]]] = {name: [] for name in systems}
    names = list(systems)
    for number in range(repeats + 1):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            said = []
            for place, question in enumerate(questions, 1):
                told(f"round {number} of {repeats}: {name}, prompt {place} of {len(questions)}")
                said.append(_time(systems[name](question), endings, max_tokens, interrupted))
            if number:
                rounds[name].append(said)
    return rounds


def _time(
    tokens: Generator[int, Any, None],
    endings: frozenset[int],
    max_tokens: int,
    interrupted: Callable[[], bool],
) -> Said:
    ids: list[int] = []
    times: list[float] = []
    started = time.perf_counter()
    with closing(tokens):
        for token in tokens:
            times.append(time.perf_counter())
            ids.append(token)
            if token in endings or len(ids) == max_tokens or interrupted():
                break
    if interrupted() or not ids:
        raise Cancelled("the measurement was interrupted")
    return Said(len(ids), times[0] - started, times[-1] - times[0], tuple(ids))


def figures(rounds: Mapping[str, Sequence[Sequence[Said]]], greedy: bool = True) -> dict[str, Any]:
    """Speeds, ratios, and where replies part from the first that edgeproxy gave step by step.

    `parts_at` is for each prompt the number of tokens in common, or None where all are the same in
    every round; drawn replies are not compared. Raises `UsageError` where no reply has two tokens.
    """
    systems: dict[str, Any] = {name: _figures(found) for name, found in rounds.items()}
    reference = rounds["stepwise"][0]
    for name, found in systems.items():
        if not found["tokens_per_second"]:
            raise UsageError(f"{name}: every reply ends at its first token; ask something else")
        found["lengths"] = [said.tokens for said in rounds[name][0]]
        if greedy:
            replies = zip(*rounds[name], strict=True)
            parts = [_parts_at(r, ours.ids) for r, ours in zip(replies, reference, strict=True)]
            found["parts_at"] = parts
            found["same_tokens"] = parts.count(None)
    speeds = {name: found["tokens_per_second"] for name, found in systems.items()}
    ratios = {
        f"{ours} / {peer}": speeds[ours] / speeds[peer]
        for peer in speeds
        if peer not in _OURS
        for ours in _OURS
    }
    return {"systems": systems, "ratios": ratios}


def _parts_at(replies: Sequence[Said], reference: Sequence[int]) -> int | None:
    common = [
        next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(said.ids), len(reference)))
        for said in replies
        if said.ids != tuple(reference)
        for pairs in [zip(said.ids, reference, strict=False)]
    ]
    return min(common, default=None)


def _load_torch(recipe: Recipe) -> Any:
    """The module `tools.measure.torch_peer`. Raises `UsageError` where it could not work."""
    try:
        from tools.measure import torch_peer
    except ImportError as error:
        raise UsageError(
            f"--torch needs PyTorch and gguf ({error}): run pip install '.[train]' in the clone"
        ) from None
    for role, part in recipe.roles.items():
        name = read(part.path).architecture
        if name != "llama":
            raise UsageError(f"--torch knows only llama models, and the {role} is {name}")
    return torch_peer


def measure(
    recipe: Recipe,
    prompts: Sequence[str] = PROMPTS,
    repeats: int = 5,
    max_tokens: int = 48,
    temperature: float = 0.0,
    threads: int | None = None,
    with_torch: bool = False,
    told: Callable[[str], None] = lambda what: None,
    interrupted: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """The figures of all systems, as JSON will have them.

    `threads` are those of llama-cpp-python and PyTorch (default: the processors there are). `told`
    hears what is done at the moment, and may raise. Raises as `load`, `ask`, `run`, `figures` and
    `check` do, and `UsageError` for what cannot be measured.
    """
    Sampling(temperature)  # a wrong one is told before anything is loaded
    threads = threads or int(machine()["processors"])
    torch_peer = _load_torch(recipe) if with_torch else None
    with ExitStack() as stack:
        session = stack.enter_context(
            load(recipe, progress=lambda role, share: told(f"loading {role} {share:.0%}"))
        )
        check_vocabulary(session)
        mode = session.drafter.mode
        models = session.trio.models
        endings = models[0].vocab.end_of_generation | models[1].vocab.end_of_generation
        questions = [ask(session, text, max_tokens) for text in prompts]
        told("loading with llama-cpp-python")
        contexts = [model.n_ctx for model in models]
        peers = stack.enter_context(closing(Peers(recipe, contexts, threads, temperature)))
        systems: dict[str, System] = {
            name: peers.system(name) for name in ("loop", "logits_processor")
        }
        agreement = {}
        if torch_peer is not None:
            trios = torch_peer.load_trios(
                recipe, session.trio.n_ctx, temperature, SEED, threads, told
            )
            greedy = edgeproxy(session, "off", 0.0, _CHECKED + 1)
            # The last token of a reply is in no model.
            replies = [
                _time(greedy(question), endings, _CHECKED + 1, interrupted).ids[:-1]
                for question in questions
            ]
            agreement = check_torch(
                trios, recipe, [q.prompt for q in questions], replies, threads, told
            )
            systems |= {name: trio.reply for name, trio in trios.items()}
        systems["stepwise"] = edgeproxy(session, "off", temperature, max_tokens)
        systems["drafted"] = edgeproxy(session, mode, temperature, max_tokens)
        rounds = run(systems, questions, endings, repeats, max_tokens, told, interrupted)
        memory = peak_memory(), peers.peak_memory
        return {
            "trio": recipe.name,
            "prompts": list(prompts),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "repeats": repeats,
            "peer_threads": threads,
            "draft": mode,
            **figures(rounds, greedy=not temperature),
            "torch_agreement": agreement or None,
            "peak_memory": dict(zip(("edgeproxy", "llama_cpp_python"), memory, strict=True)),
            "machine": machine() | {"torch": torch_peer and torch_peer.VERSION},
        }


def table(found: Mapping[str, Any]) -> str:
    """What `measure` found, for a terminal."""
    lines = [
        f"{'':28} {'tokens/s':>9}  {'spread':>15}  {'first token':>11}  "
        f"{'stepwise is':>11}  {'drafted is':>10}  same tokens"
    ]
    n, ratios = len(found["prompts"]), found["ratios"]
    for name, one in found["systems"].items():
        low, high = one["spread"]
        times = [ratios.get(f"{ours} / {name}") for ours in _OURS]
        first, second = ("" if ratio is None else f"{ratio:.2f}x" for ratio in times)
        same = f"{one['same_tokens']} of {n}" if "same_tokens" in one else "drawn"
        lines.append(
            f"{_SPOKEN[name]:28} {one['tokens_per_second']:>9.1f}  {low:>7.1f}-{high:<7.1f}  "
            f"{one['first_token_seconds'] * 1e3:>8.0f} ms  {first:>11}  {second:>10}  {same}"
        )
    lines.append("")
    for name, one in found["systems"].items():
        for prompt, place in zip(found["prompts"], one.get("parts_at", ()), strict=False):
            if place is not None:
                lines.append(f"{_SPOKEN[name]} parts from token by token after {place}: {prompt}")
    for name, roles in (found["torch_agreement"] or {}).items():
        worst = max(one["difference"] for one in roles.values())
        largest = max(one["largest"] for one in roles.values())
        same = min(one["same_best"] for one in roles.values())
        lines.append(
            f"{_SPOKEN[name]}: logits {worst:.3f} from llama.cpp's (root mean square), "
            f"{largest:.3f} at most; the best token is the same in {same:.1%} or more"
        )
    machine = found["machine"]
    lines += [
        f"with drafts ({found['draft']}); the others' models on {found['peer_threads']} threads "
        f"each; {_memory(found['peak_memory'])}",
        f"{machine['processor']}, {machine['processors']} processors, load {machine['load']}, "
        f"{machine['system']}, Python {machine['python']}, "
        f"llama-cpp-python {machine['llama_cpp_python']}"
        + (f", PyTorch {machine['torch']}" if machine["torch"] else ""),
    ]
    return "\n".join(lines)


def _memory(peaks: Mapping[str, int | None]) -> str:
    ours, theirs = (
        "unknown" if peak is None else f"{peak / 1e6:,.0f} MB" for peak in peaks.values()
    )
    return f"peak memory {ours}, llama-cpp-python {theirs}"


def _parser() -> argparse.ArgumentParser:
    parser = make_parser("tools.measure.peers", __doc__)
    parser.add_argument("trio", help="a trio's name, its folder, or its trio.toml")
    parser.add_argument(
        "--repeats", type=at_least(1), default=5, metavar="N", help="rounds that count"
    )
    parser.add_argument(
        "--prompt", action="append", dest="prompts", metavar="TEXT", help="may be repeated"
    )
    parser.add_argument(
        "--max-tokens", type=at_least(2), default=48, metavar="N", help="the longest reply"
    )
    parser.add_argument(
        "--temperature", type=float, default=0.0, metavar="T", help="0, the default, is greedy"
    )
    parser.add_argument(
        "--threads", type=at_least(1), metavar="N", help="for each model of the others [all]"
    )
    parser.add_argument("--torch", action="store_true", help="PyTorch too")
    add_json(parser)
    return parser


def main() -> int:
    """Measure and print, as the command line asks; the exit code."""
    return run_command(_parser(), _measure_asked, table)


def _measure_asked(asked: argparse.Namespace, working: Working) -> dict[str, Any]:
    try:
        return measure(
            find_recipe(asked.trio),
            asked.prompts or PROMPTS,
            asked.repeats,
            asked.max_tokens,
            asked.temperature,
            asked.threads,
            asked.torch,
            working.tell,
            working.stop.is_set,
        )
    except RuntimeError as error:  # PyTorch's way to say that memory does not suffice
        raise EngineError(str(error)) from None


if __name__ == "__main__":
    sys.exit(main())
