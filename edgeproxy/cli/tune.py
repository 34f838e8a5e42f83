"""`edgeproxy tune`: examples and a small model become an adapter and a trio, on this machine.

May touch: the files of examples and models, read-only; the folder that is named; the list of files
that edgeproxy knows.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.options import json_option
from edgeproxy.cli.ui.output import say, write_json
from edgeproxy.errors import Cancelled, EngineError, UsageError

if TYPE_CHECKING:
    from edgeproxy.tune.request import Tuned

_FILE = click.Path(path_type=Path)
_SETTINGS = ("epochs", "rate", "rank", "seed", "batch", "minutes", "threads", "dtype")


def _columns(
    _context: click.Context, option: click.Parameter, given: str | None
) -> tuple[str, str] | None:
    """A,B -> the two names."""
    if given is None:
        return None
    names = [name.strip() for name in given.split(",")]
    if len(names) != 2 or not all(names):
        raise click.BadParameter(
            f"{given!r}: name two with a comma between, that of the question and that of the "
            "answer",
            param=option,
        )
    return names[0], names[1]


@click.command(
    "tune",
    short_help="Make an expert out of examples and a small model.",
    epilog="""\b
Examples:
  edgeproxy tune examples.jsonl --small small.gguf --base large.gguf -o mine
  edgeproxy chat --trio mine
  edgeproxy tune table.csv --columns question,reply --small small.gguf --base large.gguf -o mine
  edgeproxy tune examples.jsonl --small small.gguf --base large.gguf -o mine --resume
  edgeproxy tune examples.jsonl --direct large.gguf -o mine
  edgeproxy tune examples.jsonl --docs work --small small.gguf --base large.gguf -o reader

\b
EXAMPLES are lines of JSON with messages, conversations, prompt and completion, question and
answer, or instruction, input and output; an array of those; or CSV. A part is held out, and
tuning ends where that is told no better any more. FOLDER gets adapter.gguf, trio.toml, which
names the models where they lie, and tuning.json: on what it was tuned, how, and what came of it.

\b
Ctrl-C ends it with the best so far; after that, and after a kill, --resume goes on. --direct tunes
the large model itself: where FOLDER has its trio already, to compare with (edgeproxy eval).
Needs PyTorch and gguf: pip install 'edgeproxy[tune]'""",
)
@click.argument("examples", type=_FILE)
@click.option("--small", type=_FILE, metavar="GGUF", help="The small model, which is tuned.")
@click.option("--base", type=_FILE, metavar="GGUF", help="The large model, which it will steer.")
@click.option("--direct", type=_FILE, metavar="GGUF", help="Tune this large model instead.")
@click.option(
    "-o", "--output", "folder", type=_FILE, required=True, metavar="FOLDER", help="The result."
)
@click.option(
    "--validation", type=_FILE, metavar="FILE", help="Hold out these instead of a part of EXAMPLES."
)
@click.option(
    "--columns",
    callback=_columns,
    metavar="A,B",
    help="The columns, or keys, of the question and of the answer.",
)
@click.option("--skip-bad", is_flag=True, help="Pass over wrong lines, and count them.")
@click.option(
    "--prompt",
    metavar="FORMAT",
    help="How the tuned model reads a conversation: plain, chatml, zephyr, llama2, llama3, "
    "gemma, phi3, mistral, or gguf, the template in its file. [default: gguf, else chatml, else "
    "plain]",
)
@click.option("--name", metavar="NAME", help="What to call the trio. [default: as FOLDER]")
@click.option(
    "--epochs",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="How often each example is read, at most. [default: by their number]",
)
@click.option(
    "--rate", type=float, metavar="X", help="The learning rate. [default: by the model's width]"
)
@click.option(
    "--rank",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="The rank of the adapter's matrices. [default: 16]",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Examples a step. [default: by their number]",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="Of the first numbers, the order, and what is held out.",
)
@click.option("--minutes", type=float, metavar="N", help="End training after so many.")
@click.option(
    "--ctx",
    "n_ctx",
    type=click.IntRange(2, 1 << 20),
    metavar="N",
    help="Leave out examples of more tokens. [default: the model's context, at most 4096]",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 512),
    metavar="N",
    help="Processors to train with. [default: what is fastest]",
)
@click.option(
    "--dtype",
    type=click.Choice(("bfloat16", "float32")),
    help="What the weights are held in. [default: what is fastest]",
)
@click.option(
    "--docs",
    metavar="NAME",
    help="Learn to read: passages of this index of documents stand before the questions.",
)
@click.option("--resume", is_flag=True, help="Go on with what was cut short, if anything was.")
@click.option("--force", is_flag=True, help="Tune also what takes more memory than is free.")
@click.option("-q", "--quiet", is_flag=True, help="Tell only what is wrong.")
@json_option
def command(
    examples: Path,
    small: Path | None,
    base: Path | None,
    direct: Path | None,
    folder: Path,
    quiet: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Tune a small model on EXAMPLES of how replies should be, to steer a large one with it."""
    model = small or direct
    if model is None or (small and direct):
        raise UsageError("name the model to tune: --small SMALL.gguf, or --direct LARGE.gguf")
    if direct and base:
        raise UsageError("--direct names the base already; leave out --base")

    from edgeproxy.cli.ui.tuning import Shown
    from edgeproxy.tune.folder import CHECKPOINTS
    from edgeproxy.tune.missing import check_extra
    from edgeproxy.tune.request import Request, Stop

    settings = {name: asked.pop(name) for name in _SETTINGS}
    request = Request(
        examples, model, folder, base, is_direct=direct is not None, settings=settings, **asked
    )
    watch, stop = Shown(quiet), Stop()
    try:
        with on_interrupt(stop.press):
            # PyTorch takes a second: an interrupt amid it would be told as a fault of its own.
            check_extra()
            from edgeproxy.tune.run import tune

            tuned = tune(request, watch, stop)
    except (Cancelled, KeyboardInterrupt, EngineError):
        watch.clear()
        if any(folder.glob(CHECKPOINTS)):
            say("what was trained is kept; the same command with --resume goes on from there")
        raise
    finally:
        watch.clear()
    if as_json:
        write_json(_as_json(tuned), indent=2)
    elif not quiet:
        _say_what_is_next(tuned, base is None and direct is None)


def _as_json(tuned: Tuned) -> Mapping[str, Any]:
    return {
        "folder": str(tuned.folder),
        "trio": str(tuned.manifest) if tuned.manifest else None,
        "new": tuned.is_new,
        **tuned.record,
    }


def _say_what_is_next(tuned: Tuned, needs_base: bool) -> None:
    folder = shlex.quote(str(tuned.folder)) if sys.platform != "win32" else f'"{tuned.folder}"'
    files = ", ".join(path.name for path in (tuned.adapter, tuned.manifest) if path)
    if tuned.is_new:
        say(f"{'written':<9} {folder}: {files}, and how it was made")
    else:
        say(f"{'there':<9} {folder} has the result of this very tuning: {files}")
    if tuned.manifest is not None:
        say(f"{'next':<9} edgeproxy chat --trio {folder}")
        say(f"{'':<9} edgeproxy fit {folder} QUESTIONS.jsonl")
    elif needs_base:
        say(f"{'next':<9} the same command with --base LARGE.gguf makes a trio of it, at once")
