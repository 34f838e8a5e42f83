"""Finds the passages for a conversation in an index."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeproxy.core.cancel import Cancel
from edgeproxy.documents.embedding import Opener, question_embedder
from edgeproxy.documents.index import Index
from edgeproxy.documents.named import find
from edgeproxy.documents.query import question_of
from edgeproxy.documents.search import Finder, Found
from edgeproxy.prompts.messages import Message
from edgeproxy.trios.manifest import Documents


class PassageFinder:
    """Finds passages for a conversation in the index that `asked` names.

    `count_tokens` says how many tokens a text has. `opener` loads the embedding model of an index
    that has one, for the first question. Raises `DocumentError` for an index that is not there or
    cannot be read, or whose embedding model is not there, also while it finds. Close it at the end.
    """

    def __init__(
        self,
        asked: Documents,
        count_tokens: Callable[[str], int],
        opener: Opener,
        cancel: Cancel | None = None,
    ) -> None:
        self._asked = asked
        self._count_tokens = count_tokens
        self._index = Index(find(asked.index))
        try:
            self._embed = question_embedder(self._index, opener, cancel)
            self._finder = Finder(self._index.connection, self._embed)
        except BaseException:
            self._index.close()
            raise

    def __call__(self, messages: Sequence[Message], count: int | None = None) -> Sequence[Found]:
        """The passages for the last question, the best one first; at most `count`."""
        return self._finder.find(
            question_of(messages),
            count=count or self._asked.count,
            budget=self._asked.tokens,
            tokens=self._count_tokens,
        )

    def close(self) -> None:
        """Let go of the index. A second call does nothing."""
        self._finder.close()
        if self._embed is not None:
            self._embed.close()
        self._index.close()
