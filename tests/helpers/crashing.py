"""Kills processes at work on a store, and looks at what they leave.

    python -m tests.helpers.crashing FOLDER receive|replace|remove steps|COUNT [broken]

A process is forked for each kill. With `steps` it kills itself at its first step, then at its
second, and so on to the last: a step is whatever Python's audit tells before it happens (a file is
opened, renamed, removed, ...), or a line of the code that writes. With a COUNT it is killed from
outside after random delays, until so many kills have struck. `broken` puts a store to the test that
is known to be wrong. What was found is printed as JSON. This is a program of its own because
forking needs a process without threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

import filelock  # noqa: F401 - once, rather than in every process

from edgeproxy.errors import StoreError
from edgeproxy.files import write_new
from edgeproxy.trios.store import Store, incoming
from tests.helpers.store_trios import install, problems, rubbish

WRITERS = {
    write_new.__code__,
    *(f.__code__ for f in vars(incoming.Incoming).values() if isinstance(f, FunctionType)),
}
AUDITED = ("open", "os.mkdir", "os.r", "os.chmod", "os.truncate", "shutil.", "fcntl.")


def operate(store: Store, what: str) -> None:
    """Do what is to be killed, from wherever an earlier try has ended."""
    if what == "receive":
        install(store, "other")
    elif what == "replace":
        install(store, "other", description="a later one", replace=True)
    else:
        with contextlib.suppress(StoreError):
            store.remove("other")
        store.clean()


def is_done(store: Store, what: str) -> bool:
    if what == "receive":
        return "other" in store.names()
    if what == "replace":
        return store.recipe("other").description == "a later one"
    return "other" not in store.names()


class Steps:
    """Counts steps, and kills this process at the step `fatal`."""

    def __init__(self, fatal: int | None = None) -> None:
        self.count = 0
        self._fatal = fatal

    def step(self) -> None:
        self.count += 1
        if self.count == self._fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, work: Callable[[], None]) -> None:
        watching = True

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            if frame.f_code not in WRITERS:
                return None
            if event == "line":
                self.step()
            return trace

        def audit(event: str, _: Any) -> None:
            if watching and event.startswith(AUDITED):
                self.step()

        sys.addaudithook(audit)
        sys.settrace(trace)
        work()
        sys.settrace(None)
        watching = False


def fork(work: Callable[[], None]) -> int:
    """The id of a new process that does `work`; it ends with 0, or 1 and what went wrong."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException as error:  # noqa: BLE001 - it must not run on into the parent's code
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    os._exit(code)


def ended(child: int) -> int:
    """How a process has ended: its exit code, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def count_steps(store: Store, what: str) -> int:
    """How many steps there are, counted in a process of its own."""
    read, write = os.pipe()

    def work() -> None:
        steps = Steps()
        steps.watch(lambda: operate(store, what))
        os.write(write, str(steps.count).encode())

    if ended(fork(work)):
        raise RuntimeError("the operation fails without a kill")
    os.close(write)
    with os.fdopen(read) as file:
        return int(file.read())


def main(folder: Path, what: str, how: str, broken: bool = False) -> Mapping[str, Any]:
    """Kill and look, as often as asked for; each time from the same beginning."""
    if broken:
        break_the_store()
    origin, root = folder / "origin", folder / "store"
    install(Store(origin), "kept")
    if what != "receive":
        install(Store(origin), "other")

    def fresh() -> Store:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(origin, root)
        return Store(root)

    store, started = fresh(), time.perf_counter()
    if ended(fork(lambda: operate(store, what))):
        raise RuntimeError("the operation fails without a kill")
    took = time.perf_counter() - started
    total = count_steps(fresh(), what) if how == "steps" else int(how)
    told: dict[str, Any] = {"wanted": total, "killed": 0, "done": 0, "problems": []}
    chance = random.Random(1)
    for number in range(1, 4 * total):
        store = fresh()
        if how == "steps":
            steps = Steps(number)
            child = fork(lambda: steps.watch(lambda: operate(store, what)))  # noqa: B023
        else:
            child = fork(lambda: operate(store, what))  # noqa: B023
            time.sleep(chance.uniform(0, took))
            os.kill(child, signal.SIGKILL)
        is_killed = ended(child) == -signal.SIGKILL
        told["killed"] += is_killed
        if not is_killed:  # the kill came too late: the first time took longer than usual
            took *= 0.9
        wrong = problems(store, *(("kept",) if what != "replace" else ("kept", "other")))
        if not wrong:
            told["done"] += is_done(store, what)
            wrong = after_a_repeat(store, what)
        told["problems"] += [f"{number}: {each}" for each in wrong]
        if told["killed"] == total:
            break
    return told


def after_a_repeat(store: Store, what: str) -> list[str]:
    """What is wrong once the operation was done again."""
    try:
        operate(store, what)
        store.clean()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test is about
        return [f"again: {type(error).__name__}: {error}"]
    found = [f"again: {each}" for each in problems(store, "kept")]
    found += [f"again: {each} was left" for each in rubbish(store)]
    return found if is_done(store, what) else [*found, "again: it was not done"]


def break_the_store() -> None:
    """What a store would do whose author had not thought of kills."""

    def put(self: Store, name: str, files: Mapping[str, bytes], folder: Path) -> None:
        trio = self.trios / name
        trio.mkdir(parents=True, exist_ok=True)
        for file, data in reversed(list(files.items())):
            (trio / file).write_bytes(data)

    def remove(self: Store, name: str) -> list[Any]:
        freed = self._free(self._named_by(name) - self._in_use(but=name))
        shutil.rmtree(self.trios / name)
        return freed

    Store._put = put  # type: ignore[method-assign]
    Store.remove = remove  # type: ignore[method-assign]


if __name__ == "__main__":
    assert threading.active_count() == 1
    asked = sys.argv[1:]
    print(json.dumps(main(Path(asked[0]), asked[1], asked[2], asked[3:] == ["broken"])))
