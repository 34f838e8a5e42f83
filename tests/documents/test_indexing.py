"""An index follows its folders: what is new, changed, gone, unreadable or changing."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.documents import indexing
from edgeproxy.documents.database import holding
from edgeproxy.documents.index import Index
from edgeproxy.documents.indexing import index_documents
from edgeproxy.documents.kinds import TEXT, Reading, open_document
from edgeproxy.documents.passage import Block
from edgeproxy.documents.writing import Writer
from edgeproxy.errors import Cancelled, DocumentError, UnreadableError, UsageError
from tests.helpers.indexes import OLD, check, make_index, matching, rows, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    write(root / "a.txt", "an apple")
    write(root / "b" / "b.txt", "a banana")
    write(root / "c.md", "# Fruit\n\na cherry")
    return root


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


def numbers(report: indexing.Report) -> tuple[int, int, int, int]:
    return report.new, report.changed, report.gone, report.same


def test_a_second_run_opens_nothing(
    folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert numbers(make_index(path, folder)) == (3, 0, 0, 0)
    assert matching(path, "apple") == ["an apple"]
    for name in ("open_document", "hash_file", "kind_of"):
        monkeypatch.setattr(indexing, name, lambda *_: pytest.fail("a file was opened"))
    assert numbers(make_index(path, folder)) == (0, 0, 0, 3)
    check(path)


def test_what_came_changed_and_went_is_worked_on(folder: Path, path: Path) -> None:
    make_index(path, folder)
    write(folder / "a.txt", "an apricot")
    (folder / "b" / "b.txt").unlink()
    write(folder / "d.txt", "a date")
    assert numbers(make_index(path, folder)) == (1, 1, 1, 1)
    for word, texts in (("apple", []), ("banana", []), ("apricot", ["an apricot"])):
        assert matching(path, word) == texts
    assert rows(path, "SELECT count(*) FROM vocabulary WHERE term IN ('apple', 'banana')") == [(0,)]
    check(path)


def test_a_file_that_was_only_touched_is_not_read_again(folder: Path, path: Path) -> None:
    make_index(path, folder)
    before = rows(path, "SELECT id, text FROM passages")
    os.utime(folder / "a.txt", ns=(OLD + 5, OLD + 5))
    assert numbers(make_index(path, folder)) == (0, 0, 0, 3)
    assert rows(path, "SELECT id, text FROM passages") == before


def test_a_change_that_time_and_size_hide_is_seen_while_it_is_recent(
    folder: Path, path: Path
) -> None:
    new = folder / "new.txt"
    new.write_text("one")
    status = new.stat()
    make_index(path, folder)
    new.write_text("two")
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert numbers(make_index(path, folder)) == (0, 1, 0, 3)
    assert matching(path, "two") == ["two"]


def test_a_file_that_changes_while_it_is_read_is_read_again(folder: Path, path: Path) -> None:
    @contextlib.contextmanager
    def changing(file: Path, cancel: Cancel | None) -> Iterator[Reading]:
        if file.name == "a.txt":
            write(file, "an ananas")
            yield Reading(TEXT, "utf-8", iter([Block("an apple")]))
            return
        with open_document(file, cancel) as opened:
            yield opened

    report = index_documents(path, [folder], reader=changing)
    assert report.unsettled == [folder / "a.txt"]
    assert matching(path, "apple") == ["an apple"]
    assert numbers(make_index(path, folder)) == (0, 1, 0, 2)
    assert matching(path, "ananas") == ["an ananas"]
    assert numbers(make_index(path, folder)) == (0, 0, 0, 3)


@contextlib.contextmanager
def failing(file: Path, cancel: Cancel | None) -> Iterator[Reading]:
    """A reader of three passages, which fails behind them for files called b.txt."""

    def blocks() -> Iterator[Block]:
        yield from (Block(f"{file.name} {n} " + "word " * 100, (f"{n}",)) for n in range(3))
        if file.name == "b.txt":
            raise UnreadableError(file, "it is damaged")

    yield Reading(TEXT, "utf-8", blocks())


@pytest.mark.parametrize("large", [1, 10**9])
def test_a_file_that_cannot_be_read_is_named_and_passed_over(
    folder: Path, path: Path, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_index(path, folder)
    write(folder / "b" / "b.txt", "changed")
    write(folder / "a.txt", "also changed")
    monkeypatch.setattr(indexing, "LARGE", large)
    report = index_documents(path, [folder], reader=failing)
    assert list(report.problems) == [folder / "b" / "b.txt"]
    assert "it is damaged" in report.problems[folder / "b" / "b.txt"]
    assert matching(path, "banana") == []
    with Index(path) as index:
        assert index.counts().problems == 1
        assert [where for where, _ in index.problems()] == [folder / "b" / "b.txt"]
        assert index.counts().passages == 4
    check(path)
    assert numbers(make_index(path, folder)) == (0, 1, 0, 2)


def test_what_is_no_document_is_passed_over(folder: Path, path: Path) -> None:
    (folder / "picture.png").write_bytes(b"\x89PNG\0")
    (folder / "program").write_bytes(bytes(range(256)) * 4)
    report = make_index(path, folder)
    assert (report.others, report.new, report.problems) == (2, 3, {})
    (folder / "a.txt").write_bytes(b"\0\1\2\3" * 999)
    make_index(path, folder)
    assert matching(path, "apple") == []
    check(path)


def test_a_folder_that_is_missing_keeps_its_documents(folder: Path, path: Path) -> None:
    make_index(path, folder)
    folder.rename(folder.with_name("away"))
    report = index_documents(path, [])
    assert list(report.problems) == [folder]
    assert report.gone == 0
    assert matching(path, "apple") == ["an apple"]
    with pytest.raises(DocumentError, match="check the path"):
        make_index(path, folder)


def test_a_new_size_makes_all_be_read_again(folder: Path, path: Path) -> None:
    write(folder / "long.txt", "A sentence of words. " * 400)
    make_index(path, folder)
    before = rows(path, "SELECT count(*) FROM passages")[0][0]
    report = index_documents(path, [folder], size=40)
    assert report.changed == 4
    [(after,)] = rows(path, "SELECT count(*) FROM passages")
    assert int(str(after)) > 2 * int(str(before))
    assert numbers(make_index(path, folder)) == (0, 0, 0, 4)
    report = index_documents(path, [folder], count=len, counted_by="letters")
    assert report.changed == 4
    with Index(path) as index:
        assert index.sizing.ratios.latin == 1
        assert index.sizing.size == 40
    assert index_documents(path, [folder], count=len, counted_by="letters").same == 4
    check(path)
    with pytest.raises(UsageError, match="16 to 2048"):
        index_documents(path, [folder], size=3)


def test_common_words_are_counted_when_the_index_has_grown(folder: Path, path: Path) -> None:
    for n in range(60):
        write(folder / f"{n}.txt", f"common word{n}")
    make_index(path, folder)
    assert ("common", 60) in rows(path, "SELECT word, passages FROM common")
    write(folder / "60.txt", "common word60")
    make_index(path, folder)
    assert ("common", 60) in rows(path, "SELECT word, passages FROM common")
    for n in range(61, 90):
        write(folder / f"{n}.txt", f"common word{n}")
    make_index(path, folder)
    assert ("common", 90) in rows(path, "SELECT word, passages FROM common")


@pytest.mark.parametrize("large", [1, 10**9])
def test_an_interrupted_run_keeps_what_is_done(
    folder: Path, path: Path, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexing, "LARGE", large)
    stop = Flag()

    def progress(what: str, _done: int, _total: int) -> None:
        if what == "reading c.md":
            stop.set()

    with pytest.raises(Cancelled):
        index_documents(path, [folder], progress=progress, cancel=stop)
    check(path)
    assert matching(path, "apple") == ["an apple"]
    assert matching(path, "cherry") == []
    assert make_index(path, folder).new == 1


def test_what_progress_raises_amid_a_large_document_drops_only_that(
    folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_index(path, folder)
    write(folder / "b" / "b.txt", "a blackberry")
    monkeypatch.setattr(indexing, "LARGE", 1)
    insert = Writer._insert

    def interrupted(self: Writer, *arguments: object) -> None:
        insert(self, *arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(Writer, "_insert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_index(path, folder)
    assert matching(path, "banana") == ["a banana"]
    check(path)


def test_progress_tells_of_all_bytes(folder: Path, path: Path) -> None:
    seen: list[tuple[int, int]] = []
    index_documents(path, [folder], progress=lambda _, done, total: seen.append((done, total)))
    total = sum(file.stat().st_size for file in folder.rglob("*.*"))
    assert seen[-1] == (total, total)
    assert all(0 <= done <= all_ for done, all_ in seen)


def test_two_at_once_the_later_one_is_told(folder: Path, path: Path) -> None:
    make_index(path, folder)
    with holding(path):
        with pytest.raises(DocumentError, match="somebody else is writing"):
            make_index(path, folder)
        assert matching(path, "apple") == ["an apple"]


def test_who_reads_goes_on_while_the_index_is_written_to(folder: Path, path: Path) -> None:
    make_index(path, folder)
    found: list[list[str]] = []
    write(folder / "d.txt", "a date")
    index_documents(path, [], progress=lambda *_: found.append(matching(path, "apple")))
    assert found
    assert all(texts == ["an apple"] for texts in found)
    with Index(path) as idle, contextlib.ExitStack() as stack:
        snapshots: list[Index] = []

        def reads(what: str, *_: int) -> None:
            if what == "reading a.txt":
                index = stack.enter_context(Index(path))
                index.connection.execute("BEGIN")
                index.passage_count()
                snapshots.append(index)

        write(folder / "a.txt", "an orange")
        (folder / "c.md").unlink()
        assert index_documents(path, [], progress=reads).changed == 1
        assert {index.passage_count() for index in snapshots} <= {3, 4}
        assert snapshots
        assert idle.passage_count() == 3
    assert matching(path, "orange") == ["an orange"]
    check(path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes any bytes as a name")
def test_names_that_are_not_utf_8_work(folder: Path, path: Path) -> None:
    odd = os.fsencode(folder) + b"/\xff\xfe.txt"
    with open(odd, "w") as file:  # noqa: PTH123 - a name of bytes
        file.write("an odd name")
    assert make_index(path, folder).new == 4
    with Index(path) as index:
        [passage] = list(index.passages_of(Path(os.fsdecode(odd))))
    assert os.fsencode(passage.path) == odd
    strange = Path(os.fsdecode(os.fsencode(path.parent) + b"/\xff?#%41.sqlite"))
    make_index(strange, folder)
    assert matching(strange, "odd") == ["an odd name"]


def test_an_index_amid_its_own_documents_is_left_out(folder: Path) -> None:
    path = folder / "own.sqlite"
    assert make_index(path, folder).new == 3
    report = make_index(path, folder)
    assert (report.same, report.new, report.others) == (3, 0, 0)
