"""Kills installs of a bundle (SIGKILL) at many of their steps, and does each again.

    python -m tests.helpers.killing BUNDLE HOME KILLS

HOME is a store that holds a trio called old; the bundle brings one called mini. A step is whatever
Python tells its audit hooks: opening, renaming, removing, locking. Prints JSON: how many steps an
install has, the kills, how often mini was there after one, and what went wrong.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edgeproxy.trios.bundle import Bundle, install
from edgeproxy.trios.store import Store


def main() -> None:
    """Do as the arguments say."""
    bundle, stocked, kills = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    wrong: list[str] = []
    complete = 0
    with tempfile.TemporaryDirectory() as folder:
        steps = _steps(bundle, stocked, Path(folder))
        at = sorted(random.Random(7).sample(range(1, steps), min(kills, steps - 1)))
        for step in at:
            root = Path(folder) / f"home{step}"
            shutil.copytree(stocked, root)
            status = child(partial(_install, bundle, root, kill_at=step))
            if not os.WIFSIGNALED(status):
                wrong.append(f"step {step}: it was not killed")
            complete += _check(root, f"killed at step {step}", wrong)
            status = child(partial(_install, bundle, root))
            if status != 0:
                wrong.append(f"step {step}: the second try ended with {status}")
            if not _check(root, f"repeated after step {step}", wrong):
                wrong.append(f"step {step}: mini is not there after the second try")
            Store(root).clean()
            if any(Store(root).tmp.iterdir()):
                wrong.append(f"step {step}: something is left")
            shutil.rmtree(root)
    print(json.dumps({"steps": steps, "kills": len(at), "complete": complete, "wrong": wrong}))


def _steps(bundle: Path, stocked: Path, folder: Path) -> int:
    for name in ("first", "counted"):
        shutil.copytree(stocked, folder / name)
    # What is imported when it is first needed is here, and no step of the children's, from now on.
    with Bundle(bundle) as opened:
        install(opened, Store(folder / "first"))
    _check(folder / "first", "first", [])
    child(partial(_install, bundle, folder / "counted", count=folder / "steps"))
    return int((folder / "steps").read_text())


def _install(bundle: Path, root: Path, kill_at: int = 0, count: Path | None = None) -> None:
    seen = 0

    def step(event: str, _: object) -> None:
        nonlocal seen
        if event.partition(".")[0] in ("open", "os", "fcntl", "shutil", "tempfile"):
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(step)
    with Bundle(bundle) as opened:
        install(opened, Store(root))
    if count:
        count.write_text(str(seen))


def child(work: Callable[[], None]) -> int:
    """The status that a forked child ends with, after `work`."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent is told
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


def _check(root: Path, when: str, wrong: list[str]) -> bool:
    """Whether mini is installed; says what is wrong with what is there."""
    store = Store(root)
    names = store.names()
    if "old" not in names or set(names) - {"old", "mini"}:
        wrong.append(f"{when}: there are {names}")
    wrong += [f"{when}: {f.trio}: {f.problem}" for f in store.verify() if f.problem]
    return "mini" in names


if __name__ == "__main__":
    main()
