"""Files of which only the vocabulary is loaded, and the real tokenizers that they give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.errors import EngineError, ModelFileError, UsageError
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.llama.library import lib
from tests.helpers.gguf_files import draft, sentencepiece_vocabulary

HELLO = {
    "gpt-2": [15496, 995, 198, 38251],
    "llama-bpe": [9906, 1917, 198, 4046],
    "llama-spm": [10994, 3186, 13, 904],
    "phi-3": [10994, 3186, 13, 904],
    "qwen2": [9707, 1879, 198, 3958],
    "starcoder": [8302, 5810, 222, 5685],
}
"""How each spells "Hello world", a newline and " é"."""


@pytest.fixture(scope="module")
def without_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = draft("llama")
    made.tensors.clear()
    return made.write(tmp_path_factory.mktemp("vocab") / "vocab.gguf")


def test_a_file_without_weights_gives_a_tokenizer(without_weights: Path) -> None:
    with Weights(without_weights, vocab_only=True) as weights:
        vocab = weights.vocab
        tokens = vocab.encode(" the end")
        assert [vocab.tokens[token] for token in tokens] == [b" ", b"the", b" ", b"e", b"n", b"d"]
        assert vocab.end_of_generation == {0, 2}


def test_a_file_without_weights_is_refused_as_a_model(without_weights: Path) -> None:
    with pytest.raises(ModelFileError):
        Weights(without_weights)


def test_the_vocabulary_alone_is_the_one_of_the_whole_file(tiny_file: Path) -> None:
    with Weights(tiny_file) as whole, Weights(tiny_file, vocab_only=True) as alone:
        for field in ("tokens", "kinds", "bos", "end_of_generation", "add_bos", "chat_template"):
            assert getattr(whole.vocab, field) == getattr(alone.vocab, field), field
        text = "then\n<|im_end|> and the inner é"
        for special in (False, True):
            got = alone.vocab.encode(text, special=special)
            assert got == whole.vocab.encode(text, special=special)


NEEDS_WEIGHTS: dict[str, Callable[[Weights], object]] = {
    "a context": LlamaModel,
    "a context of a given length": lambda weights: LlamaModel(weights, n_ctx=64),
    "the trained length": lambda weights: weights.n_ctx_train,
    "the parameters": lambda weights: weights.n_params,
    "rewinding": lambda weights: weights.can_rewind,
}


@pytest.mark.parametrize("what", NEEDS_WEIGHTS)
def test_a_vocabulary_is_no_model(tiny_file: Path, what: str) -> None:
    with Weights(tiny_file, vocab_only=True) as weights:
        with pytest.raises(UsageError, match=r"tiny\.gguf: only its vocabulary was loaded"):
            NEEDS_WEIGHTS[what](weights)
        assert weights.vocab.encode("x")


def test_a_closed_vocabulary_does_not_encode(tiny_file: Path) -> None:
    weights = Weights(tiny_file, vocab_only=True)
    weights.close()
    weights.close()
    with pytest.raises(EngineError, match="has been closed"):
        weights.vocab.encode("x")


def test_a_sentencepiece_vocabulary_alone_adds_its_space_at_the_start(tmp_path: Path) -> None:
    made = draft("llama")
    made.metadata = {
        key: value for key, value in made.metadata.items() if not key.startswith("tokenizer.")
    } | sentencepiece_vocabulary()
    with Weights(made.write(tmp_path / "spm.gguf"), vocab_only=True) as weights:
        spelled = weights.vocab.tokens
        assert [spelled[t] for t in weights.vocab.encode("t", first=True)] == [b" t"]
        assert [spelled[t] for t in weights.vocab.encode("t")] == [b"t"]


def test_the_six_tokenizers_are_the_real_ones(
    tokenizers: dict[str, Vocab], real_vocabs: dict[str, Vocab]
) -> None:
    assert {name: v.encode("Hello world\n é") for name, v in tokenizers.items()} == HELLO
    for name, vocab in tokenizers.items():
        assert vocab.tokens == real_vocabs[name].tokens
        assert vocab.kinds == real_vocabs[name].kinds


@pytest.mark.parametrize("kind", [Kind.NORMAL, Kind.USER_DEFINED, Kind.CONTROL])
@pytest.mark.parametrize("spelling", ["<|im_end|>", "<end_of_turn>", "<|eot_id|>", "[EOS]"])
def test_an_end_that_llama_cpp_knows_is_one_whatever_its_kind_in_the_file(
    tmp_path: Path, kind: Kind, spelling: str
) -> None:
    made = draft("llama")
    made.tensors.clear()
    tokens = made.metadata["tokenizer.ggml.tokens"]
    tokens[tokens.index("<|im_end|>")] = "<|nothing|>"
    tokens[60] = spelling
    made.metadata["tokenizer.ggml.token_type"][60] = int(kind)
    with Weights(made.write(tmp_path / "end.gguf"), vocab_only=True) as weights:
        vocab = weights.vocab
        known = {t for t in range(len(vocab)) if lib.llama_vocab_is_eog(weights.vocab_pointer, t)}
        assert (60 in vocab.end_of_generation) == (60 in known)
        assert known <= vocab.end_of_generation
        assert 60 in known or spelling == "[EOS]"


@pytest.mark.slow
def test_all_ends_that_llama_cpp_knows_of_real_vocabularies_are_ends(vocabs: Path) -> None:
    for path in sorted(vocabs.glob("*.gguf")):
        with Weights(path, vocab_only=True) as weights:
            pointer, vocab = weights.vocab_pointer, weights.vocab
            known = {t for t in range(len(vocab)) if lib.llama_vocab_is_eog(pointer, t)}
            assert known <= vocab.end_of_generation, path.name
