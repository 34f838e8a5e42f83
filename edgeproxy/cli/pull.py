"""`edgeproxy pull`: fetch a trio's models from a hub, and install them.

May touch: the network, the store, the logging of huggingface_hub.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.options import json_option
from edgeproxy.cli.ui.output import StatusLine, say, write, write_json
from edgeproxy.errors import UsageError
from edgeproxy.units import duration

if TYPE_CHECKING:
    from edgeproxy.trios.manifest import Recipe
    from edgeproxy.trios.pull import Pulled

_ROLES = ("base", "expert", "anti-expert")
_ORIGINS = {"cache": "from the hub's cache", "store": "was here already"}
_PATIENCE = 0.2
_SPAN = 5.0

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
    from edgeproxy.units import in_units

    class Progress(Watch):
        def __init__(self) -> None:
            self.status = StatusLine(_PATIENCE)
            self.pace = Pace()

        def moved(self, file: str, done: int, size: int) -> None:
            self.pace.moved(file, done)
            self._show(
                f"{file}: {in_units(done)} of {in_units(size)}{self.pace.in_words(size - done)}"
            )

        def checking(self, file: str, done: int, size: int) -> None:
            self._show(f"{file}: checking what is here, {done / size:.0%}")

        def waiting(self, file: str, why: str) -> None:
            self._show(f"{file}: {why}")

        def noted(self, what: str) -> None:
            self._say(what)

        def finished(self, file: str, size: int, where: str) -> None:
            how = _ORIGINS.get(where) or f"from the hub{self.pace.took(file)}"
            self._say(f"{file}: {in_units(size)}, {how}")

        def _say(self, what: str) -> None:
            self.status.clear()
            say(what)

        def _show(self, text: str) -> None:
            # A line that wraps could not be written over.
            self.status.show(text[: shutil.get_terminal_size().columns - 1])

    return Progress()


class Pace:
    """How fast a file comes, by what came in the last seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._file = ""
        self._started = 0.0
        self._seen: deque[tuple[float, int]] = deque()

    def moved(self, file: str, done: int) -> None:
        """`done` bytes of `file` are there now."""
        now = self._clock()
        if file != self._file:
            self._file, self._started = file, now
            self._seen.clear()
        if self._seen and done < self._seen[-1][1]:
            self._seen.clear()  # it began anew
        if not self._seen or now - self._seen[-1][0] >= _SPAN / 50:
            self._seen.append((now, done))
        while now - self._seen[0][0] > _SPAN and len(self._seen) > 2:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Bytes a second; 0 where that is not known yet."""
        if len(self._seen) < 2:
            return 0.0
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last - first)

    def in_words(self, left: int) -> str:
        """The rate, and how long `left` bytes will take, to be put after something."""
        from edgeproxy.units import in_units

        if not self.rate:
            return ""
        return f", {in_units(round(self.rate))}/s, {duration(left / self.rate)} left"

    def took(self, file: str) -> str:
        """How long `file` took, where that is known, to be put after something."""
        return f" in {duration(self._clock() - self._started)}" if file == self._file else ""
