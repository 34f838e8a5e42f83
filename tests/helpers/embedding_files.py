"""Small embedding models with random weights: encoders, with a WordPiece vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.helpers.gguf_files import F32, Draft
from tests.helpers.small_models import random_weights

DIMENSIONS = 32
CONTEXT = 64
FORWARD = 64

_UNUSED = 100
_SPECIAL = ("[UNK]", "[CLS]", "[SEP]", "[MASK]")
_WORDS = ("the", "heron", "money", "capital", "francs", "notice", "period", "a", "of")
_ENDINGS = ("s", "ing", "ed")


def word_pieces() -> dict[str, Any]:
    """The tokenizer's keys of a vocabulary whose special tokens have BERT's own ids."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?!"
    specials = ["[PAD]", *(f"[unused{n}]" for n in range(_UNUSED - 1)), *_SPECIAL]
    words = [f"\u2581{word}" for word in (*_WORDS, *(one for one in letters if one != "a"))]
    pieces = [*letters, *(ending for ending in _ENDINGS if ending not in letters)]
    tokens = [*specials, *words, *pieces]
    return {
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * len(specials) + [1] * (len(words) + len(pieces)),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": _UNUSED,
        "tokenizer.ggml.bos_token_id": _UNUSED + 1,
        "tokenizer.ggml.seperator_token_id": _UNUSED + 2,
        "tokenizer.ggml.mask_token_id": _UNUSED + 3,
    }


def encoder(name: str = "bert", *, seed: int = 0, pooling: int = 1) -> Draft:
    """An encoder of two blocks: `bert` or `nomic-bert`."""
    made, width = Draft(), DIMENSIONS
    made.metadata = {
        "general.architecture": name,
        f"{name}.block_count": 2,
        f"{name}.context_length": CONTEXT,
        f"{name}.embedding_length": width,
        f"{name}.feed_forward_length": FORWARD,
        f"{name}.attention.head_count": 4,
        f"{name}.attention.layer_norm_epsilon": 1e-12,
        f"{name}.attention.causal": False,
        f"{name}.pooling_type": pooling,
        **word_pieces(),
    }
    words = len(made.metadata["tokenizer.ggml.tokens"])
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (width, words),
        "token_types.weight": (width, 2),
        "token_embd_norm.weight": (width,),
        "token_embd_norm.bias": (width,),
    }
    if name == "bert":
        shapes["position_embd.weight"] = (width, CONTEXT)
    else:
        made.metadata["nomic-bert.rope.freq_base"] = 1000.0
    for block in range(2):
        shapes |= {f"blk.{block}.{key}": shape for key, shape in _block(name, width).items()}
    made.tensors = {key: (shape, F32) for key, shape in shapes.items()}
    random_weights(made, seed)
    return made


def _block(name: str, width: int) -> dict[str, tuple[int, ...]]:
    one: dict[str, tuple[int, ...]] = {
        "attn_output.weight": (width, width),
        "ffn_up.weight": (width, FORWARD),
        "ffn_down.weight": (FORWARD, width),
    }
    for norm in ("attn_output_norm", "layer_output_norm"):
        one |= {f"{norm}.weight": (width,), f"{norm}.bias": (width,)}
    if name == "nomic-bert":
        return {**one, "attn_qkv.weight": (width, 3 * width), "ffn_gate.weight": (width, FORWARD)}
    for part in ("q", "k", "v"):
        one |= {f"attn_{part}.weight": (width, width), f"attn_{part}.bias": (width,)}
    return {
        **one,
        "attn_output.bias": (width,),
        "ffn_up.bias": (FORWARD,),
        "ffn_down.bias": (width,),
    }


def write_encoder(path: Path, seed: int = 0) -> Path:
    """A small embedding model at `path`; another `seed` makes another one."""
    return encoder(seed=seed).write(path)


class KnownEmbeds:
    """An embedding model whose vectors follow from the texts: of each letter how often it stands.

    `stop_after` so many texts it raises; `seen` are all texts that it was given.
    """

    dimensions = 26
    cut = 0
    is_made_for_it = True

    def __init__(self, stop_after: int | None = None) -> None:
        self.seen: list[str] = []
        self._stop_after = stop_after
        self.is_closed = False

    def __call__(self, _path: Path, /, *, longest: int, cancel: object) -> KnownEmbeds:
        self.is_closed = False
        return self

    def embed(self, texts: Any) -> NDArray[Any]:
        self.seen += texts
        if self._stop_after is not None and len(self.seen) > self._stop_after:
            raise KeyboardInterrupt
        counts = np.array([[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts])
        counts = counts + 0.01
        found: NDArray[Any] = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        return found

    def close(self) -> None:
        self.is_closed = True
