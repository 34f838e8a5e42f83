"""What to tell a person of a trio's file that is nowhere: which one it was, and what to do."""

from __future__ import annotations

from pathlib import Path

from edgeproxy.errors import ModelFileError
from edgeproxy.trios.known_files import KnownFiles
from edgeproxy.trios.manifest import Lora, Role
from edgeproxy.units import in_units

_DIGITS = 12


def check_here(*files: Role | Lora) -> None:
    """Raise `ModelFileError` for a file that its manifest gives a sha256 of, and that is nowhere.

    What is wrong with others whoever opens them tells.
    """
    for file in files:
        if file.sha256 is not None and file.size is not None and not _is_there(file.path):
            raise ModelFileError(file.path, f"there is no such file{of_what(file)}; {remedy(file)}")


def of_what(file: Role | Lora) -> str:
    """The size of a file and the beginning of its hash, in brackets, as far as they are known."""
    size = in_units(file.size) if file.size is not None else ""
    sha256 = f"sha256 {file.sha256[:_DIGITS]}..." if file.sha256 else ""
    said = ", ".join(filter(None, (size, sha256)))
    return f" ({said})" if said else ""


def remedy(file: Role | Lora) -> str:
    """What to do about a missing file whose sha256 is known."""
    known = KnownFiles()
    noted = known.noted(file.sha256 or "")
    if noted:
        where = noted[0].path
        what = "has changed" if _is_there(where) else "is gone"
        said = f"{where} was that file and {what} since it was noted; if you have it, "
    elif problem := known.problem:
        said = f"{problem}; or "
    else:
        said = "get it with edgeproxy pull, or, " if file.source else ""
        said += "if you have it elsewhere, "
    return f"{said}type edgeproxy add FILE, or put it, or a link to it, there"


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # in a folder that may not be looked into; whoever opens it will say so
        return True
