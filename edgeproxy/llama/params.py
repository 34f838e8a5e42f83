"""How llama.cpp sets up a context."""

from __future__ import annotations

from typing import Any

from edgeproxy.gguf import TensorType
from edgeproxy.llama.footprint import AT_ONCE
from edgeproxy.llama.kv import flash_attention
from edgeproxy.llama.library import lib, set_fields

MAX_ROWS = 32
"""The most rows one `eval` or `branch` computes; llama.cpp sizes its output buffer by it."""

BATCH = 256
"""The most tokens of one call; longer texts take several."""


def context_params(n_ctx: int, kind: TensorType, *, n_branches: int, n_threads: int) -> Any:
    """llama.cpp's parameters for a context of `n_ctx` tokens whose KV cache is of this `kind`."""
    return set_fields(
        lib.llama_context_default_params(),
        n_ctx=n_ctx,
        n_batch=BATCH,
        n_ubatch=AT_ONCE,
        n_seq_max=1 + n_branches,
        kv_unified=n_branches > 0,
        n_outputs_max=MAX_ROWS,
        n_outputs_max_per_seq=MAX_ROWS,
        n_threads=n_threads,
        n_threads_batch=n_threads,
        flash_attn_type=flash_attention(kind, n_ctx),
        type_k=kind.id,
        type_v=kind.id,
        offload_kqv=False,
        op_offload=False,
        swa_full=True,
    )
