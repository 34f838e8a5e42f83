"""Bundles for tests: small sound ones, and the same altered in every way that a sender could."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeproxy.trios.bundle import archive
from edgeproxy.trios.bundle.manifest import MANIFEST, SIGNATURE
from tests.helpers.gguf_files import draft

MANIFEST_TEXT = """\
name = "{name}"
licence = "MIT"

[base]
file = "base.gguf"

[expert]
file = "expert.gguf"
prompt = "chatml"

[anti_expert]
file = "anti-expert.gguf"
"""
SEEDS = {"base": 1, "expert": 2, "anti-expert": 3}


def write_trio(folder: Path, name: str = "mini", width: int = 32, shift: int = 0) -> Path:
    """A trio of three small models in a new folder; the path of its manifest."""
    folder.mkdir(parents=True)
    for role, seed in SEEDS.items():
        draft(width=width).write(folder / f"{role}.gguf", seed + shift)
    (folder / "LICENSE").write_text("Anyone may use this.\n", "utf-8")
    path = folder / "trio.toml"
    path.write_text(MANIFEST_TEXT.format(name=name), "utf-8")
    return path


def tree(folder: Path) -> dict[str, object]:
    """Everything below a folder: what each path is, with the bytes and the time of files."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        content = (path.read_bytes(), status.st_mtime_ns) if path.is_file() else None
        # A lock is opened for writing by whoever takes it, and never holds anything.
        found[str(path.relative_to(folder))] = (
            status.st_mode if path.name != "lock" else 0,
            content if path.name != "lock" else status.st_size,
        )
    return found


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Altered:
    """A bundle taken apart. What is not said otherwise is written as edgeproxy would write it."""

    head: dict[str, Any]
    files: list[dict[str, Any]]
    """The manifest's list; `write` follows it."""
    data: dict[str, bytes]
    headers: dict[str, bytes] = field(default_factory=dict)
    """Blocks that stand before files, in place of the right ones."""
    manifest: bytes | None = None
    signature: bytes | None = None
    more: bytes = b""
    """What stands behind the last file."""
    end: bytes = archive.END
    padding: bytes = b"\0"

    @classmethod
    def of(cls, bundle: bytes) -> Altered:
        """A sound bundle taken apart."""
        content, at = _member(bundle, 0)
        head = json.loads(content)
        files = head.pop("files")
        data, signature = {}, None
        if bundle[at:].startswith(SIGNATURE.encode()):
            signature, at = _member(bundle, at)
        for row in files:
            data[row["path"]], at = _member(bundle, at)
        return cls(head, files, data, signature=signature)

    def row(self, path: str) -> dict[str, Any]:
        """The manifest's line of a file; the first whose path begins so."""
        return next(row for row in self.files if str(row["path"]).startswith(path))

    def put(self, path: str, data: bytes, *, at: int | None = None, **row: Any) -> None:
        """Add a file, or change one, rightly listed but for what `row` says."""
        entry = {"path": path, "size": len(data), "sha256": sha256(data)} | row
        old = [i for i, each in enumerate(self.files) if each["path"] == path]
        if old and at is None:
            self.files[old[0]] = entry
        else:
            self.files.insert(len(self.files) if at is None else at, entry)
        self.data[path] = data

    def put_model(self, data: bytes, old: str) -> None:
        """Another model in the place of one, rightly named wherever it is named."""
        self.files.remove(self.row(f"models/{old}"))
        self.data.pop(f"models/{old}")
        at = sum(row["path"] < f"models/{sha256(data)}" for row in self.files)
        at = max(at, next(i for i, row in enumerate(self.files) if row["path"][:6] == "models"))
        self.put(f"models/{sha256(data)}", data, at=at)
        models = [row for row in self.files if row["path"].startswith("models/")]
        rest = [row for row in self.files if row not in models]
        self.files = rest + sorted(models, key=lambda row: str(row["path"]))
        for path in [path for path in self.data if path.endswith("trio.toml")]:
            text = self.data[path].decode().replace(old, sha256(data))
            self.put(path, text.encode())

    def manifest_bytes(self) -> bytes:
        """The manifest, in the one form that it may have."""
        if self.manifest is not None:
            return self.manifest
        rows = ",\n".join("  " + json.dumps(row) for row in self.files)
        head = "".join(f" {json.dumps(k)}: {json.dumps(v)},\n" for k, v in self.head.items())
        return f'{{\n{head} "files": [\n{rows}\n ]\n}}\n'.encode("ascii")

    def to_bytes(self) -> bytes:
        """The whole bundle."""
        content = self.manifest_bytes()
        parts = [self._written(MANIFEST, content)]
        if self.signature is not None:
            parts.append(self._written(SIGNATURE, self.signature))
        for row in self.files:
            if row["path"] in self.data:
                parts.append(self._written(row["path"], self.data[row["path"]]))
        return b"".join([*parts, self.more, self.end])

    def _written(self, path: str, data: bytes) -> bytes:
        block = self.headers.get(path) or header(path, len(data))
        return block + data + self.padding * archive.padding(len(data))


def header(
    path: str,
    size: int,
    kind: bytes = b"0",
    *,
    link: str = "",
    fields: Mapping[str, bytes] | None = None,
) -> bytes:
    """A tar header with anything in it, and the checksum that goes with that."""
    block = bytearray(archive.header("x", size))
    block[0:100] = path.encode("utf-8")[:100].ljust(100, b"\0")
    block[156:157] = kind
    block[157:257] = link.encode("utf-8").ljust(100, b"\0")
    places = {"mode": 100, "owner": 108, "group": 116, "length": 124, "time": 136, "magic": 257}
    for name, value in (fields or {}).items():
        block[places[name] : places[name] + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _member(bundle: bytes, at: int) -> tuple[bytes, int]:
    size = int(bundle[at + 124 : at + 135], 8)
    start = at + archive.BLOCK
    return bundle[start : start + size], start + size + archive.padding(size)
