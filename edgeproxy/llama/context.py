"""One llama.cpp context as a `Model`.

Every number is checked before it reaches C: a wrong one there is a crash or a silent wrong answer.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeproxy.errors import Cancelled, ContextFullError, EngineError, LogitsError, UsageError
from edgeproxy.llama.library import drain_logs, failure, lib, set_fields
from edgeproxy.llama.weights import Weights
from edgeproxy.model import Logits
from edgeproxy.vocab import Vocab

MAX_ROWS = 32
"""The most rows one `eval` returns; llama.cpp sizes its output buffer by it."""

_BATCH = 256
_MAX_CONTEXT = 1 << 20
_KV_TYPES = {"f16": 1, "q8_0": 8}
_ABORTED, _NO_ROOM = 2, 1


class LlamaModel:
    """A context over `weights`: its own KV cache, its own position, one thread at a time.

    `n_ctx` is in tokens (default: what the model was trained with, at most 4,096). `cancel` may be
    set from any thread or signal handler: an `eval` of several tokens then stops with `Cancelled`.
    Raises `UsageError` for impossible settings, `EngineError` when there is not enough memory.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        n_ctx: int | None = None,
        n_threads: int = 1,
        kv_type: str = "f16",
        cancel: threading.Event | None = None,
    ) -> None:
        self._context: Any = None
        self._batch: Any = None
        self._weights = weights
        self._lock = threading.Lock()
        self._owner = _Owner(self._lock, str(weights.path))
        self._cancel = cancel or threading.Event()
        self._interrupt: BaseException | None = None
        self._n_past = 0
        self._n_ctx = _check_context_length(n_ctx, weights)
        if not 1 <= n_threads <= 512:
            raise UsageError(f"threads must be between 1 and 512, not {n_threads}")
        if kv_type not in _KV_TYPES:
            raise UsageError(f"the KV cache type must be one of {', '.join(_KV_TYPES)}")
        self._abort_callback = lib.ggml_abort_callback(self._should_abort)
        self._no_callback = lib.ggml_abort_callback()
        params = set_fields(
            lib.llama_context_default_params(),
            n_ctx=self._n_ctx,
            n_batch=_BATCH,
            n_ubatch=_BATCH,
            n_seq_max=1,
            n_outputs_max=MAX_ROWS,
            n_outputs_max_per_seq=MAX_ROWS,
            n_threads=n_threads,
            n_threads_batch=n_threads,
            flash_attn_type=-1,
            type_k=_KV_TYPES[kv_type],
            type_v=_KV_TYPES[kv_type],
            offload_kqv=False,
            op_offload=False,
            swa_full=True,
        )
        context = lib.llama_init_from_model(weights.pointer, params)
        if not context:
            raise failure(f"{weights.path}: no context of {self._n_ctx} tokens could be made")
        drain_logs()
        self._context = context
        self._owner.is_open = True
        self._memory = lib.llama_get_memory(context)
        self._batch = _Batch(_BATCH)
        self._n_vocab = len(weights.vocab)
        self._rows = np.empty((MAX_ROWS, self._n_vocab), np.float32)
        self._rows_address = self._rows.ctypes.data
        weights.register(self)

    @property
    def vocab(self) -> Vocab:
        """The vocabulary of the weights."""
        return self._weights.vocab

    @property
    def n_past(self) -> int:
        """How many tokens the KV cache holds."""
        return self._n_past

    @property
    def n_ctx(self) -> int:
        """How many tokens it can hold."""
        return self._n_ctx

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """As `Model.eval`."""
        with self._owner:
            n = len(tokens)
            if not 1 <= rows <= min(n, MAX_ROWS):
                raise EngineError(f"{rows} rows asked of {n} tokens; 1 to {MAX_ROWS} are possible")
            for token in tokens:
                if not 0 <= token < self._n_vocab:
                    raise EngineError(f"token {token} is outside the vocabulary of {self._n_vocab}")
            before = self._n_past
            if before + n > self._n_ctx:
                raise ContextFullError(
                    f"{before + n:,} tokens do not fit the context of {self._n_ctx:,}; "
                    "send less text, or load with a larger context"
                )
            try:
                return self._eval_in_batches(tokens, rows)
            except BaseException:
                self._forget_after(before)
                raise

    def _eval_in_batches(self, tokens: Sequence[int], rows: int) -> Logits:
        # Rows are only taken from the last batch, so it must hold all of them.
        last = len(tokens) - max(rows, (len(tokens) - 1) % _BATCH + 1)
        starts = [*range(0, last, _BATCH), last]
        for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
            wanted = rows if end == len(tokens) else 0
            self._decode(tokens[start:end], wanted)
        return self._read_rows(end - start, rows)

    def _decode(self, tokens: Sequence[int], rows: int) -> None:
        self._batch.fill(tokens, self._n_past, rows)
        # The callback costs a Python call for each node of the graph: too much for a single token.
        armed = len(tokens) > 1
        if armed:
            lib.llama_set_abort_callback(self._context, self._abort_callback, None)
        try:
            result = lib.llama_decode(self._context, self._batch.struct)
        finally:
            if armed:
                lib.llama_set_abort_callback(self._context, self._no_callback, None)
        interrupt, self._interrupt = self._interrupt, None
        if interrupt is not None or result == _ABORTED:
            drain_logs()
            raise interrupt or Cancelled("the evaluation was cancelled")
        if result == 0:
            self._n_past += len(tokens)
            return
        if result == _NO_ROOM:
            raise ContextFullError(f"the context of {self._n_ctx:,} tokens has no room left")
        raise failure(f"{self._weights.path}: llama.cpp failed to evaluate (code {result})")

    def _should_abort(self, _data: object) -> bool:
        try:
            return self._cancel.is_set()
        except BaseException as error:  # noqa: BLE001 - Ctrl-C lands here; carried across C
            self._interrupt = error
            return True

    def _read_rows(self, n_tokens: int, rows: int) -> Logits:
        out = self._rows[:rows]
        for row in range(rows):
            pointer = lib.llama_get_logits_ith(self._context, n_tokens - rows + row)
            if not pointer:
                raise failure(f"{self._weights.path}: llama.cpp gave no logits")
            # Copied, because a row that someone still holds must outlive `close`; by memmove,
            # because NumPy takes longer to wrap a pointer than to copy what it points to.
            size = self._n_vocab * out.itemsize
            ctypes.memmove(self._rows_address + row * size, pointer, size)
            # The largest is NaN if any is NaN, and -inf if nothing is finite.
            if not math.isfinite(out[row].max()):
                raise LogitsError(
                    f"{self._weights.path}: the model answered with logits that are not numbers; "
                    "its weights are damaged, so get the file again"
                )
        return out

    def rewind(self, n: int) -> None:
        """As `Model.rewind`. Raises `EngineError` for a recurrent model unless n is `n_past`."""
        with self._owner:
            if not 0 <= n <= self._n_past:
                raise EngineError(f"cannot forget {n} tokens of {self._n_past}")
            if n:
                self._forget_after(self._n_past - n)

    def _forget_after(self, n_past: int) -> None:
        """Cut the KV cache to `n_past` tokens, also where a failed decode left some behind."""
        if n_past == 0:
            lib.llama_memory_clear(self._memory, False)
        elif not lib.llama_memory_seq_rm(self._memory, 0, n_past, -1):
            raise EngineError(
                f"{self._weights.path}: this architecture cannot forget a part of its text"
            )
        if lib.llama_memory_seq_pos_max(self._memory, 0) != n_past - 1:
            raise EngineError(f"{self._weights.path}: the KV cache is out of step; load it again")
        self._n_past = n_past

    def close(self) -> None:
        """Give the memory back, after an evaluation under way. A second call does nothing."""
        with self._lock:
            self._owner.is_open = False
            context, self._context = self._context, None
            batch, self._batch = self._batch, None
            if batch is not None:
                batch.free()
            if context:
                self._rows = np.empty((0, 0), np.float32)
                lib.llama_free(context)
                drain_logs()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


class _Owner:
    """Lets one thread at a time, and none after `close`, into a context.

    A class and not a generator, because it is entered three times a token.
    """

    def __init__(self, lock: threading.Lock, name: str) -> None:
        self._lock = lock
        self._name = name
        self.is_open = False

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            raise EngineError("this model is in use by another thread; one at a time")
        if not self.is_open:
            self._lock.release()
            raise EngineError(f"{self._name}: the model has been closed")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class _Batch:
    """llama.cpp's batch of one sequence, which knows its own capacity."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.struct = lib.llama_batch_init(capacity, 0, 1)
        shape = (capacity,)
        self._token = np.ctypeslib.as_array(self.struct.token, shape)
        self._position = np.ctypeslib.as_array(self.struct.pos, shape)
        self._wanted = np.ctypeslib.as_array(self.struct.logits, shape)
        np.ctypeslib.as_array(self.struct.n_seq_id, shape)[:] = 1
        for n in range(capacity):
            self.struct.seq_id[n][0] = 0

    def fill(self, tokens: Sequence[int], position: int, rows: int) -> None:
        n = len(tokens)
        if not 1 <= n <= self.capacity:
            raise EngineError(f"a batch holds 1 to {self.capacity} tokens, not {n}")
        self.struct.n_tokens = n
        self._token[:n] = tokens
        self._position[:n] = np.arange(position, position + n)
        self._wanted[:n] = 0
        self._wanted[n - rows : n] = 1

    def free(self) -> None:
        struct, self.struct = self.struct, None
        if struct is not None:
            lib.llama_batch_free(struct)


def _check_context_length(n_ctx: int | None, weights: Weights) -> int:
    if n_ctx is None:
        return min(weights.n_ctx_train, 4096)
    if not 1 <= n_ctx <= _MAX_CONTEXT:
        raise UsageError(f"the context must be 1 to {_MAX_CONTEXT:,} tokens, not {n_ctx}")
    return n_ctx
