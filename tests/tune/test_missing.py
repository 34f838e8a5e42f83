"""Without PyTorch or gguf there is one clear error, before anything else takes time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeproxy.cli import main
from edgeproxy.errors import TuningError
from edgeproxy.tune.missing import check_extra


def test_nothing_is_missing_here() -> None:
    check_extra()


@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        (["torch"], "PyTorch is not installed"),
        (["gguf"], "gguf is not installed"),
        (["torch", "gguf"], "PyTorch and gguf are not installed"),
    ],
)
def test_what_is_missing_is_told(
    hidden: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in hidden:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TuningError, match=said):
        check_extra()


@pytest.mark.parametrize(("platform", "has_index"), [("linux", True), ("darwin", False)])
def test_only_on_linux_pip_has_to_be_told_which_build(
    platform: str, has_index: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(sys, "platform", platform)
    with pytest.raises(TuningError, match=r"pip install 'edgeproxy\[tune\]'") as raised:
        check_extra()
    assert ("--extra-index-url https://download.pytorch.org/whl/cpu" in str(raised.value)) == (
        has_index
    )
    assert ("several GB" in str(raised.value)) == has_index


def test_what_is_broken_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gguf.py").write_text("raise OSError('libm.so.6: version not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gguf", raising=False)
    with pytest.raises(TuningError, match=r"gguf, which is installed and cannot be loaded \(libm"):
        check_extra()


def test_the_command_says_it_in_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    folder = tmp_path / "out"
    # The files are missing too, and that is not what has to be mended first.
    assert main(["tune", "none.jsonl", "--small", "none.gguf", "-o", str(folder)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("edgeproxy: tuning needs PyTorch and gguf")
    assert said.err.count("\n") == 1
    assert not folder.exists()
