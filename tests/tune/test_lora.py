"""Adapters that are trained here and what llama.cpp makes of them; see test_network.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it

from edgeproxy.errors import UsageError
from edgeproxy.gguf import read_adapter
from edgeproxy.tune.architectures import ARCHITECTURES
from edgeproxy.tune.lora import add_lora, parameters, write_adapter
from edgeproxy.tune.network import Network, load_network
from tests.helpers.exact_llama import exact_logits
from tests.helpers.gguf_files import draft
from tests.helpers.small_models import random_weights
from tests.helpers.tunable_files import LAYOUTS
from tests.tune.test_network import TOKENS, logits_of, tabled_gelu, tolerance

pytestmark = pytest.mark.usefixtures("one_thread")

F16 = 0.02
"""An adapter of f16 numbers against one of f32, where it moves logits by 1 or more."""

DEEP = [layout for layout in LAYOUTS if "as many layers" in layout]


def loss_of(network: Network) -> Any:
    """How far the network is from saying `TOKENS`, in nats per token."""
    tokens = torch.tensor([TOKENS])
    rows = network.logits(network.hidden(tokens)[0, :-1])
    return F.cross_entropy(rows, tokens[0, 1:])


def train(network: Network, rate: float = 2.0) -> None:
    """Two plain steps down the gradient: A has none while B is zero."""
    for _ in range(2):
        loss_of(network).backward()
        with torch.no_grad():
            for numbers in parameters(network).values():
                numbers -= rate * numbers.grad
                numbers.grad = None


@pytest.mark.parametrize("layout", LAYOUTS)
def test_llama_cpp_says_what_the_tuned_network_says(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tabled_gelu(monkeypatch)
    path = LAYOUTS[layout]().write(tmp_path / "model.gguf")
    network = load_network(path, torch.float32, n_ctx=256)
    before = logits_of(network, TOKENS)
    add_lora(network, 4, 8.0, seed=1)
    np.testing.assert_array_equal(logits_of(network, TOKENS), before)
    train(network)
    after = logits_of(network, TOKENS)
    assert np.abs(after - before).max() > 0.1
    for precision, atol in (("f32", 4 * tolerance(network)), ("f16", F16)):
        file = tmp_path / f"{precision}.gguf"
        write_adapter(file, network, name="a test", precision=precision)  # type: ignore[arg-type]
        np.testing.assert_allclose(exact_logits(path, TOKENS, file), after, rtol=0, atol=atol)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_random_adapter_of_every_matrix(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large as the weights themselves, so that a matrix in a wrong place is seen."""
    tabled_gelu(monkeypatch)
    path = LAYOUTS[layout]().write(tmp_path / "model.gguf")
    network = load_network(path, torch.float32, n_ctx=256)
    add_lora(network, 3, 5.0, seed=1)
    source = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for numbers in parameters(network).values():
            numbers.copy_(0.15 * torch.randn(numbers.shape, generator=source))
    write_adapter(tmp_path / "a.gguf", network, name="a test", precision="f32")
    found, wanted = logits_of(network, TOKENS), exact_logits(path, TOKENS, tmp_path / "a.gguf")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4 * tolerance(network))


@pytest.mark.parametrize("seed", [1, 3])
@pytest.mark.parametrize("layout", DEEP)
def test_what_is_beyond_gelus_table_is_not_rounded(
    layout: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """These tunings push numbers beyond it: rounded all the same, logits differ by 0.1 to 3."""
    tabled_gelu(monkeypatch)
    made = LAYOUTS[layout]()
    random_weights(made)
    path = made.write(tmp_path / "model.gguf")
    network = load_network(path, torch.float32, n_ctx=256)
    add_lora(network, 4, 8.0, seed)
    train(network)
    write_adapter(tmp_path / "a.gguf", network, name="a test", precision="f32")
    found, wanted = logits_of(network, TOKENS), exact_logits(path, TOKENS, tmp_path / "a.gguf")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4 * tolerance(network))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_matrix_of_the_blocks_learns_and_no_weight_changes(name: str, tmp_path: Path) -> None:
    network = load_network(draft(name).write(tmp_path / "model.gguf"), torch.float32)
    before = {key: value.clone() for key, value in network.named_buffers()}
    matrices = [t.name for t in network.header.tensors if len(t.shape) > 1 and "blk." in t.name]
    add_lora(network, 4, 8.0, seed=1)
    assert {key.rpartition(".")[0] for key in parameters(network)} == set(matrices)
    train(network)
    loss_of(network).backward()
    for key, numbers in parameters(network).items():
        assert numbers.grad.abs().max() > 0, key
    assert all(p.requires_grad for p in network.parameters())
    assert len(list(network.parameters())) == 2 * len(matrices)
    for key, value in network.named_buffers():
        assert torch.equal(value, before[key]), key


def test_checkpointing_gives_the_same_gradients(tmp_path: Path) -> None:
    network = load_network(draft("gemma3").write(tmp_path / "model.gguf"), torch.float32)
    add_lora(network, 4, 8.0, seed=1)
    train(network)
    gradients = []
    for network.checkpointing in (False, True):
        loss_of(network).backward()
        gradients.append([p.grad.clone() for p in parameters(network).values()])
        for p in parameters(network).values():
            p.grad = None
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_bfloat16_trains_float32_numbers(tmp_path: Path) -> None:
    path = draft("llama", width=128).write(tmp_path / "model.gguf")
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        network = load_network(path, dtype)
        add_lora(network, 4, 8.0, seed=1)
        loss_of(network).backward()
        found = parameters(network)
        assert {p.dtype for p in found.values()} == {torch.float32}
        gradients.append(torch.cat([p.grad.ravel() for p in found.values()]))
    assert F.cosine_similarity(gradients[0], gradients[1], 0) > 0.99


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    path = draft("llama").write(tmp_path / "model.gguf")

    def made(seed: int) -> list[Any]:
        network = load_network(path)
        torch.rand(seed + 3)  # what others take of PyTorch's own generator
        add_lora(network, 4, 8.0, seed)
        return [p.detach().clone() for p in parameters(network).values()]

    one, again, other = made(1), made(1), made(2)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    assert [float(b.abs().max()) for b in one[1::2]] == [0.0] * (len(one) // 2)


def test_the_order_is_that_of_blocks_and_names(tmp_path: Path) -> None:
    """Also where a file has its tensors in another."""
    made = draft("llama", layers=11)
    names = []
    for order in (1, -1):
        made.tensors = dict(list(made.tensors.items())[::order])
        network = load_network(made.write(tmp_path / "model.gguf"))
        add_lora(network, 4, 8.0, 1)
        names.append(list(parameters(network)))
    assert names[0] == names[1]
    assert names[0][:2] == ["blk.0.attn_k.weight.lora_a", "blk.0.attn_k.weight.lora_b"]
    assert names[0][-1] == "blk.10.ffn_up.weight.lora_b"


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    network = load_network(draft("phi3").write(tmp_path / "model.gguf"))
    add_lora(network, 4, 6.5, 1)
    path = tmp_path / "a.gguf"
    path.write_bytes(b"what was there before")
    write_adapter(path, network, name="capitals")
    found = read_adapter(path, network.header)
    assert (found.alpha, found.ranks, found.n_matrices) == (6.5, (4, 4), 8)
    assert found.header.text("general.name") == "capitals"
    assert {tensor.type.name for tensor in found.header.tensors} == {"f16"}
    shapes = {tensor.name: tensor.shape for tensor in found.header.tensors}
    assert shapes["blk.0.attn_qkv.weight.lora_a"] == (32, 4)
    assert shapes["blk.0.attn_qkv.weight.lora_b"] == (4, 64)
    assert shapes["blk.0.ffn_up.weight.lora_b"] == (4, 128)


def test_the_same_numbers_make_the_same_file(tmp_path: Path) -> None:
    network = load_network(draft("llama").write(tmp_path / "model.gguf"))
    add_lora(network, 4, 8.0, 1)
    for name in ("a", "b"):
        write_adapter(tmp_path / name, network, name="a test")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "model.gguf"]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e5])
def test_numbers_that_a_file_cannot_hold_leave_what_was_there(
    number: float, tmp_path: Path
) -> None:
    network = load_network(draft("llama").write(tmp_path / "model.gguf"))
    add_lora(network, 4, 8.0, 1)
    with torch.no_grad():
        parameters(network)["blk.1.attn_q.weight.lora_b"][3, 2] = number
    path = tmp_path / "a.gguf"
    path.write_bytes(b"before")
    with pytest.raises(UsageError, match=r"blk\.1\.attn_q\.weight\.lora_b .* not finite in f16"):
        write_adapter(path, network, name="a test")
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_network(draft("llama").write(tmp_path / "model.gguf"))
    add_lora(network, 4, 8.0, 1)
    path = tmp_path / "a.gguf"
    path.write_bytes(b"before")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
    with pytest.raises(OSError, match="No space"):
        write_adapter(path, network, name="a test")
    assert path.read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_network_without_a_lora_has_nothing_to_write(tmp_path: Path) -> None:
    network = load_network(draft("llama").write(tmp_path / "model.gguf"))
    assert parameters(network) == {}
    with pytest.raises(UsageError, match="add_lora"):
        write_adapter(tmp_path / "a.gguf", network, name="a test")


@pytest.mark.parametrize(
    ("rank", "alpha", "seed", "what"),
    [(0, 8.0, 1, "rank"), (1025, 8.0, 1, "rank"), (4, 0.0, 1, "alpha"), (4, 8.0, -1, "seed")],
)
def test_impossible_settings_are_named(
    rank: int, alpha: float, seed: int, what: str, tmp_path: Path
) -> None:
    network = load_network(draft("llama").write(tmp_path / "model.gguf"))
    with pytest.raises(UsageError, match=what):
        add_lora(network, rank, alpha, seed)
