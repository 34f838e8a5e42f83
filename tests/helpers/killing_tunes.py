"""Kills whole tunings (SIGKILL) at many of their moments, and goes on with each by --resume.

    python -m tests.helpers.killing_tunes FOLDER KILLS

A moment is an opening, renaming or removing of a file that the tuning reads or writes; a checkpoint
is kept after every step. What comes of each is compared with a tuning that was let alone. Prints
JSON: how many moments there are, what each kill left, and what went wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path

import torch

from edgeproxy.cli import main as edgeproxy
from edgeproxy.tune import run as _imported_here_and_in_no_child  # noqa: F401
from edgeproxy.tune import train as loop
from tests.helpers.killing import child
from tests.helpers.small_models import small_model, write_examples

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir")
OPTIONS = ("--rate", "0.02", "--rank", "4", "--epochs", "2", "--threads", "1", "--dtype", "float32")
RESULT = ["adapter.gguf", "trio.toml", "tuning.json"]


def main() -> None:
    """Do as the arguments say."""
    folder, kills = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    os.chdir(folder)
    os.environ["EDGEPROXY_HOME"] = str(folder / "home")
    torch.set_num_threads(1)
    loop.EVERY = loop.SHARE = 0.0
    small_model(folder / "small.gguf")
    small_model(folder / "large.gguf", width=64, seed=1)
    write_examples(folder / "examples.jsonl")
    wrong: list[str] = []
    if child(partial(_tune, folder, "whole", count=folder / "moments")) != 0:
        wrong.append("it cannot be tuned at all")
    whole = (folder / "whole" / "adapter.gguf").read_bytes()
    moments = int((folder / "moments").read_text())
    left = []
    for kill in range(kills):
        at, mine = 1 + kill * (moments - 1) // max(1, kills - 1), folder / f"killed{kill}"
        shutil.rmtree(folder / "home", ignore_errors=True)
        if not os.WIFSIGNALED(child(partial(_tune, folder, mine.name, kill_at=at))):
            wrong.append(f"{at}: it was not killed")
        left.append(_names(mine))
        if "adapter.gguf" in left[-1] and (mine / "adapter.gguf").read_bytes() != whole:
            wrong.append(f"{at}: the kill left another adapter")
        if child(partial(_tune, folder, mine.name)) != 0:
            wrong.append(f"{at}: it did not go on")
        elif (mine / "adapter.gguf").read_bytes() != whole:
            wrong.append(f"{at}: another adapter came of it")
        if _names(mine) != RESULT:
            wrong.append(f"{at}: {_names(mine)} are there, after {left[-1]}")
    print(json.dumps({"moments": moments, "left": left, "wrong": wrong}))


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def _tune(folder: Path, name: str, kill_at: int = 0, count: Path | None = None) -> None:
    moments = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal moments
        if event in EVENTS and str(arguments[0]).startswith((str(folder), name)):
            moments += 1
            if moments == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    models = ["--small", str(folder / "small.gguf"), "--base", str(folder / "large.gguf")]
    examples = str(folder / "examples.jsonl")
    code = edgeproxy(["tune", examples, *models, *OPTIONS, "-o", name, "--resume", "--quiet"])
    if count:
        count.write_text(str(moments))
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    main()
