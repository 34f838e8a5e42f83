"""Whether a trio's files are still what its manifest says: every byte is read again.

May touch: the files, read only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgeproxy.files import ByteProgress, hash_file
from edgeproxy.trios import disk
from edgeproxy.trios.manifest import Lora, Recipe, Role


@dataclass(frozen=True)
class Finding:
    """What is to be said of one file: `problem` is None where it is what it should be.

    `wrong` says that its bytes are not those of its sha256.
    """

    trio: str
    role: str
    file: str
    path: Path
    size: int | None
    problem: str | None = None
    wrong: bool = False


def check(recipes: Iterable[Recipe], progress: ByteProgress | None = None) -> list[Finding]:
    """Read every file of `recipes` once and compare it with its sha256, and its size with that.

    The sha256 decides whether a file is the right one; a size that disagrees is the manifest's
    fault, and says nothing against a file that other trios may share.
    """
    parts = [
        (recipe.name, name, role)
        for recipe in recipes
        for name, role in recipe.files
        # The tuned model is for measuring only, and a trio may come without it.
        if name in recipe.roles or role.path.exists()
    ]
    sizes = {role.path: _size(role.path) or 0 for _, _, role in parts}
    total, before = sum(sizes.values()), 0
    hashes: dict[Path, str | OSError] = {}
    for _, _, role in parts:
        if role.path not in hashes:
            hashes[role.path] = _hash(role, before, total, progress)
            before += sizes[role.path]
    return [_finding(trio, name, role, hashes[role.path]) for trio, name, role in parts]


def _size(path: Path) -> int | None:
    try:
        return disk.regular_size(path)
    except OSError:
        return None


def _hash(
    role: Role | Lora, before: int, total: int, progress: ByteProgress | None
) -> str | OSError:
    def heard(done: int) -> None:
        if progress:
            progress(role.file_name, before + done, total)

    try:
        if disk.regular_size(role.path) is None:
            return FileNotFoundError(2, "it is missing")
        return hash_file(role.path, heard)
    except OSError as error:
        return error


def _finding(trio: str, name: str, role: Role | Lora, found: str | OSError) -> Finding:
    size = _size(role.path)
    problem, wrong = None, False
    if isinstance(found, OSError):
        problem = disk.reason(found)
    elif role.sha256 is not None and found != role.sha256:
        problem = f"it is damaged: its sha256 is {found} instead of {role.sha256}"
        wrong = True
    elif role.size is not None and size != role.size:
        problem = f"it has {size or 0:,} bytes instead of {role.size:,}"
        if role.sha256 is not None:
            problem = f"its sha256 is right, but its manifest is wrong: {problem}"
    elif role.sha256 is None:
        problem = f"its manifest gives no sha256 to compare with; it has {found}"
    return Finding(trio, name, role.file_name, role.path, size, problem, wrong)
