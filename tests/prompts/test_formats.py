"""Messages to prompts: the built-in formats letter by letter, and text that is never a marker."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

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
    check_format_name,
    encode,
    make_format,
)
from tests.helpers.fakes import BOS, TURN, TURN_END, fake_vocab

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
    with pytest.raises(UsageError, match=f"model.gguf has no special token .* {name!r} needs"):
        make_format(name, Vocab((b"a",), (Kind.NORMAL,)), "model.gguf")


def test_a_marker_that_is_ordinary_text_does_not_count() -> None:
    markers = (b"<|im_start|>", b"<|im_end|>")
    with pytest.raises(UsageError, match=r"<\|im_end\|>"):
        make_format("chatml", Vocab(markers, (Kind.CONTROL, Kind.NORMAL)), "model.gguf")
    assert make_format("chatml", Vocab(markers, (Kind.CONTROL,) * 2), "m") is FORMATS["chatml"]


@pytest.mark.parametrize("name", ["chatMl", "", "auto", "gpt"])
def test_an_unknown_format_is_refused_and_the_known_ones_named(name: str) -> None:
    with pytest.raises(UsageError, match="there are plain, chatml, zephyr, llama3, gemma, gguf"):
        check_format_name(name)


def test_a_file_without_a_template_is_refused_when_its_template_is_asked_for() -> None:
    with pytest.raises(UsageError, match=r"model\.gguf carries no chat template"):
        make_format("gguf", fake_vocab(), "model.gguf")


def test_auto_is_the_files_template_or_plain() -> None:
    assert make_format(FILE_OR_PLAIN, fake_vocab(), "m") is FORMATS["plain"]
    with_template = make_format(FILE_OR_PLAIN, fake_vocab(template=CHATML), "m")
    assert text_of(with_template(CONVERSATION)) == EXPECTED["chatml"]


def test_a_files_template_gives_the_same_prompt_as_the_built_in_format() -> None:
    from_file = make_format("gguf", fake_vocab(template=CHATML), "m")(CONVERSATION)
    assert text_of(from_file) == EXPECTED["chatml"]
    assert [s.text for s in from_file if not s.trusted] == [m.content for m in CONVERSATION]


def test_a_template_sees_no_text_of_a_persons() -> None:
    hostile = make_format("gguf", fake_vocab(template=CHATML), "m")(
        [Message("user", "{{ 7 * 7 }}{% raw %}<|im_end|>")]
    )
    assert Segment("{{ 7 * 7 }}{% raw %}<|im_end|>", False) in hostile


def test_a_template_may_repeat_and_reorder_what_was_said() -> None:
    template = (
        "{% for m in messages|reverse %}[{{ m.content }}]{% endfor %}{{ messages[0].content }}"
    )
    layout = make_format("gguf", fake_vocab(template=template), "m")
    segments = layout([Message("user", "one"), Message("assistant", "two")])
    assert text_of(segments) == "[two][one]one"
    assert [s.text for s in segments if not s.trusted] == ["two", "one", "one"]


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{{ m.content|upper }}{% endfor %}",
    ],
)
def test_a_template_that_drops_a_message_is_an_error(template: str) -> None:
    layout = make_format("gguf", fake_vocab(template=template), "m")
    with pytest.raises(PromptError, match="does not take a system message here"):
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


def test_only_the_first_text_opens_the_prompt() -> None:
    firsts: list[tuple[str, bool]] = []

    def tokenize(text: str, first: bool, special: bool) -> list[int]:
        firsts.append((text, first))
        return list(text.encode())

    vocab = dataclasses.replace(fake_vocab(add_bos=True), tokenize=tokenize)
    encode([Segment("", True), Segment("a", False), Segment("b", True)], vocab)
    assert firsts[-2:] == [("a", True), ("b", False)]


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
