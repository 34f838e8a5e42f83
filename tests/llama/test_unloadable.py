"""A llama.cpp that cannot be loaded: what is told, and what works without it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeproxy.core.loadable import BUILD_HERE, probe, unloadable

pytestmark = pytest.mark.slow

GOMP = (
    "Failed to load shared library '/x/llama_cpp/lib/libllama.so': libgomp.so.1: cannot open "
    "shared object file: No such file or directory"
)
MUSL = "libc.musl-x86_64.so.1: cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError(GOMP),
            "this system has no libgomp.so.1, which it needs; type: apt install",
        ),
        (
            OSError("Error loading shared library libstdc++.so.6: No such file (needed by libx)"),
            "this system has no libstdc++.so.6, which it needs; type: apt install libstdc++6",
        ),
        (
            RuntimeError("dlopen(x, 6): Library not loaded: @rpath/libomp.dylib\n  Referenced"),
            "this system has no libomp.dylib, which it needs; type: brew install libomp",
        ),
        (
            RuntimeError("libcuda.so.1: cannot open shared object file: No such file"),
            "this system has no libcuda.so.1, which it needs; install it again: pip install --for",
        ),
        (RuntimeError(MUSL), f"it was built for another C library than this system's ({MUSL}); "),
        (
            RuntimeError("/lib/libc.so.6: version `GLIBC_2.38' not found (required by x)"),
            "it was built for another C library than this system's (/lib/libc.so.6: version",
        ),
        (
            RuntimeError("Error loading shared library ld-linux-x86-64.so.2: No such file"),
            "it was built for another C library than this system's (Error loading shared",
        ),
        (OSError("x.so: invalid ELF header"), "it was built for another kind of processor (x.so"),
        (
            RuntimeError("Could not find module 'llama.dll' (or one of its dependencies). Try"),
            "a library that it needs is missing (Could not find module 'llama.dll' (or one of its",
        ),
        (AttributeError("x.so: undefined symbol: llama_x"), "its parts do not fit together (x.so:"),
        (ModuleNotFoundError("", name="llama_cpp"), "Python has no module llama_cpp; install it: "),
        (FileNotFoundError("Shared library with base name 'llama' not found"), "Shared library wi"),
    ],
)
def test_the_error_says_what_is_missing_and_what_to_type(error: Exception, said: str) -> None:
    message = str(unloadable(error))
    assert message.startswith(f"llama.cpp cannot be loaded: {said}")
    assert "\n" not in message
    assert "; " in message
    if "another" in said:
        assert message.endswith(BUILD_HERE)


def broken(folder: Path, code: str) -> Path:
    """A folder in which importing `llama_cpp` runs `code`."""
    (folder / "llama_cpp").mkdir()
    (folder / "llama_cpp" / "__init__.py").write_text(code)
    return folder


def run(path: Path, *arguments: str) -> tuple[int, str, str]:
    """The command line as a process whose `llama_cpp` is the one in the folder `path`."""
    before = os.environ.get("PYTHONPATH")
    paths = [str(path), *([before] if before else []), str(Path(__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, "-m", "edgeproxy", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_what_needs_no_models_works_without_it(tmp_path: Path) -> None:
    path = broken(tmp_path, f"raise RuntimeError({GOMP!r})")
    for arguments in (["--help"], ["ls"], ["show"], ["show", "qwen2.5-7b"], ["verify", "factbook"]):
        code, out, err = run(path, *arguments)
        assert (code, err) == (0, ""), arguments
        assert out


@pytest.mark.parametrize("arguments", [["run", "Hi"], ["chat"], ["bench"]], ids=lambda a: a[0])
def test_what_needs_models_says_what_to_type(tmp_path: Path, arguments: list[str]) -> None:
    path = broken(tmp_path, f"raise RuntimeError({GOMP!r})")
    code, out, err = run(path, *arguments)
    assert (code, out) == (1, "")
    assert err == (
        "edgeproxy: llama.cpp cannot be loaded: this system has no libgomp.so.1, which it needs; "
        "type: apt install libgomp1, dnf install libgomp, or apk add libgomp\n"
    )


def test_a_probe_of_what_works() -> None:
    assert probe() is None


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (f"raise RuntimeError({GOMP!r})", "llama.cpp cannot be loaded: this system has no libgomp"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "built for another processor,"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "it ends Python by SIGSEGV; "),
    ],
    ids=["missing", "illegal instruction", "crash"],
)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no such signals")
def test_a_probe_outlives_what_ends_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    monkeypatch.syspath_prepend(str(broken(tmp_path, code)))
    found = probe()
    assert found is not None
    assert said in found


def test_a_frozen_application_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("the application would be started again")

    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(subprocess, "run", never)
    assert probe() is None
