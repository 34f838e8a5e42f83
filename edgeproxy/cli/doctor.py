"""`edgeproxy doctor`: what this machine can run, what is slow and why, and what to do.

May touch: headers of model files, /proc, /sys and the environment, read-only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.completing import complete_trio
from edgeproxy.cli.ui.options import json_option
from edgeproxy.cli.ui.output import StatusLine, columns, write_json, write_lines

if TYPE_CHECKING:
    from edgeproxy.trios.available import Listed


@click.command(
    "doctor",
    short_help="Tell what this machine can run, what is slow, and what to do.",
    epilog="""\b
Examples:
  edgeproxy doctor
  edgeproxy doctor qwen2.5-7b --json

\b
Exit code 1 says that something needs attention: a trio that does not fit into memory or is
damaged, or something that makes models several times slower. Lesser hints leave it at 0.""",
)
@click.argument("trio", required=False, shell_complete=complete_trio)
@json_option
def command(trio: str | None, as_json: bool) -> int:
    """Tell what this machine can run, what is slow and why, and what to do.

    Versions, the processor and what llama.cpp was compiled for, memory and disk, and what TRIO (or
    each trio that is here) takes of memory at its usual context. No weights are read.
    """
    environment = dict(os.environ)  # before llama.cpp's library adds to it
    from edgeproxy.measure.doctor import examine

    trios = _trios(trio)
    status = StatusLine()
    try:
        found = examine(trios, environment, status.show)
    finally:
        status.clear()
    if as_json:
        write_json(found, indent=2)
    else:
        write_lines(_as_lines(found))
    return 0 if found["ok"] else 1


def _trios(name: str | None) -> list[Listed]:
    """All trios that are here, or the one called `name`, or the one at that path."""
    from edgeproxy.trios.available import Listed, installed, shipped
    from edgeproxy.trios.find import find_recipe
    from edgeproxy.trios.store import Store

    here = shipped() + installed(Store())
    if name is None:
        return here
    called = [listed for listed in here if listed.name == name]
    return called[:1] or [Listed(name, "path", find_recipe(name))]


def _as_lines(found: dict[str, Any]) -> list[str]:
    from edgeproxy.units import in_units

    def spoken(size: int | None) -> str:
        return "unknown" if size is None else in_units(size)

    versions, cpu, memory, disk = (
        found[key] for key in ("versions", "processor", "memory", "disk")
    )
    load = "unknown" if cpu["load"] is None else f"{cpu['load']:.1f}"
    rows = [
        ("edgeproxy", f"{versions['edgeproxy']}, Python {versions['python']}"),
        ("llama.cpp", versions["llama_cpp"] or "cannot be loaded"),
        ("compiled for", ", ".join(cpu["compiled"]) or "unknown"),
        ("processor", f"{cpu['name']}, {cpu['usable']} usable, load {load}"),
        ("memory free", f"{spoken(memory['free'])}"),
        ("disk free", f"{spoken(disk['free'])} in {disk['folder'] or 'no folder'}"),
        *((name, value) for name, value in found["environment"].items()),
    ]
    table: list[tuple[str, ...]] = [("trio", "context", "takes", "of it weights", "KV caches", "")]
    table += [_trio(trio, spoken) for trio in found["trios"]]
    lines = [*columns(rows), "", *columns(table), "", *_servers(found["trios"])]
    for urgent, title in ((True, "needs attention"), (False, "hint")):
        for advice in found["advice"]:
            if advice["urgent"] == urgent:
                lines += [f"{title}: {advice['what']}", f"  do: {advice['do']}"]
    if found["ok"]:
        lines.append("nothing needs attention")
    return lines


def _servers(trios: Sequence[dict[str, Any]]) -> list[str]:
    """Of each trio whose base is on a server what that is."""
    from edgeproxy.cli.ui.serving import asked_in_words

    lines = [
        f"{trio['trio']}: {words}"
        for trio in trios
        if trio["server"] and not trio["problem"]
        for words in asked_in_words(trio["server"])
    ]
    return [*lines, ""] if lines else []


def _trio(trio: dict[str, Any], spoken: Any) -> tuple[str, ...]:
    if trio["needs"] is None:
        state = "damaged" if trio["problem"] else "unknown without llama.cpp"
        return trio["trio"], "", "", "", "", "missing" if trio["missing"] else state
    needs = trio["needs"]
    fits = {True: "fits", False: "does not fit", None: "memory free is unknown"}[trio["fits"]]
    context, total = f"{trio['context']:,}", spoken(trio["total"])
    return trio["trio"], context, total, spoken(needs["weights"]), spoken(needs["kv"]), fits
