"""The file of a history: none, somebody else's, newer, damaged anywhere."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeproxy.errors import HistoryError
from edgeproxy.history import database
from edgeproxy.history.history import History
from edgeproxy.history.keeper import Keeper
from edgeproxy.history.schema import VERSION
from tests.history.test_history import talk

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A history of several pages, in one file."""
    made = tmp_path / "made" / "sessions.sqlite"
    with History(made) as history:
        for n in range(40):
            talk(history, f"question {n} " + "word " * 150, f"answer {n}", name=f"letter {n}")
        history.search("word")
    return made


def use(path: Path) -> None:
    """Do with a history what can be done without writing."""
    with History.open(path) as history:
        for session in history.sessions():
            history.load(session.id)
            history.tree(session.id)
        history.search("word")
        history.latest()
        history.find("letter 3")


def chat(path: Path, turns: int = 3) -> list[str]:
    """What a chat is told that keeps a conversation there; nothing else may come of it."""
    told: list[str] = []
    with Keeper("factbook", {}, told.append, path=path) as keeper:
        for n in range(turns):
            keeper.say(f"question {n}")
            keeper.answer("answer")
            keeper.again()
            keeper.answer("another")
    return told


def is_refused(work: Callable[[Path], object], path: Path) -> bool:
    """Whether `work` is refused by an error that names the file; any other is a fault."""
    try:
        work(path)
    except HistoryError as error:
        return str(path) in str(error)
    return False


def beside(path: Path) -> list[Path]:
    return [path.with_name(f"{path.name}-{end}") for end in ("wal", "shm", "journal")]


def test_a_closed_history_is_one_file(path: Path) -> None:
    assert [file.name for file in path.parent.iterdir()] == ["sessions.sqlite"]


def test_one_of_a_newer_edgeproxy_is_refused_and_left_as_it_is(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match=r"newer edgeproxy.*update edgeproxy"):
        History.open(path)
    assert ["newer edgeproxy" in line for line in chat(path)] == [True]
    assert path.read_bytes() == before


def test_what_is_no_history_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    path.write_text("this is a letter, and no history " * 99)
    with pytest.raises(HistoryError, match="no history"):
        History.open(path)
    assert ["no history" in line for line in chat(path)] == [True]
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine(x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match="no history"):
        History.open(path)
    assert ["no history" in line for line in chat(path)] == [True]
    assert path.read_bytes() == before
    path.unlink()
    path.mkdir()
    with pytest.raises(HistoryError, match="a directory"):
        History.open(path)
    assert ["a directory" in line for line in chat(path)] == [True]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    os.mkfifo(path)
    with pytest.raises(HistoryError, match="FIFO"):
        History.open(path)
    assert ["FIFO" in line for line in chat(path)] == [True]


def test_a_path_that_can_be_none_is_told() -> None:
    with pytest.raises(HistoryError, match="path"):
        History.open(Path("a\0b"))


def test_an_empty_file_is_a_history_without_sessions(tmp_path: Path) -> None:
    path = tmp_path / "sessions.sqlite"
    path.touch()
    with History.open(path) as history:
        assert (history.sessions(), history.count()) == ([], 0)
        assert history.search("word") == []
    assert path.read_bytes() == b""
    assert chat(path) == []
    with History.open(path) as history:
        assert history.count() == 1


def test_a_truncated_one_is_told_or_does_no_harm(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    target = tmp_path / "short.sqlite"
    for length in (1, 50, 99, 100, 101, PAGE - 1, PAGE, len(data) // 2, len(data) - PAGE):
        for work in (use, chat):
            target.write_bytes(data[:length])
            refused = is_refused(work, target)
            assert refused == (work is use), length
            for file in beside(target):
                file.unlink(missing_ok=True)


@pytest.mark.slow
def test_damage_anywhere_is_told_or_does_no_harm(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    source = random.Random(3)
    target = tmp_path / "damaged.sqlite"
    refused = told = 0
    for page in range(0, len(data), PAGE):
        for noise in (bytes(PAGE), source.randbytes(PAGE), b"\xff" * PAGE):
            target.write_bytes(data[:page] + noise + data[page + PAGE :])
            refused += is_refused(use, target)
            lines = chat(target, 1)
            assert len(lines) <= 2, lines
            told += bool(lines)
            for file in beside(target):
                file.unlink(missing_ok=True)
    for _ in range(40):
        damaged = bytearray(data)
        for _ in range(20):
            damaged[source.randrange(len(data))] = source.randrange(256)
        target.write_bytes(damaged)
        refused += is_refused(use, target)
        told += bool(chat(target, 1))
        for file in beside(target):
            file.unlink(missing_ok=True)
    assert refused > len(data) / PAGE
    assert told > 3


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE messages SET text = x'ff' WHERE id = 3",
        "UPDATE messages SET text = CAST(x'ff' AS TEXT) WHERE id = 3",
        "UPDATE messages SET role = 'nobody' WHERE id = 3",
        "UPDATE messages SET settings = '[]' WHERE id = 3",
        "UPDATE messages SET stats = '{' WHERE id = 3",
        "UPDATE messages SET settings = '" + "[" * 20_000 + "' WHERE id = 3",
        "UPDATE messages SET parent = 4 WHERE id = 3",
        "UPDATE messages SET parent = 3 WHERE id = 3",
        "UPDATE messages SET parent = 'x' WHERE id = 4",
        "UPDATE messages SET created = -1 WHERE id = 3",
        "UPDATE messages SET created = 1e300 WHERE id = 3",
        "UPDATE messages SET text = '' WHERE id = 3",
        "UPDATE sessions SET head = 9999",
        "UPDATE sessions SET head = 'x'",
        "UPDATE sessions SET models = '[]'",
        "UPDATE sessions SET models = '{\"base\": 5}'",
        "UPDATE sessions SET title = x'00'",
        "UPDATE sessions SET changed = 9223372036854775807",
        "DELETE FROM messages WHERE id = 3",
        "DROP TABLE messages",
    ],
)
def test_values_that_no_history_has_are_told(path: Path, change: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(change)
    connection.commit()
    connection.close()
    with pytest.raises(HistoryError, match=r"damaged.*(move the file away|sessions rm)") as told:
        use(path)
    assert len(str(told.value)) < 600
    chat(path)


def test_one_damaged_session_is_removed_by_itself(path: Path) -> None:
    with History.open(path) as history:
        session = history.find("letter 5")
        with history.writing() as connection:
            connection.execute("UPDATE messages SET role = 'nobody' WHERE id = ?", (session.head,))
        for work in (history.load, history.tree):
            with pytest.raises(HistoryError, match=f"sessions rm {session.id}"):
                work(session.id)
        history.remove(session.id)
        assert history.count() == 39
    use(path)


def test_a_schema_that_runs_something_does_not(path: Path) -> None:
    """A trigger is of the file's author; what it may call is nothing that reaches outside."""
    connection = sqlite3.connect(path)
    connection.execute(
        "CREATE TRIGGER t AFTER INSERT ON messages BEGIN SELECT load_extension('x'); END"
    )
    connection.close()
    assert len(chat(path)) == 1


def test_a_kill_while_it_is_made_leaves_what_can_be_made_again(tmp_path: Path) -> None:
    """A rollback journal that nobody holds: what it undoes was written by half."""
    path = tmp_path / "a.sqlite"
    path.touch()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN IMMEDIATE")
    for n in range(50):
        connection.execute(f"CREATE TABLE t{n}(x)")
        connection.execute(f"INSERT INTO t{n} VALUES(zeroblob(5000))")
    copy = tmp_path / "b.sqlite"
    shutil.copy(path, copy)
    shutil.copy(tmp_path / "a.sqlite-journal", tmp_path / "b.sqlite-journal")
    connection.close()
    assert copy.stat().st_size > 0
    with History.open(copy) as history:
        assert history.sessions() == []
    assert chat(copy) == []


def test_waiting_ends(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def locked() -> None:
        tries.append(1)
        raise sqlite3.OperationalError("database is locked")

    with pytest.raises(sqlite3.OperationalError):
        database.patiently(locked, 0.0)
    assert len(tries) == 1

    def once() -> str:
        if len(tries) < 5:
            locked()
        return "done"

    assert database.patiently(once, 60.0) == "done"
