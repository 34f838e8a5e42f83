"""`edgeproxy rm`: installed trios leave, and what unfinished work has left.

May touch: the store.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edgeproxy.cli.ui.completing import complete_trio
from edgeproxy.cli.ui.options import json_option
from edgeproxy.cli.ui.output import write, write_json
from edgeproxy.cli.ui.removing import agrees_to_remove, yes_option
from edgeproxy.errors import UsageError

if TYPE_CHECKING:
    from edgeproxy.trios.manifest import Recipe
    from edgeproxy.trios.store import Store


@click.command(
    "rm",
    short_help="Remove installed trios.",
    epilog="""\b
Examples:
  edgeproxy rm qwen2.5-7b
  edgeproxy rm --leftovers --yes""",
)
@click.argument("names", metavar="[TRIO]...", nargs=-1, shell_complete=complete_trio)
@yes_option
@click.option(
    "--leftovers", is_flag=True, help="Without a TRIO: remove what unfinished pulls have left."
)
@json_option
def command(names: tuple[str, ...], yes: bool, leftovers: bool, as_json: bool) -> int | None:
    """Remove each installed TRIO, and those of its files that no other trio uses.

    Files that were added where they lie stay there. What unfinished pulls and installs have left
    goes too, unless they are still under way.
    """
    from edgeproxy.trios.store import Store
    from edgeproxy.units import in_units

    store = Store()
    chosen = list(dict.fromkeys(names))
    if not chosen and not leftovers:
        raise UsageError("name the trios to remove; edgeproxy ls tells which there are")
    _check_all(chosen, store)
    if not yes and not agrees_to_remove(_leaving(chosen, store)):
        return 1
    freed = [file for name in chosen for file in store.remove(name)]
    left = store.clean()
    total = sum(file.size for file in [*freed, *left])
    if as_json:
        files = [{"name": file.name, "size": file.size} for file in [*freed, *left]]
        write_json({"removed": chosen, "freed": total, "files": files}, indent=2)
        return None
    removed = f"removed {', '.join(chosen)}; " if chosen else ""
    unfinished = sum(file.size for file in left)
    of_which = f", of which {in_units(unfinished)} left by unfinished work" if unfinished else ""
    write(f"{removed}{in_units(total)} freed{of_which}\n")
    return None


def _check_all(names: list[str], store: Store) -> None:
    """Raise `UsageError` for a name that cannot be removed, before any is."""
    from edgeproxy.trios.find import pullable_names, shipped_names

    installed = store.names()
    for name in names:
        if name in installed:
            continue
        if name in shipped_names():
            raise UsageError(f"{name} comes with edgeproxy and cannot be removed by itself")
        if name in pullable_names():
            raise UsageError(f"{name} is a recipe that has not been pulled: nothing to remove")
        known = ", ".join(installed) or "none"
        raise UsageError(f"no trio called {name!r} is installed (there are: {known})")


def _leaving(names: list[str], store: Store) -> Iterator[str]:
    """What goes, in words."""
    from edgeproxy.trios.available import installed
    from edgeproxy.units import in_units

    recipes = {listed.name: listed.recipe for listed in installed(store)}
    for name in names:
        yield _in_words(name, recipes[name], store)
    rubbish = store.rubbish()
    if rubbish or not names:
        yield f"what unfinished work has left ({in_units(rubbish)})"


def _in_words(name: str, recipe: Recipe | None, store: Store) -> str:
    """A trio, the bytes of its files in the store, and whether others stay where they lie."""
    from edgeproxy.trios import disk
    from edgeproxy.units import in_units

    paths = {file.path for file in recipe.needed} if recipe else set()
    own = {path for path in paths if store.holds(path)}
    size = in_units(sum(disk.regular_size(path) or 0 for path in own))
    return f"{name} ({size}{'; your own files stay' if own < paths else ''})"
