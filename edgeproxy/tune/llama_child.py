"""The child process that runs llama.cpp for a comparison (see `llama_apart`): one job, one answer.

An archive of NumPy arrays comes on standard input, and one goes to standard output. llama.cpp ends
its process where memory ends; here that is the child's end, and the tuning can say so.

May touch: the model's file and the adapter's, read-only; the standard streams.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproxy.errors import EdgeproxyError, ModelFileError
from edgeproxy.llama import Adapter, LlamaModel, Weights
from edgeproxy.tune.agreement import Rows, plausible

Arrays = Mapping[str, NDArray[Any]]

DESCRIPTION = "description"
TEXT_TOKENS = 32
LEADING = 64
"""So many of llama.cpp's best tokens are kept at each place of a reply."""


def main() -> None:
    """Do the job on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _leave_no_core()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no part of the answer
    try:
        found = answer(unpacked(sys.stdin.buffer.read()))
    except EdgeproxyError as error:
        told = [error.path, error.what] if isinstance(error, ModelFileError) else [str(error)]
        found = packed({"error": type(error).__name__, "told": told}, {})
    except MemoryError:
        found = packed({"error": "MemoryError", "told": []}, {})
    answers.write(found)
    answers.close()


def _leave_no_core() -> None:
    """An end by llama.cpp is told in a sentence: nobody needs a file as large as the model too."""
    if sys.platform != "win32":
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def packed(description: Mapping[str, Any], arrays: Arrays) -> bytes:
    """A description in JSON and arrays, as one archive."""
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(description).encode(), np.uint8)
    np.savez(file, allow_pickle=False, **{DESCRIPTION: text}, **arrays)
    return file.getvalue()


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `packed` made an archive of. Raises what NumPy does for anything else."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return json.loads(arrays.pop(DESCRIPTION).tobytes()), arrays


def answer(job: tuple[Mapping[str, Any], Arrays]) -> bytes:
    """The logits and the replies that are asked for. Raises as loading and evaluating do."""
    asked, arrays = job
    firsts = asked["firsts"]
    texts = [arrays[f"ids{n}"].tolist() for n in range(len(firsts))]
    seen = [arrays[f"seen{n}"] for n in range(len(firsts))]
    n_ctx = max(map(len, texts)) + TEXT_TOKENS
    found: dict[str, NDArray[Any]] = {}
    with _models(asked, n_ctx) as (plain, adapted):
        found["plain"] = _rows(plain, texts, firsts, seen)
        if adapted is not None:
            found["adapted"] = _rows(adapted, texts, firsts, seen)
            for n in range(asked["replies"]):
                best, logits = _reply(adapted, texts[n][: firsts[n]])
                found |= {f"best{n}": best, f"logits{n}": logits}
    return packed({}, found)


@contextmanager
def _models(asked: Mapping[str, Any], n_ctx: int) -> Iterator[tuple[LlamaModel, LlamaModel | None]]:
    """The model without the adapter, and with it where there is one."""
    options: dict[str, Any] = {"n_ctx": n_ctx, "n_threads": asked["threads"]}
    with Weights(Path(asked["model"])) as weights:
        adapted = None
        if asked["adapter"] is not None:
            change = Adapter(weights, Path(asked["adapter"]))
            adapted = LlamaModel(weights, adapters=[change], **options)
        yield LlamaModel(weights, **options), adapted


def _rows(
    model: LlamaModel,
    texts: Sequence[Sequence[int]],
    firsts: Sequence[int],
    seen: Sequence[NDArray[np.intp]],
) -> Rows:
    """The logits of the tokens `seen` at each predicted token of all `texts`."""
    found = []
    for ids, first, tokens in zip(texts, firsts, seen, strict=True):
        _forget(model)
        rows = model.eval(list(ids[:-1]), len(ids) - first)
        found.append(np.take_along_axis(rows, tokens, axis=1))
    return np.concatenate(found)


def _forget(model: LlamaModel) -> None:
    if model.n_past:
        model.rewind(model.n_past)


def _reply(model: LlamaModel, context: list[int]) -> tuple[NDArray[np.intp], Rows]:
    """What is written greedily after `context`: of each token its best ones, and their logits."""
    _forget(model)
    best: list[NDArray[np.intp]] = []
    logits: list[Rows] = []
    unread = context
    while len(best) < TEXT_TOKENS:
        row = model.eval(unread)[-1]
        leading = np.sort(plausible(row[None], LEADING)[0])
        leading = leading[np.argsort(-row[leading], kind="stable")]
        best.append(leading)
        logits.append(row[leading])
        unread = [int(leading[0])]
        if unread[0] in model.vocab.end_of_generation:
            break
    return np.array(best), np.array(logits)


if __name__ == "__main__":
    main()
