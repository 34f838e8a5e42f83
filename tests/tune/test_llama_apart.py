"""llama.cpp in a process of its own: what it says, its errors, and its end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled, ModelFileError, TuningError
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.tune.llama_apart import Asked, ask
from tests.helpers.small_models import small_model

Popen = subprocess.Popen


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_model(tmp_path_factory.mktemp("model") / "small.gguf")


def asked(model: Path, adapter: Path | None = None) -> Asked:
    seen = np.array([[1, 5, 9]] * 3)
    return Asked(model, adapter, 1, [[3, 4, 5, 6, 7, 8]], [3], [seen])


def child(monkeypatch: pytest.MonkeyPatch, *code: str) -> None:
    """Another program runs in place of llama.cpp."""

    def started(_command: Any, **options: Any) -> Any:
        return Popen([sys.executable, *code], **options)

    monkeypatch.setattr(subprocess, "Popen", started)


def test_it_says_what_the_model_says_here(model: Path) -> None:
    found = ask(asked(model))
    with Weights(model) as weights:
        rows = LlamaModel(weights, n_ctx=64, n_threads=1).eval([3, 4, 5, 6, 7], 3)
    assert found.plain == pytest.approx(rows[:, [1, 5, 9]], abs=1e-3)
    assert found.adapted is found.plain
    assert found.best == []


def test_its_errors_are_raised_here(model: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(model.read_bytes()[:-100])
    with pytest.raises(ModelFileError, match=r"damaged\.gguf") as error:
        ask(asked(damaged))
    assert error.value.path == str(damaged)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_an_abort_in_llama_cpp_is_one_error_that_names_the_signal(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child(monkeypatch, "-c", "import os; os.abort()")
    with pytest.raises(TuningError, match=r"was ended by SIGABRT .*close other programs"):
        ask(asked(model))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit('no\\x1b[31m luck')", r"exit code 1 .*\(no\[31m luck\)"),
        ("print('no archive')", "exit code 0"),
        ("raise SystemExit(0)", "exit code 0"),
    ],
)
def test_an_end_without_an_answer_is_one_error(
    code: str, said: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child(monkeypatch, "-c", code)
    with pytest.raises(TuningError, match=said) as error:
        ask(asked(model))
    assert "\x1b" not in str(error.value)


def test_a_child_that_hangs_is_ended_when_asked_to_stop(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children = []

    def started(_command: Any, **options: Any) -> Any:
        children.append(Popen([sys.executable, "-c", "import time; time.sleep(600)"], **options))
        return children[0]

    monkeypatch.setattr(subprocess, "Popen", started)
    stop = Flag()
    stop.set()
    with pytest.raises(Cancelled):
        ask(asked(model), stop)
    assert children[0].returncode != 0


def refused(*_: Any, **__: Any) -> None:
    raise OSError(28, os.strerror(28))


@pytest.mark.parametrize(
    "fault",
    [
        lambda patch: patch.setattr(subprocess, "Popen", refused),
        lambda patch: patch.setattr(tempfile, "TemporaryFile", refused),
    ],
    ids=["no process", "no temporary file"],
)
def test_what_cannot_be_started_is_one_error(
    fault: Callable[[pytest.MonkeyPatch], None], model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault(monkeypatch)
    with pytest.raises(TuningError, match=r"No space left.*temporary files"):
        ask(asked(model))


def test_without_a_python_it_says_what_to_set(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEPROXY_PYTHON", raising=False)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(TuningError, match="EDGEPROXY_PYTHON"):
        ask(asked(model))
