"""llama.cpp's logits of every token of a text, with a KV cache of float32 that rounds nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgeproxy.core.model import Logits
from edgeproxy.gguf import TENSOR_TYPES
from edgeproxy.llama import MAX_ROWS, Adapter, LlamaModel, Weights
from edgeproxy.llama import context as llama_context
from edgeproxy.llama import params as llama_params
from tests.helpers.gguf_files import F32


def exact_logits(
    path: Path, tokens: Sequence[int], adapter: Path | None = None, n_ctx: int = 256
) -> Logits:
    """llama.cpp's rows for `tokens`, (len(tokens), n_vocab), on one thread.

    No context of edgeproxy's has such a cache: f16 rounds keys and values to 11 bits, which is more
    than all else that two implementations of one model differ by.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llama_context, "kv_type_for", lambda header, kind: TENSOR_TYPES[F32])
        patch.setattr(llama_params, "flash_attention", lambda kind, n_ctx: 0)
        with Weights(path) as weights:
            changes = [Adapter(weights, adapter)] if adapter else []
            model = LlamaModel(weights, n_ctx=n_ctx, adapters=changes)
            rows = [
                model.eval(tokens[at : at + MAX_ROWS], len(tokens[at : at + MAX_ROWS])).copy()
                for at in range(0, len(tokens), MAX_ROWS)
            ]
            model.close()
    return np.concatenate(rows)
