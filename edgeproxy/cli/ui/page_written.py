"""The page of an explained reply, written to a file that a person names.

May touch: that file, which takes the place of an older page.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeproxy.cli.ui.output import say
from edgeproxy.errors import UsageError
from edgeproxy.files import NotRegularError, open_regular, reason, replacing
from edgeproxy.units import in_units

if TYPE_CHECKING:
    from edgeproxy.explain import Explanation

_BEGINNING = b"<!doctype html>"


def check_page(path: Path) -> None:
    """Refuse to put a page where it cannot be, or where something else would be lost.

    Raises `UsageError`.
    """
    try:
        has_folder = path.parent.is_dir()
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {reason(error)}; give another name") from None
    if not has_folder:
        raise UsageError(f"{path}: there is no folder {path.parent} to write the page into")
    try:
        with open_regular(path) as file:
            beginning = file.read(len(_BEGINNING)) or b""
    except FileNotFoundError:
        return
    except NotRegularError as error:
        raise UsageError(f"{path} is {error.kind} and no page; give another name") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {reason(error)}; give another name") from None
    if beginning and beginning.lower() != _BEGINNING:
        raise UsageError(f"{path} is there already and is no page; give another name")


def write_page(path: Path, explanation: Explanation) -> None:
    """Write the page and say so. Raises `UsageError` where the file cannot be written."""
    from edgeproxy.explain import page_of

    data = page_of(explanation).encode()
    try:
        with replacing(path) as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"{path}: {reason(error)}; give another name") from None
    say(f"wrote {path}, {in_units(len(data))}: open it in a browser")
