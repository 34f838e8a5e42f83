"""Small GGUF files of recurrent and hybrid models, with random weights and a state that lasts."""

from __future__ import annotations

import random
from array import array

from tests.helpers.gguf_files import F32, Draft, byte_level_vocabulary

RECURRENT, HYBRID = ("mamba",), ("jamba", "lfm2")
_CONV, _STATE, _RANK, _HEADS = 4, 8, 4, 4


def recurrent_draft(architecture: str, *, width: int = 32, seed: int = 0) -> Draft:
    """A sound model of two blocks; a hybrid's second one is attention, its first is not."""
    name, inner, forward = architecture, 2 * width, 2 * width
    is_hybrid = name in HYBRID
    made = Draft(
        {
            "general.architecture": name,
            "general.name": f"a test's {name} {seed}",
            f"{name}.block_count": 2,
            f"{name}.context_length": 512,
            f"{name}.embedding_length": width,
            f"{name}.feed_forward_length": forward if is_hybrid else 0,
            f"{name}.attention.head_count": _HEADS if is_hybrid else 0,
            f"{name}.attention.layer_norm_rms_epsilon": 1e-5,
            **byte_level_vocabulary(),
        }
    )
    if is_hybrid:
        made.metadata[f"{name}.attention.head_count_kv"] = [0, 2]
    if name == "lfm2":
        made.metadata[f"{name}.shortconv.l_cache"] = 3
        made.metadata[f"{name}.rope.freq_base"] = 10000.0
    else:
        made.metadata |= {
            f"{name}.ssm.conv_kernel": _CONV,
            f"{name}.ssm.inner_size": inner,
            f"{name}.ssm.state_size": _STATE,
            f"{name}.ssm.time_step_rank": _RANK,
        }
    words = len(made.metadata["tokenizer.ggml.tokens"])
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (width, words)}
    last_norm = "token_embd_norm.weight" if name == "lfm2" else "output_norm.weight"
    shapes |= {last_norm: (width,), "output.weight": (width, words)}
    for block in range(2):
        one: dict[str, tuple[int, ...]] = {"attn_norm.weight": (width,)}
        if is_hybrid and block:
            one |= {
                "attn_q.weight": (width, width),
                "attn_k.weight": (width, width // 2),
                "attn_v.weight": (width, width // 2),
                "attn_output.weight": (width, width),
            }
            if name == "lfm2":
                head = width // _HEADS
                one |= {"attn_q_norm.weight": (head,), "attn_k_norm.weight": (head,)}
        elif name == "lfm2":
            one |= {
                "shortconv.conv.weight": (3, width),
                "shortconv.in_proj.weight": (width, 3 * width),
                "shortconv.out_proj.weight": (width, width),
            }
        else:
            one |= {
                "ssm_in.weight": (width, 2 * inner),
                "ssm_conv1d.weight": (_CONV, inner),
                "ssm_conv1d.bias": (inner,),
                "ssm_x.weight": (inner, _RANK + 2 * _STATE),
                "ssm_dt.weight": (_RANK, inner),
                "ssm_dt.bias": (inner,),
                "ssm_a": (_STATE, inner),
                "ssm_d": (inner,),
                "ssm_out.weight": (inner, width),
            }
            if name == "jamba":
                one |= {
                    "ssm_dt_norm.weight": (_RANK,),
                    "ssm_b_norm.weight": (_STATE,),
                    "ssm_c_norm.weight": (_STATE,),
                }
        if is_hybrid:
            one |= {
                "ffn_norm.weight": (width,),
                "ffn_gate.weight": (width, forward),
                "ffn_up.weight": (width, forward),
                "ffn_down.weight": (forward, width),
            }
        shapes |= {f"blk.{block}.{key}": shape for key, shape in one.items()}
    source = random.Random(f"{name} {seed}")
    for key, shape in shapes.items():
        made.tensors[key] = (shape, F32)
        made.data[key] = _numbers(source, key, shape).tobytes()
    return made


def _numbers(source: random.Random, name: str, shape: tuple[int, ...]) -> array[float]:
    count = 1
    for length in shape:
        count *= length
    if name.endswith("ssm_a"):  # a state decays, slowly enough that a text's beginning matters
        return array("f", (-source.uniform(0.02, 0.3) for _ in range(count)))
    if "norm" in name or name.endswith("ssm_d"):
        return array("f", (source.gauss(1.0, 0.1) for _ in range(count)))
    spread = shape[0] ** -0.5 if len(shape) > 1 else 0.1
    return array("f", (source.gauss(0.0, spread) for _ in range(count)))
