"""What a reply reads of a person's documents, and which models read it.

Passages are found once for a question, however many systems are asked it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from edgeproxy.core.check import one_of
from edgeproxy.documents.prompting import with_passages, with_passages_in_system
from edgeproxy.errors import UsageError
from edgeproxy.prompts.formats import Message
from edgeproxy.trios.manifest import Documents, Readers

if TYPE_CHECKING:
    from edgeproxy.documents.search import Found

ROLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "nobody": frozenset(),
        "base": frozenset({"base", "tuned"}),
        "expert": frozenset({"expert"}),
        "all": frozenset({"base", "tuned", "expert", "anti_expert"}),
    }
)
"""The models that read, by what a person calls them; the tuned base reads where the base does."""

_REMEMBERED = 256
"""Questions whose passages are remembered, for several systems that are asked the same."""

Find = Callable[[Sequence[Message]], "Sequence[Found]"]
"""Finds the passages for the last message of a conversation, the best one first."""


class Read(NamedTuple):
    """The passages found for a reply, and who of the models reads them.

    The roles in `system` read them in the system message, others before the question.
    """

    found: tuple[Found, ...] = ()
    readers: Readers = "nobody"
    system: tuple[str, ...] = ()

    def messages(self, role: str, messages: Sequence[Message]) -> Sequence[Message]:
        """The conversation as the model of this role reads it."""
        if not self.found or role not in ROLES[self.readers]:
            return messages
        put = with_passages_in_system if role in self.system else with_passages
        return put(messages, [found.passage.full_text for found in self.found])


NOTHING = Read()


class Reading:
    """A person's documents, as the replies of a session read them.

    `find` finds passages, and `readers` read them where a reply does not ask for others: the roles
    in `system` in the system message. Any number of threads may use it. Raises `UsageError` for
    readers that there are not.
    """

    def __init__(self, find: Find, readers: Readers, system: Sequence[str] = ()) -> None:
        self.readers = readers
        self._system = tuple(system)
        self._find = find
        self._known: OrderedDict[tuple[Message, ...], tuple[Found, ...]] = OrderedDict()
        self._one_at_a_time = threading.Lock()

    @property
    def readers(self) -> Readers:
        """Who reads in replies that do not ask for others."""
        return self._readers

    @readers.setter
    def readers(self, value: Readers) -> None:
        self._readers = check_readers(value)

    def read(self, messages: Sequence[Message], readers: Readers) -> Read:
        """What a reply to the last of `messages` reads. Raises `DocumentError`."""
        if readers == "nobody":
            return NOTHING
        asked = tuple(messages)
        with self._one_at_a_time:
            if asked not in self._known:
                self._known[asked] = tuple(self._find(asked))
            self._known.move_to_end(asked)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            return Read(self._known[asked], readers, self._system)


def chosen_documents(
    known: Documents | None, docs: str | Path | None, docs_to: Readers | None
) -> Documents | None:
    """A manifest's documents, with what a caller asks for instead.

    Raises `UsageError` for readers without documents, and for readers that there are not.
    """
    if docs_to is not None:
        check_readers(docs_to)
    if docs is not None:
        known = replace(known or Documents(""), index=str(docs))
    if known is None:
        if docs_to not in (None, "nobody"):
            raise UsageError("docs_to says who reads documents, and there are none; give docs too")
        return None
    return known if docs_to is None else replace(known, to=docs_to)


def check_readers(value: Readers) -> Readers:
    """`value` itself. Raises `UsageError` for what names no readers."""
    one_of("docs_to", value, tuple(ROLES))
    return value


def chosen_readers(reading: Reading | None, asked: Readers | None) -> Readers:
    """Who reads in a reply that asked for `asked`, or did not say. Raises `UsageError`."""
    if reading is None:
        if asked not in (None, "nobody"):
            raise UsageError("docs_to needs documents; load the trio with docs")
        return "nobody"
    return reading.readers if asked is None else check_readers(asked)
