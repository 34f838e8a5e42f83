"""Ways of altering a bundle, each with what must be said of it."""

from __future__ import annotations

from collections.abc import Callable

from tests.helpers.bundles import Altered

Alter = Callable[[Altered], bytes | None]
"""Alters a bundle, or makes the bytes that stand in its place."""

Cases = dict[str, tuple[Alter, str]]
"""By name, and with what must be said of each."""


def adding_to(cases: Cases) -> Callable[[str], Callable[[Alter], Alter]]:
    """A decorator that adds a way of altering a bundle, with what must be said of it."""

    def hostile(said: str) -> Callable[[Alter], Alter]:
        def add(alter: Alter) -> Alter:
            cases[alter.__name__] = (alter, said)
            return alter

        return add

    return hostile


def model(of: Altered, index: int = 0) -> str:
    """The path of one of its models."""
    return [str(row["path"]) for row in of.files if str(row["path"]).startswith("models/")][index]


def toml(of: Altered, old: str, new: str) -> None:
    """Change its trio's manifest, and list that rightly."""
    path = "trios/mini/trio.toml"
    text = of.data[path].decode()
    assert old in text
    of.put(path, text.replace(old, new).encode())
