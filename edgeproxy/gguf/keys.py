"""Checks of the keys themselves: what kind of file this is, and keys that damage has renamed."""

from __future__ import annotations

import re

from edgeproxy.gguf.header import Header

_GENERAL = """general.architecture general.alignment general.type split.count split.no
split.tensors.count"""

_TOKENIZER = """add_bos_token add_eos_token add_sep_token add_space_prefix bos_token_id cls_token_id
eom_token_id eos_token_id eot_token_id fim_mid_token_id fim_pad_token_id fim_pre_token_id
fim_rep_token_id fim_sep_token_id fim_suf_token_id mask_token_id merges middle_token_id model
padding_token_id pre precompiled_charsmap prefix_token_id remove_extra_whitespaces scores
separator_token_id seperator_token_id suffix_token_id suppress_tokens token_type token_type_count
tokens unknown_token_id"""

_MODEL = """attention.causal attention.head_count attention.head_count_kv attention.key_length
attention.key_length_mla attention.key_length_swa attention.layer_norm_epsilon
attention.layer_norm_rms_epsilon attention.output_scale attention.scale attention.sliding_window
attention.sliding_window_pattern attention.temperature_scale attention.value_length
attention.value_length_mla attention.value_length_swa attention.value_scale attn_logit_softcapping
block_count context_length embedding_length embedding_length_out expert_count
expert_feed_forward_length expert_gating_func expert_group_count expert_group_used_count
expert_shared_count expert_used_count expert_weights_norm expert_weights_scale feed_forward_length
final_logit_softcapping nextn_predict_layers pooling_type rope.dimension_count
rope.dimension_count_swa rope.freq_base rope.freq_base_swa rope.scale_linear rope.scaling.alpha
rope.scaling.attn_factor rope.scaling.factor rope.scaling.finetuned
rope.scaling.original_context_length rope.scaling.type rope.scaling.yarn_attn_factor
rope.scaling.yarn_beta_fast rope.scaling.yarn_beta_slow rope.scaling.yarn_ext_factor
rope.scaling.yarn_log_multiplier router_logit_softcapping tensor_data_layout use_parallel_residual
vocab_size"""

_IS_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}").fullmatch


def check_keys(header: Header) -> None:
    """Refuse files that are not one whole model, and keys that look like damaged known ones.

    llama.cpp ignores a key that it does not know, so that one flipped byte in an optional key
    (`rope.freq_base`) silently changes every answer.
    """
    architecture = header.architecture
    if not _IS_ARCHITECTURE(architecture):
        raise header.error(f"general.architecture is {architecture!r}, which is no name")
    known = {*_GENERAL.split(), "tokenizer.chat_template", "tokenizer.huggingface.json"}
    known |= {f"tokenizer.ggml.{name}" for name in _TOKENIZER.split()}
    known |= {f"{architecture}.{name}" for name in _MODEL.split()}
    by_length: dict[int, list[str]] = {}
    for key in known:
        by_length.setdefault(len(key), []).append(key)
    for key in header.metadata.keys() - known:
        for other in by_length.get(len(key), ()):
            if sum(map(str.__ne__, key, other)) <= 2:
                raise header.error(f"its header has {key!r}, which looks like a damaged {other}")
    parts = header.integer("split.count", 1)
    if parts > 1:
        raise header.error(
            f"it is one of {parts} parts", "merge them with llama-gguf-split --merge"
        )
    kind = header.text("general.type", "model")
    if kind != "model":
        raise header.error(f"it holds {kind!r}, not a model", "use the model that it belongs to")
