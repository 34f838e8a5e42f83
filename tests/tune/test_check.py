"""An adapter's file that does not do in llama.cpp what was trained is found, and so is a network
that is another model than the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeproxy.errors import Cancelled, TuningError
from edgeproxy.llama import Weights, quantize
from edgeproxy.prompts.messages import Message
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.tune.check import (
    EXAMPLES,
    PLACES,
    check_adapter,
    check_untuned,
    probes,
    without_adapter,
)
from edgeproxy.tune.encoding import make_encoder
from edgeproxy.tune.lora import add_lora, parameters, write_adapter
from edgeproxy.tune.network import Network, load_network
from edgeproxy.tune.request import Stop
from edgeproxy.tune.settings import Settings, default_rate
from edgeproxy.tune.tokens import Tokens
from edgeproxy.tune.train import train
from tests.helpers.small_models import small_model

pytestmark = pytest.mark.usefixtures("one_thread")

N_VOCAB, RANK = 268, 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "small.gguf")


@pytest.fixture
def network(model: Path) -> Network:
    """The model with an adapter that changes it much, as training would."""
    network = load_network(model, torch.float32)
    add_lora(network, RANK, 2 * RANK, seed=0)
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, numbers in parameters(network).items():
            if name.endswith("lora_b"):
                numbers.copy_(0.2 * torch.randn(numbers.shape, generator=random))
    return network


def examples(count: int = 4, n_prompt: int = 12, n_reply: int = 20) -> list[Tokens]:
    source = np.random.default_rng(0)
    n = n_prompt + n_reply
    is_reply = np.arange(n) >= n_prompt
    return [Tokens(source.integers(3, N_VOCAB, n).astype(np.int32), is_reply) for _ in range(count)]


TRIES = probes(examples())


def changed(network: Network, path: Path, change: Callable[[str, Tensor], Tensor]) -> Path:
    """The adapter's file when each of its matrices is another one; the network stays."""
    trained = parameters(network)
    kept = {name: numbers.detach().clone() for name, numbers in trained.items()}
    with torch.no_grad():
        for name, numbers in trained.items():
            numbers.copy_(change(name, kept[name]))
    write_adapter(path, network, name="wrong")
    with torch.no_grad():
        for name, numbers in trained.items():
            numbers.copy_(kept[name])
    return path


def halves(numbers: Tensor, head: int = 8) -> Tensor:
    """Rows in the order of transformers: of each head the even ones, then the odd ones."""
    heads = numbers.unflatten(0, (-1, head // 2, 2)).transpose(1, 2)
    return heads.flatten(0, 2)


def queries_and_keys(name: str, numbers: Tensor) -> Tensor:
    is_turned = name.endswith("lora_b") and ("attn_q." in name or "attn_k." in name)
    return halves(numbers) if is_turned else numbers


def doubled(name: str, numbers: Tensor) -> Tensor:
    return 2 * numbers if name.endswith("lora_b") else numbers


def weaker(name: str, numbers: Tensor) -> Tensor:
    return 0.8 * numbers if name.endswith("lora_b") else numbers


def one_left_out(name: str, numbers: Tensor) -> Tensor:
    return 0 * numbers if name == "blk.1.ffn_down.weight.lora_b" else numbers


def as_it_is(name: str, numbers: Tensor) -> Tensor:
    return numbers


def test_what_was_trained_is_what_llama_cpp_does(
    network: Network, model: Path, tmp_path: Path
) -> None:
    path = changed(network, tmp_path / "adapter.gguf", as_it_is)
    found = check_adapter(network, model, path, TRIES)
    assert found.agreement.effect > 0.1
    assert found.agreement.error < 2e-2
    assert (found.texts, found.differing) == (4, 0)
    assert found.tokens > found.texts


@pytest.mark.parametrize("change", [queries_and_keys, doubled, weaker, one_left_out])
def test_a_wrong_adapter_is_found(
    change: Callable[[str, Tensor], Tensor], network: Network, model: Path, tmp_path: Path
) -> None:
    path = changed(network, tmp_path / "adapter.gguf", change)
    with pytest.raises(TuningError, match=r"differ from PyTorch's by \d.*please report"):
        check_adapter(network, model, path, TRIES)


def test_a_wrong_alpha_is_found(
    network: Network, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for block in network.blk:
        for linear in block.children():
            if hasattr(linear, "alpha"):
                monkeypatch.setattr(linear, "alpha", 1.25 * linear.alpha)
    path = changed(network, tmp_path / "adapter.gguf", as_it_is)
    monkeypatch.undo()
    with pytest.raises(TuningError, match="differ from PyTorch's"):
        check_adapter(network, model, path, TRIES)


def test_the_network_is_as_it_was_after_the_comparison(
    network: Network, model: Path, tmp_path: Path
) -> None:
    before = {name: numbers.detach().clone() for name, numbers in parameters(network).items()}
    check_adapter(network, model, changed(network, tmp_path / "a.gguf", as_it_is), TRIES)
    for name, numbers in parameters(network).items():
        assert torch.equal(numbers, before[name])


def test_without_its_adapter_the_network_is_the_model(network: Network, model: Path) -> None:
    with without_adapter(network):
        check_untuned(network, model, TRIES)


def few_steps(model: Path, dtype: torch.dtype, steps: int, learnt: list[Tokens]) -> Network:
    """The model after so many steps of a usual tuning."""
    network = load_network(model, dtype)
    add_lora(network, 16, 32, seed=steps)
    settings = Settings(
        rate=default_rate(network.numbers.width), batch=len(learnt), epochs=steps, threads=1
    )
    train(network, learnt, [], settings, model="m")
    return network


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["f32", "q4_0"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_an_adapter_that_has_learnt_little_is_no_fault(
    steps: int, kind: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    """Among so many tokens some are nearly as good as the best, and rounding chooses."""
    path = small_model(tmp_path / "f32.gguf", "gemma3", width=64, seed=steps)
    if kind != "f32":
        quantize(path, tmp_path / "small.gguf", kind)
        path = tmp_path / "small.gguf"
    network = few_steps(path, dtype, steps, examples())
    write_adapter(tmp_path / "adapter.gguf", network, name="young")
    check_adapter(network, path, tmp_path / "adapter.gguf", probes(examples(8)))


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2])
def test_a_real_models_adapter_that_has_learnt_little_is_no_fault(
    steps: int, smollm2: Path, tmp_path: Path
) -> None:
    """Its replies are of a token or two, and what it adds is below bfloat16's last bit."""
    pairs = [
        ("What is the capital of France?", "Paris"),
        ("What is 3 and 4?", "7"),
        ("Ice?", "Yes"),
    ]
    with Weights(smollm2, vocab_only=True) as weights, Renderer() as renderer:
        encoder = make_encoder("chatml", weights.vocab, "the model", renderer)
        learnt = [
            tokens
            for pair in pairs
            for tokens in encoder.tokens([Message("user", pair[0]), Message("assistant", pair[1])])
        ]
    network = few_steps(smollm2, torch.bfloat16, steps, learnt)
    write_adapter(tmp_path / "adapter.gguf", network, name="young")
    found = check_adapter(network, smollm2, tmp_path / "adapter.gguf", probes(learnt)).agreement
    assert found.effect > found.rounding


def test_another_model_is_found_before_training(model: Path, tmp_path: Path) -> None:
    other = load_network(small_model(tmp_path / "other.gguf", seed=1), torch.float32)
    with pytest.raises(TuningError, match=r"small\.gguf: without the adapter llama.cpp's logits"):
        check_untuned(other, model, TRIES)


def test_logits_that_are_no_numbers_are_an_error(network: Network, model: Path) -> None:
    with torch.no_grad():
        parameters(network)["blk.0.attn_q.weight.lora_b"].fill_(torch.nan)
    with pytest.raises(TuningError, match="--rate"):
        check_untuned(network, model, TRIES)


def test_it_can_be_stopped(network: Network, model: Path, tmp_path: Path) -> None:
    path = changed(network, tmp_path / "adapter.gguf", as_it_is)
    stop = Stop()
    stop.press()
    with pytest.raises(Cancelled):
        check_adapter(network, model, path, TRIES, cancel=stop)


def test_a_few_of_the_shorter_examples_are_tried() -> None:
    of_each_length = [examples(1, n, 100)[0] for n in range(5, 105)]
    chosen = probes(of_each_length)
    assert len(chosen) == EXAMPLES
    assert all(probe.first <= 55 for probe in chosen)
    assert {len(probe.ids) - probe.first for probe in chosen} == {PLACES}


def test_only_the_first_reply_of_a_conversation_is_tried() -> None:
    ids = np.arange(12, dtype=np.int32)
    is_reply = np.array([0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1, 1], np.bool_)
    [probe] = probes([Tokens(ids, is_reply)])
    assert (probe.ids, probe.first, probe.context) == ([0, 1, 2, 3, 4], 3, [0, 1, 2])


def test_an_example_in_which_nothing_is_predicted_is_none() -> None:
    ids = np.arange(3, dtype=np.int32)
    assert probes([Tokens(ids, np.array([True, False, False]))]) == []
