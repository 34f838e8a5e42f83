"""What llama.cpp takes of memory for a model besides its KV cache, told from the header alone.

The formulas are those of its graphs, and hold for the buffer sizes that it logs (`-vv`).
"""

from __future__ import annotations

import platform

from edgeproxy.gguf import Header
from edgeproxy.gguf.header import TensorType
from edgeproxy.llama.kv import flash_attention
from edgeproxy.llama.weights import is_mapped

AT_ONCE = 64
"""How many tokens are evaluated in one go, at most: llama.cpp's `n_ubatch`."""

# Types whose matrices are rearranged for this processor; of the others some are on some machines,
# which matters only for an embedding that is the output too.
_REARRANGED = {"q4_0", "q4_K", "iq4_nl"}
if platform.machine().lower() not in ("x86_64", "amd64"):
    _REARRANGED |= {"q5_K", "q6_K", "q8_0"}

_F16, _F32, _I64 = 2, 4, 8
_PAD = 256


def padded(n_ctx: int) -> int:
    """How many cells a KV cache for `n_ctx` tokens has."""
    return -(-n_ctx // _PAD) * _PAD


def weights_bytes(header: Header) -> int:
    """What the weights take.

    An embedding that is the output as well is looked up as it lies in the file and multiplied by
    as it was rearranged: it is held twice.
    """
    sizes = {tensor.name: tensor for tensor in header.tensors}
    total = sum(tensor.size for tensor in header.tensors)
    embedding = sizes.get("token_embd.weight")
    is_tied = embedding is not None and "output.weight" not in sizes
    if embedding and is_tied and not is_mapped(header) and embedding.type.name in _REARRANGED:
        total += embedding.size
    return total


def compute_bytes(
    header: Header, n_ctx: int, kind: TensorType, n_vocab: int, rows: int, n_branches: int = 0
) -> int:
    """What the intermediate results of an evaluation take, where `rows` rows come out of it.

    `n_ctx` tokens can be read, `kind` is the KV cache's type. Results are laid over each other, so
    that it is the largest of three moments: attention, feed-forward, output.
    """
    name = header.architecture
    width = header.integer(f"{name}.embedding_length")
    heads = _most(header, "attention.head_count")
    shared = _most(header, "attention.head_count_kv", heads)
    head = header.integer(f"{name}.attention.key_length", width // max(1, heads))
    wide = _most(header, "feed_forward_length")
    # As many of each sequence.
    n_tokens = -(-AT_ONCE // (1 + n_branches)) * (1 + n_branches)
    cells = padded(n_ctx)
    if flash_attention(kind, n_ctx):
        mask, scores = cells * _F16, 0
    else:  # the scores of all heads, and the place of every single value
        mask, scores = cells * _F32 + shared * head * _I64, cells * heads * _F32
    attention = n_tokens * (mask + scores + (4 * max(width, heads * head) + width) * _F32)
    feed_forward = n_tokens * (mask + (3 * wide + 3 * width) * _F32)
    output = rows * (n_vocab + 4 * width) * _F32
    return max(attention, feed_forward, output)


def vocabulary_bytes(n_tokens: int, n_characters: int, n_merges: int) -> int:
    """What a vocabulary takes; `n_characters` is the bytes of all its tokens.

    A token is a record, a text, a printable text and an entry of a hash table in llama.cpp, and a
    `bytes` in two tuples here; a merge is an entry with two texts. Measured with six real ones,
    which it meets within 5%: 32,000 to 152,000 tokens, none to 280,000 merges. What the first one
    leaves behind besides is used again by what is loaded next.
    """
    return 207 * n_tokens + n_characters + 130 * n_merges


def _most(header: Header, key: str, default: int | None = None) -> int:
    """The number under `key`, or the largest of a model that has one for each block."""
    value = header.metadata.get(f"{header.architecture}.{key}", default)
    if isinstance(value, tuple):
        return max(value, default=0)
    return header.integer(f"{header.architecture}.{key}", default)
