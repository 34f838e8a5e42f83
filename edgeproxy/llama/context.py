"""One llama.cpp context as a `Model`.

Every number is checked before it reaches C: a wrong one there is a crash or a silent wrong answer.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.core.model import Logits
from edgeproxy.core.threads import Threads
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import Cancelled, ContextFullError, EngineError, LogitsError
from edgeproxy.llama.abort import Abort
from edgeproxy.llama.adapter import Adapter, apply
from edgeproxy.llama.batch import RunBatch
from edgeproxy.llama.branches import Tree, TreeBatch, check_branches, hold, let_go
from edgeproxy.llama.footprint import AT_ONCE
from edgeproxy.llama.fork import check_threads
from edgeproxy.llama.kv import KvType, kv_bytes, kv_type_for
from edgeproxy.llama.library import drain_logs, failure, lib
from edgeproxy.llama.owner import Owner
from edgeproxy.llama.params import BATCH, MAX_ROWS, context_params
from edgeproxy.llama.state import Stateful
from edgeproxy.llama.weights import Weights

_ABORTED, _NO_ROOM = 2, 1


class LlamaModel(Stateful):
    """A context over `weights`: its own KV cache, its own position, one thread at a time.

    `n_ctx` is in tokens (default: what the model was trained with, at most 4,096). `cancel` may be
    set from any thread or signal handler: an `eval` of several tokens then stops with `Cancelled`.
    `n_threads` may be a choice that is still learning, and that other contexts learn from as well.
    `kv_type` is how the KV cache keeps its numbers; q8_0 halves it, where the model's heads fit it.
    `n_branches` is how many other paths one `branch` may take; recurrent models can take none.
    `adapters` are added to the weights, for this context alone. `progress` is told after each batch
    of a text of several tokens what it took, in tokens times weights; it may raise to stop.
    Raises `UsageError` for impossible settings, `EngineError` when there is not enough memory.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        n_ctx: int | None = None,
        n_threads: int | Threads = 1,
        kv_type: KvType = "f16",
        n_branches: int = 0,
        adapters: Sequence[Adapter] = (),
        cancel: Cancel | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._context: Any = None
        self._progress = progress
        self._batch: Any = None
        self._tree_batch: Any = None
        self._weights = weights
        self._adapters = tuple(adapter for adapter in adapters if adapter.scale)
        self._kv_type = kv_type
        self._lock = threading.Lock()
        self._owner = Owner(self._lock, str(weights.path))
        self._abort = Abort(cancel or Flag())
        self._n_past = 0
        self._evaluated = 0
        self._n_ctx = weights.context_length(n_ctx)
        if isinstance(n_threads, int):
            n_threads = Threads(n_threads, is_fixed=True)
        self._threads = n_threads
        self._n_threads = n_threads.choice.best
        kind = kv_type_for(weights.header, kv_type)
        check_branches(n_branches)
        self._can_rewind = weights.can_rewind
        self._n_branches = n_branches if self._can_rewind else 0
        self._abort_callback = lib.ggml_abort_callback(self._abort)
        self._no_callback = lib.ggml_abort_callback()
        params = context_params(
            self._n_ctx, kind, n_branches=self._n_branches, n_threads=self._n_threads
        )
        check_threads(self._n_threads)
        context = weights.loaded.new_context(params)
        if not context:
            raise failure(f"{weights.path}: no context of {self._n_ctx} tokens could be made")
        drain_logs()
        self._context = context
        self.kv_bytes = kv_bytes(weights.header, lib.llama_n_ctx(context), kind)
        """What the KV cache takes of memory."""
        weights.register(self)
        apply(adapters, weights, context)
        self._owner.is_open = True
        self._memory = lib.llama_get_memory(context)
        self._batch = RunBatch(BATCH)
        self._tree_batch = TreeBatch(MAX_ROWS, 1 + self._n_branches)
        self._n_vocab = len(weights.vocab)
        self._n_params = weights.n_params
        self._rows = np.empty((MAX_ROWS, self._n_vocab), np.float32)
        self._rows_address = self._rows.ctypes.data

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

    @property
    def can_rewind(self) -> bool:
        """As `Model.can_rewind`: whether the architecture is neither recurrent nor hybrid."""
        return self._can_rewind

    @property
    def n_params(self) -> int:
        """How many weights a token is multiplied by; see `Weights.n_params`."""
        return self._n_params

    @property
    def evaluated(self) -> int:
        """How many tokens have ever been evaluated, what branches had in common once."""
        return self._evaluated

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """As `Model.eval`."""
        with self._owner:
            n = len(tokens)
            if not 1 <= rows <= min(n, MAX_ROWS):
                raise EngineError(f"{rows} rows asked of {n} tokens; 1 to {MAX_ROWS} are possible")
            for token in tokens:
                if not 0 <= token < self._n_vocab:
                    raise self._unknown(token)
            before = self._n_past
            if before + n > self._n_ctx:
                raise self._full(before + n)
            try:
                return self._eval_in_batches(tokens, rows)
            except BaseException:
                self._go_back(before)
                raise

    def _eval_in_batches(self, tokens: Sequence[int], rows: int) -> Logits:
        # As much as llama.cpp computes in one go, so that `progress` is told often. Rows are only
        # taken from the last batch, so it must hold all of them.
        last = len(tokens) - max(rows, (len(tokens) - 1) % AT_ONCE + 1)
        starts = [*range(0, last, AT_ONCE), last]
        for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
            wanted = rows if end == len(tokens) else 0
            self._batch.fill(tokens[start:end], self._n_past, wanted)
            self._decode(self._batch.struct, end - start)
            self._n_past += end - start
            if self._progress is not None and len(tokens) > 1:
                self._progress((end - start) * self._n_params)
        return self._read_rows(end - start, rows)

    def branch(
        self, trunk: Sequence[int], others: Sequence[tuple[int, Sequence[int]]] = ()
    ) -> list[Logits]:
        """As `Branching.branch`; up to `n_branches` others, up to `MAX_ROWS` different rows."""
        with self._owner:
            before = self._n_past
            if len(others) > self._n_branches:
                raise EngineError(
                    f"{len(others)} other paths; this context can take {self._n_branches}"
                )
            starts = [n for n, _ in others]
            for n in starts:
                if not 0 <= n <= before:
                    raise EngineError(f"cannot continue {n} tokens of {before}")
            tree = Tree([(before, trunk), *others])
            for token in tree.tokens:
                if not 0 <= token < self._n_vocab:
                    raise self._unknown(token)
            n_nodes = len(tree.tokens)
            if n_nodes > MAX_ROWS:
                raise EngineError(f"{n_nodes} rows asked; up to {MAX_ROWS} are possible")
            if before + n_nodes > self._n_ctx:
                raise self._full(before + n_nodes)
            if n_nodes == 0:
                return tree.select(self._rows[:0])
            try:
                hold(self._memory, starts)
                self._tree_batch.fill(tree)
                self._decode(self._tree_batch.struct, n_nodes)
                rows = tree.select(self._read_rows(n_nodes, n_nodes))
                hold(self._memory, starts)
                self._n_past += len(trunk)
                return rows
            except BaseException:
                let_go(self._memory, len(others))
                self._go_back(before)
                raise

    def _decode(self, batch: Any, n: int) -> None:
        # The callback costs a Python call for each node of the graph: too much for a single token.
        armed = n > 1
        if armed:
            lib.llama_set_abort_callback(self._context, self._abort_callback, None)
        work = self._n_params, n
        threads = self._threads.pick(work, n)
        if threads != self._n_threads:
            check_threads(threads)
            lib.llama_set_n_threads(self._context, threads, threads)
            self._n_threads = threads
        started = time.perf_counter()
        try:
            result = lib.llama_decode(self._context, batch)
        finally:
            if armed:
                lib.llama_set_abort_callback(self._context, self._no_callback, None)
        interrupt = self._abort.take() if armed else None
        if interrupt is not None or result == _ABORTED:
            drain_logs()
            try:
                raise interrupt or Cancelled("the evaluation was cancelled")
            finally:
                del interrupt  # it refers to this frame, which would keep the model
        if result == 0:
            self._threads.took(threads, work, n, time.perf_counter() - started)
            self._evaluated += n
            return
        if result == _NO_ROOM:
            raise ContextFullError(f"the context of {self._n_ctx:,} tokens has no room left")
        raise failure(f"{self._weights.path}: llama.cpp failed to evaluate (code {result})")

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
                changed = (self._adapters or (self._weights,))[0]
                raise LogitsError(
                    f"{changed.path}: the model answered with logits that are not numbers; its "
                    "weights are damaged, so get the file again"
                )
        return out

    def rewind(self, n: int) -> None:
        """As `Model.rewind`."""
        with self._owner:
            if not 0 <= n <= self._n_past:
                raise EngineError(f"cannot forget {n} tokens of {self._n_past}")
            if n and n < self._n_past and not self._can_rewind:
                raise EngineError(
                    f"{self._weights.path}: {self._weights.header.architecture} models cannot "
                    "forget a part of their text, only all of it"
                )
            if n:
                self._forget_after(self._n_past - n)

    def _go_back(self, n_past: int) -> None:
        """After a failure: cut to `n_past` tokens, or to none where only all can be forgotten."""
        self._forget_after(n_past if self._can_rewind else 0)

    def _forget_after(self, n_past: int) -> None:
        """Cut the KV cache to `n_past` tokens, also where a failed decode left some behind."""
        if n_past == 0:
            lib.llama_memory_clear(self._memory, False)
        # -1 stands for all sequences, which recurrent models refuse.
        elif not lib.llama_memory_seq_rm(self._memory, -1 if self._n_branches else 0, n_past, -1):
            raise EngineError(f"{self._weights.path}: llama.cpp cannot forget a part of this text")
        if lib.llama_memory_seq_pos_max(self._memory, 0) != n_past - 1:
            raise EngineError(f"{self._weights.path}: the KV cache is out of step; load it again")
        self._n_past = n_past

    def _unknown(self, token: int) -> EngineError:
        return EngineError(f"token {token} is outside the vocabulary of {self._n_vocab}")

    def _full(self, n: int) -> ContextFullError:
        return ContextFullError(
            f"{n:,} tokens do not fit the context of {self._n_ctx:,}; "
            "send less text, or load with a larger context"
        )

    def close(self) -> None:
        """Give the memory back, after an evaluation under way. A second call does nothing.

        In a forked child neither does the first: all of it is the parent's.
        """
        if not self._owner.is_here:
            return
        with self._lock:
            self._owner.is_open = False
            context, self._context = self._context, None
            for batch in (self._batch, self._tree_batch):
                if batch is not None:
                    batch.free()
            if context:
                self._rows = np.empty((0, 0), np.float32)
                self._weights.loaded.free_context(context)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
