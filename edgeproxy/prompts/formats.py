"""Messages -> prompt text -> tokens, by a role's prompt format.

A prompt is a list of segments. What a person wrote and what the template adds stay apart down to
the tokens, so that no text of a person's can become a turn marker (see `markers`).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import PromptError, UsageError
from edgeproxy.prompts.markers import markers_of
from edgeproxy.prompts.messages import Message, RoleName, Segment
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.prompts.template import FileTemplate

__all__ = [
    "FILE_OR_PLAIN",
    "FORMATS",
    "FROM_FILE",
    "Format",
    "Message",
    "RoleName",
    "Segment",
    "Tried",
    "Turns",
    "as_it_stands",
    "check_format_name",
    "encode",
    "make_format",
    "plain",
    "template_hash",
    "try_format",
]

Format = Callable[[Sequence[Message]], list[Segment]]
"""Lays out a conversation as a prompt that the assistant is to continue."""


def plain(messages: Sequence[Message]) -> list[Segment]:
    """The texts alone, each on its own line: what a model without a chat template has read."""
    return [s for m in messages for s in (Segment(m.content, False), Segment("\n", True))]


def as_it_stands(messages: Sequence[Message]) -> list[Segment]:
    """The texts alone, and nothing between them: what is gone on with by no format."""
    return [Segment(message.content, False) for message in messages]


@dataclass(frozen=True)
class Turns:
    """A chat template made of fixed text before and after each role's content.

    With `system_joins_user` a system text stands in the next user's turn, before the user's own,
    and where none follows in a user's turn of its own.
    """

    before: Mapping[str, str]
    after: Mapping[str, str]
    opening: str
    needs: tuple[str, ...]
    system_joins_user: bool = False

    def __call__(self, messages: Sequence[Message]) -> list[Segment]:
        """The segments of a conversation, with the assistant's turn opened at the end."""
        segments: list[Segment] = []
        systems: list[Message] = []
        for message in messages:
            if message.role == "system" and self.system_joins_user:
                systems.append(message)
                continue
            joined = systems if message.role == "user" else []
            segments += self._turn(message.role, [*joined, message])
            joined.clear()
        if systems:
            segments += self._turn("user", systems)
        return [*segments, Segment(self.opening, True)]

    def _turn(self, role: RoleName, messages: Sequence[Message]) -> list[Segment]:
        """A turn of `role`: the last of `messages`, and before it what joins it."""
        inside: list[Segment] = []
        for message in messages:
            of = message.role
            joins = of != role
            inside += [Segment(self.before[of], True)] if joins else []
            inside.append(Segment(message.content, False))
            inside += [Segment(self.after[of], True)] if joins else []
        if messages[-1].role != role:  # nothing stands behind it that it would have to part from
            inside[-1] = Segment(inside[-1].text.rstrip(), True)
        turn = [Segment(self.before[role], True), *inside, Segment(self.after[role], True)]
        return [segment for segment in turn if segment.text]


def _same(pattern: str) -> Mapping[str, str]:
    """`pattern` with each role's name in it."""
    return _each(*(pattern.format(role) for role in ("system", "user", "assistant")))


def _each(system: str, user: str, assistant: str) -> Mapping[str, str]:
    return MappingProxyType({"system": system, "user": user, "assistant": assistant})


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "plain": plain,
        "chatml": Turns(
            before=_same("<|im_start|>{}\n"),
            after=_same("<|im_end|>\n"),
            opening="<|im_start|>assistant\n",
            needs=("<|im_start|>", "<|im_end|>"),
        ),
        "zephyr": Turns(
            before=_same("<|{}|>\n"),
            after=_same("</s>\n"),
            opening="<|assistant|>\n",
            needs=("</s>",),
        ),
        "llama2": Turns(
            before=_each("<<SYS>>\n", "<s>[INST] ", " "),
            after=_each("\n<</SYS>>\n\n", " [/INST]", " </s>"),
            opening="",
            needs=("<s>", "</s>"),
            system_joins_user=True,
        ),
        "llama3": Turns(
            before=_same("<|start_header_id|>{}<|end_header_id|>\n\n"),
            after=_same("<|eot_id|>"),
            opening="<|start_header_id|>assistant<|end_header_id|>\n\n",
            needs=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ),
        "gemma": Turns(
            before=_each("", "<start_of_turn>user\n", "<start_of_turn>model\n"),
            after=_each("\n\n", "<end_of_turn>\n", "<end_of_turn>\n"),
            opening="<start_of_turn>model\n",
            needs=("<start_of_turn>", "<end_of_turn>"),
            system_joins_user=True,
        ),
        "phi3": Turns(
            before=_same("<|{}|>\n"),
            after=_same("<|end|>\n"),
            opening="<|assistant|>\n",
            needs=("<|user|>", "<|assistant|>", "<|end|>"),
        ),
        "mistral": Turns(
            before=_each("", "[INST] ", " "),
            after=_each("\n\n", "[/INST]", "</s>"),
            opening="",
            needs=("[INST]", "[/INST]", "</s>"),
            system_joins_user=True,
        ),
    }
)
"""Formats by name. Those of model families are as their makers document them; Mistral's is that of
version 3 of its tokenizer, whose marks are tokens."""

FROM_FILE = "gguf"
"""The name of the format that renders the chat template in the model's own file."""

FILE_OR_PLAIN = "auto"
"""The template in the file where there is one, plain text otherwise: where no manifest says."""


def check_format_name(name: str) -> str:
    """`name` itself. Raises `UsageError` naming the known ones for any other."""
    if name != FROM_FILE and name not in FORMATS:
        known = ", ".join([*FORMATS, FROM_FILE])
        raise UsageError(f"there is no prompt format {name!r}; there are {known}")
    return name


def make_format(name: str, vocab: Vocab, whose: str, renderer: Renderer | None = None) -> Format:
    """The format called `name` for a model with this vocabulary.

    `renderer` renders the template of a file that has one; without it the format has its own.
    Raises `UsageError` when there is none, when the vocabulary lacks the special tokens that it
    needs, or when the file that should hold a template holds none: never a silent fallback.
    """
    if name == FILE_OR_PLAIN:
        name = FROM_FILE if vocab.chat_template else "plain"
    check_format_name(name)
    if name == FROM_FILE:
        if not vocab.chat_template:
            raise UsageError(f"{whose} carries no chat template; choose a prompt format by name")
        return FileTemplate(vocab, renderer or Renderer())
    chosen = FORMATS[name]
    for marker in getattr(chosen, "needs", ()):
        if markers_of(vocab).leading(marker) is None:
            raise UsageError(
                f"{whose} has no token {marker}, which the prompt format {name!r} needs; "
                "choose another format"
            )
    return chosen


class Tried(NamedTuple):
    """What trying a format has shown.

    - `endings`: the token with which it ends an assistant's turn, if that is one.
    - `takes_system`: whether it takes a system message; one that does not refuses it when asked.
    """

    endings: frozenset[int]
    takes_system: bool


_SYSTEM = Message("system", "Be brief.")
_QUESTION, _ANSWER = Message("user", "What is 2 + 2?"), Message("assistant", "4")
_TRIALS = ([_QUESTION], [_QUESTION, _ANSWER, Message("user", "And 3 + 3?")])


def try_format(name: str, vocab: Vocab, whose: str, renderer: Renderer, by_name: str) -> Tried:
    """Lay out a few conversations as `make_format` would; no weights and no tokenizer are needed.

    `by_name` is how another format is named, for the message. Raises `UsageError` as `make_format`
    does, and `PromptError` for a template that fails with one question or with several turns.
    """
    layout = make_format(name, vocab, whose, renderer)
    if not isinstance(layout, FileTemplate):
        after = layout.after["assistant"] if isinstance(layout, Turns) else ""
        return Tried(_ending(after, vocab), takes_system=True)
    try:
        for messages in _TRIALS:
            layout(messages)
    except PromptError as error:
        raise PromptError(f"{whose}: {error}: {by_name}") from None
    endings: frozenset[int] = frozenset()
    with contextlib.suppress(PromptError):  # it may refuse to leave the last word to an assistant
        endings = _ending(layout.after_assistant(), vocab)
    try:
        layout([_SYSTEM, _QUESTION])
    except PromptError:
        return Tried(endings, takes_system=False)
    return Tried(endings, takes_system=True)


def template_hash(vocab: Vocab) -> str | None:
    """The sha256 of the chat template in a model's file; None where it has none."""
    if not vocab.chat_template:
        return None
    return hashlib.sha256(vocab.chat_template.encode()).hexdigest()


def _ending(after: str, vocab: Vocab) -> frozenset[int]:
    token = markers_of(vocab).leading(after) if after else None
    return frozenset() if token is None else frozenset({token})


def encode(segments: Sequence[Segment], vocab: Vocab) -> list[int]:
    """The token ids of a prompt, with the vocabulary's beginning-of-text token where it wants one.

    Raises `PromptError` when there is nothing to read.
    """
    text = "".join(segment.text for segment in segments)
    trusted = b"".join(bytes([segment.trusted]) * len(segment.text) for segment in segments)
    ids = markers_of(vocab).encode(text, trusted, vocab)
    opening = [vocab.bos] if vocab.add_bos and vocab.bos is not None else []
    if opening and ids[:1] == opening:
        del ids[0]  # the template spells the beginning of text itself
    if not ids:
        raise PromptError("the prompt is empty; write something")
    return opening + ids
