"""Messages -> prompt text -> tokens, by a role's prompt format.

A prompt is a list of segments. What a person wrote and what the template adds stay apart down to
the tokens, so that no text of a person's can become a turn marker.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import PromptError, UsageError
from edgeproxy.prompts.jinja import render

RoleName = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation. Raises `PromptError` for an unknown role or an empty question."""

    role: RoleName
    content: str

    def __post_init__(self) -> None:
        if self.role not in ("system", "user", "assistant"):
            raise PromptError(f"a message's role is system, user or assistant, not {self.role!r}")
        if not isinstance(self.content, str):
            raise PromptError(f"a message's content is text, not {self.content!r}")
        if self.role == "user" and not self.content.strip():
            raise PromptError("the message is empty; write something")


class Segment(NamedTuple):
    """A stretch of a prompt; in `trusted` text, the template's own, special tokens count."""

    text: str
    trusted: bool


Format = Callable[[Sequence[Message]], list[Segment]]
"""Lays out a conversation as a prompt that the assistant is to continue."""


def plain(messages: Sequence[Message]) -> list[Segment]:
    """The texts alone, each on its own line: what a model without a chat template has read."""
    return [s for m in messages for s in (Segment(m.content, False), Segment("\n", True))]


@dataclass(frozen=True)
class Turns:
    """A chat template made of fixed text before and after each role's content."""

    before: Mapping[str, str]
    after: str
    opening: str
    needs: tuple[str, ...]
    system_joins_user: bool = False

    def __call__(self, messages: Sequence[Message]) -> list[Segment]:
        """The segments of a conversation, with the assistant's turn opened at the end."""
        segments: list[Segment] = []
        carried = ""
        for message in messages:
            if message.role == "system" and self.system_joins_user:
                carried += message.content + "\n\n"
                continue
            content, carried = carried + message.content, ""
            segments += [
                Segment(self.before[message.role], True),
                Segment(content, False),
                Segment(self.after, True),
            ]
        return [*segments, Segment(self.opening, True)]


def _same(pattern: str, **names: str) -> Mapping[str, str]:
    roles = {"system": "system", "user": "user", "assistant": "assistant", **names}
    return MappingProxyType({role: pattern.format(name) for role, name in roles.items()})


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "plain": plain,
        "chatml": Turns(
            before=_same("<|im_start|>{}\n"),
            after="<|im_end|>\n",
            opening="<|im_start|>assistant\n",
            needs=("<|im_start|>", "<|im_end|>"),
        ),
        "zephyr": Turns(
            before=_same("<|{}|>\n"), after="</s>\n", opening="<|assistant|>\n", needs=("</s>",)
        ),
        "llama3": Turns(
            before=_same("<|start_header_id|>{}<|end_header_id|>\n\n"),
            after="<|eot_id|>",
            opening="<|start_header_id|>assistant<|end_header_id|>\n\n",
            needs=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        ),
        "gemma": Turns(
            before=_same("<start_of_turn>{}\n", assistant="model"),
            after="<end_of_turn>\n",
            opening="<start_of_turn>model\n",
            needs=("<start_of_turn>", "<end_of_turn>"),
            system_joins_user=True,
        ),
    }
)

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


def make_format(name: str, vocab: Vocab, whose: str) -> Format:
    """The format called `name` for a model with this vocabulary.

    Raises `UsageError` when there is none, when the vocabulary lacks the special tokens that it
    needs, or when the file that should hold a template holds none: never a silent fallback.
    """
    if name == FILE_OR_PLAIN:
        name = FROM_FILE if vocab.chat_template else "plain"
    check_format_name(name)
    if name == FROM_FILE:
        if not vocab.chat_template:
            raise UsageError(f"{whose} carries no chat template; choose another prompt format")
        return _from_template(vocab.chat_template, vocab)
    chosen = FORMATS[name]
    for marker in getattr(chosen, "needs", ()):
        if vocab.special(marker) is None:
            raise UsageError(
                f"{whose} has no special token {marker}, which the prompt format {name!r} needs; "
                "choose another format"
            )
    return chosen


def _from_template(template: str, vocab: Vocab) -> Format:
    def rendered(messages: Sequence[Message]) -> list[Segment]:
        # Contents are put in afterwards: the template sees marks that no person could type.
        marks = [f"\ue000{secrets.token_hex(8)}\ue001" for _ in messages]
        stand_ins = [(m.role, mark) for m, mark in zip(messages, marks, strict=True)]
        text = render(template, stand_ins)
        contents = dict(zip(marks, messages, strict=True))
        for mark, message in contents.items():
            if mark not in text:
                raise PromptError(
                    f"the model's chat template does not take a {message.role} message here; "
                    "choose a prompt format by name instead"
                )
        # A template may show a content twice, or in another order.
        return [
            Segment(contents[part].content, False) if part in contents else Segment(part, True)
            for part in re.split(f"({'|'.join(marks)})", text)
        ]

    return rendered


def encode(segments: Sequence[Segment], vocab: Vocab) -> list[int]:
    """The token ids of a prompt, with the vocabulary's beginning-of-text token where it wants one.

    Raises `PromptError` when there is nothing to read.
    """
    ids = [vocab.bos] if vocab.add_bos and vocab.bos is not None else []
    opening = len(ids)
    for text, trusted in segments:
        ids += vocab.encode(text, first=len(ids) == opening, special=trusted)
    if opening and ids[opening : opening + 1] == ids[:1]:
        del ids[0]  # the template spells the beginning of text itself
    if len(ids) == opening:
        raise PromptError("the prompt is empty; write something")
    return ids
