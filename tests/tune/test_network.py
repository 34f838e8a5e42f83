"""The network in PyTorch says what llama.cpp says, for every architecture and layout.

Both compute in float32, and llama.cpp keeps keys and values in float32: logits of random models,
whose standard deviation is about 0.6, are then equal to 1e-5. llama.cpp looks GELU up in a table of
f16 numbers, which alone makes 2e-3; `tabled_gelu` does the same here, and may round a number to the
other side: in deep models that moves logits by 5e-3, as it does where the embedding is changed by
1e-7 of itself. Another rotary layout, window, scale or norm makes 0.02 or more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it

from edgeproxy.core.cancel import Flag
from edgeproxy.core.model import Logits
from edgeproxy.errors import Cancelled, ModelFileError, UsageError
from edgeproxy.llama import quantize
from edgeproxy.tune import network as network_module
from edgeproxy.tune import weights
from edgeproxy.tune.architectures import ARCHITECTURES
from edgeproxy.tune.network import Network, load_network
from tests.helpers.exact_llama import exact_logits
from tests.helpers.gguf_files import draft
from tests.helpers.tunable_files import LAYOUTS, LENGTH, with_keys

pytestmark = pytest.mark.usefixtures("one_thread")

EXACT, TABLED = 1e-5, 5e-3
TABLE_END = 10.0
"""What is as far from zero or farther, llama.cpp does not look up, nor round: it is x, or 0."""
TOKENS = [int(token) for token in np.random.default_rng(0).integers(3, 260, LENGTH)]


def logits_of(network: Network, tokens: list[int]) -> Logits:
    """The rows of one text, (len(tokens), n_vocab)."""
    with torch.no_grad():
        rows: Logits = network.logits(network.hidden(torch.tensor([tokens])))[0].numpy()
    return rows


def tolerance(network: Network) -> float:
    return EXACT if network.known.activation == "silu" else TABLED


def tabled_gelu(patch: pytest.MonkeyPatch) -> None:
    """Have the network take GELU from a table of f16 numbers that ends, as llama.cpp does."""
    gelu = F.gelu

    def looked_up(x: Any, approximate: str) -> Any:
        exact = gelu(x, approximate=approximate)
        found = gelu(x.half().float(), approximate=approximate).half().float()
        found = torch.where(x.abs() < TABLE_END, found, x.clamp_min(0))
        # Rounded on the way there and not on the way back: a step has no derivative.
        return exact + (found - exact).detach()

    patch.setattr(F, "gelu", looked_up)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_says_what_llama_cpp_says(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tabled_gelu(monkeypatch)
    path = LAYOUTS[layout]().write(tmp_path / "model.gguf")
    network = load_network(path, torch.float32, n_ctx=256)
    wanted = exact_logits(path, TOKENS)
    np.testing.assert_allclose(logits_of(network, TOKENS), wanted, rtol=0, atol=tolerance(network))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_long_texts_take_another_way(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above `SHORT` tokens, without scores in memory."""
    tabled_gelu(monkeypatch)
    monkeypatch.setattr(network_module, "SHORT", 200)
    made = with_keys(draft(name), context_length=1024)
    path = made.write(tmp_path / "model.gguf")
    tokens = [TOKENS[n % 89] for n in range(260)]
    network = load_network(path, torch.float32)
    wanted = exact_logits(path, tokens, n_ctx=512)
    np.testing.assert_allclose(logits_of(network, tokens), wanted, rtol=0, atol=tolerance(network))


@pytest.mark.parametrize("name", ["phi2", "gemma2", "gemma3"])
def test_gelu_without_a_table_is_near(name: str, tmp_path: Path) -> None:
    path = draft(name).write(tmp_path / "model.gguf")
    found = logits_of(load_network(path, torch.float32), TOKENS)
    np.testing.assert_allclose(found, exact_logits(path, TOKENS), rtol=0, atol=TABLED)


def test_every_architecture_is_among_the_layouts() -> None:
    assert {layout.split()[0].rstrip(",") for layout in LAYOUTS} == set(ARCHITECTURES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_texts_of_a_batch_and_their_padding_do_not_touch(name: str, tmp_path: Path) -> None:
    network = load_network(draft(name).write(tmp_path / "model.gguf"), torch.float32)
    batch = torch.tensor([TOKENS[:40], TOKENS[40:70] + [7] * 10])
    with torch.no_grad():
        found = network.logits(network.hidden(batch)).numpy()
    np.testing.assert_allclose(found[0], logits_of(network, TOKENS[:40]), atol=EXACT)
    np.testing.assert_allclose(found[1, :30], logits_of(network, TOKENS[40:70]), atol=EXACT)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_bfloat16_is_near(name: str, tmp_path: Path) -> None:
    path = draft(name, width=128).write(tmp_path / "model.gguf")
    exact = logits_of(load_network(path, torch.float32), TOKENS)
    network = load_network(path, torch.bfloat16)
    found = logits_of(network, TOKENS)
    assert found.dtype == np.float32
    assert np.abs(found - exact).std() < 0.03 * exact.std()
    kinds = {name: buffer.dtype for name, buffer in network.named_buffers()}
    assert kinds["blk.0.attn_norm.weight"] == kinds["output_norm.weight"] == torch.float32
    assert kinds["blk.0.ffn_up.weight"] == kinds["token_embd"] == torch.bfloat16


def test_an_output_that_is_the_embedding_is_held_once(tmp_path: Path) -> None:
    tied, own = draft("llama"), draft("llama")
    del tied.tensors["output.weight"]
    network = load_network(tied.write(tmp_path / "tied.gguf"))
    assert network.output.weight is network.token_embd
    network = load_network(own.write(tmp_path / "own.gguf"))
    assert network.output.weight is not network.token_embd


@pytest.mark.parametrize("kind", ["f16", "q8_0", "q4_0", "q4_K", "q6_K", "iq4_xs"])
def test_quantised_files_are_read(kind: str, tmp_path: Path) -> None:
    """llama.cpp rounds what it multiplies them by to 8 bits, which is most of the difference."""
    full = draft("llama", width=256).write(tmp_path / "full.gguf")
    path = tmp_path / "small.gguf"
    quantize(full, path, {"q4_K": "q4_K_M", "q6_K": "q6_K"}.get(kind, kind))
    found = logits_of(load_network(path, torch.float32), TOKENS[:30])
    wanted = exact_logits(path, TOKENS[:30])
    assert np.abs(found - wanted).std() < 0.03 * wanted.std()


def test_a_large_tensor_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "AT_ONCE", 700)
    made = draft("llama")
    path = made.write(tmp_path / "model.gguf")
    shares: list[float] = []
    network = load_network(path, torch.float32, shares.append)
    assert len(shares) > len(made.tensors)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    (place,) = (t for t in network.header.tensors if t.name == "blk.0.ffn_up.weight")
    with path.open("rb") as file:
        file.seek(network.header.data_offset + place.offset)
        wanted = np.frombuffer(file.read(place.size), "<f4")
    assert len(wanted) > 2 * weights.AT_ONCE
    np.testing.assert_array_equal(network.blk[0].ffn_up.weight.numpy().ravel(), wanted)


def test_reading_can_be_cancelled(tmp_path: Path) -> None:
    path = draft("llama").write(tmp_path / "model.gguf")
    flag = Flag()
    with pytest.raises(Cancelled, match="was cancelled"):
        load_network(path, progress=lambda share: flag.set(), cancel=flag)


def test_an_unknown_architecture_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    made = draft("qwen2")
    made.metadata = {
        key.replace("qwen2.", "starcoder2."): value for key, value in made.metadata.items()
    }
    made.metadata["general.architecture"] = "starcoder2"
    path = made.write(tmp_path / "model.gguf")
    with pytest.raises(UsageError, match=r"starcoder2 models cannot .*llama, qwen2, .*phi3"):
        load_network(path)


def test_a_mixture_of_experts_is_refused(tmp_path: Path) -> None:
    made = with_keys(draft("llama"), expert_count=4, expert_used_count=2)
    for block in range(2):
        for part in ("gate", "up", "down"):
            shape, kind = made.tensors.pop(f"blk.{block}.ffn_{part}.weight")
            made.tensors[f"blk.{block}.ffn_{part}_exps.weight"] = ((*shape, 4), kind)
        made.tensors[f"blk.{block}.ffn_gate_inp.weight"] = ((32, 4), 0)
    path = made.write(tmp_path / "model.gguf")
    with pytest.raises(UsageError, match="mixture of experts"):
        load_network(path)


def test_a_type_that_gguf_cannot_read_is_named(tmp_path: Path) -> None:
    path = draft("llama", width=128, weights=41).write(tmp_path / "model.gguf")
    with pytest.raises(UsageError, match=r"of the type q1_0.* use a file of another"):
        load_network(path)


def test_a_pattern_of_windows_that_is_too_short_is_named(tmp_path: Path) -> None:
    made = with_keys(draft("gemma3"), attention__sliding_window_pattern=[True])
    path = made.write(tmp_path / "model.gguf")
    with pytest.raises(ModelFileError, match="sliding_window_pattern names 1 of 2 layers"):
        load_network(path)


@pytest.mark.weights
@pytest.mark.slow
def test_a_real_model_says_what_llama_cpp_says(smollm2: Path) -> None:
    """As near as llama.cpp's rounding of activations to 8 bits lets it be."""
    text = [1, 4093, 198, 504, 3575, 282, 4649, 314]
    found = logits_of(load_network(smollm2, torch.float32), text)
    wanted = exact_logits(smollm2, text)
    assert (found.argmax(-1) == wanted.argmax(-1)).mean() >= 0.75
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.corrcoef(ours, theirs)[0, 1] > 0.995
