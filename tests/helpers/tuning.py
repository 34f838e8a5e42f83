"""A network of a few hundred numbers and examples for it, which train in milliseconds.

`python -m tests.helpers.tuning FOLDER KILLS` trains one in FOLDER, keeping a checkpoint after every
step, is killed (SIGKILL) KILLS times on the way, each time goes on, and compares what comes out
with a tuning that was let alone. Prints JSON: after how many steps it was killed, and what went
wrong.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeproxy.tune import train as loop
from edgeproxy.tune.checkpoint import Checkpoint
from edgeproxy.tune.lora import add_lora, parameters
from edgeproxy.tune.network import Linear
from edgeproxy.tune.settings import Settings
from edgeproxy.tune.tokens import Tokens
from tests.helpers.killing import child

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
        return self.output(hidden.to(self.output.weight.dtype)).float()


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


SETTINGS = Settings(epochs=4, rate=0.01, rank=4, batch=4, threads=1, micro_tokens=24)


def main() -> None:
    """Do as the arguments say."""
    folder, kills = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    loop.EVERY = loop.SHARE = 0.0
    wrong: list[str] = []
    if child(partial(_train, folder, "whole")) != 0:
        wrong.append("it cannot be trained at all")
    whole = dict(np.load(folder / "whole.out.npz"))
    moments = int(whole.pop("moments"))
    steps = []
    # Amid a step, an evaluation, and each moment of the work on a file.
    for kill in (1, 40, 90, *(moments // kills + n for n in range(kills - 3))):
        if not os.WIFSIGNALED(child(partial(_train, folder, "killed", kill))):
            wrong.append(f"{kill}: it was not killed")
        path = folder / "killed.npz"
        steps.append(Checkpoint.read(path).position.step if path.exists() else 0)
    if child(partial(_train, folder, "killed")) != 0:
        wrong.append("it did not go on")
    killed = dict(np.load(folder / "killed.out.npz"))
    killed.pop("moments")
    for name in whole.keys() | killed.keys():
        if not np.array_equal(whole[name], killed[name]):
            wrong.append(f"{name} is another")
    print(json.dumps({"steps": steps, "wrong": wrong}))


def _train(folder: Path, name: str, kill_at: int = 0) -> None:
    moments = 0

    def moment() -> bool:
        nonlocal moments
        moments += 1
        if moments == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("open", "os.rename") and str(arguments[0]).startswith(str(folder)):
            moment()

    sys.addaudithook(hook)
    network, path = tiny(), folder / f"{name}.npz"
    trained = loop.train(
        network,
        toy(60),
        toy(20, 1),
        SETTINGS,
        model="m",
        checkpoint=path,
        resume=path.exists(),
        is_stopping=moment,
    )
    found = {key: tensor.detach().numpy() for key, tensor in parameters(network).items()}
    found |= {"steps": np.array(trained.steps), "best_loss": np.array(trained.best_loss)}
    np.savez(folder / f"{name}.out.npz", allow_pickle=False, moments=moments, **found)


if __name__ == "__main__":
    main()
