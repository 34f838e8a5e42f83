"""Which files a walk finds, in which order, and what it passes over."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.documents.walk import Walk, absolute
from edgeproxy.errors import Cancelled
from tests.helpers.indexes import OLD, write

links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


def found(root: Path) -> list[str]:
    return [each.path.relative_to(root).as_posix() for each in Walk([root])]


def test_files_come_in_order_with_size_and_time(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a/b/c.txt", "c/a.txt"):
        write(tmp_path / name, "text")
    assert found(tmp_path) == ["b.txt", "a/z.txt", "a/b/c.txt", "c/a.txt"]
    assert {(each.size, each.mtime_ns) for each in Walk([tmp_path])} == {(4, OLD)}


def test_hidden_ones_and_programs_folders_are_passed_over(tmp_path: Path) -> None:
    for name in (".git/a", ".hidden", "node_modules/a", "a/__pycache__/b", "a/.x/y", "a/seen"):
        write(tmp_path / name, "text")
    assert found(tmp_path) == ["a/seen"]
    assert found(tmp_path / ".git") == ["a"]


@links
def test_links_are_not_followed_and_those_that_lead_out_are_counted(tmp_path: Path) -> None:
    root = tmp_path / "root"
    write(root / "a" / "file.txt", "text")
    write(tmp_path / "outside" / "secret.txt", "text")
    (root / "loop").symlink_to(root)
    (root / "a" / "up").symlink_to("..")
    (root / "inside.txt").symlink_to("a/file.txt")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "secret").symlink_to("../outside/secret.txt")
    (root / "itself").symlink_to("itself")
    walk = Walk([root])
    assert [each.path for each in walk] == [root / "a" / "file.txt"]
    assert (walk.outside, walk.unread) == (2, {})
    (tmp_path / "named").symlink_to(root)
    assert found(tmp_path / "named") == ["a/file.txt"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_fifos_are_passed_over_and_counted(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    walk = Walk([tmp_path, tmp_path / "fifo"])
    assert (list(walk), walk.special) == ([], 2)


def test_what_cannot_be_looked_at_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1", "b/2"):
        write(tmp_path / name, "text")
    scan = os.scandir

    def refuses(folder: Path) -> object:
        if Path(folder).name == "a":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuses)
    walk = Walk([tmp_path, tmp_path / "gone"])
    assert [each.path.name for each in walk] == ["2"]
    assert list(walk.unread) == [tmp_path / "a", tmp_path / "gone"]
    assert walk.unread[tmp_path / "a"] == "Permission denied"


def test_it_can_be_cancelled(tmp_path: Path) -> None:
    write(tmp_path / "a", "text")
    stop = Flag()
    stop.set()
    with pytest.raises(Cancelled):
        list(Walk([tmp_path], cancel=stop))


def test_a_root_is_absolute_and_has_no_parts_that_lead_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute(Path("x")) == tmp_path / "x"
    assert absolute(Path("a/../x")) == tmp_path.resolve() / "x"
