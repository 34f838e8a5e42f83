"""The architectures that the recipes use: their hyper-parameters, tensors and shapes.

Shapes are in letters, the fastest dimension first: E embedding, V vocabulary, Q all query heads,
K all key (or value) heads, H one head, T queries, keys and values fused, F feed-forward, G gate and
feed-forward fused, X experts, R rotated pairs, C positions, Y kinds of tokens. A `?` marks an
optional tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeproxy.gguf.header import Header

FORGET_ALL_OR_NOTHING = frozenset(
    (
        *("mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7"),
        *("bailingmoe3", "deepseek4", "falcon-h1", "glm5-next", "granitehybrid", "jamba"),
        *("kimi-k3", "kimi-linear", "lfm2", "lfm2moe", "minimax-01", "nemotron_h"),
        *("nemotron_h_moe", "plamo2", "qwen35", "qwen35moe", "qwen3next", "qwen4exp"),
    )
)
"""llama.cpp's recurrent architectures, then its hybrids: a state cannot be cut as tokens can."""

Shapes = Mapping[str, str]
_LARGEST = 1 << 22
_RMS = "attention.layer_norm_rms_epsilon"
SEPARATE: Shapes = {
    "attn_q.weight": "E Q",
    "attn_k.weight": "E K",
    "attn_v.weight": "E K",
    "attn_q.bias?": "Q",
    "attn_k.bias?": "K",
    "attn_v.bias?": "K",
}
FUSED: Shapes = {"attn_qkv.weight": "E T", "attn_qkv.bias?": "T"}
_GATED = {"ffn_gate.weight": "E F", "ffn_up.weight": "E F", "ffn_down.weight": "F E"}
_OUTER = {"token_embd.weight": "E V", "output_norm.weight": "E", "output.weight?": "E V"}
_NORMS = {"attn_norm.weight": "E", "attn_output.weight": "Q E", "ffn_norm.weight": "E"}
_HEAD_NORMS = {"attn_q_norm.weight": "H", "attn_k_norm.weight": "H"}
_POST_NORMS = {"post_attention_norm.weight": "E", "post_ffw_norm.weight": "E"}


def can_rewind(header: Header) -> bool:
    """Whether llama.cpp can let this model forget a part of a text, as far as the header tells."""
    return header.architecture not in FORGET_ALL_OR_NOTHING


@dataclass(frozen=True)
class Architecture:
    """One family: which tensors it has, and how its hyper-parameters relate.

    `square_heads`: the query heads together are as wide as the embedding. `all_rotated`: a head is
    rotated in full. llama.cpp asserts both.
    """

    outer: Shapes
    block: Shapes
    feed_forward: Shapes
    epsilon: str = _RMS
    square_heads: bool = True
    all_rotated: bool = True
    experts: Shapes | None = None

    def dimensions(self, header: Header, n_tokens: int) -> dict[str, int]:
        """The length that each letter stands for. Raises `ModelFileError` on contradictions."""
        name = header.architecture

        def length(key: str, default: int | None = None) -> int:
            value = header.integer(f"{name}.{key}", default)
            if not 1 <= value <= _LARGEST:
                raise header.error(f"{name}.{key} is {value}, not in 1 to {_LARGEST}")
            return value

        header.number(f"{name}.{self.epsilon}")
        width, heads = length("embedding_length"), length("attention.head_count")
        shared = length("attention.head_count_kv", heads)
        head = length("attention.key_length", max(1, width // heads))
        rotated = length("rope.dimension_count", head)
        experts = header.integer(f"{name}.expert_count", 0)
        faults = {
            f"{heads} heads do not divide an embedding of {width}": (
                f"{name}.attention.key_length" not in header.metadata and width % heads
            ),
            f"{heads} heads cannot share {shared} pairs of keys and values": heads % shared,
            f"{heads} heads of {head} are not as wide as the embedding of {width}": (
                self.square_heads and heads * head != width
            ),
            f"{name}.attention.value_length is not its key length {head}": (
                length("attention.value_length", head) != head
            ),
            f"{name}.rope.dimension_count is {rotated} for heads of {head}": (
                rotated % 2 or rotated > head or (self.all_rotated and rotated != head)
            ),
            # Layers with a sliding window could have heads of their own: none of these has.
            f"{name} has other heads for its sliding window": (
                length("attention.key_length_swa", head) != head
                or length("attention.value_length_swa", head) != head
                or length("rope.dimension_count_swa", rotated) != rotated
            ),
            f"{name}.embedding_length_out is not its embedding length {width}": (
                length("embedding_length_out", width) != width
            ),
            f"{name} models have no experts": experts and self.experts is None,
            f"{name} models predict no tokens ahead": header.integer(
                f"{name}.nextn_predict_layers", 0
            ),
            f"{name}.attention.sliding_window is 0": (
                name == "gemma2" and header.integer(f"{name}.attention.sliding_window", 4096) < 1
            ),
        }
        for what, is_wrong in faults.items():
            if is_wrong:
                raise header.error(what)
        return {
            "E": width,
            "V": n_tokens,
            "Q": heads * head,
            "K": shared * head,
            "T": (heads + 2 * shared) * head,
            "H": head,
            "F": length("feed_forward_length"),
            "G": 2 * length("feed_forward_length"),
            "X": experts,
            "R": rotated // 2,
            "C": length("context_length"),
            "Y": header.integer("tokenizer.ggml.token_type_count", 0),
        }


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture(
        outer={
            **_OUTER,
            "rope_freqs.weight?": "R",
            "rope_factors_long.weight?": "R",
            "rope_factors_short.weight?": "R",
        },
        block={**_NORMS, "attn_output.bias?": "E"},
        feed_forward={**_GATED, "ffn_gate.bias?": "F", "ffn_up.bias?": "F", "ffn_down.bias?": "E"},
        square_heads=False,
        experts={
            "ffn_gate_inp.weight": "E X",
            "ffn_gate_exps.weight": "E F X",
            "ffn_up_exps.weight": "E F X",
            "ffn_down_exps.weight": "F E X",
        },
    ),
    "qwen2": Architecture(
        outer={**_OUTER, "output.bias?": "V"},
        block=_NORMS,
        feed_forward=_GATED,
    ),
    "qwen3": Architecture(
        outer=_OUTER,
        block={**_NORMS, **_HEAD_NORMS},
        feed_forward=_GATED,
        square_heads=False,
    ),
    "phi2": Architecture(
        outer={
            "token_embd.weight": "E V",
            "output_norm.weight": "E",
            "output_norm.bias": "E",
            "output.weight": "E V",
            "output.bias": "V",
        },
        block={
            "attn_norm.weight": "E",
            "attn_norm.bias": "E",
            "attn_output.weight": "Q E",
            "attn_output.bias": "E",
        },
        feed_forward={
            "ffn_up.weight": "E F",
            "ffn_up.bias": "F",
            "ffn_down.weight": "F E",
            "ffn_down.bias": "E",
        },
        epsilon="attention.layer_norm_epsilon",
        all_rotated=False,
    ),
    "phi3": Architecture(
        outer={**_OUTER, "rope_factors_long.weight?": "R", "rope_factors_short.weight?": "R"},
        block=_NORMS,
        feed_forward={"ffn_up.weight": "E G", "ffn_down.weight": "F E"},
        all_rotated=False,
    ),
    "gemma2": Architecture(
        outer={"token_embd.weight": "E V", "output_norm.weight": "E"},
        block={**_NORMS, **_POST_NORMS},
        feed_forward=_GATED,
        square_heads=False,
        all_rotated=False,
    ),
    "gemma3": Architecture(
        outer=_OUTER,
        block={**_NORMS, **_HEAD_NORMS, **_POST_NORMS},
        feed_forward=_GATED,
        square_heads=False,
        all_rotated=False,
    ),
}


_ENCODER = {
    "token_embd.weight": "E V",
    "token_types.weight?": "E Y",
    "token_embd_norm.weight": "E",
    "token_embd_norm.bias": "E",
}
_ENCODER_NORMS = {
    "attn_output_norm.weight": "E",
    "attn_output_norm.bias": "E",
    "layer_output_norm.weight": "E",
    "layer_output_norm.bias": "E",
}

ENCODERS: Mapping[str, Architecture] = {
    "bert": Architecture(
        outer={**_ENCODER, "position_embd.weight": "E C"},
        block={**_ENCODER_NORMS, "attn_output.weight": "Q E", "attn_output.bias?": "E"},
        feed_forward={
            "ffn_up.weight": "E F",
            "ffn_up.bias?": "F",
            "ffn_down.weight": "F E",
            "ffn_down.bias?": "E",
        },
        epsilon="attention.layer_norm_epsilon",
    ),
    "nomic-bert": Architecture(
        outer=_ENCODER,
        block={**_ENCODER_NORMS, "attn_output.weight": "Q E", "attn_output.bias?": "E"},
        feed_forward={
            **_GATED,
            "ffn_up.bias?": "F",
            "ffn_gate.bias?": "F",
            "ffn_down.bias?": "E",
        },
        epsilon="attention.layer_norm_epsilon",
    ),
}
"""Those that cannot write: what reads a text into a vector."""
