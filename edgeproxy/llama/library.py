"""The only import of `llama_cpp`, its logs sent to `logging`, and its parameters set by name.

Importing this raises `EngineLoadError` where llama.cpp cannot be loaded.

May touch: the process environment (two variables), llama.cpp's global log callback, and a setting
of this process's `malloc` (see `heap`).
"""

from __future__ import annotations

import ctypes
import logging
import os
from collections import deque
from pathlib import Path
from typing import Any

from edgeproxy.core.heap import keep_large_apart
from edgeproxy.errors import EngineError

# A failed assertion would otherwise start a debugger and write to standard output.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
# OpenMP's idle threads would spin for milliseconds on the processors that the pair needs by then;
# ones that sleep at once are slow to wake between two operations.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")

try:
    import llama_cpp
except (ImportError, OSError, RuntimeError, AttributeError) as error:
    from edgeproxy.core.loadable import unloadable

    raise unloadable(error) from None

lib: Any = llama_cpp.llama_cpp

logger = logging.getLogger("edgeproxy.llama")
# A library says nothing unless asked: without a handler, warnings would go to standard error.
logging.getLogger("edgeproxy").addHandler(logging.NullHandler())
_LEVELS = {2: logging.INFO, 3: logging.WARNING, 4: logging.ERROR}
_lines: deque[tuple[int, str]] = deque(maxlen=1000)


def _keep(level: int, text: bytes, _data: object) -> None:
    # Called from inside llama.cpp, maybe on its threads: only remember, never log from here.
    _lines.append((level, text.decode("utf-8", errors="replace").strip()))


# Kept in a module global: llama.cpp holds the pointer for as long as the process lives.
_log_callback = lib.llama_log_callback(_keep)
lib.llama_log_set(_log_callback, ctypes.c_void_p(0))
keep_large_apart()
lib.llama_backend_init()


def drain_logs() -> str:
    """Hand llama.cpp's lines to `logging`; the first error among them, or ""."""
    said = ""
    while _lines:
        level, text = _lines.popleft()
        if not text.strip("."):
            continue
        logger.log(_LEVELS.get(level, logging.DEBUG), "%s", text)
        if level == 4:
            said = said or text
    return said


def failure(what: str) -> EngineError:
    """An `EngineError` that says `what` failed and repeats llama.cpp's own last complaint."""
    said = drain_logs()
    return EngineError(f"{what}: {said}" if said else what)


def set_fields(params: Any, **fields: Any) -> Any:
    """Set fields of a ctypes structure; a name that it does not have is an `EngineError`.

    ctypes itself would accept the name and ignore it, as `use_mmap` once was.
    """
    known = {field[0] for field in params._fields_}
    for name, value in fields.items():
        if name not in known:
            raise EngineError(f"this llama.cpp has no parameter {name!r}; update edgeproxy")
        setattr(params, name, value)
    return params


def version() -> str:
    """The llama-cpp-python version in use."""
    return str(llama_cpp.__version__)


def build() -> str:
    """Which llama.cpp this is, as exactly as it tells: KV caches change between builds."""
    name = f"llama-cpp-python {version()}, states {lib.LLAMA_STATE_SEQ_VERSION}"
    try:
        commit = lib._lib["ggml_commit"]
    except AttributeError:  # not every system finds it in a library that this one loads
        return name
    commit.restype = ctypes.c_char_p
    return f"{name}, {(commit() or b'').decode('ascii', 'replace')}"


def system_info() -> str:
    """What llama.cpp was compiled with, as it says: `CPU : SSE3 = 1 | AVX = 1 | ...`."""
    return (lib.llama_print_system_info() or b"").decode("ascii", "replace")


def quantize(source: Path, target: Path, kind: str, *, pure: bool = False) -> None:
    """Quantise a GGUF file of floats to `kind`, for example "Q8_0" or "MOSTLY_Q4_K_M".

    Raises `EngineError` when llama.cpp knows no such kind or cannot do it.
    """
    name = kind.upper().removeprefix("MOSTLY_")
    file_type = getattr(lib, f"LLAMA_FTYPE_MOSTLY_{name}", None)
    if file_type is None:
        raise EngineError(f"llama.cpp has no quantisation called {kind!r}")
    params = set_fields(lib.llama_model_quantize_default_params(), ftype=file_type, pure=pure)
    done = lib.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params))
    if done != 0:
        raise failure(f"{source} could not be quantised to {kind}")
    drain_logs()
