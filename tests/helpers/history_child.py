"""Chats that keep their conversations in processes of their own, killed or several at once.

    python -m tests.helpers.history_child kills FOLDER COUNT
    python -m tests.helpers.history_child together FOLDER SECONDS

What went wrong is printed as JSON. Each process says of every message that it was kept once the
keeper has returned; `lost` looks whether it is there. This is a program of its own because forking
needs a process without threads.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from edgeproxy.errors import HistoryError
from edgeproxy.history.history import History
from edgeproxy.history.keeper import Keeper

WRITERS = 2
LONG = "x" * 9000
"""Behind some messages, so that one takes several pages."""


def text_of(kind: str, who: int, number: int) -> str:
    """What a writer says; `kind` is "q" or "a"."""
    return f"{kind}{who}.{number} " + (LONG if number % 3 == 0 else "")


def chat(path: Path, who: int, tell: Callable[[str], None], session: str | None = None) -> NoReturn:
    """Talk for ever, in a new session or in one that is there, and `tell` what was kept."""

    def refuse(what: str) -> None:
        tell(f"! {what}")

    keeper = Keeper("factbook", {"base": "0" * 64}, refuse, path=path)
    if session is None:
        keeper.begin("Be brief.")
    else:
        keeper.resume(session)
    number = 0
    while True:
        keeper.say(text_of("q", who, number), {"alpha": 1.0})
        tell(f"q{who}.{number}")
        keeper.answer(text_of("a", who, number), "stop")
        tell(f"a{who}.{number}")
        number += 1


def fork(work: Callable[[Callable[[str], None]], object]) -> tuple[int, int]:
    """The id of a process that does `work`, and where what it tells can be read."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    try:
        work(lambda line: _tell(write, line))
    except BaseException as error:  # noqa: BLE001 - the parent is told
        os.write(write, f"! {type(error).__name__}: {error}\n".encode())
    os._exit(1)


def _tell(pipe: int, line: str) -> None:
    os.write(pipe, f"{line}\n".encode())


def lines(pipe: int) -> list[str]:
    """What was told, without a last line that was cut short."""
    with os.fdopen(pipe) as file:
        return file.read().split("\n")[:-1]


def kill(child: int) -> None:
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def lost(path: Path, told: Sequence[str]) -> Iterator[str]:
    """What is wrong with the history at `path`, of which these messages were said to be kept."""
    yield from (line for line in told if line.startswith("!"))
    if not path.exists():
        yield from (f"{line} is gone with the file" for line in told)
        return
    kept: list[str] = []
    try:
        with History.open(path) as history:
            for session in history.sessions():
                info, entries = history.tree(session.id)
                loaded = history.load(info.id)
                if len(loaded.messages) + (loaded.unanswered is not None) != len(loaded.entries):
                    yield f"{info.id}: its path is broken"
                said = [entry.said for entry in entries if entry.said.role != "system"]
                kept += [each.text.split()[0] for each in said]
                yield from (
                    f"{each.text[:9]} is cut short"
                    for each in said
                    if len(each.text) not in (len(text_of("", 0, 1)), *_lengths(each.text))
                )
    except HistoryError as error:
        yield str(error)
    else:
        if len(kept) != len(set(kept)):
            yield "something was kept twice"
        yield from sorted(set(told) - set(kept) - {line for line in told if line[0] == "!"})
        with sqlite3.connect(path) as connection:
            (found,) = connection.execute("PRAGMA integrity_check").fetchone()
        connection.close()
        if found != "ok":
            yield found


def _lengths(text: str) -> tuple[int, int]:
    """How long a message with such a beginning may be."""
    beginning = len(text.split()[0]) + 1
    return beginning, beginning + len(LONG)


def kills(folder: Path, count: int) -> dict[str, object]:
    """Kill `count` chats at random moments, half of them with a new file each."""
    chance = random.Random(15)
    wrong: list[str] = []
    told_in_all: dict[Path, list[str]] = {}
    for number in range(count):
        path = folder / (f"{number}.sqlite" if number % 2 else "all.sqlite")
        child, pipe = fork(lambda tell: chat(path, number, tell))  # noqa: B023
        time.sleep(chance.uniform(0, 0.12))
        kill(child)
        told = told_in_all.setdefault(path, [])
        told += lines(pipe)
        wrong += [f"kill {number}: {what}" for what in lost(path, told)]
    return {"kills": count, "kept": sum(map(len, told_in_all.values())), "wrong": wrong}


def together(folder: Path, seconds: float) -> dict[str, object]:
    """Let several processes write to sessions of their own and to one, while another reads."""
    path = folder / "all.sqlite"
    with Keeper("factbook", {"base": "0" * 64}, print, path=path) as keeper:
        keeper.say(text_of("q", 99, 0))
        shared = keeper.id
    children = [
        fork(lambda tell, who=who, session=session: chat(path, who, tell, session))  # type: ignore[misc]
        for who, session in enumerate([None, shared] * WRITERS)
    ]
    wrong, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with History.open(path) as history:
                for session in history.sessions():
                    history.load(session.id)
                history.search("q1")
        except HistoryError as error:
            wrong.append(f"while they write: {error}")
        time.sleep(0.05)
    for child, _ in children:
        kill(child)
    told = [lines(pipe) for _, pipe in children]
    wrong += lost(path, [line for each in told for line in each])
    return {"kept": [len(each) for each in told], "wrong": wrong}


def main() -> None:
    """Do as the arguments say."""
    assert threading.active_count() == 1
    how, folder, count = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    print(json.dumps(kills(folder, int(count)) if how == "kills" else together(folder, count)))


if __name__ == "__main__":
    main()
