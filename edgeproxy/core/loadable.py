"""Whether llama.cpp can be loaded on this machine; where it cannot, why, and what to type.

May touch: a child process, which tries it: a build for another processor ends the process.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

from edgeproxy.errors import EngineLoadError

BUILD_HERE = (
    "build it for this machine: pip install --force-reinstall --no-cache-dir --no-binary "
    "llama-cpp-python llama-cpp-python"
)
_AGAIN = "install it again: pip install --force-reinstall --no-cache-dir llama-cpp-python"

_PROBE = """
import sys
from edgeproxy.errors import EngineLoadError
try:
    import edgeproxy.llama.library
except EngineLoadError as error:
    sys.stdout.buffer.write(str(error).encode("utf-8"))
"""
_PROBE_SECONDS = 60
_ILLEGAL_INSTRUCTION = 0xC000001D  # how Windows says SIGILL

_ABSENT = re.compile(r"([\w.+-]+\.so[\w.]*): cannot open shared object file")  # glibc's loader
_ABSENT_MUSL = re.compile(r"Error loading shared library ([\w.+-]+\.so[\w.]*)")
_ABSENT_MACOS = re.compile(r"Library not loaded: \S*?([\w.+-]+\.dylib)")

_PACKAGES = {
    "libgomp": "apt install libgomp1, dnf install libgomp, or apk add libgomp",
    "libstdc++": "apt install libstdc++6, dnf install libstdc++, or apk add libstdc++",
    "libgcc_s": "apt install libgcc-s1, dnf install libgcc, or apk add libgcc",
    "libomp": "brew install libomp",
}
"""The packages that bring the libraries which a build may need, by how their names begin."""

_OTHER_C_LIBRARY = ("libc.musl", "ld-musl", "ld-linux", "libc.so.6", "libm.so.6", "GLIBC_")
_OTHER_MACHINE = ("ELF header", "ELF class", "incompatible architecture", "not a valid Win32")
_NO_SYMBOL = ("undefined symbol", "symbol not found", "Symbol not found")


def unloadable(error: Exception) -> EngineLoadError:
    """The error to raise for what importing `llama_cpp` has raised."""
    if isinstance(error, ModuleNotFoundError):
        return EngineLoadError(
            f"llama.cpp cannot be loaded: Python has no module {error.name}; install it: "
            "pip install llama-cpp-python"
        )
    what, remedy = _explain(" ".join(str(error).split()))
    return EngineLoadError(f"llama.cpp cannot be loaded: {what}; {remedy}")


def _explain(said: str) -> tuple[str, str]:
    """What is the matter, and what to do about it."""
    if any(sign in said for sign in _OTHER_C_LIBRARY):
        return f"it was built for another C library than this system's ({said})", BUILD_HERE
    if any(sign in said for sign in _OTHER_MACHINE):
        return f"it was built for another kind of processor ({said})", BUILD_HERE
    if "(or one of its dependencies)" in said:  # Windows never says which
        return (
            f"a library that it needs is missing ({said})",
            "install Microsoft's Visual C++ Redistributable",
        )
    for pattern in (_ABSENT, _ABSENT_MUSL, _ABSENT_MACOS):
        found = pattern.search(said)
        if found:
            name = found[1]
            for begins, packages in _PACKAGES.items():
                if name.startswith(begins):
                    return f"this system has no {name}, which it needs", f"type: {packages}"
            return f"this system has no {name}, which it needs", _AGAIN
    if any(sign in said for sign in _NO_SYMBOL):
        return f"its parts do not fit together ({said})", _AGAIN
    return said, _AGAIN


def probe() -> str | None:
    """Load llama.cpp in a child: None where that goes well, else what an error would say.

    Also None where it cannot be tried: in a frozen application, whose program is no Python.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        return None
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        child = subprocess.run(
            [sys.executable, "-c", _PROBE],
            env={**os.environ, "PYTHONPATH": paths},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"llama.cpp was not loaded within {_PROBE_SECONDS} s; {_AGAIN}"
    if child.stdout:
        return child.stdout.decode("utf-8", "replace")
    return _of_an_end(child.returncode)


def _of_an_end(code: int) -> str | None:
    """What is to be said of a child that ended with this code, and said nothing itself."""
    if code == -getattr(signal, "SIGILL", 4) or code & 0xFFFFFFFF == _ILLEGAL_INSTRUCTION:
        return (
            "llama.cpp cannot be loaded: it was built for another processor, and ends Python by "
            f"an illegal instruction; {BUILD_HERE}"
        )
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"llama.cpp cannot be loaded: it ends Python by {name}; {_AGAIN}"
    return None
