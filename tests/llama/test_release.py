"""Memory is given back when the last reference goes, and not first when cycles are collected."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from edgeproxy import load
from edgeproxy.align import ProjectedModel, align
from edgeproxy.core.threads import Beside, Choice, Threads
from edgeproxy.decode.drafted import Drafter
from edgeproxy.decode.sample import Sampler, Sampling
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import Cancelled, PromptError
from edgeproxy.llama import Adapter, LlamaModel, Weights
from edgeproxy.llama.loaded import Loaded
from tests.helpers.adapters import adapter
from tests.helpers.gguf_files import draft, sentencepiece_vocabulary


@pytest.fixture(autouse=True)
def _without_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def write(folder: Path, name: str, **vocabulary: object) -> Path:
    made = draft("llama")
    made.metadata["general.name"] = name
    if vocabulary:
        for key in [key for key in made.metadata if key.startswith("tokenizer.")]:
            del made.metadata[key]
        made.metadata |= vocabulary
    return made.write(folder / f"{name}.gguf")


def alive(references: list[weakref.ref[Loaded]]) -> int:
    return sum(reference() is not None for reference in references)


def loaded(*weights: Weights) -> list[weakref.ref[Loaded]]:
    return [weakref.ref(part.loaded) for part in weights]


def test_weights_that_nobody_closed(tiny_file: Path) -> None:
    weights = Weights(tiny_file)
    references = loaded(weights)
    model = LlamaModel(weights, n_ctx=64)
    model.eval([5, 6, 7])
    assert weights.vocab.encode("the" * 500)
    del weights
    assert alive(references) == 1  # the context needs them
    del model
    assert alive(references) == 0


def test_a_vocabulary_that_can_still_encode_keeps_them(tiny_file: Path) -> None:
    weights = Weights(tiny_file)
    references, vocab = loaded(weights), weights.vocab
    del weights
    assert vocab.encode("the")
    del vocab
    assert alive(references) == 0


def test_a_sampler_and_an_adapter_over_them(tiny_file: Path, tmp_path: Path) -> None:
    weights = Weights(tiny_file)
    references = loaded(weights)
    change = Adapter(weights, adapter(weights.header).write(tmp_path / "lora.gguf"))
    model = LlamaModel(weights, n_ctx=64, adapters=[change])
    dry = Sampler(weights.vocab, Sampling(dry_multiplier=1.0), weights)
    dry(model.eval([5])[-1])
    del dry, model, change, weights
    assert alive(references) == 0


def cancelled(weights: Weights) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        LlamaModel(weights, n_ctx=256, cancel=cancel).eval([5] * 200)


class Interrupting(threading.Event):
    def is_set(self) -> bool:
        raise KeyboardInterrupt


def interrupted(weights: Weights) -> None:
    with pytest.raises(KeyboardInterrupt):
        LlamaModel(weights, n_ctx=256, cancel=Interrupting()).eval([5] * 200)


def untokenisable(weights: Weights) -> None:
    with pytest.raises(PromptError):
        weights.vocab.encode("x" * 300 + "\ud83d")


def closed(weights: Weights) -> None:
    """An error that is raised in the tokenizer's own thread and again in the caller's."""
    vocab = weights.vocab
    weights.close()
    with pytest.raises(Exception, match="closed"):
        vocab.encode("x" * 1000)


@pytest.mark.parametrize("fail", [cancelled, interrupted, untokenisable, closed])
def test_after_an_error(tiny_file: Path, fail: Callable[[Weights], None]) -> None:
    weights = Weights(tiny_file)
    references = loaded(weights)
    fail(weights)
    del weights
    assert alive(references) == 0


@pytest.mark.parametrize("failing", ["expert", "anti-expert"])
def test_after_an_error_of_a_pair_that_evaluates_at_once(tiny_file: Path, failing: str) -> None:
    weights = Weights(tiny_file)
    references = loaded(weights)
    beside = Beside(Threads(2, is_fixed=True))
    beside.choice = Choice([True])
    cancel = threading.Event()
    base, expert, anti = (
        LlamaModel(weights, n_ctx=256, cancel=cancel if role == failing else None)
        for role in ("base", "expert", "anti-expert")
    )
    trio = Trio(base, expert, anti, beside=beside)
    trio.eval([5] * 100)
    cancel.set()
    with pytest.raises(Cancelled):
        trio.eval([6] * 100)
    del weights, base, expert, anti, trio
    assert alive(references) == 0


@pytest.mark.parametrize("kind", ["same", "padded", "different"])
def test_a_trio_and_its_drafter(tmp_path: Path, kind: str) -> None:
    files = [write(tmp_path, name) for name in ("base", "expert", "anti")]
    if kind == "different":
        files[1:] = [write(tmp_path, name, **sentencepiece_vocabulary()) for name in ("e", "a")]
    if kind == "padded":
        made = draft("llama")
        made.metadata["tokenizer.ggml.tokens"].append("<unused>")
        made.metadata["tokenizer.ggml.token_type"].append(5)
        for name in ("token_embd.weight", "output.weight"):
            made.tensors[name] = ((32, 269), 0)
        files[0] = made.write(tmp_path / "padded.gguf")
    base, expert, anti = map(Weights, files)
    references = loaded(base, expert, anti)
    aligned = align(
        LlamaModel(expert, n_ctx=256, n_branches=8),
        LlamaModel(anti, n_ctx=256, n_branches=8),
        base.vocab,
    )
    trio = Trio(LlamaModel(base, n_ctx=256), aligned.expert, aligned.anti_expert)
    assert isinstance(trio.expert, ProjectedModel) == (kind == "different")
    drafter, sampler = Drafter(trio, "expert"), Sampler(base.vocab, Sampling())
    prompt = RoleTokens([5, 6, 7], [5, 6, 7], [5, 6, 7])
    for token, row in drafter(prompt, trio, sampler, 8):
        assert token == int(trio.rows_of(row).fused.argmax())
    del aligned, trio, drafter, sampler, base, expert, anti, token, row
    assert alive(references) == 0


def test_a_cycle_of_a_callers_is_collected_in_whatever_order(tiny_file: Path) -> None:
    """llama.cpp would crash where a context is freed after its model."""
    weights = Weights(tiny_file)
    references = loaded(weights)
    models = [LlamaModel(weights, n_ctx=64) for _ in range(3)]
    for model in models:
        model.eval([5])
        model.cycle = models  # type: ignore[attr-defined]
    weights.cycle = models  # type: ignore[attr-defined]
    weights.loaded.cycle = models  # type: ignore[attr-defined]
    del weights, models, model
    assert alive(references) == 1
    gc.collect()
    assert alive(references) == 0


PROGRAM = """
import gc, os, sys
from pathlib import Path
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.llama import LlamaModel, Weights

gc.disable()

def resident():
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")

def load():
    parts = [Weights(path, mmap=False) for path in sys.argv[1:]]
    trio = Trio(*(LlamaModel(part, n_ctx=512) for part in parts))
    trio.eval(RoleTokens([5] * 100, [5] * 100, [5] * 100))
    return trio

for _ in range(3):
    load()
before = resident()
for _ in range(12):
    load()
print(resident() - before)
"""


@pytest.mark.weights
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_shipped_trios_loaded_one_after_another_take_the_memory_of_one(factbook: Path) -> None:
    files = [factbook.parent / f"{name}.gguf" for name in ("base", "expert", "anti-expert")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, files)],
        capture_output=True,
        text=True,
        check=True,
    )
    size = sum(file.stat().st_size for file in files)
    # The allocator keeps a little; trios kept each time would be twelve.
    assert int(done.stdout) < 3 * size


def in_memory() -> int:
    # By type: others' objects, such as PyTorch's, warn when they are asked for their class.
    return sum(issubclass(type(thing), Loaded) for thing in gc.get_objects())


@pytest.mark.weights
@pytest.mark.parametrize("trio", ["factbook", "factbook-phi"])
@pytest.mark.parametrize("pieces", [0, 3, 1000], ids=["unread", "under way", "whole"])
def test_a_session_that_nobody_closed(factbook: Path, trio: str, pieces: int) -> None:
    before = in_memory()
    session = load(factbook.parent.parent / trio / "trio.toml", n_threads=2)
    turn = session.reply("What is the capital of Mongolia?", record=3)
    said = "".join(piece.text for piece in islice(turn, pieces))
    assert bool(said) == bool(pieces)
    alone = "".join(piece.text for piece in session.solo("expert").reply("Peru?", max_tokens=5))
    assert alone
    assert in_memory() == before + 3
    del session, turn
    assert in_memory() == before
