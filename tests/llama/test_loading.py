"""Weights from files: progress, cancelling, files that change, quantising, and what is logged."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeproxy import llama
from edgeproxy.errors import (
    Cancelled,
    EngineError,
    ModelFileError,
)
from edgeproxy.llama import LlamaModel, Weights, quantize, weights
from tests.helpers.near import assert_near


def test_progress_goes_from_0_to_1(tiny_file: Path) -> None:
    shares: list[float] = []
    Weights(tiny_file, progress=shares.append).close()
    assert shares
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize("error", [RuntimeError("enough"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("at", [0.0, 1.0])
def test_an_error_in_the_progress_callback_stops_loading(
    tiny_file: Path, error: BaseException, at: float
) -> None:
    def report(share: float) -> None:
        if share >= at:
            raise error

    with pytest.raises(type(error)) as caught:
        Weights(tiny_file, progress=report)
    assert caught.value is error


@pytest.mark.parametrize("at", [0.0, 1.0])
def test_loading_may_be_cancelled(tiny_file: Path, at: float) -> None:
    cancel = threading.Event()

    def report(share: float) -> None:
        if share >= at:
            cancel.set()

    with pytest.raises(Cancelled, match=r"tiny\.gguf: loading was cancelled"):
        Weights(tiny_file, progress=report, cancel=cancel)


def altered_after_validation(
    path: Path, alter: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = weights._load

    def alter_and_load(*arguments: object) -> object:
        alter(path)
        return load(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(weights, "_load", alter_and_load)


def replace_by_another(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.parametrize(
    "alter",
    [
        replace_by_another,
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: os.truncate(path, 100),
        lambda path: os.truncate(path, 0),
        lambda path: path.write_bytes(b"GGUF" + bytes(5000)),
        Path.unlink,
    ],
    ids=["replaced", "cut in half", "cut to its header", "emptied", "overwritten", "removed"],
)
def test_a_file_altered_after_validation_is_refused(
    tiny_file: Path,
    tmp_path: Path,
    alter: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_file.read_bytes())
    altered_after_validation(path, alter, monkeypatch)
    with pytest.raises((ModelFileError, EngineError), match=r"model\.gguf: "):
        Weights(path)


@pytest.mark.parametrize("mmap", [True, False])
def test_a_file_may_be_replaced_while_the_model_is_used(
    tiny_file: Path, tmp_path: Path, mmap: bool
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_file.read_bytes())
    with Weights(path, mmap=mmap) as loaded:
        model = LlamaModel(loaded)
        wanted = model.eval([5]).copy()
        path.unlink()
        path.write_bytes(b"something else")
        model.rewind(1)
        assert_near(model.eval([5]), wanted)


def test_a_missing_file_is_a_model_file_error(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.gguf"):
        Weights(tmp_path / "none.gguf")


def test_llama_cpp_writes_to_logging_and_to_nothing_else(
    tiny_file: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG, "edgeproxy.llama"), Weights(tiny_file) as loaded:
        LlamaModel(loaded).eval([5])
    assert len(caplog.records) > 20
    assert {record.name for record in caplog.records} == {"edgeproxy.llama"}
    assert any(record.levelno == logging.INFO for record in caplog.records)
    assert capfd.readouterr() == ("", "")


def test_by_default_nothing_is_written_anywhere(tiny_file: Path) -> None:
    code = (
        "import sys; from edgeproxy.llama import LlamaModel, Weights\n"
        "w = Weights(sys.argv[1]); LlamaModel(w, n_ctx=4096).eval([5])"
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(tiny_file)], capture_output=True, check=True
    )
    assert (child.stdout, child.stderr) == (b"", b"")


def test_an_impossible_quantisation_is_an_error(tiny_file: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no quantisation called 'Q99'"):
        quantize(tiny_file, tmp_path / "out.gguf", "Q99")
    with pytest.raises(EngineError, match="could not be quantised"):
        quantize(tmp_path / "none.gguf", tmp_path / "out.gguf", "Q8_0")


def test_a_quantised_model_loads(tiny_file: Path, tmp_path: Path) -> None:
    quantize(tiny_file, tmp_path / "q8.gguf", "Q8_0")
    with Weights(tmp_path / "q8.gguf") as quantised:
        assert np.isfinite(LlamaModel(quantised).eval([5])).all()


def test_the_version_is_told() -> None:
    assert llama.version().startswith("0.3.")
