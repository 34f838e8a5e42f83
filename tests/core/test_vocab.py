"""Token bytes, special tokens, and what a user's text may become."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.core.vocab import Kind, Vocab, from_header
from edgeproxy.errors import ModelFileError, PromptError
from edgeproxy.gguf import Header
from tests.helpers.fakes import BOS, END, SPECIALS, TURN_END, changed, fake_vocab


def header(words: list[str], model: str = "gpt2", **metadata: Any) -> Header:
    given_metadata = {
        "tokenizer.ggml.model": model,
        "tokenizer.ggml.tokens": tuple(words),
        **{f"tokenizer.{key}": value for key, value in metadata.items()},
    }
    return Header(Path("model.gguf"), 3, given_metadata, (), 0, 0, (0, 0, 0, 0))


class TokenizesParts:
    """Remembers the parts that it was given, and how."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.firsts: list[bool] = []

    def __call__(self, text: str, first: bool, special: bool) -> list[int]:
        self.parts.append(text)
        self.firsts.append(first)
        return [0] if text else []


def with_reserved(*markers: str) -> tuple[Vocab, TokenizesParts]:
    tokenize = TokenizesParts()
    vocab = Vocab(
        tokens=tuple(marker.encode() for marker in markers),
        kinds=(Kind.USER_DEFINED,) * len(markers),
        end_of_generation=frozenset(range(len(markers))),
        tokenize=tokenize,
    )
    return vocab, tokenize


def test_byte_level_words_are_spelled_in_bytes() -> None:
    vocab = from_header(header(["!", "Ġthe", "Ċ", "Ã©", "ĠðŁĺĢ", "日"]))
    assert vocab.tokens == (b"!", b" the", b"\n", "é".encode(), " 😀".encode(), "日".encode())


def test_all_256_bytes_have_a_byte_level_spelling() -> None:
    from edgeproxy.core.vocab import _BYTE_OF

    assert sorted(_BYTE_OF.values()) == list(range(256))
    vocab = from_header(header(list(_BYTE_OF)))
    assert b"".join(sorted(vocab.tokens)) == bytes(range(256))


def test_sentencepiece_words_are_spelled_in_bytes() -> None:
    kinds = (Kind.UNKNOWN, Kind.CONTROL, Kind.BYTE, Kind.BYTE, Kind.NORMAL, Kind.NORMAL)
    words = ["<unk>", "<s>", "<0x0A>", "<0xff>", "▁the", "▁▁"]
    vocab = from_header(header(words, "llama", **{"ggml.token_type": kinds}))
    assert vocab.tokens == (b"<unk>", b"<s>", b"\n", b"\xff", b" the", b"  ")


def test_a_byte_token_that_names_no_byte_is_a_model_file_error() -> None:
    with pytest.raises(ModelFileError, match=r"model\.gguf: a token cannot be spelled"):
        from_header(header(["<0xZZ>"], "llama", **{"ggml.token_type": (Kind.BYTE,)}))


def test_special_ids_come_from_the_header() -> None:
    metadata: dict[str, Any] = {
        "ggml.bos_token_id": 1,
        "ggml.eos_token_id": 2,
        "ggml.eot_token_id": 3,
        "ggml.add_bos_token": True,
        "chat_template": "{{x}}",
    }
    vocab = from_header(header(["a", "b", "c", "d"], **metadata))
    assert vocab.bos == 1
    assert vocab.end_of_generation == {2, 3}
    assert vocab.add_bos
    assert vocab.chat_template == "{{x}}"


def test_special_ids_may_be_missing() -> None:
    vocab = from_header(header(["a"]))
    assert (vocab.bos, vocab.end_of_generation, vocab.add_bos) == (None, frozenset(), False)
    assert vocab.chat_template is None


def test_special_tokens_are_found_by_their_spelling() -> None:
    vocab = fake_vocab()
    assert {text: vocab.special(text) for text in SPECIALS} == SPECIALS
    assert vocab.special("a") is None
    assert vocab.special("<|nothing|>") is None


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (Kind.NORMAL, b"x"),
        (Kind.BYTE, b"x"),
        (Kind.USER_DEFINED, b"x"),
        (Kind.CONTROL, b""),
        (Kind.UNUSED, b""),
        (Kind.UNKNOWN, b""),
    ],
)
def test_only_text_is_added_to_a_reply(kind: Kind, shown: bytes) -> None:
    assert Vocab((b"x",), (kind,)).piece(0) == shown


def test_a_vocabulary_without_a_tokenizer_says_so() -> None:
    with pytest.raises(PromptError, match="without its tokenizer"):
        Vocab((b"x",), (1,)).encode("x")


def test_special_spellings_count_only_in_trusted_text() -> None:
    vocab = fake_vocab()
    assert vocab.encode("a<|im_end|>", special=True) == [ord("a"), TURN_END]
    assert vocab.encode("a<|im_end|>") == list(b"a<|im_end|>")
    assert END not in vocab.encode("<|end|>")


def test_a_user_defined_turn_marker_is_cut_in_a_users_text_and_whole_in_a_templates() -> None:
    vocab, tokenize = with_reserved("<|im_end|>")
    vocab.encode("hello<|im_end|>there<|im_end|>")
    assert tokenize.parts == ["hello<", "|im_end|>there<", "|im_end|>"]
    tokenize.parts.clear()
    vocab.encode("hello<|im_end|>there", special=True)
    assert tokenize.parts == ["hello<|im_end|>there"]


def test_user_defined_tokens_that_are_no_turn_markers_are_not_cut() -> None:
    tokenize = TokenizesParts()
    vocab = Vocab((b"<tab>", b"<|x|>"), (Kind.USER_DEFINED, Kind.CONTROL), tokenize=tokenize)
    vocab.encode("a<tab>b<|x|>")
    assert tokenize.parts == ["a<tab>b<|x|>"]


def test_a_user_defined_token_that_looks_like_a_turn_marker_is_cut() -> None:
    tokenize = TokenizesParts()
    vocab = Vocab((b"<|turn|>",), (Kind.USER_DEFINED,), tokenize=tokenize)
    vocab.encode("<|turn|>")
    assert tokenize.parts == ["<", "|turn|>"]


def test_only_the_first_part_of_a_text_opens_the_prompt() -> None:
    vocab, tokenize = with_reserved("<|a|>")
    vocab.encode("x<|a|>y", first=True)
    assert tokenize.firsts == [True, False]
    tokenize.firsts.clear()
    vocab.encode("x<|a|>y")
    assert tokenize.firsts == [False, False]


markers = st.lists(st.text("<|>ab", min_size=2, max_size=5), min_size=1, max_size=3, unique=True)


@given(st.text("<|>ab", max_size=30), markers)
def test_parts_join_to_the_text_and_hold_no_marker(text: str, reserved: list[str]) -> None:
    vocab, tokenize = with_reserved(*reserved)
    vocab.encode(text)
    assert "".join(tokenize.parts) == text
    assert not any(marker in part for marker in reserved for part in tokenize.parts)


def test_real_vocabularies_spell_well_known_tokens(real_vocabs: dict[str, Vocab]) -> None:
    gpt2, qwen2, llama3 = (real_vocabs[n].tokens for n in ("gpt-2", "qwen2", "llama-bpe"))
    assert (gpt2[262], gpt2[198], gpt2[50256]) == (b" the", b"\n", b"<|endoftext|>")
    assert (qwen2[279], qwen2[198], qwen2[151645]) == (b" the", b"\n", b"<|im_end|>")
    assert (llama3[279], llama3[128000]) == (b" the", b"<|begin_of_text|>")
    llama2, phi3 = real_vocabs["llama-spm"], real_vocabs["phi-3"]
    for vocab in (llama2, phi3):
        assert vocab.tokens[:3] == (b"<unk>", b"<s>", b"</s>")
        assert vocab.tokens[13] == b"\n"  # <0x0A>
        assert vocab.tokens[3 : 3 + 256] == tuple(bytes([n]) for n in range(256))
        assert vocab.tokens[278] == b" the"
    assert phi3.tokens[32007] == b"<|end|>"


def test_real_vocabularies_can_spell_every_byte_of_utf_8(real_vocabs: dict[str, Vocab]) -> None:
    utf_8 = {chr(n).encode()[k : k + 1] for n in (*range(0x800), 0xFFFF) for k in range(3)} - {b""}
    assert len(utf_8) == 128 + 64 + 30 + 1
    for name, vocab in real_vocabs.items():
        assert utf_8 <= set(vocab.tokens), name


def test_real_vocabularies_know_their_special_tokens(real_vocabs: dict[str, Vocab]) -> None:
    qwen2, llama2 = real_vocabs["qwen2"], real_vocabs["llama-spm"]
    assert qwen2.special("<|im_start|>") == 151644
    assert qwen2.piece(151645) == b""
    assert (llama2.bos, llama2.special("</s>")) == (1, 2)
    assert llama2.end_of_generation == {2}
    assert real_vocabs["gpt-2"].end_of_generation == {50256}


def test_bos_is_one_of_the_special_tokens() -> None:
    assert fake_vocab().special("<s>") == fake_vocab().bos == BOS


def test_a_vocabulary_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        fake_vocab().bos = 3  # type: ignore[misc]
    assert changed(fake_vocab(), 5, b"five").tokens[5] == b"five"


def test_the_special_tokens_that_a_file_names_are_known_by_their_usual_names() -> None:
    keys = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding", "sep": "seperator"}
    metadata: dict[str, Any] = {f"ggml.{key}_token_id": n for n, key in enumerate(keys.values())}
    vocab = from_header(header(["a", "b", "c", "d", "e"], **metadata))
    assert vocab.named == {name: n for n, name in enumerate(keys)}
    assert from_header(header(["a"])).named == {}


def test_tokens_that_are_spelled_like_special_ones_are_found() -> None:
    kinds = [Kind.NORMAL, Kind.CONTROL, Kind.NORMAL, Kind.NORMAL, Kind.USER_DEFINED, Kind.UNKNOWN]
    words = ["a", "b", "<end>", "[END]", "  ", "c"]
    vocab = from_header(header(words, "gpt2", **{"ggml.token_type": tuple(kinds)}))
    assert vocab.spelled_specially == (1, 2, 3, 4, 5)
