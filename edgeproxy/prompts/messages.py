"""What a conversation is made of, and what a prompt is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from edgeproxy.errors import PromptError

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
    """A stretch of a prompt. Only characters of `trusted` text may be those of a marker.

    What a person or a model wrote is not trusted. Of a content that a file's template shows, the
    characters that could begin or end a marker are not.
    """

    text: str
    trusted: bool
