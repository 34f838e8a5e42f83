"""An installed distribution -> the wheel that it came from, by its RECORD.

What is carried is then just what is installed here: compiled parts are not compiled again, and
nothing is fetched. Every file is compared with its hash in RECORD.

May touch: the installed files, read only; the wheel.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
import sysconfig
import zipfile
from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import Distribution
from itertools import product
from pathlib import Path
from typing import NamedTuple

from edgeproxy.trios.bundle.manifest import MAX_NAME

# What the installer wrote: the next one writes its own.
_INSTALLERS = ("RECORD", "RECORD.jws", "RECORD.p7s", "INSTALLER", "REQUESTED", "direct_url.json")
_LAUNCHER = re.compile(r"(-script\.pyw?|\.exe)$")
_TIME = (1980, 1, 1, 0, 0, 0)


class Unfit(Exception):
    """The distribution cannot be made a wheel again; says why."""


class _Member(NamedTuple):
    """A file of the wheel, and the installed one that it comes from."""

    name: str
    path: Path
    hash: str


def repack(distribution: Distribution, folder: Path) -> Path:
    """Write the wheel of `distribution` into `folder`; its path.

    The same files make the same wheel. Raises `Unfit` where RECORD does not tell all, or the files
    are no longer what it says, and `OSError`.
    """
    info, rows = _record(distribution)
    stem = info.removesuffix(".dist-info")
    root = Path(str(distribution.locate_file("")))
    members = list(_members(distribution, root, info, rows))
    # The distribution's own data goes last, as the format asks.
    members.sort(key=lambda member: (member.name.startswith(f"{info}/"), member.name))
    wheel = folder / f"{stem}-{_tags(distribution)}.whl"
    try:
        with zipfile.ZipFile(wheel, "x", zipfile.ZIP_DEFLATED) as file:
            _write(file, members, f"{info}/RECORD")
    except BaseException:
        wheel.unlink(missing_ok=True)
        raise
    return wheel


def _write(file: zipfile.ZipFile, members: list[_Member], record: str) -> None:
    lines = []
    for member in members:
        data = _content(member)
        lines.append(f"{_quoted(member.name)},{_hash(data)},{len(data)}\n")
        _add(file, member.name, data, os.access(member.path, os.X_OK))
    lines.append(f"{record},,\n")
    _add(file, record, "".join(lines).encode("utf-8"), False)


def _record(distribution: Distribution) -> tuple[str, list[list[str]]]:
    """The name of the folder with the distribution's data, and what its RECORD lists."""
    rows = [row for row in csv.reader((distribution.read_text("RECORD") or "").splitlines()) if row]
    infos = {row[0].split("/")[0] for row in rows if row[0].endswith(".dist-info/METADATA")}
    if len(infos) != 1:
        raise Unfit("its RECORD is missing; it was not installed by pip")
    if '"editable": true' in (distribution.read_text("direct_url.json") or ""):
        raise Unfit("it is installed as a link to its source")
    return infos.pop(), rows


def _members(
    distribution: Distribution, root: Path, info: str, rows: list[list[str]]
) -> Iterator[_Member]:
    made = {entry.name for entry in distribution.entry_points if entry.group.endswith("_scripts")}
    data = f"{info.removesuffix('.dist-info')}.data"
    for name, digest, _ in rows:
        path = Path(os.path.normpath(root / name))
        if name.endswith(".pyc") or name in {f"{info}/{each}" for each in _INSTALLERS}:
            continue
        if path.is_relative_to(root):
            yield _Member(path.relative_to(root).as_posix(), path, digest)
        elif path.parent == Path(sysconfig.get_path("scripts")):
            if _LAUNCHER.sub("", path.name) not in made:
                yield _Member(f"{data}/scripts/{path.name}", path, digest)
        elif path.is_relative_to(sysconfig.get_path("data")):
            inside = path.relative_to(sysconfig.get_path("data")).as_posix()
            yield _Member(f"{data}/data/{inside}", path, digest)
        else:
            raise Unfit(f"{path} belongs to it and is in no place for that")


def _content(member: _Member) -> bytes:
    try:
        data = member.path.read_bytes()
    except FileNotFoundError:
        raise Unfit(f"{member.path} is missing") from None
    if _hash(data) != member.hash:
        raise Unfit(f"{member.path} is not what was installed")
    if "/scripts/" in member.name and re.match(rb"#!.*python", data):
        data = b"#!python" + data[data.index(b"\n") :]  # the installer's own path stood there
    return data


def _tags(distribution: Distribution) -> str:
    """The part of the wheel's name that says where it works."""
    found = HeaderParser().parsestr(distribution.read_text("WHEEL") or "").get_all("Tag", [])
    parts = [tag.split("-") for tag in found]
    if not parts or any(len(part) != 3 for part in parts):
        raise Unfit("its WHEEL does not say where it works")
    pythons, abis, platforms = (sorted(set(column)) for column in zip(*parts, strict=True))
    if len(set(found)) != len(list(product(pythons, abis, platforms))):
        raise Unfit("its WHEEL does not say where it works")
    # The older spellings say nothing that the others do not.
    platforms.sort(key=lambda name: not name.startswith("manylinux_"))
    while len(platforms) > 1 and len(".".join(platforms)) > MAX_NAME // 2:
        platforms.pop()
    return "-".join(".".join(part) for part in (pythons, abis, platforms))


def _add(file: zipfile.ZipFile, name: str, data: bytes, is_program: bool) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.create_system = 3  # modes as on Unix, wherever it is made
    entry.external_attr = (0o100755 if is_program else 0o100644) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    file.writestr(entry, data)


def _hash(data: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest())
    return f"sha256={digest.rstrip(b'=').decode('ascii')}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if {",", '"'} & set(name) else name
