"""The command line: one file a verb, each imported only when it is used.

May touch: standard streams, exit codes. Everything that goes wrong ends here as one line on
standard error and a code: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from edgeproxy import __version__
from edgeproxy.cli.ui.output import prepare_streams, say, silence_stdout
from edgeproxy.errors import (
    Cancelled,
    EdgeproxyError,
    ManifestError,
    ModelFileError,
    UsageError,
    VocabularyError,
)

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
DEBUG_VARIABLE = "EDGEPROXY_DEBUG"
COMPLETION_VARIABLE = "_EDGEPROXY_COMPLETE"

VERBS = {
    "chat": "Talk to a trio.",
    "run": "Answer one prompt.",
    "serve": "Answer other programs: OpenAI's protocol over HTTP, and a page.",
    "explain": "Show what each model said for every token of a reply.",
    "tune": "Make an expert out of examples and a small model.",
    "pull": "Fetch a trio's models from a hub, and install it.",
    "add": "Use model files that are here already, where they lie.",
    "ls": "List the trios that are here.",
    "show": "Tell what a trio is made of.",
    "verify": "Read every byte of the models again and compare the hashes.",
    "rm": "Remove installed trios.",
    "eval": "Measure how often a trio and its models are right.",
    "sweep": "Try many settings of a trio: how often right, how much is changed, how fast.",
    "fit": "Find how a trio's models serve best together, the expert alone included.",
    "bench": "Measure how fast a trio is on this machine.",
    "doctor": "Tell what this machine can run, what is slow, and what to do.",
    "index": "Make documents ready to be found, and search them.",
    "sessions": "Conversations that were kept: list, show, search, export, remove.",
    "bundle": "Carry trios to a machine without a network.",
    "completion": "Print what makes a shell complete verbs, options and trios.",
}


class _Verbs(click.Group):
    """The verbs by name; `--help` lists them without importing any."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            if ctx.resilient_parsing:
                return None  # a shell asks what could follow, and is to be told no errors
            ctx.fail(f"There is no verb {cmd_name!r}; there are {', '.join(VERBS)}.")
        command = import_module(f"edgeproxy.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=_Verbs,
    subcommand_metavar="VERB ...",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96},
    epilog="""\b
Examples:
  edgeproxy chat
  edgeproxy run "What is the capital of Mongolia?"
  edgeproxy VERB --help""",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
def edgeproxy() -> None:
    """Proxy-tuning on a laptop's CPU: a small tuned model steers a large one, offline."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code. `arguments` default to the process's own."""
    prepare_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _run(given)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 - the one place where errors become exit codes
        return _report(error)
    return code


def _run(arguments: list[str]) -> int:
    if COMPLETION_VARIABLE in os.environ:
        edgeproxy.main(arguments, "edgeproxy")  # a shell asks what could follow
    try:
        # Not through `main`, which ends the process by itself for some errors. Without a verb
        # there is nothing to do but to tell which there are.
        with edgeproxy.make_context("edgeproxy", arguments or ["--help"]) as context:
            code = edgeproxy.invoke(context)
    except click.exceptions.Exit as asked:
        return asked.exit_code
    except _BARE as bare:
        click.echo(bare.message)
        return DONE
    return code if isinstance(code, int) else DONE


# Of a verb that has verbs, and was given none; click 8.1 prints its help without an error.
_BARE: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())


def _report(error: BaseException) -> int:
    """Tell a person what went wrong, in one line; the exit code that goes with it."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else FAILED
    if isinstance(error, BrokenPipeError):
        silence_stdout()  # whoever read us has seen enough, as `head` has
        return DONE
    if os.environ.get(DEBUG_VARIABLE):
        import traceback

        traceback.print_exception(error)
    message, code = complaint(error)
    say(f"edgeproxy: {message}")
    return code


def complaint(error: BaseException) -> tuple[str, int]:
    """What to tell a person of `error`, in a line, and the exit code that goes with it."""
    match error:
        case click.UsageError():
            where = error.ctx.command_path if error.ctx else "edgeproxy"
            what = error.format_message().replace("\n\t", " ")  # choices stand below each other
            end = "" if what.endswith((".", "?", ")")) else "."
            return f"{what}{end} See: {where} --help", WRONG_USAGE
        case click.ClickException():
            return error.format_message(), WRONG_USAGE
        case Cancelled() | KeyboardInterrupt() | click.Abort():
            return "interrupted", INTERRUPTED
        case UsageError() | ManifestError() | ModelFileError() | VocabularyError():
            return str(error), WRONG_USAGE
        case EdgeproxyError():
            return str(error), FAILED
        case MemoryError():
            return "there is not enough memory; close something or use smaller models", FAILED
        case OSError() if error.strerror:
            where = f"{error.filename}: " if error.filename else ""
            return f"{where}{error.strerror}", FAILED
    return (
        f"this is a bug in edgeproxy: {type(error).__name__}: {error} "
        f"(set {DEBUG_VARIABLE}=1 to see where)",
        FAILED,
    )
