"""A LoRA adapter in memory: a small change of a model's weights, for some of its contexts.

May touch: the adapter's file, read-only.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeproxy.errors import UsageError
from edgeproxy.gguf import check_scale, fingerprint, open_adapter
from edgeproxy.llama.library import drain_logs, failure, lib
from edgeproxy.llama.stream import HAS_STREAMS, stream_of
from edgeproxy.llama.weights import Weights


class Adapter:
    """The LoRA adapter at `path` over `weights`, for any number of their contexts.

    `scale` is how much of it is added: 1 as it was trained, 0 nothing. It is freed when the weights
    are closed. Raises `ModelFileError` for a file that is no sound adapter for these weights,
    `UsageError` for an impossible scale, `EngineError` when llama.cpp refuses it.
    """

    def __init__(self, weights: Weights, path: str | Path, scale: float = 1.0) -> None:
        self.path = Path(path)
        self.scale = check_scale(scale)
        self._loaded = weights.loaded
        model = weights.pointer
        with open_adapter(self.path, weights.header) as file:
            self.header = file.header
            if HAS_STREAMS:
                with stream_of(file) as stream:
                    self._pointer = lib.llama_adapter_lora_init_from_file_ptr(model, stream)
            else:
                self._pointer = lib.llama_adapter_lora_init(model, os.fsencode(self.path))
            if not self._pointer:
                raise failure(f"{self.path}: llama.cpp cannot load this adapter")
            weights.hold(self.n_bytes)
            file.check_unchanged()
        drain_logs()

    @property
    def n_bytes(self) -> int:
        """What it takes of memory."""
        return sum(tensor.size for tensor in self.header.tensors)

    @property
    def origin(self) -> str:
        """A name for what it does to a text that is read. Raises `ModelFileError`."""
        return f"{self.scale!r} {fingerprint(self.header)}"

    def check_is_for(self, weights: Weights) -> None:
        """Raise `UsageError` where it was loaded for other weights than these."""
        if weights.loaded is not self._loaded:
            raise UsageError(f"{self.path}: this adapter was loaded for {self._loaded.path}")

    @property
    def pointer(self) -> Any:
        """llama.cpp's adapter, never null."""
        return self._pointer


def apply(adapters: Sequence[Adapter], weights: Weights, context: Any) -> None:
    """Have llama.cpp's `context`, over `weights`, add all of `adapters` to them, each by its scale.

    One of scale 0 is left out: llama.cpp would compute what it then adds nothing of. In which order
    it adds several is llama.cpp's own, and may differ from run to run by rounding. Raises
    `UsageError` for one that is given twice, or was loaded for other weights.
    """
    for adapter in adapters:
        adapter.check_is_for(weights)
        if sum(adapter is other for other in adapters) > 1:
            raise UsageError(f"{adapter.path}: this adapter is given twice; add its scales up")
    added = [adapter for adapter in adapters if adapter.scale]
    if not added:
        return
    pointers = (lib.llama_adapter_lora_p_ctypes * len(added))(*(each.pointer for each in added))
    scales = (ctypes.c_float * len(added))(*(each.scale for each in added))
    if lib.llama_set_adapters_lora(context, pointers, len(added), scales) != 0:
        named = ", ".join(str(each.path) for each in added)
        raise failure(f"{named}: llama.cpp cannot use this adapter")
