"""Who waits, and in which order: nobody waits for another's heap of requests."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """Items of several owners: one of each owner in turn, and each owner's in the order they came.

    An owner who comes new has their turn before the one who had it last.
    """

    def __init__(self) -> None:
        self._owners: OrderedDict[str, deque[Item]] = OrderedDict()
        self._last: str | None = None

    def __len__(self) -> int:
        return sum(map(len, self._owners.values()))

    def __iter__(self) -> Iterator[Item]:
        """All items in the order in which `pop` gives them, as long as none is added."""
        for turn in range(max(map(len, self._owners.values()), default=0)):
            for items in self._owners.values():
                if turn < len(items):
                    yield items[turn]

    def of(self, owner: str) -> int:
        """How many items this owner has here."""
        return len(self._owners.get(owner, ()))

    @property
    def owners(self) -> int:
        """How many owners have items here."""
        return len(self._owners)

    def add(self, owner: str, item: Item) -> None:
        """Let an item wait for its turn."""
        if owner not in self._owners:
            self._owners[owner] = deque()
            if self._last is not None and self._last in self._owners:
                self._owners.move_to_end(self._last)
        self._owners[owner].append(item)

    def pop(self) -> Item:
        """The item whose turn it is. Raises `KeyError` where there is none."""
        owner, items = self._owners.popitem(last=False)
        item = items.popleft()
        self._last = owner
        if items:
            self._owners[owner] = items
        return item

    def remove(self, owner: str, item: Item) -> bool:
        """Take an item out; whether it was there."""
        items = self._owners.get(owner)
        if items is None or item not in items:
            return False
        items.remove(item)
        if not items:
            del self._owners[owner]
        return True
