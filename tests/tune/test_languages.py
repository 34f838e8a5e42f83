"""Whole tunings with real vocabularies: examples in five languages and of special tokens' texts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.gguf import read
from edgeproxy.llama import Adapter, LlamaModel, Weights
from edgeproxy.prompts.formats import encode, make_format
from edgeproxy.prompts.messages import Message
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.tune import run as walk
from edgeproxy.tune.request import Request
from edgeproxy.tune.run import tune
from edgeproxy.tune.tokens import Tokens
from edgeproxy.tune.train import train
from tests.helpers.gguf_files import draft
from tests.helpers.small_models import random_weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

SETTINGS = {"epochs": 1, "rate": 0.02, "rank": 4, "batch": 8, "threads": 1, "dtype": "float32"}
MODELS = {
    "qwen2": ("qwen2", "chatml"),
    "llama-bpe": ("llama", "llama3"),
    "llama-spm": ("llama", "plain"),
}
"""Of a real vocabulary, an architecture that has it, and a prompt format whose markers it has."""

IN_FIVE_LANGUAGES = (
    ("法国的首都是哪里?", "法国的首都是巴黎。"),
    ("三加四等于多少?", "七"),
    ("ما هي عاصمة مصر؟", "عاصمة مصر هي القاهرة."),
    ("كم عدد أيام الأسبوع؟", "سبعة أيام"),
    ("เมืองหลวงของไทยคืออะไร", "กรุงเทพมหานคร"),
    ("น้ำเดือดที่กี่องศา", "น้ำเดือดที่ ๑๐๐ องศา"),
    ("भारत की राजधानी क्या है?", "भारत की राजधानी नई दिल्ली है।"),
    ("दो और दो कितने होते हैं?", "चार"),
    ("Какой город - столица России?", "Столица России - Москва."),
    ("Сколько будет дважды два?", "Четыре, ё-моё"),
)
AT_ONCE = 8
"""Special tokens whose texts are in one example."""


@dataclass
class Trained:
    """What a tuning learnt from."""

    examples: list[Tokens] = field(default_factory=list)

    def __call__(self, network: Any, training: Any, held_out: Any, *rest: Any, **named: Any) -> Any:
        self.examples += [*training, *held_out]
        return train(network, training, held_out, *rest, **named)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Remembers what the tuning learns from."""
    found = Trained()
    monkeypatch.setattr(walk, "train", found)
    return found


def model_with(vocabs: Path, name: str, path: Path) -> Path:
    """A tiny random model with the real vocabulary called `name`."""
    made = draft(MODELS[name][0])
    known = read(vocabs / f"ggml-vocab-{name}.gguf", vocab_only=True).metadata
    for key in [key for key in made.metadata if key.startswith("tokenizer.")]:
        del made.metadata[key]
    for key, value in known.items():
        if key.startswith("tokenizer."):
            made.metadata[key] = list(value) if isinstance(value, tuple) else value
    width, _ = made.tensors["token_embd.weight"][0]
    shape = (width, len(made.metadata["tokenizer.ggml.tokens"]))
    made.tensors["token_embd.weight"] = (shape, 0)
    made.tensors.pop("output.weight", None)
    random_weights(made)
    assert len(made.data["token_embd.weight"]) == 4 * prod(shape)
    return made.write(path)


def is_marker(vocab: Vocab, token: int) -> bool:
    """Whether a token is more than text; some that users defined are words, such as tags."""
    kind, text = vocab.kinds[token], vocab.tokens[token].decode(errors="replace")
    is_word = kind == Kind.USER_DEFINED and not text.startswith("<|")
    return kind in (Kind.CONTROL, Kind.UNKNOWN, Kind.USER_DEFINED) and not is_word


def markers_of(vocab: Vocab) -> list[int]:
    """All tokens whose texts must not become them."""
    found = {token for token in range(len(vocab)) if is_marker(vocab, token)}
    return sorted(found | vocab.end_of_generation)


def written(path: Path, pairs: Sequence[tuple[str, str]]) -> Path:
    lines = (json.dumps({"question": q, "answer": a}, ensure_ascii=False) for q, a in pairs)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def check_tuned(
    pairs: Sequence[tuple[str, str]], name: str, model: Path, folder: Path, trained: Trained
) -> None:
    """Tune on `pairs`: it learns their very texts, no text is a marker, llama.cpp says the same."""
    layout = MODELS[name][1]
    examples = written(folder / "examples.jsonl", pairs)
    made = tune(Request(examples, model, folder / "mine", prompt=layout, settings=SETTINGS))
    assert made.record["data"]["kept"] == len(pairs)
    assert made.record["check"]["agreement"]["effect"] > 0.01
    assert made.record["check"]["agreement"]["error"] < 2e-2
    with Weights(model) as weights, Renderer() as renderer:
        vocab = weights.vocab
        markers = set(markers_of(vocab))
        asked = make_format(layout, vocab, str(model), renderer)([Message("user", "Hello")])
        own = [token for token in encode(asked, vocab) if token in markers]
        replies = []
        for example in trained.examples:
            first = int(np.argmax(example.is_reply))
            before, said = example.ids[:first].tolist(), example.ids[first:].tolist()
            assert [token for token in before if token in markers] == own
            assert markers.isdisjoint(said[:-1])
            assert said[-1] in markers
            replies.append(b"".join(map(vocab.piece, said[:-1])).decode())
        assert sorted(replies) == sorted(answer for _, answer in pairs)
        change = Adapter(weights, made.adapter)
        ids = trained.examples[0].ids[:30].tolist()
        rows = [
            LlamaModel(weights, n_ctx=64, adapters=adapters).eval(ids)[0].copy()
            for adapters in ((), (change,))
        ]
        assert np.isfinite(rows[1]).all()
        assert np.abs(rows[1] - rows[0]).max() > 0.01


@pytest.mark.parametrize("name", MODELS)
def test_five_languages(name: str, vocabs: Path, tmp_path: Path, trained: Trained) -> None:
    model = model_with(vocabs, name, tmp_path / "small.gguf")
    check_tuned(IN_FIVE_LANGUAGES, name, model, tmp_path, trained)


@pytest.mark.parametrize("name", MODELS)
def test_every_special_tokens_text(
    name: str, vocabs: Path, tmp_path: Path, trained: Trained
) -> None:
    model = model_with(vocabs, name, tmp_path / "small.gguf")
    with Weights(model, vocab_only=True) as weights:
        texts = [weights.vocab.tokens[token].decode() for token in markers_of(weights.vocab)]
    groups = [texts[at : at + AT_ONCE] for at in range(0, len(texts), AT_ONCE)]
    pairs = [
        (f"{' '.join(group)}?", "".join(f"{text}a{text}" for text in group)) for group in groups
    ]
    pairs += [(f"What is {text} {n}?", f"{text} is {n} {text}") for n, text in enumerate(texts[:9])]
    check_tuned(pairs, name, model, tmp_path, trained)
