"""Passages for a question: found in an index, and laid out as models read them.

Passages stand before the question, in the last message of the user's alone, so that they are laid
out in each model's own prompt format; as all that a person wrote, no text of theirs becomes a
marker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from edgeproxy.documents.index import Index
from edgeproxy.documents.named import find
from edgeproxy.documents.query import question_of
from edgeproxy.documents.search import Finder, Found
from edgeproxy.prompts.messages import Message
from edgeproxy.trios.manifest import Documents

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


def before(question: str, passages: Sequence[str]) -> str:
    """A question with passages before it, each a paragraph of its own."""
    return "\n\n".join([HEADING, *passages, question]) if passages else question


class PassageFinder:
    """Finds passages for a conversation in the index that `asked` names.

    `count_tokens` says how many tokens a text has. Raises `DocumentError` for an index that is not
    there or cannot be read, also while it finds. Close it at the end.
    """

    def __init__(self, asked: Documents, count_tokens: Callable[[str], int]) -> None:
        self._asked = asked
        self._count_tokens = count_tokens
        self._index = Index.open(find(asked.index))
        self._finder = Finder(self._index)

    def __call__(self, messages: Sequence[Message], count: int | None = None) -> Sequence[Found]:
        """The passages for the last question, the best one first; at most `count`."""
        return self._finder.find(
            question_of(messages),
            count=count or self._asked.count,
            budget=self._asked.tokens,
            count_tokens=self._count_tokens,
        )

    def close(self) -> None:
        """Let go of the index. A second call does nothing."""
        self._index.close()
