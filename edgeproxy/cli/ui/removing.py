"""Asking a person whether something is to be removed.

May touch: the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import click

from edgeproxy.cli.ui.output import is_terminal, say
from edgeproxy.errors import UsageError

yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


def agrees_to_remove(things: Iterable[str]) -> bool:
    """Whether a person agrees that these are removed; one who does not hears that none was.

    Raises `UsageError` where there is nobody to ask, before it looks at `things`.
    """
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise UsageError("there is no terminal to ask at; --yes removes without asking")
    if click.confirm(f"Remove {' and '.join(things)}?", err=True):
        return True
    say("nothing was removed")
    return False
