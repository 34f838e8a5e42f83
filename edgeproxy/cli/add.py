"""`edgeproxy add`: files that one already has, noted, or made a trio, where they lie.

May touch: the files, read only; the list of known files; the store's manifests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.options import Models, files_options, json_option
from edgeproxy.cli.ui.output import say, write, write_json, write_lines
from edgeproxy.cli.ui.progress import working
from edgeproxy.errors import UsageError

if TYPE_CHECKING:
    from edgeproxy.remote.endpoint import ServerChange
    from edgeproxy.trios.add import Added, Noted
    from edgeproxy.trios.find import Lora, Recipe, Role


@click.command(
    "add",
    short_help="Use model files that are here already, where they lie.",
    epilog="""\b
Examples:
  edgeproxy add ~/models/base.gguf
  edgeproxy add mine --base base.gguf --expert chat.gguf --anti-expert raw.gguf
  edgeproxy add mine --base base.gguf --anti-expert raw.gguf --expert-lora a.gguf=0.7

A trio.toml that gives a file's size and sha256 finds it among the files that were noted, so
that a trio made of them can be passed on as a small folder.""",
)
@click.argument("what", metavar="FILE...|NAME", nargs=-1, required=True)
@files_options()
@click.option("--replace", is_flag=True, help="Replace an installed trio of the same name.")
@json_option
def command(what: tuple[str, ...], models: Models, replace: bool, as_json: bool) -> None:
    """Note each model FILE by its sha256, or install a trio of files as NAME. Nothing is copied.

    A file is read once, and has to stay where it is and as it is; one that was moved or changed is
    added again. edgeproxy rm removes the trio, and never the files.
    """
    from edgeproxy.trios.add import add_files, add_trio
    from edgeproxy.trios.store import Store

    if models == Models() and not replace:
        with working() as work:
            noted = add_files(what, work.progress, work.stop)
        _tell_files(noted, as_json)
        return
    recipe = _recipe(what, models)
    with working() as work:
        added = add_trio(recipe, Store(), work.progress, work.stop, replacing=replace)
    _tell_trio(added, as_json)


def _recipe(what: Sequence[str], models: Models) -> Recipe:
    """The trio that is asked for. Raises `UsageError` for what makes none."""
    from edgeproxy.trios.find import choose_recipe, on_server

    if len(what) > 1:
        raise UsageError(f"a trio has one name, and here are {len(what)}: {', '.join(what)}")
    expert = models.expert or models.expert_lora
    if not (models.base and expert and models.anti_expert):
        raise UsageError(
            f"a trio called {what[0]} needs --base, --anti-expert, and --expert or --expert-lora; "
            "to note a file, give nothing but the file"
        )
    given = (models.base, models.expert, models.anti_expert, models.expert_lora or None)
    recipe = dataclasses.replace(choose_recipe(None, *given, models.prompts), name=what[0])
    base = on_server(recipe.base, _kept(models))
    return dataclasses.replace(recipe, base=base, steering=recipe.steering.changed(models.steering))


def _kept(models: Models) -> ServerChange:
    """What a manifest can say of the base's server. Raises `UsageError` for the rest."""
    from edgeproxy.remote.endpoint import KEY_PREFIX

    name = models.base_key_env
    if models.base_key_file or models.allow_http or (name and not name.startswith(KEY_PREFIX)):
        raise UsageError(
            "no manifest keeps --base-key-file or --allow-http, nor a variable whose name does not "
            f"begin with {KEY_PREFIX}: give these again each time, to chat or run"
        )
    return models.server


def _tell_files(noted: Sequence[Noted], as_json: bool) -> None:
    if as_json:
        files = [{"file": str(n.path), "size": n.size, "sha256": n.sha256} for n in noted]
        write_json({"files": files}, indent=2)
    else:
        write_lines([f"{n.sha256}  {n.path}" for n in noted])


def _tell_trio(added: Added, as_json: bool) -> None:
    recipe = added.recipe
    for doubt in added.doubts:
        say(f"warning: {doubt}")
    if as_json:
        models = {
            name: {
                **_file(role),
                "prompt": role.prompt,
                "loras": [
                    {"called": lora.name, **_file(lora), "scale": lora.scale} for lora in role.loras
                ],
            }
            for name, role in recipe.roles.items()
        }
        write_json({"trio": recipe.name, "models": models, "doubts": added.doubts}, indent=2)
    else:
        write(f"{recipe.name} is installed: edgeproxy chat --trio {recipe.name}\n")


def _file(of: Role | Lora) -> dict[str, Any]:
    return {"file": str(of.path), "size": of.size, "sha256": of.sha256}
