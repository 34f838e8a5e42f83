"""The loss in chunks, on replies alone, is the plain one; parts of a batch add up."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from edgeproxy.tune import loss
from edgeproxy.tune.batches import Batch
from edgeproxy.tune.lora import parameters
from tests.helpers.tuning import N_VOCAB, tiny, toy

pytestmark = pytest.mark.usefixtures("one_thread")


def gradients(network: Any) -> list[torch.Tensor]:
    found = [tensor.grad.clone() for tensor in parameters(network).values()]
    for tensor in parameters(network).values():
        tensor.grad = None
    return found


def trained_a_little() -> Any:
    network = tiny()
    with torch.no_grad():
        for n, tensor in enumerate(parameters(network).values()):
            tensor.add_(0.05 * torch.sin(torch.arange(tensor.numel()) + n).view_as(tensor))
    return network


@pytest.mark.parametrize("chunk", [1, 3 * 4 * N_VOCAB, 1 << 30], ids=["one", "three", "all"])
def test_it_is_the_mean_over_reply_tokens_of_all_logits(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "CHUNK", chunk)
    network, examples = trained_a_little(), toy(7)
    batch = Batch.of(examples)

    tokens = torch.zeros(7, max(map(len, examples)), dtype=torch.int64)
    targets = torch.full_like(tokens, -100)
    for row, one in enumerate(examples):
        tokens[row, : len(one)] = torch.tensor(one.ids)
        for place in range(1, len(one)):
            if one.is_reply[place]:
                targets[row, place - 1] = int(one.ids[place])
    logits = network.logits(network.hidden(tokens))
    plain = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    plain.backward()
    expected = gradients(network)

    found = loss.backward(network, batch, len(batch.targets), N_VOCAB)
    assert found == pytest.approx(plain.item(), rel=1e-5)
    for mine, theirs in zip(gradients(network), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
    total = loss.total_loss(network, batch, N_VOCAB)
    assert total / len(batch.targets) == pytest.approx(plain.item(), rel=1e-5)


def test_the_gradients_of_parts_add_up_to_those_of_the_whole() -> None:
    network, examples = trained_a_little(), toy(9)
    whole = Batch.of(examples)
    n_predicted = len(whole.targets)
    at_once = loss.backward(network, whole, n_predicted, N_VOCAB)
    expected = gradients(network)
    parts = [Batch.of(examples[:2]), Batch.of(examples[2:3]), Batch.of(examples[3:])]
    shares = [loss.backward(network, part, n_predicted, N_VOCAB) for part in parts]
    assert sum(shares) == pytest.approx(at_once, rel=1e-5)
    for mine, theirs in zip(gradients(network), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_a_chunk_has_a_row_at_least() -> None:
    assert loss.chunk_rows(10**12) == 1
    assert 100 < loss.chunk_rows(151_936) < 110
