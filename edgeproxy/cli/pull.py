"""`edgeproxy pull`: fetch a trio's models from a hub, and install them.

May touch: the network, the store, the logging of huggingface_hub.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.completing import complete_recipe
from edgeproxy.cli.ui.options import json_option
from edgeproxy.cli.ui.output import say, write, write_json
from edgeproxy.errors import UsageError

if TYPE_CHECKING:
    from edgeproxy.trios.pull import Pulled

_ROLES = ("base", "expert", "anti-expert")

Command = Callable[..., Any]


def _reference_options(command: Command) -> Command:
    for role in reversed(_ROLES):
        command = click.option(
            f"--{role}-prompt",
            metavar="FORMAT",
            help="How it reads a conversation. "
            + ("[default: the file's template]" if role == "expert" else "[default: plain]"),
        )(command)
    for role in reversed(_ROLES):
        command = click.option(
            f"--{role}", metavar="hf:...", help=f"The {role}'s file on the hub; see below."
        )(command)
    return command


@click.command(
    "pull",
    short_help="Fetch a trio's models from a hub, and install it.",
    epilog="""\b
Examples:
  edgeproxy pull qwen2.5-7b
  edgeproxy pull recipe.toml --name mine
  edgeproxy pull --name mine --trust-first --base hf:ORG/NAME/FILE@REVISION \\
      --expert hf:... --anti-expert hf:...

A REVISION is a commit's 40 digits. #sha256=DIGITS after it says what the file has to be;
without it --trust-first takes the hub's word, and records it. FORMAT is plain, chatml,
zephyr, llama2, llama3, gemma, phi3, mistral, or gguf: the template in the file.

\b
HF_TOKEN opens what needs an account; HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE are heeded.
EDGEPROXY_HOME is where trios are installed.""",
)
@click.argument("recipe", required=False, shell_complete=complete_recipe)
@click.option("--name", metavar="NAME", help="What to call the trio. [default: the recipe's name]")
@_reference_options
@click.option(
    "--trust-first", is_flag=True, help="Take a file whose sha256 was not given as the hub has it."
)
@click.option("--replace", is_flag=True, help="Replace an installed trio of the same name.")
@json_option
def command(
    recipe: str | None, name: str | None, trust_first: bool, replace: bool, as_json: bool, **of: Any
) -> None:
    """Fetch the models of RECIPE (a name, or the path of a .toml) and install the trio.

    An interrupted pull goes on where it was when it is called again. Every file is checked
    against its sha256, and against what the recipe says that it holds.
    """
    files = {role.replace("-", "_"): of[role.replace("-", "_")] for role in _ROLES}
    prompts = {role: of[f"{role}_prompt"] for role in files}
    if recipe and any([*files.values(), *prompts.values()]):
        raise UsageError("give a RECIPE, or --base, --expert and --anti-expert; not both")

    from edgeproxy.cli.ui.pulling import Shown
    from edgeproxy.trios.pull import Hub, named, of_references, pull
    from edgeproxy.trios.store import Store

    if recipe:
        wanted = named(recipe, name, trust_first=trust_first)
    else:
        wanted = of_references(name, files, prompts, trust_first=trust_first)
    _quieten()
    watch = Shown()
    try:
        pulled = pull(wanted, Store(), Hub(), watch, replacing=replace)
    except KeyboardInterrupt:
        watch.clear()
        say("what has come is kept; the same command goes on from there")
        raise
    finally:
        watch.clear()
    for doubt in pulled.doubts:
        say(f"warning: {doubt}")
    if as_json:
        write_json(_as_json(pulled), indent=2)
    else:
        write(f"{wanted.name} is installed: edgeproxy chat --trio {wanted.name}\n")


def _as_json(pulled: Pulled) -> dict[str, Any]:
    return {
        "trio": pulled.recipe.name,
        "models": {
            name: {
                "file": str(role.path),
                "name": role.file_name,
                "size": role.size,
                "sha256": role.sha256,
                "prompt": role.prompt,
                "from": pulled.origins[name],
            }
            for name, role in pulled.recipe.roles.items()
        },
        "doubts": pulled.doubts,
    }


def _quieten() -> None:
    """What huggingface_hub logs may hold a server's words; what matters of it is told by us."""
    import logging

    logging.getLogger("huggingface_hub").handlers = [logging.NullHandler()]
