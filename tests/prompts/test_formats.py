"""Messages to prompts: the built-in formats letter by letter, and text that is never a marker."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.errors import PromptError, UsageError
from edgeproxy.prompts.formats import (
    FILE_OR_PLAIN,
    FORMATS,
    Message,
    Segment,
    Tried,
    check_format_name,
    encode,
    make_format,
    plain,
    try_format,
)
from edgeproxy.prompts.renderer import Renderer
from tests.helpers.fakes import BOS, END, TURN, TURN_END, changed, fake_vocab

CONVERSATION = (
    Message("system", "Be brief."),
    Message("user", "Hello"),
    Message("assistant", "Hi!"),
    Message("user", "Bye"),
)

EXPECTED = {
    "plain": "Be brief.\nHello\nHi!\nBye\n",
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nHi!<|im_end|>\n"
        "<|im_start|>user\nBye<|im_end|>\n"
        "<|im_start|>assistant\n"
    ),
    "zephyr": (
        "<|system|>\nBe brief.</s>\n"
        "<|user|>\nHello</s>\n"
        "<|assistant|>\nHi!</s>\n"
        "<|user|>\nBye</s>\n"
        "<|assistant|>\n"
    ),
    "llama3": (
        "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHi!<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "gemma": (
        "<start_of_turn>user\nBe brief.\n\nHello<end_of_turn>\n"
        "<start_of_turn>model\nHi!<end_of_turn>\n"
        "<start_of_turn>user\nBye<end_of_turn>\n"
        "<start_of_turn>model\n"
    ),
    "llama2": (
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHello [/INST] Hi! </s><s>[INST] Bye [/INST]"
    ),
    "phi3": (
        "<|system|>\nBe brief.<|end|>\n"
        "<|user|>\nHello<|end|>\n"
        "<|assistant|>\nHi!<|end|>\n"
        "<|user|>\nBye<|end|>\n"
        "<|assistant|>\n"
    ),
    "mistral": "[INST] Be brief.\n\nHello[/INST] Hi!</s>[INST] Bye[/INST]",
}

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def text_of(segments: Sequence[Segment]) -> str:
    return "".join(segment.text for segment in segments)


def test_every_format_is_pinned() -> None:
    assert set(EXPECTED) == set(FORMATS)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_conversation_is_laid_out_letter_by_letter(name: str) -> None:
    assert text_of(FORMATS[name](CONVERSATION)) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_person_wrote_is_never_trusted(name: str) -> None:
    untrusted = "".join(s.text for s in FORMATS[name](CONVERSATION) if not s.trusted)
    assert untrusted.replace("\n", "") == "Be brief.HelloHi!Bye"


@pytest.mark.parametrize("name", EXPECTED)
def test_one_question_alone_is_a_prompt(name: str) -> None:
    assert text_of(FORMATS[name]([Message("user", "Hello")])).count("Hello") == 1


@pytest.mark.parametrize("name", sorted(set(EXPECTED) - {"plain"}))
def test_a_format_whose_markers_are_missing_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"model.gguf has no token .* {name!r} needs"):
        make_format(name, Vocab((b"a",), (Kind.NORMAL,)), "model.gguf")


@pytest.mark.parametrize("kind", [Kind.CONTROL, Kind.USER_DEFINED, Kind.NORMAL])
def test_a_marker_counts_whatever_its_kind_in_the_file(kind: Kind) -> None:
    vocab = fake_vocab()
    for token in (TURN, TURN_END):
        vocab = changed(vocab, token, vocab.tokens[token], kind)
    vocab = dataclasses.replace(vocab, tokenize=lambda text, first, special: list(text.encode()))
    chatml = make_format("chatml", vocab, "m")
    assert chatml is FORMATS["chatml"]
    tokens = encode(chatml([Message("user", "a<|im_end|>b<|im_start|>")]), vocab)
    assert [token for token in tokens if token >= 256] == [TURN, TURN_END, TURN]
    assert b"a<|im_end|>b<|im_start|>" in bytes(token for token in tokens if token < 256)


@pytest.mark.parametrize("name", ["chatMl", "", "auto", "gpt"])
def test_an_unknown_format_is_refused_and_the_known_ones_named(name: str) -> None:
    with pytest.raises(UsageError, match=r"there are plain, chatml, zephyr, llama2, .*, gguf$"):
        check_format_name(name)


def test_a_file_without_a_template_is_refused_when_its_template_is_asked_for() -> None:
    with pytest.raises(UsageError, match=r"model\.gguf carries no chat template"):
        make_format("gguf", fake_vocab(), "model.gguf")


def test_auto_is_the_files_template_or_plain() -> None:
    assert make_format(FILE_OR_PLAIN, fake_vocab(), "m") is FORMATS["plain"]
    with_template = make_format(FILE_OR_PLAIN, fake_vocab(template=CHATML), "m")
    assert text_of(with_template(CONVERSATION)) == EXPECTED["chatml"]


def test_a_files_template_gives_the_same_prompt_as_the_built_in_format() -> None:
    vocab = fake_vocab(template=CHATML)
    from_file = make_format("gguf", vocab, "m")(CONVERSATION)
    assert text_of(from_file) == EXPECTED["chatml"]
    assert encode(from_file, vocab) == encode(FORMATS["chatml"](CONVERSATION), vocab)


def test_a_persons_text_is_no_template_and_no_marker() -> None:
    vocab = fake_vocab(template=CHATML)
    said = "{{ 7 * 7 }}{% raw %}<|im_end|>"
    segments = make_format("gguf", vocab, "m")([Message("user", said)])
    assert said in text_of(segments)
    assert encode(segments, vocab).count(TURN_END) == 1


def test_a_template_may_repeat_and_reorder_what_was_said() -> None:
    template = (
        "{% for m in messages|reverse %}[{{ m.content }}]{% endfor %}{{ messages[0].content }}"
    )
    vocab = fake_vocab(template=template)
    segments = make_format("gguf", vocab, "m")(
        [Message("user", "one<s>"), Message("assistant", "two")]
    )
    assert text_of(segments) == "[two][one<s>]one<s>"
    assert BOS not in encode(segments, vocab)


@pytest.mark.parametrize("content", ["Be\n\nbrief. ", "\n", "a\u00a0", "STRASSE", "x" * 10_000])
def test_a_template_may_show_a_content_otherwise_than_it_is(content: str) -> None:
    template = "{% for m in messages %}{{ m.content.split() | join | lower }}{% endfor %}"
    layout = make_format("gguf", fake_vocab(template=template), "m")
    shown = text_of(layout([Message("system", content), Message("user", "Hello")]))
    assert shown == "".join(content.split()).lower() + "hello"


def test_a_template_that_drops_a_message_is_an_error() -> None:
    template = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"
    layout = make_format("gguf", fake_vocab(template=template), "m")
    with pytest.raises(PromptError, match="does not take the system message"):
        layout(CONVERSATION)


def test_a_users_marker_stays_text_and_the_templates_own_is_special() -> None:
    vocab = fake_vocab()
    tokens = encode(FORMATS["chatml"]([Message("user", "a<|im_end|>b")]), vocab)
    assert (tokens.count(TURN), tokens.count(TURN_END)) == (2, 1)
    assert bytes(token for token in tokens if token < 256).count(b"a<|im_end|>b") == 1


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_text_of_a_users_adds_a_special_token(text: str) -> None:
    if not text.strip():
        return
    tokens = encode(FORMATS["chatml"]([Message("user", text + "<|im_start|>")]), fake_vocab())
    assert sum(token >= 256 for token in tokens) == 3


def test_the_beginning_of_text_is_added_once() -> None:
    vocab = fake_vocab(add_bos=True)
    assert encode([Segment("a", False)], vocab) == [BOS, ord("a")]
    assert encode([Segment("<s>", True), Segment("a", False)], vocab) == [BOS, ord("a")]
    assert encode([Segment("a", False)], fake_vocab()) == [ord("a")]


def test_a_users_beginning_of_text_is_text() -> None:
    vocab = fake_vocab(add_bos=True)
    assert encode([Segment("<s>", False)], vocab) == [BOS, *b"<s>"]


def test_a_vocabulary_that_wants_a_beginning_of_text_but_names_none_gets_none() -> None:
    vocab = dataclasses.replace(fake_vocab(add_bos=True), bos=None)
    assert encode([Segment("a", False)], vocab) == [ord("a")]


def recording(vocab: Vocab) -> tuple[Vocab, list[tuple[str, bool]]]:
    """`vocab`, and the texts that it tokenises, with whether nothing stands before each."""
    asked: list[tuple[str, bool]] = []

    def tokenize(text: str, first: bool, special: bool) -> list[int]:
        if text and not special:  # with it, only the manners of a marker are asked for
            asked.append((text, first))
        return vocab.tokenize(text, first, special)

    return dataclasses.replace(vocab, tokenize=tokenize), asked


def test_text_between_markers_is_tokenised_together() -> None:
    vocab, asked = recording(fake_vocab(add_bos=True))
    encode([Segment("", True), Segment("a?", False), Segment("\n", True)], vocab)
    assert asked == [("a?\n", True)]
    asked.clear()
    encode(FORMATS["chatml"]([Message("user", "Hello")]), vocab)
    assert [text for text, _ in asked] == ["user\nHello", "\n", "assistant\n"]


def test_a_persons_marker_is_cut_and_what_follows_it_opens_nothing() -> None:
    vocab, asked = recording(fake_vocab())
    encode([Segment("a<|im_end|>b", False), Segment("<s>", True), Segment("c", False)], vocab)
    assert asked == [("a<", True), ("|im_end|>b", False), ("c", True)]


@pytest.mark.parametrize("name", ["qwen2", "llama-bpe"])
def test_a_question_and_its_newline_are_the_one_token_that_the_model_has(
    name: str, tokenizers: dict[str, Vocab]
) -> None:
    vocab = tokenizers[name]
    tokens = encode(plain([Message("user", "What is 2 + 2?")]), vocab)
    assert vocab.tokens[tokens[-1]] == b"?\n"


@pytest.mark.parametrize("name", ["gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2", "starcoder"])
@pytest.mark.parametrize("content", ["Why?", "a\n", " b ", "\n\n", "é", "x<y>"])
def test_plain_text_is_tokenised_as_a_whole_by_every_vocabulary(
    name: str, content: str, tokenizers: dict[str, Vocab]
) -> None:
    vocab = tokenizers[name]
    messages = [Message("assistant", content), Message("user", "And?")]
    tokens = encode(plain(messages), vocab)
    start = [vocab.bos] if vocab.add_bos else []
    assert tokens == start + vocab.tokenize(f"{content}\nAnd?\n", True, False)


def test_a_template_that_spells_the_beginning_of_text_has_just_one() -> None:
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}"
    for add_bos in (False, True):
        vocab = dataclasses.replace(
            fake_vocab(add_bos=add_bos, template=template), named={"bos": BOS, "eos": END}
        )
        tokens = encode(make_format("gguf", vocab, "m")([Message("user", "a")]), vocab)
        assert tokens == [BOS, ord("a"), END]


def test_a_token_that_the_file_does_not_name_shows_as_nothing() -> None:
    vocab = fake_vocab(template="{{ bos_token + messages[0].content + eos_token }}")
    assert text_of(make_format("gguf", vocab, "m")([Message("user", "a")])) == "a"


def test_user_defined_tokens_that_no_template_writes_are_text() -> None:
    """HTML tags and runs of spaces are such tokens in some files."""
    vocab = changed(fake_vocab(extra=1), 260, b"<table>", Kind.USER_DEFINED)
    plain_tokenize = vocab.tokenize

    def tokenize(text: str, first: bool, special: bool) -> list[int]:
        parts = text.split("<table>")
        tokens = [[260, *plain_tokenize(part, first, special)] for part in parts]
        return [token for part in tokens for token in part][1:]

    vocab = dataclasses.replace(vocab, tokenize=tokenize)
    assert encode(FORMATS["chatml"]([Message("user", "a<table>b")]), vocab).count(260) == 1
    written = dataclasses.replace(vocab, chat_template="<table>" + CHATML)
    tokens = encode(make_format("gguf", written, "m")([Message("user", "a<table>b")]), written)
    assert (tokens[0], tokens.count(260)) == (260, 1)


GEMMA = "<start_of_turn>user\n{}<end_of_turn>\n"


@pytest.mark.parametrize(
    ("messages", "turns"),
    [
        ([Message("system", "S")], GEMMA.format("S")),
        (
            [Message("user", "Q"), Message("system", "S")],
            GEMMA.format("Q") + GEMMA.format("S"),
        ),
        (
            [Message("system", "S"), Message("assistant", "A"), Message("user", "Q")],
            "<start_of_turn>model\nA<end_of_turn>\n" + GEMMA.format("S\n\nQ"),
        ),
        (
            [Message("system", "S"), Message("system", "T"), Message("user", "Q")],
            GEMMA.format("S\n\nT\n\nQ"),
        ),
    ],
)
def test_gemma_reads_a_system_text_with_the_next_user_message(
    messages: list[Message], turns: str
) -> None:
    assert text_of(FORMATS["gemma"](messages)) == turns + "<start_of_turn>model\n"


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer() as made:
        yield made


@pytest.mark.parametrize("name", ["gguf", "auto", "chatml"])
def test_trying_a_format_finds_what_ends_a_turn(name: str, renderer: Renderer) -> None:
    tried = try_format(name, fake_vocab(template=CHATML), "m", renderer, "")
    assert tried == Tried(frozenset({TURN_END}), takes_system=True)
    assert try_format("plain", fake_vocab(), "m", renderer, "") == Tried(frozenset(), True)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ raise_exception('never') }}", "never"),
        ("{{ tools[0] + 'x' }}", "UndefinedError|TypeError"),
        ("{{ raise_exception('one turn') if messages | length > 1 }}{{ messages }}", "one turn"),
        ("{{ messages[0].content }}", "does not take the assistant message"),
    ],
)
def test_a_template_that_fails_is_found_out_and_the_remedy_named(
    template: str, why: str, renderer: Renderer
) -> None:
    with pytest.raises(PromptError, match=why) as error:
        try_format("gguf", fake_vocab(template=template), "e.gguf", renderer, "--like this")
    assert str(error.value).startswith("e.gguf: ")
    assert "choose a prompt format by name: --like this" in str(error.value)


@pytest.mark.parametrize("what", ["{{ raise_exception('no system') }}", "{% continue %}"])
def test_a_template_without_a_system_message_passes(what: str, renderer: Renderer) -> None:
    turn = "{{ m.content }}<|im_end|>"
    system = f"{{% if m.role == 'system' %}}{what}{{% endif %}}"
    template = f"{{% for m in messages %}}{system}{turn}{{% endfor %}}"
    vocab = fake_vocab(template=template)
    assert try_format("gguf", vocab, "m", renderer, "") == Tried(frozenset({TURN_END}), False)
    with pytest.raises(PromptError, match=r"no system|does not take the system message"):
        make_format("gguf", vocab, "m", renderer)(CONVERSATION)


@pytest.mark.parametrize("add_bos", [False, True])
@pytest.mark.parametrize("segments", [[], [Segment("", False)], [Segment("", True)] * 2])
def test_an_empty_prompt_is_refused(segments: list[Segment], add_bos: bool) -> None:
    with pytest.raises(PromptError, match="empty"):
        encode(segments, fake_vocab(add_bos=add_bos))


def test_a_prompt_that_is_only_the_beginning_of_text_is_empty() -> None:
    with pytest.raises(PromptError, match="empty"):
        encode([Segment("<s>", True)], fake_vocab(add_bos=True))


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(PromptError, match="surrogate"):
        encode([Segment("a\ud800b", False)], fake_vocab())


@pytest.mark.parametrize("content", ["", " ", "\n\t"])
def test_an_empty_question_is_refused(content: str) -> None:
    with pytest.raises(PromptError, match="the message is empty"):
        Message("user", content)
    assert Message("assistant", content).content == content


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(PromptError, match="not 'tool'"):
        Message("tool", "x")  # type: ignore[arg-type]
