"""How passages stand before a question, or in the system message.

They are in a message, so that they are laid out in each model's own prompt format; as all that a
person wrote, no text of theirs becomes a marker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgeproxy.prompts.messages import Message

HEADING = "Documents:"
"""What stands above passages."""


def with_passages(messages: Sequence[Message], passages: Sequence[str]) -> list[Message]:
    """A conversation with passages before the question: the last message of the user's."""
    changed = list(messages)
    for at in reversed(range(len(changed))):
        if changed[at].role == "user":
            changed[at] = replace(changed[at], content=before(changed[at].content, passages))
            break
    return changed


def with_passages_in_system(messages: Sequence[Message], passages: Sequence[str]) -> list[Message]:
    """A conversation with passages at the end of its system message, made where it has none."""
    if not passages:
        return list(messages)
    text = "\n\n".join([HEADING, *passages])
    if messages and messages[0].role == "system":
        opening, *rest = messages
        return [replace(opening, content=f"{opening.content}\n\n{text}"), *rest]
    return [Message("system", text), *messages]


def before(question: str, passages: Sequence[str]) -> str:
    """A question with passages before it, each a paragraph of its own."""
    return "\n\n".join([HEADING, *passages, question]) if passages else question
