"""`edgeproxy ls`: the trios that are here, a line each.

May touch: the store, read only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.options import json_option
from edgeproxy.cli.ui.output import columns, write_json, write_lines

if TYPE_CHECKING:
    from edgeproxy.trios.available import Listed


@click.command(
    "ls",
    short_help="List the trios that are here.",
    epilog="""\b
Examples:
  edgeproxy ls
  edgeproxy ls --all --json""",
)
@click.option("--all", "with_recipes", is_flag=True, help="Also those that could be pulled.")
@json_option
def command(with_recipes: bool, as_json: bool) -> None:
    """List the trios that are here: those that come with edgeproxy, and those installed.

    The sizes are of all files of a trio; trios may share files. A damaged trio is listed, with
    what is wrong with it.
    """
    from edgeproxy.trios.available import installed, pullable, shipped
    from edgeproxy.trios.store import Store

    found = shipped() + installed(Store())
    if with_recipes:
        here = {listed.name for listed in found}
        found += [listed for listed in pullable() if listed.name not in here]
    if as_json:
        write_json({"trios": [_as_json(listed) for listed in found]}, indent=2)
    else:
        write_lines(columns([("name", "size", "origin", ""), *map(_row, found)]))


def _as_json(listed: Listed) -> dict[str, Any]:
    return {
        "name": listed.name,
        "origin": listed.origin,
        "size": listed.size,
        "size_is_exact": listed.is_exact,
        "description": listed.recipe.description if listed.recipe else "",
        "problem": listed.problem,
    }


def _row(listed: Listed) -> tuple[str, str, str, str]:
    from edgeproxy.units import in_units

    size = "unknown" if listed.size is None else in_units(listed.size)
    about = "" if listed.is_exact else "about "
    hint = f"edgeproxy pull {listed.name}" if listed.origin == "recipe" else ""
    return listed.name, about + size, listed.origin, listed.problem or hint
