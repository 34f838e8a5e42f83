"""Training sees what decoding will: a session's prompts, the reply's very text, and its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.errors import PromptError, UsageError
from edgeproxy.llama import Weights
from edgeproxy.prompts.formats import FORMATS, Message, encode, make_format
from edgeproxy.prompts.markers import markers_of
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.tune.encoding import Encoder, make_encoder
from edgeproxy.tune.tokens import Tokens
from tests.conftest import VOCABS
from tests.helpers.fakes import fake_vocab
from tests.prompts.families import FAMILIES
from tests.prompts.test_families import vocab_of

NOW = datetime(2026, 3, 9, 12)
HELLO, PERU = Message("user", "Hello < you"), Message("user", "And Peru?")
TEXTS = (
    *("Four.", " a space before", "a space behind ", "\n\ntwo lines\n\n", "  ", "x" * 600),
    *(
        "在非洲。",
        "ในแอฟริกา",
        "في أفريقيا",
        "En Afrique, là-bas.",
        "e\u0301",
        "\U0001f469\u200d\U0001f467",
    ),
    *('{"country": "Chad", "value": 1}', "<think>\nIn Africa.\n</think>\n\nIn Africa.", "1,234.5"),
)
CONVERSATIONS = (
    *([HELLO, Message("assistant", text)] for text in TEXTS),
    [HELLO, Message("assistant", "Hi!"), PERU, Message("assistant", "In America.")],
    [HELLO, Message("assistant", "\n Hi!\n"), PERU, Message("assistant", "<think>\nx</think>No.")],
    [
        *(HELLO, PERU, Message("assistant", "Hi!"), PERU, Message("assistant", "No."), PERU),
        Message("assistant", "Still not."),
    ],
)


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(now=lambda: NOW) as opened:
        yield opened


def replies_of(sequences: Sequence[Tokens]) -> list[tuple[list[int], list[int]]]:
    """Of each reply the tokens before it and its own; an end tells where it ends."""
    found = []
    for tokens in sequences:
        assert tokens.ids.dtype == np.int32
        assert tokens.ids.shape == tokens.is_reply.shape
        assert tokens.is_reply[-1]
        edges = np.flatnonzero(np.diff(np.r_[False, tokens.is_reply, False].astype(int)))
        for start, end in edges.reshape(-1, 2):
            found.append((tokens.ids[:start].tolist(), tokens.ids[start:end].tolist()))
    return found


def check(encoder: Encoder, messages: Sequence[Message], name: str, renderer: Renderer) -> None:
    """Every reply stands behind the prompt that a session would make, and says its text."""
    layout = make_format(name, encoder.vocab, "the model", renderer)
    replies = [n for n, message in enumerate(messages) if message.role == "assistant"]
    found = replies_of(encoder.tokens(messages))
    assert len(found) == len(replies)
    for n, (before, said) in zip(replies, found, strict=True):
        assert before == encode(layout(messages[:n]), encoder.vocab)
        assert said[-1] == encoder.ending
        assert said[-1] in encoder.vocab.end_of_generation
        assert encoder.vocab.end_of_generation.isdisjoint(said[:-1])
        text = b"".join(encoder.vocab.piece(token) for token in said[:-1])
        assert text == messages[n].content.encode()


@pytest.mark.parametrize("name", FAMILIES)
def test_each_familys_prompts_are_a_sessions(name: str, renderer: Renderer) -> None:
    vocab = vocab_of(FAMILIES[name])
    encoder = make_encoder("gguf", vocab, name, renderer)
    for messages in CONVERSATIONS:
        try:
            encoder.prompt(messages[:-1])
        except PromptError:
            continue  # a template that refuses two questions in a row
        check(encoder, messages, "gguf", renderer)


@pytest.mark.parametrize("name", FAMILIES)
def test_many_at_once_have_the_tokens_of_each_alone(name: str, renderer: Renderer) -> None:
    vocab = vocab_of(FAMILIES[name])
    alone = make_encoder("gguf", vocab, name, renderer)
    together = make_encoder("gguf", vocab, name, renderer)
    together.prepare(CONVERSATIONS)
    for messages in CONVERSATIONS:
        assert said_or_refused(together, messages) == said_or_refused(alone, messages)


def said_or_refused(encoder: Encoder, messages: Sequence[Message]) -> object:
    try:
        return [(one.ids.tolist(), one.is_reply.tolist()) for one in encoder.tokens(messages)]
    except PromptError as error:
        return str(error)


@pytest.mark.parametrize("vocab_name", VOCABS)
def test_each_real_tokenizer_says_the_text(
    vocab_name: str, tokenizers: dict[str, Vocab], renderer: Renderer
) -> None:
    vocab = tokenizers[vocab_name]
    for name in FORMATS:
        try:
            encoder = make_encoder(name, vocab, vocab_name, renderer)
        except UsageError:
            assert name != "plain"
            continue
        for messages in CONVERSATIONS:
            check(encoder, messages, name, renderer)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.real])
def test_each_real_familys_prompts_are_a_sessions(
    name: str, tokenizers: dict[str, Vocab], renderer: Renderer
) -> None:
    family = FAMILIES[name]
    vocab = replace(tokenizers[str(family.real)], chat_template=family.template)
    encoder = make_encoder("gguf", vocab, name, renderer)
    check(encoder, CONVERSATIONS[0], "gguf", renderer)
    check(encoder, CONVERSATIONS[-3], "gguf", renderer)


@pytest.mark.parametrize("vocab_name", VOCABS)
def test_no_special_tokens_text_becomes_that_token(
    vocab_name: str, tokenizers: dict[str, Vocab], renderer: Renderer
) -> None:
    vocab = tokenizers[vocab_name]
    special = {
        token
        for token, kind in enumerate(vocab.kinds)
        if kind in (Kind.CONTROL, Kind.UNKNOWN, Kind.USER_DEFINED)
    } | vocab.end_of_generation
    assert special
    for name in FORMATS:
        try:
            encoder = make_encoder(name, vocab, vocab_name, renderer)
        except UsageError:
            continue
        own = [token for token in encoder.prompt([HELLO]) if token in special]
        for token in special:
            text = vocab.tokens[token].decode()
            said = f"{text}a{text} b {text}{text}"
            if vocab.kinds[token] == Kind.USER_DEFINED and not text.startswith("<|"):
                continue  # a word, such as a tag or a run of spaces
            [tokens] = encoder.tokens([Message("user", said), Message("assistant", said)])
            [(before, reply)] = replies_of([tokens])
            assert [token for token in before if token in special] == own
            assert special.isdisjoint(reply[:-1])
            assert b"".join(map(vocab.piece, reply[:-1])) == said.encode()
        talk = [Message("user", said), Message("assistant", said)] * 2
        check(encoder, talk, name, renderer)


@pytest.mark.parametrize("name", FAMILIES)
def test_no_marker_of_a_family_comes_of_a_reply(name: str, renderer: Renderer) -> None:
    encoder = make_encoder("gguf", vocab_of(FAMILIES[name]), name, renderer)
    reserved = markers_of(encoder.vocab).reserved
    assert reserved
    for text in reserved:
        said = f"{text}a{text} b {text}{text}"
        reply = encoder.reply(said)
        assert set(reserved.values()).isdisjoint(reply[:-1])
        talk = [Message("user", said), Message("assistant", said)]
        check(encoder, talk, "gguf", renderer)


def test_replies_stand_in_one_sequence_where_prompts_go_on(renderer: Renderer) -> None:
    vocab = vocab_of(FAMILIES["Qwen2.5"])
    encoder = make_encoder("chatml", vocab, "the model", renderer)
    messages = CONVERSATIONS[-1]
    [tokens] = encoder.tokens(messages)
    assert len(replies_of([tokens])) == 3
    # A plain prompt has no end of a turn, so that the next begins otherwise.
    encoder = make_encoder("plain", vocab, "the model", renderer)
    assert len(encoder.tokens(messages)) == 3
    assert all(len(replies_of([one])) == 1 for one in encoder.tokens(messages))


def test_a_reply_ends_with_what_the_format_ends_a_turn_with(renderer: Renderer) -> None:
    vocab = vocab_of(FAMILIES["Qwen2.5"])
    chatml = make_encoder("chatml", vocab, "the model", renderer)
    assert vocab.tokens[chatml.ending] == b"<|im_end|>"
    end = vocab.special("<|endoftext|>")
    assert end is not None
    named = replace(vocab, named={"eos": end}, end_of_generation=frozenset({end}))
    assert make_encoder("plain", named, "the model", renderer).ending == end
    assert make_encoder("chatml", named, "the model", renderer).ending == chatml.ending


def test_a_model_without_an_end_is_refused(renderer: Renderer) -> None:
    vocab = replace(fake_vocab(), end_of_generation=frozenset(), named={})
    with pytest.raises(UsageError, match="the model has no token that ends a reply"):
        make_encoder("plain", vocab, "the model", renderer)


def test_a_reply_that_the_vocabulary_cannot_say_is_refused(
    tokenizers: dict[str, Vocab], renderer: Renderer
) -> None:
    encoder = make_encoder("plain", tokenizers["llama-spm"], "the model", renderer)
    with pytest.raises(PromptError, match=r"cannot say this reply as it is: .* instead of '▁b'"):
        encoder.reply("a▁b")


@pytest.mark.weights
def test_smollm2s_own_template_is_followed(smollm2: Path, renderer: Renderer) -> None:
    with Weights(smollm2, vocab_only=True) as weights:
        encoder = make_encoder("gguf", weights.vocab, "SmolLM2", renderer)
        assert encoder.vocab.tokens[encoder.ending] == b"<|im_end|>"
        for messages in CONVERSATIONS:
            check(encoder, messages, "gguf", renderer)
        assert len(encoder.tokens(CONVERSATIONS[-1])) == 1
