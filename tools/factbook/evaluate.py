"""Measuring in PyTorch: greedy replies of each system, several questions at a time."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from edgeproxy.measure.judging import is_right
from tools.factbook.dialogues import Question
from tools.factbook.network import Network
from tools.factbook.tokens import BOS, IM_END, chat_prompt, encode, plain_prompt
from tools.factbook.tune import padded

Messages = list[tuple[str, str]]


@dataclass(frozen=True)
class System:
    """Networks and what is made of them: one alone, or base + alpha * (expert - anti)."""

    networks: tuple[Network, ...]
    chat: tuple[bool, ...]
    alpha: float = 1.0
    beta: float = 0.0


def fused(rows: list[Tensor], alpha: float, beta: float) -> Tensor:
    """Return the fused rows [n, vocab]; tokens that the expert finds implausible get -inf."""
    if len(rows) == 1:
        return rows[0]
    base, expert, anti = rows
    out = base + alpha * (expert - anti)
    if beta > 0 and alpha != 0:
        top = expert.max(-1, keepdim=True).values
        out = out.masked_fill(expert < top + math.log(beta), -torch.inf)
    return out


@torch.no_grad()  # type: ignore[untyped-decorator]
def replies(
    system: System,
    tokenizer: Tokenizer,
    asked: list[Messages],
    longest: int = 48,
    first_line: bool = True,
    size: int = 64,
) -> list[str]:
    """Return the greedy reply to each conversation."""
    order = sorted(range(len(asked)), key=lambda i: len(str(asked[i])))
    found = [""] * len(asked)
    (newline,) = encode(tokenizer, "\n")
    stops = {BOS, IM_END, newline} if first_line else {BOS, IM_END}
    for start in range(0, len(order), size):
        part = order[start : start + size]
        prompts = [
            [(chat_prompt if chat else plain_prompt)(tokenizer, asked[i]) for i in part]
            for chat in system.chat
        ]
        said: list[list[int]] = [[] for _ in part]
        live = list(range(len(part)))
        for _ in range(longest):
            rows = []
            for network, own in zip(system.networks, prompts, strict=True):
                full = [own[i] + said[i] for i in live]
                ends = torch.tensor([len(row) - 1 for row in full])
                with torch.autocast("cpu", torch.bfloat16):
                    states = network.hidden(padded(full))[torch.arange(len(full)), ends]
                rows.append(network.logits(states.float()))
            picked = fused(rows, system.alpha, system.beta).argmax(-1).tolist()
            for i, token in zip(live, picked, strict=True):
                said[i].append(token)
            live = [i for i in live if said[i][-1] not in stops]
            if not live:
                break
        for i, tokens in zip(part, said, strict=True):
            found[i] = tokenizer.decode([t for t in tokens if t not in (BOS, IM_END)])
    return found


def score(
    system: System, tokenizer: Tokenizer, questions: list[Question]
) -> tuple[float, dict[str, float], list[str]]:
    """Return accuracy, accuracy by kind, and the replies."""
    said = replies(system, tokenizer, [[("user", q.question)] for q in questions])
    by_kind: dict[str, list[bool]] = defaultdict(list)
    for question, reply in zip(questions, said, strict=True):
        by_kind[question.kind].append(is_right(reply, question.answer))
    hits = [hit for kind in by_kind.values() for hit in kind]
    return sum(hits) / len(hits), {k: sum(v) / len(v) for k, v in by_kind.items()}, said


def read_questions(path: Path) -> list[Question]:
    """Return the questions of a JSONL file."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Question(
            line["question"],
            (line["answer"],) if isinstance(line["answer"], str) else tuple(line["answer"]),
            line["kind"],
        )
        for line in lines
    ]


def write_questions(path: Path, questions: list[Question]) -> None:
    """Write questions as JSONL."""
    lines = [
        json.dumps(
            {
                "question": q.question,
                "answer": q.answer[0] if len(q.answer) == 1 else list(q.answer),
                "kind": q.kind,
            },
            ensure_ascii=False,
        )
        for q in questions
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
