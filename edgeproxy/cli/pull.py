"""`edgeproxy pull`: fetch a trio's models from a hub, and install them.

May touch: the network, the store, the logging of huggingface_hub.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.options import json_option
from edgeproxy.cli.ui.output import StatusLine, say, write, write_json
from edgeproxy.cli.ui.progress import Rate
from edgeproxy.errors import UsageError
from edgeproxy.units import in_units

if TYPE_CHECKING:
    from edgeproxy.trios.manifest import Recipe
    from edgeproxy.trios.pull import Pulled

_ROLES = ("base", "expert", "anti-expert")
_ORIGINS = {"cache": "from the hub's cache", "store": "was here already"}
_PATIENCE = 0.2  # seconds; what a connection does is of interest at once

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
zephyr, llama3, gemma, or gguf: the template in the file.

\b
HF_TOKEN opens what needs an account; HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE are heeded.
EDGEPROXY_HOME is where trios are installed.""",
)
@click.argument("recipe", required=False)
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

    from edgeproxy.trios.pull import Hub, named, of_references, pull
    from edgeproxy.trios.store import Store

    if recipe:
        wanted = named(recipe, name, trust_first=trust_first)
    else:
        wanted = of_references(name, files, prompts, trust_first=trust_first)
    _quieten()
    progress = _progress(wanted)
    try:
        pulled = pull(wanted, Store(), Hub(), progress, replacing=replace)
    except KeyboardInterrupt:
        progress.status.clear()
        say("what has come is kept; the same command goes on from there")
        raise
    finally:
        progress.status.clear()
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
                "name": role.name,
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


def _progress(recipe: Recipe) -> Any:
    """A `Watch` that tells a person what is happening; made here, for imports are dear."""
    from edgeproxy.trios.pull import Watch

    class Progress(Watch):
        def __init__(self) -> None:
            self.status = StatusLine(_PATIENCE)
            self._rates: dict[str, Rate] = {}

        def moved(self, file: str, done: int, size: int) -> None:
            rate = self._rates.setdefault(file, Rate())
            self.status.show(f"{file}: {rate.in_words(done, size)}")

        def checking(self, file: str, done: int, size: int) -> None:
            self.status.show(f"{file}: checking what is here, {done / size:.0%}")

        def waiting(self, file: str, why: str) -> None:
            self.status.show(f"{file}: {why}")

        def noted(self, what: str) -> None:
            self._say(what)

        def finished(self, file: str, size: int, where: str) -> None:
            rate = self._rates.get(file)
            took = f" in {rate.took()}" if rate else ""
            self._say(f"{file}: {in_units(size)}, {_ORIGINS.get(where) or f'from the hub{took}'}")

        def _say(self, what: str) -> None:
            self.status.clear()
            say(what)

    return Progress()
