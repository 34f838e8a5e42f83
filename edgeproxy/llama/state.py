"""What a context has read, as bytes to keep: taken out of its KV cache, and put back."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeproxy.errors import EngineError
from edgeproxy.gguf import fingerprint
from edgeproxy.llama.adapter import Adapter
from edgeproxy.llama.branches import let_go
from edgeproxy.llama.library import build, failure, lib
from edgeproxy.llama.owner import Owner
from edgeproxy.llama.weights import Weights

_BYTES = ctypes.POINTER(ctypes.c_uint8)


class Stateful:
    """The part of `LlamaModel` that makes it `Saving`.

    llama.cpp finds out when a state is too long, of another KV type or for another shape of model,
    and takes nearly every other damage for numbers. So `adopt` trusts its caller to have checked.
    The state is the whole context's: of a single sequence llama.cpp leaves out what a model with
    sliding windows no longer sees, and such a one could not go back without wrong rows.
    """

    _context: Any
    _memory: Any
    _owner: Owner
    _weights: Weights
    _adapters: tuple[Adapter, ...]
    _n_past: int
    _n_ctx: int
    _n_branches: int
    _kv_type: str

    def _forget_after(self, n_past: int) -> None:
        raise NotImplementedError

    def origin(self) -> dict[str, str]:
        """As `Saving.origin`. Raises `ModelFileError` where the file has changed since."""
        header = self._weights.header
        return {
            "llama.cpp": f"{build()}, {sys.byteorder}-endian",
            "model": f"{header.architecture} {fingerprint(header)}",
            # It chooses how far apart some models see two tokens (llama.cpp's longrope).
            "context length": str(self._n_ctx),
            "KV cache type": self._kv_type,
            "adapter": " and ".join(a.origin for a in self._adapters) or "none",
        }

    def state_size(self) -> int:
        """As `Saving.state_size`."""
        with self._owner:
            return self._state_size()

    def _state_size(self) -> int:
        let_go(self._memory, self._n_branches)
        return int(lib.llama_state_get_size(self._context))

    def state(self) -> memoryview:
        """As `Saving.state`; a copy. Raises `MemoryError`."""
        with self._owner:
            size = self._state_size()
            out = np.empty(size, np.uint8)
            address = out.ctypes.data_as(_BYTES)
            if not size or lib.llama_state_get_data(self._context, address, size) != size:
                raise failure(f"{self._weights.path}: its KV cache could not be read")
            return out.data

    def adopt(self, tokens: Sequence[int], state: memoryview) -> None:
        """As `Saving.adopt`."""
        with self._owner:
            n = len(tokens)
            if not 1 <= n <= self._n_ctx:
                raise EngineError(f"{n} tokens to take over; 1 to {self._n_ctx} are possible")
            self._forget_after(0)
            source = np.frombuffer(state, np.uint8)
            try:
                address = source.ctypes.data_as(_BYTES)
                taken = lib.llama_state_set_data(self._context, address, source.size)
                first = lib.llama_memory_seq_pos_min(self._memory, 0)
                last = lib.llama_memory_seq_pos_max(self._memory, 0)
                # A recurrent model holds its last position alone.
                is_whole = first == 0 or not self._weights.can_rewind
                if taken != source.size or last != n - 1 or not is_whole:
                    raise failure(f"{self._weights.path}: llama.cpp does not take this KV cache")
                self._n_past = n
            except BaseException:
                self._forget_after(0)
                raise
