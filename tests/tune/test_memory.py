"""How much memory tuning takes: what is said beforehand, compared with what a process held."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeproxy.core.memory_free import Free, peak_memory
from edgeproxy.errors import OutOfMemoryError
from edgeproxy.gguf import Header, read
from edgeproxy.llama import MAX_ROWS, kv_bytes, kv_type_for
from edgeproxy.tune.check import PLACES
from edgeproxy.tune.llama_child import packed
from edgeproxy.tune.lora import add_lora, write_adapter
from edgeproxy.tune.memory import CHILD, Pass, estimate, fitting, of_comparison
from edgeproxy.tune.network import load_network
from edgeproxy.tune.settings import Settings
from tests.helpers.gguf_files import draft

SETTINGS = Settings()


@pytest.fixture(scope="module")
def header(tiny_file: Path) -> Header:
    return read(tiny_file)


def free(size: int) -> Free:
    return Free(size, "this machine has free")


def test_the_largest_pass_is_full_or_of_one_long_example_or_of_a_whole_step() -> None:
    settings = Settings(batch=8, micro_tokens=512)
    assert Pass.longest(settings, 60) == Pass(480, 60)
    assert Pass.longest(settings, 100) == Pass(512, 100)
    assert Pass.longest(settings, 3000) == Pass(3000, 3000)


def test_each_part_grows_with_what_it_is_of(header: Header) -> None:
    usual = estimate(header, "bfloat16", 16, Pass(512, 64))
    assert usual.total == sum(
        (
            *(usual.weights, usual.trained, usual.activations, usual.logits),
            *(usual.comparison, usual.process),
        )
    )
    wide = estimate(header, "float32", 16, Pass(512, 64))
    assert wide.weights == 2 * usual.weights == 4 * header.n_params
    assert usual.activations < wide.activations < 2 * usual.activations
    assert estimate(header, "bfloat16", 32, Pass(512, 64)).trained == 2 * usual.trained
    longer = estimate(header, "bfloat16", 16, Pass(1024, 64))
    assert longer.activations == pytest.approx(2 * usual.activations, rel=1e-3)
    again = estimate(header, "bfloat16", 16, Pass(512, 64, checkpointing=True))
    assert again.activations < usual.activations


def test_the_comparisons_process_grows_with_what_it_holds(header: Header, tmp_path: Path) -> None:
    usual = estimate(header, "bfloat16", 16, Pass(512, 64))
    assert usual.comparison > CHILD + sum(tensor.size for tensor in header.tensors)
    # It holds the file as it is, whatever PyTorch makes of it, and one text at a time.
    for other in (
        estimate(header, "float32", 16, Pass(512, 64)),
        estimate(header, "bfloat16", 16, Pass(1024, 64, checkpointing=True)),
    ):
        assert other.comparison == usual.comparison
    assert estimate(header, "bfloat16", 64, Pass(512, 64)).comparison > usual.comparison
    shorter, longer = (of_comparison(header, length) for length in (64, 2000))
    assert longer - shorter > 2 * kv_bytes(header, 1024, kv_type_for(header, "f16"))
    n_more, made = 1000, draft("llama")
    for key, added in (("tokens", [f"<{n}>" for n in range(n_more)]), ("token_type", [1] * n_more)):
        made.metadata[f"tokenizer.ggml.{key}"] = [*made.metadata[f"tokenizer.ggml.{key}"], *added]
    for name in ("token_embd.weight", "output.weight"):
        (width, n_vocab), kind = made.tensors[name]
        made.tensors[name] = ((width, n_vocab + n_more), kind)
    more = read(made.write(tmp_path / "more.gguf"))
    # In each context rows of logits, and a copy of them.
    assert of_comparison(more, 64) - shorter > n_more * (2 * 2 * MAX_ROWS * 4 + 200)


def test_what_the_comparison_takes_must_be_free_too(header: Header) -> None:
    least = replace(SETTINGS, micro_tokens=128)
    needed = total(header, least, 64, again=True)
    assert fitting(header, SETTINGS, "bfloat16", 64, free(needed)).estimate.comparison > CHILD
    with pytest.raises(OutOfMemoryError, match=r"MB to compare with llama\.cpp"):
        fitting(header, SETTINGS, "bfloat16", 64, free(needed - CHILD))


def total(header: Header, settings: Settings, length: int, again: bool = False) -> int:
    largest = replace(Pass.longest(settings, length), checkpointing=again)
    return estimate(header, "bfloat16", settings.rank, largest).total


def test_what_fits_stays_as_it_is(header: Header) -> None:
    needed = total(header, SETTINGS, 64)
    fit = fitting(header, SETTINGS, "bfloat16", 64, free(needed))
    assert (fit.settings, fit.checkpointing) == (SETTINGS, False)
    assert fit.estimate.total == needed
    assert fitting(header, SETTINGS, "bfloat16", 64, None).settings == SETTINGS


def test_less_memory_means_fewer_tokens_at_once_and_then_computing_again(header: Header) -> None:
    fit = fitting(header, SETTINGS, "bfloat16", 64, free(total(header, SETTINGS, 64) - 1))
    assert (fit.settings, fit.checkpointing) == (replace(SETTINGS, micro_tokens=256), False)
    least = total(header, replace(SETTINGS, micro_tokens=128), 64)
    fit = fitting(header, SETTINGS, "bfloat16", 64, free(least - 1))
    assert fit.checkpointing
    # A long example is not made shorter by taking fewer at once.
    needed = total(header, SETTINGS, 2000, again=True)
    assert fitting(header, SETTINGS, "bfloat16", 2000, free(needed)).checkpointing


def test_too_little_says_what_would_help(header: Header) -> None:
    least = total(header, replace(SETTINGS, micro_tokens=128), 2000, again=True)
    with pytest.raises(OutOfMemoryError) as error:
        fitting(header, SETTINGS, "bfloat16", 2000, free(least - 1))
    text = str(error.value)
    assert str(header.path) in text
    assert "this machine has free" in text
    for remedy in ("--rank 4", "examples of more than", "smaller model", "--force"):
        assert remedy in text
    least = total(header, replace(SETTINGS, micro_tokens=128), 8, again=True)
    with pytest.raises(OutOfMemoryError, match="--dtype bfloat16"):
        fitting(header, SETTINGS, "float32", 8, free(least))


def test_nothing_that_would_not_help_is_said(header: Header) -> None:
    with pytest.raises(OutOfMemoryError) as error:
        fitting(header, SETTINGS, "float32", 64, free(1000))
    assert "--rank" not in str(error.value)
    assert "--dtype" not in str(error.value)


def test_forced_it_is_tried_in_the_smallest_way(header: Header) -> None:
    fit = fitting(header, SETTINGS, "bfloat16", 64, free(1000), is_forced=True)
    assert fit.checkpointing
    assert fit.settings.micro_tokens == 128


MEASURE = """
import sys
import numpy as np
import torch
from edgeproxy.core.memory_free import peak_memory
from edgeproxy.tune.lora import add_lora
from edgeproxy.tune.network import load_network
from edgeproxy.tune.settings import Settings
from edgeproxy.tune.tokens import Tokens
from edgeproxy.tune.train import train
from pathlib import Path

path, checkpoint, micro, length, checkpointing = sys.argv[1:]
network = load_network(path, torch.bfloat16)
network.checkpointing = checkpointing == "True"
add_lora(network, 16, 32, 0)
ids = np.arange(8 * int(length)).reshape(8, -1) % 200
examples = [Tokens(row.astype(np.int32), np.arange(len(row)) > len(row) // 2) for row in ids]
settings = Settings(epochs=2, rate=1e-4, batch=8, threads=1, micro_tokens=int(micro))
train(network, examples, examples[:1], settings, model="m", checkpoint=Path(checkpoint))
print(peak_memory())
"""


def measured(path: Path, folder: Path, largest: Pass) -> int:
    """The most bytes that a process held which trained two steps of such passes."""
    arguments = [largest.tokens, largest.length, largest.checkpointing]
    command = [sys.executable, "-c", MEASURE, path, folder / "tuning.npz", *arguments]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, timeout=300
    )
    return int(done.stdout)


COMPARE = """
import sys
from edgeproxy.core.memory_free import peak_memory
from edgeproxy.tune.llama_child import main
main()
print(peak_memory(), file=sys.stderr)
"""


def measured_beside(path: Path, folder: Path, length: int) -> int:
    """The most bytes that llama.cpp's process held which compared a text of so many tokens."""
    network = load_network(path, torch.bfloat16)
    add_lora(network, 16, 32, 0)
    write_adapter(folder / "adapter.gguf", network, name="a test")
    first = length - PLACES
    described = {
        **{"model": str(path), "adapter": str(folder / "adapter.gguf"), "threads": 1},
        **{"firsts": [first], "replies": 1},
    }
    seen = np.arange(PLACES * 100).reshape(PLACES, 100) % 200
    job = packed(described, {"ids0": np.arange(length) % 200, "seen0": seen})
    command = [sys.executable, "-c", COMPARE]
    done = subprocess.run(command, input=job, capture_output=True, check=True, timeout=300)
    return int(done.stderr.splitlines()[-1])


def is_right(said: int, held: int) -> bool:
    """Whether no less is said than is held, bar a tenth, and not half as much again."""
    return 0.9 * held < said < 1.5 * held


needs_peak = pytest.mark.skipif(peak_memory() is None, reason="the system does not tell")


@pytest.mark.slow
@needs_peak
def test_a_tiny_models_estimate_is_what_it_takes(
    header: Header, tiny_file: Path, tmp_path: Path
) -> None:
    largest = Pass(512, 64)
    held = measured(tiny_file, tmp_path, largest)
    said = estimate(header, "bfloat16", 16, largest)
    assert is_right(said.total - said.comparison, held), (said, held)
    beside = measured_beside(tiny_file, tmp_path, 64)
    assert is_right(said.comparison, beside), (said, beside)


@pytest.mark.slow
@pytest.mark.weights
@needs_peak
@pytest.mark.parametrize(
    "largest", [Pass(512, 64), Pass(512, 128, True)], ids=["usual", "computing again"]
)
def test_a_real_models_estimate_is_what_it_takes(
    largest: Pass, smollm2: Path, tmp_path: Path
) -> None:
    held = measured(smollm2, tmp_path, largest)
    said = estimate(read(smollm2), "bfloat16", 16, largest)
    assert is_right(said.total - said.comparison, held), (said, held)
    beside = measured_beside(smollm2, tmp_path, largest.length)
    assert is_right(said.comparison, beside), (said, beside)
