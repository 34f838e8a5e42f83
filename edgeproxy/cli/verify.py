"""`edgeproxy verify`: whether the models are still, byte for byte, what their manifests say.

May touch: the model files, read only; a damaged one of the store's is moved aside, and one that
was noted where it lies is struck from the list of known files.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.completing import complete_trio
from edgeproxy.cli.ui.options import json_option
from edgeproxy.cli.ui.output import columns, write_json, write_lines
from edgeproxy.cli.ui.progress import working
from edgeproxy.errors import ManifestError

if TYPE_CHECKING:
    from edgeproxy.trios.available import Listed
    from edgeproxy.trios.store import Finding, Store


@click.command(
    "verify",
    short_help="Read every byte of the models again and compare the hashes.",
    epilog="""\b
Examples:
  edgeproxy verify
  edgeproxy verify factbook qwen2.5-7b --json
  edgeproxy verify models/mine/trio.toml""",
)
@click.argument("names", metavar="[TRIO]...", nargs=-1, shell_complete=complete_trio)
@json_option
def command(names: tuple[str, ...], as_json: bool) -> int:
    """Read every file of each TRIO (or of all that are here) again and compare its sha256.

    A TRIO is a name, or the path of a trio.toml. Exit code 1 says that something is wrong. A
    damaged file of an installed trio is put aside, so that pulling or installing the trio again
    gets a sound one.
    """
    from edgeproxy.trios.available import installed, shipped
    from edgeproxy.trios.store import Store, check

    store = Store()
    chosen = _chosen(names, shipped() + installed(store))
    with working() as work:
        findings = check([listed.recipe for listed in chosen if listed.recipe], work.progress)
    told = {finding: _told(finding, store) for finding in findings}
    broken = [listed for listed in chosen if listed.recipe is None]
    if as_json:
        write_json(_as_json(told, broken), indent=2)
    else:
        rows = [(f.trio, f.role.replace("_", "-"), f.file, said) for f, said in told.items()]
        rows += [(listed.name, "manifest", "", listed.problem or "") for listed in broken]
        write_lines(columns(rows))
    return 1 if broken or any(finding.problem for finding in findings) else 0


def _chosen(names: tuple[str, ...], there: list[Listed]) -> list[Listed]:
    from edgeproxy.trios.available import Listed
    from edgeproxy.trios.find import find_recipe

    known, at_paths = {listed.name for listed in there}, []
    for name in names:
        if name in known:
            continue
        if Path(name).is_dir() or Path(name).suffix == ".toml":
            at_paths.append(Listed(name, "path", find_recipe(name)))
        else:
            raise ManifestError(
                f"there is no trio called {name!r} here (there are: {', '.join(sorted(known))})"
            )
    return [listed for listed in there if not names or listed.name in names] + at_paths


def _told(finding: Finding, store: Store) -> str:
    """What to say of a file; a wrong one is put aside first, or forgotten where it is a user's."""
    from edgeproxy.errors import StoreError
    from edgeproxy.trios.find import shipped_folders
    from edgeproxy.trios.known_files import KnownFiles

    if finding.problem is None:
        return "sound"
    again, known = "put the right file there, or type edgeproxy add FILE", KnownFiles()
    if store.holds(finding.path):
        again = (
            f"edgeproxy pull {finding.trio}, or install its bundle again, or edgeproxy add FILE "
            "where you have it"
        )
        if finding.wrong:
            # Another trio's file may be the same, and the store may be read only.
            with contextlib.suppress(StoreError):
                again = f"put aside as {store.set_aside(finding.path.name)}; {again}"
    elif known.holds(finding.path):
        again = "put the right file there, and: edgeproxy add FILE"
        if finding.wrong:
            with contextlib.suppress(StoreError):
                known.forget(finding.path)  # by size and time it is still the one that was noted
    elif any(finding.path.is_relative_to(folder.resolve()) for folder in shipped_folders()):
        again = "install edgeproxy again"
    return f"{finding.problem}; {again}"


def _as_json(told: dict[Finding, str], broken: list[Listed]) -> dict[str, Any]:
    return {
        "sound": not broken and not any(finding.problem for finding in told),
        "files": [
            {
                "trio": finding.trio,
                "role": finding.role,
                "name": finding.file,
                "file": str(finding.path),
                "size": finding.size,
                "problem": said if finding.problem else None,
            }
            for finding, said in told.items()
        ],
        "damaged": [{"trio": listed.name, "problem": listed.problem} for listed in broken],
    }
