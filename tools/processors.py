"""Run the tests as on other processors: with llama.cpp's build for each of them, from one wheel.

    python -m tools.processors [sse42 haswell zen4 ...] [--times N] [--tests PATH]...

llama-cpp-python is compiled once with all of llama.cpp's variants for this architecture, which
takes about six minutes on two cores and is kept in build/processors. Each variant has a virtual
environment there, whose llama_cpp loads that variant wherever it is imported, in child processes
too. Without names, all of sse42, haswell and zen4 that this processor can run are tested. What
rounds otherwise there shows which tests want equal bits where nobody promises them.

May touch: build/processors; starts pip and pytest; needs the package registry and a compiler once.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from edgeproxy.cli.ui.output import say
from edgeproxy.cli.ui.progress import Working
from edgeproxy.errors import EdgeproxyError, UsageError
from tools.command import at_least, make_parser, run

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "build" / "processors"
USUAL = ("sse42", "haswell", "zen4")
BUILD = "-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON"

LOADER = """

# Written by tools.processors: without it no build for a processor is loaded at all.
def _load_processor():
    import ctypes
    import pathlib

    package = pathlib.Path(__file__).parent
    # Not libggml.so, which is a copy of its own in the wheel and knows nothing of this one.
    ggml = ctypes.CDLL(str(package / "lib" / "libggml.so.0"))
    ggml.ggml_backend_load.restype = ctypes.c_void_p
    variant = package.parent / "bin" / "libggml-cpu-NAME.so"
    # It would tell on standard error what it loads, where tests want nothing to be.
    silent = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)
    ggml.ggml_log_set(silent, None)
    loaded = ggml.ggml_backend_load(str(variant).encode())
    ggml.ggml_log_set(None, None)
    if not loaded:
        raise RuntimeError("this processor cannot run llama.cpp's build for NAME")


_load_processor()
"""
"""What is appended to `llama_cpp/__init__.py` of an environment."""


class UnableError(EdgeproxyError):
    """This processor lacks what a variant was compiled for."""


def build_wheel() -> Path:
    """The wheel with all variants, compiled where it is not there yet."""
    release = version("llama-cpp-python")
    folder = FOLDER / f"wheel-{release}"
    if not list(folder.glob("*.whl")):
        say("compiling llama.cpp for all processors: about six minutes on two cores, once")
        # pip's own cache would give the wheel that was compiled for this processor.
        pip = [sys.executable, "-m", "pip", "wheel", "--no-cache-dir", "--no-deps"]
        pip += ["--no-binary", "llama-cpp-python", "--wheel-dir", str(folder)]
        _call([*pip, f"llama-cpp-python=={release}"], {**os.environ, "CMAKE_ARGS": BUILD})
    return next(folder.glob("*.whl"))


def make_environment(name: str) -> Path:
    """The Python of an environment with the variant `name`.

    Raises `UsageError` where there is none of that name, `UnableError` where it cannot run here.
    """
    wheel = build_wheel()
    known = sorted(_variants(wheel))
    if name not in known:
        raise UsageError(f"llama.cpp has no variant {name!r} here; it has {', '.join(known)}")
    folder = FOLDER / name
    python, made = folder / "bin" / "python", folder / f"made-of-{wheel.stem}"
    if not made.exists():
        say(f"making an environment with {name}")
        venv.create(folder, clear=True, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet"]
        _call([*install, str(wheel)])
        _call([*install, "--editable", f"{REPOSITORY}[chat,dev]"])
        package = next(folder.glob("lib/python*/site-packages/llama_cpp/__init__.py"))
        with package.open("a", encoding="utf-8") as file:
            file.write(LOADER.replace("NAME", name))
        made.touch()
    done = subprocess.run([python, "-c", "import llama_cpp"], capture_output=True, check=False)
    if done.returncode:
        raise UnableError(done.stderr.decode("utf-8", "replace").strip().splitlines()[-1])
    return python


def _variants(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as file:
        for name in file.namelist():
            if found := re.search(r"/libggml-cpu-(\w+)\.so$", name):
                yield found[1]


def _call(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, cwd=REPOSITORY, env=env, check=False)
    if done.returncode:
        raise EdgeproxyError(f"{' '.join(command[:4])} ended with {done.returncode}, see above")


def run_tests(python: Path, tests: Sequence[str]) -> bool:
    """Run pytest with an environment's Python, its output as it comes; whether all passed."""
    parallel = ["-n", "auto", "--maxprocesses", "4", "--dist", "worksteal"]
    command = [str(python), "-m", "pytest", *parallel, *tests]
    return subprocess.run(command, cwd=REPOSITORY, check=False).returncode == 0


def main() -> int:
    """Test as the command line asks; the exit code."""
    parser = make_parser("tools.processors", __doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"[default: {' '.join(USUAL)}]")
    parser.add_argument("--times", type=at_least(1), default=1, metavar="N", help="of each")
    parser.add_argument("--tests", action="append", default=[], metavar="PATH", help="only these")
    return run(parser, _test, "\n".join)


def _test(asked: argparse.Namespace, working: Working) -> list[str]:
    lines: list[str] = []
    failed: list[str] = []
    for name in asked.names or USUAL:
        try:
            python = make_environment(name)
        except UnableError as error:
            if asked.names:
                raise
            lines.append(f"{name} is left out: {error}")
            continue
        for number in range(1, asked.times + 1):
            working.tell(name)
            run_is = f"{name}, run {number} of {asked.times}"
            say(f"== {run_is}")
            if run_tests(python, asked.tests):
                lines.append(f"{run_is}: passed")
            else:
                failed.append(run_is)
    if failed:
        raise EdgeproxyError(f"tests failed as on {'; '.join(failed)}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
