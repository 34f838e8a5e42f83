"""llama.cpp's side of a comparison, in a process of its own: an end of that is one error here.

llama.cpp ends the process that it runs in where its memory ends. A child's end is told, with what
ended it, and the adapter that could not be compared does not count.

May touch: a child process, temporary files for what it says.
"""

from __future__ import annotations

import subprocess
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproxy import children, errors
from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import Cancelled, EdgeproxyError, ModelFileError, TuningError
from edgeproxy.files import reason
from edgeproxy.tune.agreement import Rows
from edgeproxy.tune.llama_child import packed, unpacked

_LOOKS = 0.1
"""Seconds between two looks whether it is to stop."""
_REMEDY = (
    "that is mostly a want of memory: close other programs, or allow this one more, and do the "
    "same again with --resume"
)


@dataclass(frozen=True)
class Asked:
    """What llama.cpp is to do with a model's file, and with an adapter's where there is one.

    `texts` are token ids, of which those from `firsts` on are predicted; `seen` are the tokens
    whose logits are wanted, shape (predicted tokens, any) for each text. After the beginnings of
    the first `replies` texts the model with the adapter writes on.
    """

    model: Path
    adapter: Path | None
    threads: int
    texts: Sequence[Sequence[int]]
    firsts: Sequence[int]
    seen: Sequence[NDArray[np.intp]]
    replies: int = 0


@dataclass(frozen=True)
class Answered:
    """Logits without the adapter and with it, and of each reply the best tokens and their logits.

    `best` and `logits` are (tokens, leading), best first; `adapted` is `plain` without an adapter.
    """

    plain: Rows
    adapted: Rows
    best: Sequence[NDArray[np.intp]]
    logits: Sequence[Rows]


def ask(asked: Asked, cancel: Cancel | None = None) -> Answered:
    """Run llama.cpp. Raises what it does there, `TuningError` where it ended, and `Cancelled`."""
    names = {"model": asked.model.resolve(), "adapter": asked.adapter and asked.adapter.resolve()}
    description = {
        **{name: path and str(path) for name, path in names.items()},
        "threads": asked.threads,
        "firsts": list(asked.firsts),
        "replies": asked.replies,
    }
    arrays: dict[str, NDArray[Any]] = {}
    for n, (ids, seen) in enumerate(zip(asked.texts, asked.seen, strict=True)):
        arrays |= {f"ids{n}": np.array(ids, np.int64), f"seen{n}": seen}
    told, found = _run(packed(description, arrays), cancel)
    if "error" in told:
        raise _error(told["error"], told["told"])
    replies = range(asked.replies)
    plain = found["plain"]
    return Answered(
        plain,
        found.get("adapted", plain),
        [found[f"best{n}"] for n in replies],
        [found[f"logits{n}"] for n in replies],
    )


def _run(job: bytes, cancel: Cancel | None) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The child's answer. Raises `TuningError` where there is none, and `Cancelled`."""
    command = children.command("edgeproxy.tune.llama_child")
    if not command:
        raise TuningError(
            "this program has no Python to run llama.cpp apart with; call edgeproxy.worker.main() "
            f"where the program begins, or set {children.PYTHON} to a Python that has edgeproxy"
        )
    try:
        # Files and not pipes: nobody has to read while the child writes.
        with (
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as answer,
            tempfile.TemporaryFile() as complaints,
        ):
            given.write(job)
            given.seek(0)
            with subprocess.Popen(
                command,
                stdin=given,
                stdout=answer,
                stderr=complaints,
                **children.own_group(),
            ) as child:
                try:
                    _wait(child, cancel)
                except BaseException:
                    child.kill()
                    raise
            answer.seek(0)
            complaints.seek(0)
            found, said = answer.read(), complaints.read().decode(errors="replace")
    except OSError as error:
        raise TuningError(
            f"llama.cpp cannot be started to compare with ({reason(error)}); make room in the "
            "folder for temporary files, or close other programs, and do the same again with "
            "--resume"
        ) from None
    if child.returncode == 0:
        try:
            return unpacked(found)
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass  # cut short, as on a full disk
    words = children.last_words(said.splitlines())
    raise TuningError(
        f"llama.cpp {children.how_ended(child.returncode)} while it was compared with PyTorch"
        f"{f' ({words})' if words else ''}; {_REMEDY}"
    )


def _wait(child: subprocess.Popen[bytes], cancel: Cancel | None) -> None:
    while True:
        try:
            child.wait(_LOOKS)
        except subprocess.TimeoutExpired:
            if cancel is not None and cancel.is_set():
                raise Cancelled("the comparison with llama.cpp was cancelled") from None
        else:
            return


def _error(name: str, told: Sequence[str]) -> Exception:
    """The error that the child had."""
    kind = getattr(errors, name, None)
    if kind is ModelFileError:
        return ModelFileError(*told)
    if isinstance(kind, type) and issubclass(kind, EdgeproxyError):
        return kind(*told)
    return TuningError(f"there is no memory for the comparison with llama.cpp; {_REMEDY}")
