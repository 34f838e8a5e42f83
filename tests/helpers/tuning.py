"""A network of a few hundred numbers and examples for it, which train in milliseconds.

`python -m tests.helpers.tuning CHECKPOINT OUT [KILL_AT]` trains one, going on where a checkpoint
is there, and writes A and B to OUT; it kills itself (SIGKILL) at its step KILL_AT of file work.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeproxy.tune.lora import add_lora, parameters
from edgeproxy.tune.network import Linear
from edgeproxy.tune.settings import Settings
from edgeproxy.tune.tokens import Tokens
from edgeproxy.tune.train import train

N_VOCAB, WIDTH = 32, 16


class TinyNetwork(nn.Module):  # type: ignore[misc]
    """Two blocks that mix each token with those before it; random weights, always the same."""

    def __init__(self, dtype: torch.dtype = torch.float32, n_vocab: int = N_VOCAB) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)

        def made(*shape: int) -> Tensor:
            return (torch.randn(*shape, generator=random) / shape[-1] ** 0.5).to(dtype)

        self.register_buffer("token_embd", made(n_vocab, WIDTH))
        self.output = Linear(made(n_vocab, WIDTH), None)
        self.blk = nn.ModuleList(nn.Module() for _ in range(2))
        for block in self.blk:
            block.ffn_up = Linear(made(2 * WIDTH, WIDTH), None)
            block.ffn_down = Linear(made(WIDTH, 2 * WIDTH), None)

    def hidden(self, tokens: Tensor) -> Tensor:
        x = self.token_embd[tokens]
        counts = torch.arange(1, tokens.shape[1] + 1, dtype=x.dtype)[:, None]
        for block in self.blk:
            x = x + block.ffn_down(torch.relu(block.ffn_up(x.cumsum(1) / counts + x)))
        return x.float()

    def logits(self, hidden: Tensor) -> Tensor:
        return self.output(hidden.to(self.output.weight.dtype)).float()  # type: ignore[no-any-return]


def tiny(rank: int = 4, seed: int = 0, **options: Any) -> Any:
    """A `TinyNetwork` with a LoRA to train, as `train` takes networks."""
    network: Any = TinyNetwork(**options)
    add_lora(network, rank, 2 * rank, seed)
    return network


def example(prompt: Sequence[int], reply: Sequence[int], after: Sequence[int] = ()) -> Tokens:
    """A prompt, its reply, and tokens after it that nobody predicts."""
    ids = np.array([*prompt, *reply, *after], np.int32)
    is_reply = np.zeros(len(ids), np.bool_)
    is_reply[len(prompt) : len(prompt) + len(reply)] = True
    return Tokens(ids, is_reply)


def toy(count: int, seed: int = 0) -> list[Tokens]:
    """Examples of a mapping: the reply is the prompt's last token plus one, then an end."""
    random = np.random.RandomState(seed)
    found = []
    for _ in range(count):
        prompt = random.randint(2, N_VOCAB - 1, random.randint(1, 9)).tolist()
        found.append(example(prompt, [prompt[-1] + 1, 1], [0]))
    return found


def main() -> None:
    """Do as the arguments say."""
    checkpoint, out, *kill = sys.argv[1:]
    seen = 0

    def step(event: str, _: object) -> None:
        nonlocal seen
        if event in ("open", "os.rename"):
            seen += 1
            if seen == int(kill[0]):
                os.kill(os.getpid(), signal.SIGKILL)

    network = tiny()
    if kill:
        sys.addaudithook(step)
    path = Path(checkpoint)
    trained = train(
        network, toy(60), toy(20, 1), SETTINGS, model="m", checkpoint=path, resume=path.exists()
    )
    numbers = {name: tensor.detach().numpy() for name, tensor in parameters(network).items()}
    np.savez(out, steps=trained.steps, best=trained.best_step, **numbers)


SETTINGS = Settings(epochs=4, rate=0.01, rank=4, batch=4, threads=1, micro_tokens=24)

if __name__ == "__main__":
    main()
