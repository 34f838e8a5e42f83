"""An embedding model: texts -> vectors of length 1, of which near ones are of like meaning.

Any model that llama.cpp can evaluate is taken: encoders of BERT's kind, and models that write. How
the vectors of a text's tokens become one is as the file says: their mean where it says nothing, the
first one, or the last one.

May touch: the model file, read-only.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.core.check import whole
from edgeproxy.core.threads import processors
from edgeproxy.errors import Cancelled, EngineError
from edgeproxy.llama.abort import Abort
from edgeproxy.llama.batch import SequencesBatch
from edgeproxy.llama.fork import check_threads
from edgeproxy.llama.kv import check_kv_type, kv_bytes
from edgeproxy.llama.library import drain_logs, failure, lib, set_fields
from edgeproxy.llama.owner import Owner
from edgeproxy.llama.params import context_params
from edgeproxy.llama.weights import Unloaded, Weights

LONGEST = 512
"""Of a text so many tokens are read, unless it is said otherwise; BERT's kind has no more."""

_MOST = 8192
_SEQUENCES = 32
"""So many texts at most are evaluated at once."""

_TOKEN = 32
"""No token stands for more characters than this in an ordinary text: what is beyond is not read."""

_MEAN = 1
_ABORTED = 2


class Embedder:
    """An embedding model from the GGUF file at `path`, with a context; one thread at a time.

    Of each text `longest` tokens are read, at most as many as the model was trained with.
    `n_threads` defaults to the processors. Setting `cancel` ends what is under way with
    `Cancelled`. Raises `ModelFileError` for a file that is no sound model, or is a reranker;
    `UsageError`; `EngineError` where llama.cpp refuses it or there is not enough memory. Close it,
    or use it in a `with`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        longest: int = LONGEST,
        n_threads: int | None = None,
        cancel: Cancel | None = None,
    ) -> None:
        whole("longest", longest, 1)
        self._cancel = cancel or Flag()
        self._abort = Abort(self._cancel)
        self._abort_callback = lib.ggml_abort_callback(self._abort)
        self._batch: SequencesBatch | None = None
        self._context: Any = None
        self.kv_bytes = 0
        """What the KV cache takes of memory; encoders have none."""
        self.cut = 0
        """How many texts were longer than what was read of them."""
        self._weights = Weights(Unloaded(path, embeds=True), cancel=cancel)
        try:
            self._lock = threading.Lock()
            self._owner = Owner(self._lock, str(self._weights.path))
            self._start(longest, n_threads or processors())
        except BaseException:
            self._weights.close()
            raise

    def _start(self, longest: int, n_threads: int) -> None:
        header = self._weights.header
        self.dimensions = int(lib.llama_model_n_embd(self._weights.pointer))
        """How many numbers a vector has."""
        self.longest = max(1, min(longest, self._weights.n_ctx_train, _MOST))
        """Of a text so many tokens are read, special ones included."""
        self._around = _around(self._weights)
        if sum(map(len, self._around)) >= self.longest:
            raise header.error(f"its context of {self.longest} tokens has no room for a text")
        # Each text has to lie in one batch, and llama.cpp pools within one evaluation.
        capacity = max(self.longest, min(LONGEST, self._weights.n_ctx_train))
        pooling = header.integer(f"{header.architecture}.pooling_type", 0) or _MEAN
        kind = check_kv_type("f16")
        params = set_fields(
            context_params(capacity, kind, n_branches=_SEQUENCES - 1, n_threads=n_threads),
            n_batch=capacity,
            n_ubatch=capacity,
            n_outputs_max=capacity,
            n_outputs_max_per_seq=capacity,
            pooling_type=pooling,
            embeddings=True,
            abort_callback=self._abort_callback,
        )
        check_threads(n_threads)
        context = self._weights.loaded.new_context(params)
        if not context:
            raise failure(f"{self._weights.path}: no context to embed texts in could be made")
        drain_logs()
        self._context = context
        if lib.llama_pooling_type(context) != pooling:
            raise EngineError(f"{self._weights.path}: llama.cpp cannot make vectors of texts by it")
        self._memory = lib.llama_get_memory(context)
        if self._memory:
            self.kv_bytes = kv_bytes(header, lib.llama_n_ctx(context), kind)
        self._weights.register(self)
        self._batch = SequencesBatch(capacity, _SEQUENCES)
        self._owner.is_open = True

    @property
    def path(self) -> Path:
        """The model's file."""
        return self._weights.path

    @property
    def is_made_for_it(self) -> bool:
        """Whether the file is an embedding model's: whether it says how to make one vector."""
        header = self._weights.header
        name = header.architecture
        is_causal = header.flag(f"{name}.attention.causal", True)
        return not is_causal or header.integer(f"{name}.pooling_type", 0) > 0

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of `texts`, of shape (texts, dimensions), each of length 1.

        A text without any token, as an empty one may be, has zeros. What is not valid Unicode reads
        as "?". Texts of which only the beginning was read are counted in `cut`. Raises `Cancelled`,
        and `EngineError` where the model gives no numbers or is closed.
        """
        with self._owner:
            vectors = np.zeros((len(texts), self.dimensions), np.float32)
            tokens = [self._tokens(text) for text in texts]
            # Texts of one length are evaluated together, so that batches are full.
            order = sorted(
                (at for at, ids in enumerate(tokens) if ids), key=lambda a: -len(tokens[a])
            )
            for together in self._batches(order, tokens):
                self._evaluate([tokens[at] for at in together])
                for sequence, at in enumerate(together):
                    vectors[at] = self._vector(sequence)
            return vectors

    def __call__(self, text: str) -> NDArray[np.float32]:
        """The vector of one text."""
        vector: NDArray[np.float32] = self.embed([text])[0]
        return vector

    def _tokens(self, text: str) -> list[int]:
        if self._cancel.is_set():
            raise Cancelled("making vectors was stopped")
        start, end = self._around
        room = self.longest - len(start) - len(end)
        read = text[: room * _TOKEN].encode(errors="replace").decode()
        ids = self._weights.vocab.encode(read, first=True)
        self.cut += len(ids) > room or len(read) < len(text)
        return [*start, *ids[:room], *end]

    def _batches(self, order: Sequence[int], tokens: Sequence[list[int]]) -> Iterator[list[int]]:
        """The texts of `order` in as many parts as they need."""
        assert self._batch is not None
        together: list[int] = []
        size = 0
        for at in order:
            is_full = len(together) == _SEQUENCES
            if together and (is_full or size + len(tokens[at]) > self._batch.capacity):
                yield together
                together, size = [], 0
            together.append(at)
            size += len(tokens[at])
        if together:
            yield together

    def _evaluate(self, sequences: Sequence[Sequence[int]]) -> None:
        assert self._batch is not None
        self._batch.fill(sequences)
        if self._memory:
            lib.llama_memory_clear(self._memory, False)
            result = lib.llama_decode(self._context, self._batch.struct)
        else:
            result = lib.llama_encode(self._context, self._batch.struct)
        interrupt = self._abort.take()
        if interrupt is not None or result == _ABORTED or self._cancel.is_set():
            drain_logs()
            try:
                raise interrupt or Cancelled("making vectors was stopped")
            finally:
                del interrupt  # it refers to this frame, which would keep the model
        if result != 0:
            raise failure(f"{self.path}: llama.cpp failed to embed a text (code {result})")

    def _vector(self, sequence: int) -> NDArray[np.float64]:
        pointer = lib.llama_get_embeddings_seq(self._context, sequence)
        if not pointer:
            raise failure(f"{self.path}: llama.cpp gave no vector of a text")
        vector = np.ctypeslib.as_array(pointer, (self.dimensions,)).astype(np.float64)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise EngineError(
                f"{self.path}: the model gave no sound vector of a text; its weights are damaged, "
                "so get the file again"
            )
        scaled: NDArray[np.float64] = vector / length
        return scaled

    def close(self) -> None:
        """Give the memory back, after what is under way. A second call does nothing.

        In a forked child neither does the first: all of it is the parent's.
        """
        if not self._owner.is_here:
            return
        with self._lock:
            self._owner.is_open = False
            context, self._context = self._context, None
            if self._batch is not None:
                self._batch.free()
            if context:
                self._weights.loaded.free_context(context)
        if not self._is_closing:
            self._is_closing = True
            self._weights.close()

    _is_closing = False

    def __enter__(self) -> Embedder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()


def _around(weights: Weights) -> tuple[list[int], list[int]]:
    """The special tokens that the file puts before a text and behind it, as llama.cpp has them."""
    word = b"a"
    capacity = 16
    found = []
    for special in (False, True):
        buffer = (lib.llama_token * capacity)()
        vocab = weights.vocab_pointer
        count = lib.llama_tokenize(vocab, word, len(word), buffer, capacity, special, False)
        if count < 0:
            raise failure(f"{weights.path}: llama.cpp could not tokenise a text")
        found.append(list(buffer[:count]))
    inner, whole_text = found
    for at in range(len(whole_text) - len(inner) + 1):
        end = at + len(inner)
        if whole_text[at:end] == inner:
            return whole_text[:at], whole_text[end:]
    raise EngineError(f"{weights.path}: llama.cpp tokenises texts of this model in its own way")
