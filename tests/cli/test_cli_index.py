"""The verb `index`: what it says, asks and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeproxy.cli import main
from edgeproxy.documents.named import has_name, names, path_of
from edgeproxy.errors import DocumentError, UsageError
from tests.helpers.indexes import write


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder; the tests are in a folder with documents."""
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    write(tmp_path / "notes" / "a.txt", "The notice period is three months.")
    write(tmp_path / "ls" / "b.txt", "A folder with a verb's name.")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_a_name_is_in_the_home_folder_and_a_path_where_it_says(home: Path, tmp_path: Path) -> None:
    assert path_of("work") == home / "documents" / "work.sqlite"
    assert path_of("./work") == tmp_path / "work"
    assert path_of("work.sqlite") == tmp_path / "work.sqlite"
    assert has_name(path_of("work"))
    assert not has_name(path_of("./work"))
    for wrong in ("", "a b", "con", ".hidden", "x" * 65, "é"):
        with pytest.raises(UsageError, match="cannot be the name of an index"):
            path_of(wrong)


def test_without_a_home_folder_a_path_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeproxy.documents.named.home", lambda: None)
    with pytest.raises(DocumentError, match="EDGEPROXY_HOME"):
        path_of("work")
    assert names() == []


def test_from_a_folder_to_a_passage(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["index", "notes", "-o", "work"]) == 0
    assert "work: 1 new, 0 changed, 0 gone, 0 as before; 1 passages" in capsys.readouterr().out
    assert main(["index", "-o", "work", "./ls"]) == 0
    assert main(["index", "make", "-o", "work"]) == 0
    assert "0 new, 0 changed, 0 gone, 2 as before" in capsys.readouterr().out
    assert names() == ["work"]
    assert main(["index", "ls"]) == 0
    assert capsys.readouterr().out.split()[4:7] == ["work", "2", "2"]
    assert main(["index", "show", "work"]) == 0
    shown = capsys.readouterr().out
    assert "kinds       text 2" in shown
    assert main(["index", "search", "work", "notice", "period"]) == 0
    assert "The notice period is three months." in capsys.readouterr().out
    assert main(["index", "search", "work", "nowhere"]) == 0
    assert "nothing was found" in capsys.readouterr().err


def test_removing_asks_and_keeps_the_documents(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["index", "notes", "-o", "work"])
    assert main(["index", "rm", "work"]) == 2
    assert "--yes" in capsys.readouterr().err
    assert names() == ["work"]
    path_of("work").write_bytes(b"damaged")
    assert main(["index", "ls"]) == 0
    assert "work" in capsys.readouterr().out
    assert main(["index", "rm", "work", "--yes"]) == 0
    assert names() == []
    assert not list((home / "documents").iterdir())
    assert (tmp_path / "notes" / "a.txt").exists()
    assert main(["index", "rm", "work", "--yes"]) == 1


def test_problems_are_named_up_to_ten(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n in range(13):
        Path(f"notes/{n:02}.pdf").write_bytes(b"%PDF-1.4 damaged")
    assert main(["index", "notes", "-o", "work"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count(".pdf") in (10, 20)
    assert "and 3 more like these" in captured.err
    assert "13 could not be read" in captured.out
    assert main(["index", "notes", "-o", "work", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 13


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (["index", "nowhere", "-o", "work"], 1, "nowhere"),
        (["index", "-o", "work"], 1, "there is no index 'work'"),
        (["index", "notes"], 2, "-o"),
        (["index", "notes", "-o", "a b"], 2, "cannot be the name"),
        (["index", "notes", "-o", "work", "--size", "3"], 2, "--size"),
        (["index", "notes", "-o", "w", "--trio", "x", "--small", "y"], 2, "not both"),
        (["index", "show", "work"], 1, "there are: none"),
        (["index", "search", "work"], 2, "WORDS"),
    ],
)
def test_what_is_wrong_is_said(
    home: Path, line: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""
    assert not home.exists()


@pytest.mark.weights
def test_passages_are_sized_in_tokens_of_a_trio(home: Path) -> None:
    from edgeproxy.documents.index import Index

    write(Path("notes/long.txt"), "The notice period is three months, says the contract. " * 200)
    assert main(["index", "notes", "-o", "work", "--trio", "factbook"]) == 0
    with Index(path_of("work")) as index:
        assert index.sizing.ratios.latin != 4
