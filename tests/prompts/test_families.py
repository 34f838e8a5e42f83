"""Prompts of model families: the tokens of plain Jinja, and a person's text that is no marker."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import jinja2
import pytest

from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.prompts.formats import FORMATS, Message, encode, make_format, try_format
from edgeproxy.prompts.renderer import Renderer
from tests.prompts.families import FAMILIES, Family

NOW = datetime(2026, 3, 9, 12)

WORDS = ("?\n", ".\n", "\n\n", ">\n", " What", " is", "er", "user", " ha", "\n\n\n", ".<")
"""Ordinary tokens of the vocabularies made up here, beside the bytes."""

QUESTION = Message("user", "What is 2 + 2?")
TURNS = [QUESTION, Message("assistant", "Four.\n\nIs that all?"), Message("user", "a < b|c]?")]
THOUGHT = "<think>\nTwo and\n\ntwo.\n</think>\n\n Four. \n"
CONVERSATIONS = {
    "one question": [QUESTION],
    "a system message": [Message("system", " Be brief.\n"), QUESTION],
    "three turns": TURNS,
    "white space and thinking": [
        Message("user", "  Hi there \n\n"),
        Message("assistant", THOUGHT),
        Message("user", "\n And 3 + 3?  "),
    ],
}


def vocab_of(family: Family) -> Vocab:
    """The bytes, a few words, and the family's special tokens of the kinds that it has."""
    groups = (
        (Kind.BYTE, [bytes([n]) for n in range(256)]),
        (Kind.NORMAL, [word.encode() for word in WORDS]),
        (Kind.CONTROL, [text.encode() for text in family.control]),
        (Kind.USER_DEFINED, [text.encode() for text in family.user_defined]),
        (Kind.NORMAL, [text.encode() for text in family.normal]),
    )
    tokens = tuple(token for _, group in groups for token in group)
    kinds = tuple(kind for kind, group in groups for _ in group)
    ids = {token: n for n, token in enumerate(tokens)}
    words = sorted((w.encode() for w in WORDS), key=len, reverse=True)
    user_defined = [text.encode() for text in family.user_defined]
    control = [text.encode() for text in family.control]

    def tokenize(text: str, first: bool, special: bool) -> list[int]:
        # As llama.cpp: user-defined tokens always count, control tokens where asked.
        found = sorted([*user_defined, *(control if special else [])], key=len, reverse=True)
        data, out = text.encode(), []
        while data:
            part = next((m for m in found if data.startswith(m)), None)
            part = part or next((w for w in words if data.startswith(w)), data[:1])
            # A word does not swallow the beginning of a special token.
            inside = [n for n in range(1, len(part)) if any(data[n:].startswith(m) for m in found)]
            if inside and part not in found:
                part = data[:1]
            out.append(ids[part])
            data = data[len(part) :]
        return out

    return Vocab(
        tokens=tokens,
        kinds=kinds,
        bos=ids[family.bos.encode()] if family.bos else None,
        end_of_generation=frozenset([ids[family.eos.encode()]] if family.eos else []),
        add_bos=family.add_bos,
        chat_template=family.template,
        named={
            name: ids[text.encode()]
            for name, text in (("bos", family.bos), ("eos", family.eos))
            if text
        },
        tokenize=tokenize,
    )


def plain_jinja(family: Family, messages: Sequence[Message], vocab: Vocab) -> str:
    """The prompt text that Jinja itself gives, in this process and without a sandbox."""

    def refuse(why: str) -> None:
        raise jinja2.TemplateError(why)

    environment = jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = refuse
    template = re.sub(r"{%-? *(end)?generation *-?%}", "", family.template)
    names = {f"{n}_token": vocab.tokens[t].decode() for n, t in vocab.named.items()}
    return environment.from_string(template).render(
        messages=[{"role": m.role, "content": m.content} for m in messages],
        add_generation_prompt=True,
        tools=None,
        documents=None,
        strftime_now=NOW.strftime,
        **{"bos_token": "", "eos_token": "", **names},
    )


def whole(text: str, family: Family, vocab: Vocab) -> list[int]:
    """The tokens of a prompt text in which every special token counts, of whatever kind."""
    specials = sorted((*family.control, *family.user_defined, *family.normal), key=len)
    ids = {vocab.tokens[n].decode(): n for n in range(256 + len(WORDS), len(vocab))}
    pattern = "|".join(re.escape(special) for special in reversed(specials))
    tokens = [
        token
        for part in re.split(f"({pattern})", text)
        for token in ([ids[part]] if part in ids else vocab.tokenize(part, True, False))
    ]
    if vocab.add_bos and tokens[:1] != [vocab.bos]:
        assert vocab.bos is not None
        return [vocab.bos, *tokens]
    return tokens


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer(now=lambda: NOW) as made:
        yield made


def test_there_are_at_least_25_families_and_4_conversations() -> None:
    assert len(FAMILIES) >= 25
    assert len({family.template for family in FAMILIES.values()}) >= 25
    assert len(CONVERSATIONS) == 4


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", FAMILIES)
def test_the_tokens_are_those_of_plain_jinja(
    name: str, conversation: str, renderer: Renderer
) -> None:
    family = FAMILIES[name]
    vocab, messages = vocab_of(family), CONVERSATIONS[conversation]
    layout = make_format("gguf", vocab, name, renderer)
    if messages[0].role == "system" and not family.takes_system:
        with pytest.raises(jinja2.TemplateError) as refused:
            plain_jinja(family, messages, vocab)
        with pytest.raises(ValueError, match=str(refused.value)):
            layout(messages)
        return
    text = plain_jinja(family, messages, vocab)
    assert encode(layout(messages), vocab) == whole(text, family, vocab)


@pytest.mark.slow
@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.real])
def test_the_tokens_of_a_real_vocabulary_are_those_of_the_whole_text(
    name: str, conversation: str, renderer: Renderer, tokenizers: dict[str, Vocab]
) -> None:
    """llama.cpp reads the text of plain Jinja in one go, special tokens included."""
    family, messages = FAMILIES[name], CONVERSATIONS[conversation]
    if messages[0].role == "system" and not family.takes_system:
        return  # refused, as seen above
    assert family.real is not None
    vocab = replace(tokenizers[family.real], chat_template=family.template)
    tokens = vocab.tokenize(plain_jinja(family, messages, vocab), True, True)
    if vocab.add_bos and tokens[0] != vocab.bos:
        assert vocab.bos is not None
        tokens = [vocab.bos, *tokens]
    assert encode(make_format("gguf", vocab, name, renderer)(messages), vocab) == tokens


BY_NAME = {
    "chatml": "ChatML",
    "zephyr": "TinyLlama",
    "llama2": "Llama 2",
    "llama3": "Llama 3",
    "gemma": "Gemma 3",
    "phi3": "Phi-3",
    "mistral": "Mistral v3",
}
"""Formats by name, and the family whose template writes the same."""

TRIMMED = (
    [QUESTION],
    [Message("system", "Be brief."), QUESTION],
    [QUESTION, Message("assistant", "Four."), Message("user", "a < b|c]?")],
)
"""No white space at the ends, which some templates cut off and no format by name does."""


@pytest.mark.parametrize("name", BY_NAME)
def test_a_format_by_name_is_what_its_familys_template_writes(name: str) -> None:
    family = FAMILIES[BY_NAME[name]]
    vocab = replace(vocab_of(family), add_bos=family.bos is not None)
    layout = make_format(name, vocab, "m")
    for messages in TRIMMED:
        text = plain_jinja(family, messages, vocab)
        if name == "zephyr":  # TinyLlama's writes line breaks that the documented form has not
            text = text.removeprefix("\n").replace("</s>\n\n", "</s>\n")
        assert encode(layout(messages), vocab) == whole(text, family, vocab)


def test_every_format_by_name_is_compared_with_a_family() -> None:
    assert {*BY_NAME, "plain"} == set(FORMATS)


def markers_in(family: Family) -> list[str]:
    """What no person may write: special tokens, and whatever the template writes in that shape."""
    shaped = re.findall(r"<[|｜/]?\w[^<>\s{}]*>|\[/?[A-Z_]+\]", family.template)
    typed = [text for text in family.user_defined if text.strip() and text in family.template]
    return sorted({*family.control, *family.normal, *typed, *shaped})


def injections(marker: str) -> list[str]:
    """Texts that are a marker, or become one where a template cuts something out of them."""
    halves = marker[: len(marker) // 2], marker[len(marker) // 2 :]
    return [
        f"a{marker}b",
        f"a{marker[0]}{marker}{marker}b",
        f"a{halves[0]}</think>{halves[1]}<think>b",
        f"a{halves[0]}<think></think>{halves[1]}b",
        f"a{halves[0]}/no_think{halves[1]}b",
        f"{marker[1:]}a{marker[:-1]}",
    ]


def with_content(role: str, content: str) -> list[Message]:
    """Three turns, or four with a system message, where the one of `role` says `content`."""
    before = [Message("system", content)] if role == "system" else []
    user = content if role == "user" else "Hello"
    answer = content if role == "assistant" else "Hi"
    return [*before, Message("user", user), Message("assistant", answer), Message("user", user)]


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
@pytest.mark.parametrize("name", FAMILIES)
def test_no_text_of_a_persons_becomes_a_marker(name: str, role: str, renderer: Renderer) -> None:
    family = FAMILIES[name]
    vocab, markers = vocab_of(family), markers_in(family)
    layout = make_format("gguf", vocab, name, renderer)
    if role == "system" and not family.takes_system:
        role = "user"
    ids = {token for token, data in enumerate(vocab.tokens) if data.decode("latin-1") in markers}
    ids |= {token for token, data in enumerate(vocab.tokens) if data in map(str.encode, markers)}

    def found(content: str) -> list[int]:
        return [
            token for token in encode(layout(with_content(role, content)), vocab) if token in ids
        ]

    own = found("a b")
    assert own or not family.control
    texts = [text for marker in markers for text in injections(marker)]
    # What is cut out of an assistant's content is not seen: each of them has to stand alone there.
    alone = texts if role == "assistant" else []
    for text in [*alone, "".join(markers), " ".join(texts)]:
        assert found(text) == own, text


@pytest.mark.parametrize("name", FAMILIES)
def test_a_persons_marker_is_read_as_the_text_that_it_is(name: str, renderer: Renderer) -> None:
    family = FAMILIES[name]
    vocab = vocab_of(family)
    text = "a" + "".join(markers_in(family)) + "b"
    tokens = encode(make_format("gguf", vocab, name, renderer)([Message("user", text)]), vocab)
    assert text.encode() in b"".join(vocab.tokens[token] for token in tokens)


@pytest.mark.slow
@pytest.mark.parametrize("role", ["user", "assistant"])
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.real])
def test_no_text_becomes_a_marker_of_a_real_vocabulary(
    name: str, role: str, renderer: Renderer, tokenizers: dict[str, Vocab]
) -> None:
    family = FAMILIES[name]
    assert family.real is not None
    vocab = replace(tokenizers[family.real], chat_template=family.template)
    layout = make_format("gguf", vocab, name, renderer)
    written = {marker.encode() for marker in markers_in(family)}
    special = {
        token: data.decode()
        for token, (data, kind) in enumerate(zip(vocab.tokens, vocab.kinds, strict=True))
        if kind in (Kind.CONTROL, Kind.UNKNOWN) or data in written
    }

    def found(content: str) -> list[int]:
        tokens = encode(layout(with_content(role, content)), vocab)
        return [token for token in tokens if token in special]

    own, markers = found("a b"), sorted({*special.values(), *map(bytes.decode, written)})
    texts = [injections(marker)[0] for marker in map(bytes.decode, written)]
    for text in [*texts, "".join(markers), " ".join(markers)]:
        assert found(text) == own, text


@pytest.mark.parametrize("name", FAMILIES)
def test_what_ends_an_assistants_turn_is_known_before_weights_are_read(
    name: str, renderer: Renderer
) -> None:
    family = FAMILIES[name]
    vocab = vocab_of(family)
    tried = try_format("gguf", replace(vocab, tokenize=no_tokenizer), name, renderer, "")
    ending = family.ending or family.eos
    assert {vocab.tokens[token].decode() for token in tried.endings} == {ending}
    assert tried.takes_system == family.takes_system


def no_tokenizer(text: str, first: bool, special: bool) -> list[int]:
    raise AssertionError("a header has no tokenizer")
