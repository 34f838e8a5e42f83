"""llama.cpp in a process of its own: what it says, its errors, and its end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled, EdgeproxyError, EngineError, ModelFileError, TuningError
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.tune.llama_apart import Asked, ask
from edgeproxy.tune.request import Request
from edgeproxy.tune.run import tune
from tests.helpers.small_models import small_model, write_examples

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


LIMITED = """
import resource, sys
sys.path[:0] = [sys.argv[1]]
import edgeproxy.tune.llama_child as child
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), used + int(sys.argv[2])))
child.main()
"""
IS_LLAMA = "llama_child"
MEGABYTE = 1_000_000
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="limits address space")


def limited(monkeypatch: pytest.MonkeyPatch, more: int, after: int = 0) -> None:
    """llama.cpp's processes, but for some at first, have so many bytes more than at their start."""
    started = 0

    def start(command: Any, **options: Any) -> Any:
        nonlocal started
        if any(IS_LLAMA in part for part in command):
            started += 1
            if started > after:
                command = [command[0], "-c", LIMITED, command[-1], str(more)]
        return Popen(command, **options)

    monkeypatch.setattr(subprocess, "Popen", start)


def said_with(more: int, model: Path) -> str:
    """What is said where llama.cpp has so many bytes; nothing where that is enough."""
    with pytest.MonkeyPatch.context() as patch:
        limited(patch, more)
        try:
            ask(asked(model))
        except EdgeproxyError as error:
            return str(error)
    return ""


@pytest.fixture
def aborting(model: Path) -> int:
    """So many bytes make llama.cpp abort, with an assertion of its own: amid those that do."""
    found = []
    for more in range(2 * MEGABYTE, 100 * MEGABYTE, 2 * MEGABYTE):
        said = said_with(more, model)
        if not said:
            break
        found += [more] * ("SIGABRT" in said)
    return found[len(found) // 2]


@pytest.mark.slow
@linux_only
@pytest.mark.parametrize("megabytes", [0, 1, 2, 5, 10, 15, 20, 30])
def test_too_little_memory_for_llama_cpp_is_one_error(megabytes: int, model: Path) -> None:
    said = said_with(megabytes * MEGABYTE, model)
    assert not said or "memory" in said or "bad_alloc" in said
    assert "Traceback" not in said
    assert "\n" not in said
    if not megabytes:
        assert said


@pytest.mark.slow
@linux_only
def test_an_abort_of_llama_cpps_own_is_one_error_and_loses_nothing(
    aborting: int, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After training: what was trained is kept, and goes on to the same adapter."""
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    settings = {"epochs": 2, "rate": 0.02, "rank": 4, "threads": 1, "dtype": "float32"}
    examples = write_examples(tmp_path / "examples.jsonl")
    request = Request(examples, model, tmp_path / "mine", settings=settings)
    whole = tune(replace(request, folder=tmp_path / "whole")).adapter.read_bytes()
    here = set(tmp_path.iterdir())
    with monkeypatch.context() as patch:
        limited(patch, aborting, after=1)
        with pytest.raises(TuningError) as error:
            tune(request)
    said = str(error.value)
    assert "was ended by SIGABRT while it was compared" in said
    assert "GGML" in said, "it says where"
    assert re.search(r"\((?!/)[\w.]+:\d+: ", said), "and not in which folder it was built"
    assert said.endswith("do the same again with --resume")
    assert set(tmp_path.iterdir()) == {*here, request.folder}, "a core of its memory, say"
    assert [path.name for path in request.folder.iterdir()] == ["adapter.checkpoint.npz"]
    assert tune(replace(request, resume=True)).adapter.read_bytes() == whole


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_it_leaves_no_core_behind(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import resource, sys; sys.path[:0] = sys.argv[1:]; "
        "most = resource.getrlimit(resource.RLIMIT_CORE)[1]; "
        "resource.setrlimit(resource.RLIMIT_CORE, (most, most)); "
        "import edgeproxy.tune.llama_child as child; from edgeproxy.errors import EngineError\n"
        "def answer(job): raise EngineError(str(resource.getrlimit(resource.RLIMIT_CORE)[0]))\n"
        "child.answer = answer; child.main()"
    )
    child(monkeypatch, "-c", code, str(Path(__file__).parents[2]))
    with pytest.raises(EngineError, match=r"^0$"):
        ask(asked(model))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import sys; sys.exit('/tmp/build/ggml/src/ggml.c:7: GGML_ASSERT(a/b != 0) failed')",
            r" PyTorch \(ggml\.c:7: GGML_ASSERT\(a/b != 0\) failed\); ",
        ),
        (
            "import sys; sys.exit('C:\\\\build\\\\ggml.c:7: it failed')",
            r" PyTorch \(ggml\.c:7: it failed\); ",
        ),
        ("import sys; sys.exit('one\\n\\ntwo\\n\\n')", r" PyTorch \(two\); "),
        ("import sys; sys.exit('/a' * 1000_000)", r" PyTorch \((/a){100}\); "),
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
