"""What the command lines of all tools share: names, Ctrl-C, errors as one line, exit codes, --json.

A tool makes its parser with `make_parser`, and its `main` ends with `run`. The codes are those of
edgeproxy: 0 done, 1 the work failed, 2 wrong usage, 130 interrupted.

May touch: standard streams, the handler of SIGINT.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from edgeproxy.cli import DONE, complaint
from edgeproxy.cli.ui.output import say, silence_stdout, write, write_json
from edgeproxy.cli.ui.progress import Working, working
from edgeproxy.errors import EdgeproxyError

Found = TypeVar("Found")


def make_parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    """A parser for `python -m MODULE`, whose help is the module's docstring."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the option --json, which `run` obeys."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def at_least(least: int) -> Callable[[str], int]:
    """The type of an argument that is a whole number of `least` or more."""

    def number(text: str) -> int:
        if not (text.isdecimal() and int(text) >= least):
            raise argparse.ArgumentTypeError(f"{text!r} is not a number of {least} or more")
        return int(text)

    return number


def run(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace, Working], Found],
    as_text: Callable[[Found], str],
) -> int:
    """Do `work` as the command line asks, and print what it found; the exit code.

    `work` tells its `Working` what it is at, which raises `Cancelled` once Ctrl-C was pressed.
    """
    asked = parser.parse_args()
    as_json = vars(asked).pop("json", False)
    try:
        with working() as progress:
            found = work(asked, progress)
        if as_json:
            write_json(found, indent=2)
        else:
            write(f"{as_text(found)}\n")
    except BrokenPipeError:
        silence_stdout()  # whoever read this has seen enough, as `head` has
    except (EdgeproxyError, OSError, MemoryError, KeyboardInterrupt) as error:
        message, code = complaint(error)
        say(f"{parser.prog}: {message}")
        return code
    return DONE
