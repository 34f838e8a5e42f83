"""An index that is damaged, newer, none, killed, on a full disk, or in a read-only folder."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeproxy.documents import database
from edgeproxy.documents.database import open_to_read
from edgeproxy.documents.index import Index
from edgeproxy.documents.passage import Passage
from edgeproxy.documents.removing import remove_index
from edgeproxy.documents.schema import VERSION
from edgeproxy.errors import DocumentError
from tests.helpers.disks import cannot, small_disk
from tests.helpers.indexes import check, make_index, matching, write

REPOSITORY = Path(__file__).parents[2]
PAGE = 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    source = random.Random(5)
    for n in range(30):
        words = " ".join(f"word{source.randrange(3000)}" for _ in range(200))
        write(root / f"{n}.txt", f"number{n} {words}")
    return root


@pytest.fixture
def path(tmp_path: Path, folder: Path) -> Path:
    made = tmp_path / "index.sqlite"
    make_index(made, folder)
    return made


def use(path: Path) -> list[Passage]:
    """Do with an index what can be done; its passages."""
    found: list[Passage] = []
    with Index(path) as index:
        index.counts(), index.roots(), index.problems(), index.sizing
        for document in index.documents():
            found += index.passages_of(document.path)
        with index.telling():
            index.connection.execute("SELECT * FROM common").fetchall()
            asked = "SELECT rowid, bm25(words) FROM words WHERE words MATCH 'word7 OR number3'"
            rows = index.connection.execute(asked).fetchall()
            index.connection.execute("SELECT term, doc FROM vocabulary").fetchall()
        index.passages(number for number, _ in rows)
    return found


def test_what_is_none_is_refused(tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "x.sqlite"
    with pytest.raises(DocumentError, match="no such index"):
        Index(path)
    path.write_text("this is a letter, and no index " * 99)
    for refused in (Index, remove_index, lambda path: make_index(path, folder)):
        with pytest.raises(DocumentError, match="no index"):
            refused(path)
    assert path.read_text().startswith("this is a letter")
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE mine(x)")
    connection.close()
    with pytest.raises(DocumentError, match="no index"):
        make_index(path, folder)
    path.unlink()
    path.touch()
    with pytest.raises(DocumentError, match="nothing in this index yet"):
        Index(path)
    assert make_index(path, folder).new == 30
    path.unlink()
    path.mkdir()
    with pytest.raises(DocumentError, match="a directory"):
        Index(path)


def test_one_of_a_newer_edgeproxy_is_refused(path: Path, folder: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    for refused in (Index, lambda path: make_index(path, folder)):
        with pytest.raises(DocumentError, match="newer edgeproxy"):
            refused(path)


def test_a_python_without_full_text_search_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(DocumentError, match="no full-text search"),
        database.telling(tmp_path / "x"),
    ):
        sqlite3.connect(":memory:").execute("CREATE VIRTUAL TABLE x USING fts6(a)")


def is_refused(work: Callable[[], object], path: Path) -> bool:
    """Whether `work` is refused, by an error that names the file; any other error is a fault."""
    try:
        work()
    except DocumentError as error:
        said = str(error)
    else:
        return False
    return str(path) in said


@pytest.mark.slow
def test_damaged_pages_are_told_or_do_no_harm(path: Path, folder: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    source = random.Random(3)
    refused = 0
    target = tmp_path / "damaged.sqlite"
    for page in range(0, len(data), PAGE):
        for noise in (bytes(PAGE), source.randbytes(PAGE), b"\xff" * PAGE):
            target.write_bytes(data[:page] + noise + data[page + PAGE :])
            refused += is_refused(lambda: use(target), target)
            write(folder / "0.txt", f"changed {page} {noise[:2].hex()}")
            is_refused(lambda: make_index(target, folder), target)
            for end in database.BESIDE:
                target.with_name(target.name + end).unlink(missing_ok=True)
    assert refused > len(data) / PAGE


def test_a_truncated_one_is_told_or_does_no_harm(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    target = tmp_path / "short.sqlite"
    for length in (1, 50, 99, 100, 101, PAGE - 1, PAGE, len(data) // 2, len(data) - PAGE):
        target.write_bytes(data[:length])
        with pytest.raises(DocumentError):
            use(target)


def test_values_of_wrong_types_are_told(path: Path) -> None:
    for change in (
        "UPDATE passages SET trail = '{}'",
        "UPDATE passages SET trail = '[1]'",
        "UPDATE passages SET trail = '" + "[" * 20_000 + "'",
        "UPDATE passages SET text = x'ff'",
        "UPDATE passages SET text = CAST(x'ff' AS TEXT)",
        "UPDATE documents SET path = 'text' WHERE id = 1",
        "INSERT OR REPLACE INTO settings VALUES('ratios', '1 2 nan')",
    ):
        target = path.with_name("changed.sqlite")
        shutil.copy(path, target)
        connection = sqlite3.connect(target)
        connection.execute(change)
        connection.commit()
        connection.close()
        with pytest.raises(DocumentError, match="damaged"):
            use(target)


def run(path: Path, folder: Path) -> subprocess.Popen[str]:
    """Indexing in a process of its own, which has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.indexes", str(path), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=REPOSITORY,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kills as POSIX does")
def test_a_kill_at_any_moment_leaves_a_sound_index(folder: Path, tmp_path: Path) -> None:
    for n in range(30, 300):
        write(folder / f"{n}.txt", f"number{n} " + "word and word " * 200)
    write(folder / "large.txt", "A sentence of some words. " * 40_000)
    source = random.Random(11)
    seen = set()
    for number in range(30):
        path = tmp_path / f"{number}.sqlite"
        if number % 2:  # one that is there already, of which much changes
            shutil.copy(tmp_path / "whole.sqlite", path)
            for n in range(0, 200, 2):
                write(folder / f"{n}.txt", f"number{n} changed{number} " + "more " * 300)
        with run(path, folder) as process:
            time.sleep(source.uniform(0, 0.6))
            process.send_signal(signal.SIGKILL)
        if path.exists() and path.stat().st_size:
            use(path)
            with Index(path) as index:
                index.check()
                seen.add(index.counts().documents)
        make_index(path, folder)
        check(path)
        for n in (0, 7, 299):
            texts = [(folder / f"{n}.txt").read_text("utf-8").split()[:2]]
            assert [text.split()[:2] for text in matching(path, f"number{n}")] == texts
        if not number:
            shutil.copy(path, tmp_path / "whole.sqlite")
        path.unlink()
    assert len(seen) > 2, "all kills came before or after the work"


@pytest.mark.slow
def test_a_full_disk_is_told_and_what_was_done_is_kept(tmp_path: Path, folder: Path) -> None:
    for n in range(30, 600):
        write(folder / f"{n}.txt", f"number{n} " + " ".join(f"w{n}x{m}" for m in range(400)))
    disk = tmp_path / "disk"
    with small_disk(disk, 1_500_000) as is_mounted:
        if not is_mounted:
            cannot("no small disk can be mounted here")
        path = disk / "index.sqlite"
        with pytest.raises(DocumentError, match="free some space"):
            make_index(path, folder)
        use(path) if path.exists() and path.stat().st_size else None
        for n in range(20, 600):
            (folder / f"{n}.txt").unlink()
        make_index(path, folder)
        check(path)
        assert len(matching(path, "number3")) == 1


@pytest.mark.slow
def test_a_folder_that_is_read_only_can_be_searched(tmp_path: Path, path: Path) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 4_000_000) as is_mounted:
        if not is_mounted:
            cannot("no small disk can be mounted here")
        shutil.copy(path, disk / "plain.sqlite")
        shutil.copy(path, disk / "logged.sqlite")
        connection = sqlite3.connect(disk / "logged.sqlite")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for name in ("plain.sqlite", "logged.sqlite"):
            assert len(use(disk / name)) > 30
            with pytest.raises(DocumentError, match=r"[Rr]ead-only"):
                make_index(disk / name, tmp_path / "root")


def test_it_is_closed_as_one_file(path: Path) -> None:
    assert [file.name for file in path.parent.glob("index*")] in (
        ["index.sqlite"],
        ["index.sqlite", "index.sqlite.lock"],
        ["index.sqlite.lock", "index.sqlite"],
    )
    open_to_read(path).close()
    assert stat.S_ISREG(path.stat().st_mode)
    assert remove_index(path) > 0
    assert not list(path.parent.glob("index*"))


@pytest.mark.slow
def test_a_line_of_200_mb_takes_little_memory(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    with (root / "line.txt").open("w") as file:
        for n in range(20_000):
            file.write(f"beginning{n} " + "some words without an end " * 400)
    code = (
        "import sys; from pathlib import Path; "
        "from edgeproxy.core.memory_free import peak_memory; "
        "from edgeproxy.documents.indexing import index_documents as i; "
        "r = i(Path(sys.argv[1]), [Path(sys.argv[2])]); "
        "print(r.passages, (peak_memory() or 0) // 1_000_000)"
    )
    path = tmp_path / "line.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(root)],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        check=True,
    )
    passages, memory = map(int, done.stdout.split())
    assert passages > 200_000_000 / 1000
    assert memory < 300
    assert matching(path, "beginning19999")


@pytest.mark.skipif(sys.platform == "win32", reason="opens a file that another one holds")
def test_what_a_kill_left_beside_an_index_is_taken_back_by_who_reads(
    folder: Path, tmp_path: Path
) -> None:
    """A rollback journal that nobody holds: what it undoes was written by half."""
    path = tmp_path / "a.sqlite"
    with run(path, folder) as process:
        assert process.wait(60) == 0
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute("PRAGMA cache_spill = ON")
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE passages SET text = text || ' half written'")
        journal = path.with_name("a.sqlite-journal")
        assert journal.stat().st_size
        cut_short = tmp_path / "b.sqlite"
        shutil.copy(path, cut_short)
        shutil.copy(journal, tmp_path / "b.sqlite-journal")
        connection.execute("ROLLBACK")
    connection.close()
    assert b"half written" in cut_short.read_bytes()
    use(cut_short)
    with Index(cut_short) as index:
        rows = index.connection.execute("SELECT text FROM passages").fetchall()
    assert rows
    assert not any("half written" in text for (text,) in rows)
