"""`edgeproxy bundle`: trios in one file, for a machine without a network.

May touch: the bundle, key files, the store, and what `--wheels` asks for.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.completing import complete_trio
from edgeproxy.cli.ui.options import json_option
from edgeproxy.cli.ui.output import clean_message, is_terminal, say, write, write_json
from edgeproxy.cli.ui.progress import working
from edgeproxy.errors import UsageError

if TYPE_CHECKING:
    from edgeproxy.trios.bundle import Bundle, BundledTrio, Manifest, PublicKey, SecretKey

_FILE = click.Path(path_type=Path)
_EXTRAS = ("chat",)

key_option = click.option(
    "--key",
    metavar="PUBKEY",
    help="Refuse a bundle that this minisign public key (a file, or the key itself) did not sign.",
)


@click.group(
    "bundle",
    short_help="Carry trios to a machine without a network.",
    epilog="""\b
Examples:
  edgeproxy bundle create factbook -o factbook.bundle --wheels
  edgeproxy bundle verify factbook.bundle
  edgeproxy bundle install factbook.bundle
  edgeproxy bundle create --help""",
)
def command() -> None:
    """Carry trios, and edgeproxy itself, to a machine without a network: in one file.

    A bundle is a tar file that Python alone can unpack; INSTALL.txt in it says what to type.
    """


@command.command(
    "create",
    epilog="""\b
Examples:
  edgeproxy bundle create factbook -o factbook.bundle
  edgeproxy bundle create qwen2.5-7b models/mine/trio.toml -o both.bundle --wheels
  edgeproxy bundle create factbook -o factbook.bundle --sign mine.key""",
)
@click.argument("trios", nargs=-1, required=True, metavar="TRIO...", shell_complete=complete_trio)
@click.option(
    "-o", "--output", type=_FILE, required=True, metavar="FILE", help="The bundle to write."
)
@click.option(
    "--wheels",
    is_flag=True,
    help="Also carry edgeproxy and all that it needs, for machines like this one.",
)
@click.option("--sign", type=_FILE, metavar="KEYFILE", help="Sign it with this minisign key.")
@click.option("--force", is_flag=True, help="Replace FILE where it is there already.")
@json_option
def create(
    trios: tuple[str, ...],
    output: Path,
    wheels: bool,
    sign: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Put each TRIO (a name, or the path of a trio.toml) into one file.

    Each model is in it once, also where trios share it. README, LICENSE and NOTICE files come along
    from a trio's own folder: where an installed one is, or its trio.toml with the models.
    """
    from edgeproxy.trios import bundle
    from edgeproxy.trios.find import find_recipe

    bundle.check_target(output, force)
    key = _secret_key(sign) if sign else None
    recipes = [find_recipe(name) for name in dict.fromkeys(trios)]
    with working() as work, contextlib.ExitStack() as stack:
        carried = None
        if wheels:
            say("collecting wheels of edgeproxy and all that it needs", dim=True)
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgeproxy-wheels-"))
            extras = (*_EXTRAS, "sign") if key else _EXTRAS
            carried = bundle.collect(Path(folder), extras, work.tell)
        manifest = bundle.create(
            recipes, output, wheels=carried, key=key, force=force, progress=work.progress
        )
    if as_json:
        write_json(_as_json(output, manifest, key is not None), indent=2)
        return
    say(f"{output}: {_in_words(manifest)}")
    unpack = f"{'py' if sys.platform == 'win32' else 'python3'} -m tarfile -e {output.name} FOLDER"
    say(f"INSTALL.txt in it says what to type on the other machine; {unpack}")


@command.command(
    "verify",
    epilog="""\b
Examples:
  edgeproxy bundle verify factbook.bundle
  edgeproxy bundle verify factbook.bundle --key mine.key.pub --json""",
)
@click.argument("file", type=_FILE)
@key_option
@json_option
def verify(file: Path, key: str | None, as_json: bool) -> None:
    """Check every byte of a bundle, and write nothing."""
    from edgeproxy.trios import bundle

    with working() as work, bundle.Bundle(file, _public_key(key)) as opened:
        trios = bundle.verify(opened, work.progress)
    found = _as_json(file, opened.manifest, opened.is_signed, key)
    found["trios"] = [trio.recipe.name for trio in trios]
    if as_json:
        write_json(found, indent=2)
    else:
        write(_as_text(opened, trios, key))


@command.command(
    "install",
    epilog="""\b
Examples:
  edgeproxy bundle install factbook.bundle
  edgeproxy bundle install factbook.bundle --key mine.key.pub""",
)
@click.argument("file", type=_FILE)
@key_option
@click.option(
    "--replace", is_flag=True, help="Put a trio in the place of another one of the same name."
)
@json_option
def install(file: Path, key: str | None, replace: bool, as_json: bool) -> None:
    """Check every byte of a bundle, and install the trios in it.

    Nothing is installed from a bundle in which anything is wrong. An install that was interrupted
    can be repeated.
    """
    from edgeproxy.trios import bundle
    from edgeproxy.trios.store import Store

    with working() as work, bundle.Bundle(file, _public_key(key)) as opened:
        done = bundle.install(opened, Store(), replace=replace, progress=work.progress)
    for trio, _ in done:
        if _is_hidden(trio):
            say(
                f"warning: another trio called {trio.recipe.name} comes with edgeproxy, and is the "
                "one that this name means"
            )
    if as_json:
        found = [{"trio": each.trio.recipe.name, "was_there": each.was_there} for each in done]
        write_json({"file": str(file), "installed": found}, indent=2)
        return
    for trio, was_there in done:
        name = trio.recipe.name
        state = "is there already" if was_there else "is installed"
        write(f"{name} {state}: edgeproxy chat --trio {name}\n")


@command.command(
    "keygen",
    epilog="""\b
Examples:
  edgeproxy bundle keygen mine.key
  edgeproxy bundle keygen mine.key --password""",
)
@click.argument("keyfile", type=_FILE)
@click.option("--password", is_flag=True, help="Ask for a password to lock the secret key with.")
@json_option
def keygen(keyfile: Path, password: bool, as_json: bool) -> None:
    """Make a pair of minisign keys: KEYFILE signs, KEYFILE.pub checks.

    Keep KEYFILE to yourself. Give KEYFILE.pub to who installs, by another way than the bundle.
    """
    from edgeproxy.trios.bundle import make_keys

    public, text = make_keys(keyfile, _ask_password(confirm=True) if password else "")
    if as_json:
        write_json({"secret": str(keyfile), "public": str(public), "key": text}, indent=2)
        return
    say(f"{keyfile} signs; keep it to yourself. {public} checks: --key {public}, or this:")
    write(f"{text}\n")


def _secret_key(path: Path) -> SecretKey:
    from edgeproxy.trios.bundle import SecretKey

    return SecretKey(path, _ask_password)


def _public_key(key: str | None) -> PublicKey | None:
    from edgeproxy.trios.bundle import PublicKey

    return PublicKey(key) if key else None


def _ask_password(confirm: bool = False) -> str:
    if not is_terminal(sys.stdin):
        line = sys.stdin.readline() if sys.stdin is not None else ""
        if not line.strip("\n"):
            raise UsageError("the key has a password: give it as a line of standard input")
        return line.rstrip("\n")
    given: str = click.prompt("password", hide_input=True, confirmation_prompt=confirm, err=True)
    return given


def _is_hidden(trio: BundledTrio) -> bool:
    """Whether one with other models ships under the same name."""
    from edgeproxy.trios.find import shipped_names, shipped_recipe

    recipe = trio.recipe
    if recipe.name not in shipped_names():
        return False
    shipped = shipped_recipe(recipe.name)
    theirs, ours = ([file.sha256 for file in each.needed] for each in (recipe, shipped))
    return theirs != ours


def _as_json(
    path: Path, manifest: Manifest, is_signed: bool, key: str | None = None
) -> dict[str, Any]:
    found = {
        "file": str(path),
        "size": path.stat().st_size,
        "edgeproxy": manifest.edgeproxy,
        "trios": manifest.trios,
        "models": len(manifest.of("model")),
        "model_bytes": sum(file.size for file in manifest.of("model")),
        "wheels": len(manifest.of("wheel")),
        "wheels_for": manifest.wheels_for or None,
        "signed": is_signed,
    }
    return found | ({"signed_by_key": True} if key else {})


def _in_words(manifest: Manifest) -> str:
    from edgeproxy.units import in_units

    models, wheels = manifest.of("model"), manifest.of("wheel")
    size = in_units(sum(file.size for file in models))
    text = f"{', '.join(manifest.trios)}; {len(models)} models of {size}"
    return text + (f"; {len(wheels)} wheels for {manifest.wheels_for}" if wheels else "")


def _as_text(bundle: Bundle, trios: list[BundledTrio], key: str | None) -> str:
    manifest = bundle.manifest
    signature = "none"
    if bundle.is_signed:
        signature = "by the owner of the key" if key else "there is one; --key would check it"
    lines = [f"{bundle.path}: every byte is what its manifest says", ""]
    for trio in trios:
        about = trio.recipe.description or "no description"
        lines.append(f"{'trio':<12}{trio.recipe.name}: {about}")
        lines.append(f"{'licence':<12}{trio.recipe.licence or 'not given'}")
    lines.append(f"{'holds':<12}{_in_words(manifest)}")
    lines.append(f"{'made by':<12}edgeproxy {manifest.edgeproxy}")
    lines.append(f"{'signature':<12}{signature}")
    return "".join(clean_message(line) + "\n" for line in lines)
