"""llama.cpp's model in memory, for whoever needs it: weights, their tokenizer, contexts."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from edgeproxy.errors import EngineError
from edgeproxy.llama import fork
from edgeproxy.llama.library import drain_logs, lib


class Loaded:
    """A model of llama.cpp's from the file at `path`, and its contexts, which are freed first.

    Given back by `close`, or when the last reference goes: it refers to nobody who refers to it. In
    a forked child it is its parent's, and is left alone.
    """

    def __init__(self, path: Path, pointer: Any) -> None:
        self.path = path
        self._pointer: Any = pointer
        self._contexts: set[Any] = set()
        self._generation = fork.generation

    @property
    def pointer(self) -> Any:
        """llama.cpp's model, never null: llama.cpp itself would crash.

        Raises `EngineError` after `close`, and in a forked child.
        """
        if self._generation != fork.generation:
            raise fork.foreign(str(self.path))
        if not self._pointer:
            raise EngineError(f"{self.path}: the model has been closed")
        return self._pointer

    @property
    def vocab_pointer(self) -> Any:
        """llama.cpp's vocabulary, never null. Raises as `pointer` does."""
        return lib.llama_model_get_vocab(self.pointer)

    def new_context(self, params: Any) -> Any:
        """A context of llama.cpp's; null where it cannot make one."""
        context = lib.llama_init_from_model(self.pointer, params)
        if context:
            self._contexts.add(context)
        return context

    def free_context(self, context: Any) -> None:
        """Give a context back. A second call does nothing."""
        if context in self._contexts:
            self._contexts.remove(context)
            if self._generation == fork.generation:
                lib.llama_free(context)
                drain_logs()

    def close(self) -> None:
        """Give everything back. A second call does nothing."""
        for context in list(self._contexts):
            self.free_context(context)
        pointer, self._pointer = self._pointer, None
        if pointer and self._generation == fork.generation:
            lib.llama_model_free(pointer)
            drain_logs()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            self.close()
