"""What a tuning leaves in its folder: an adapter, a trio, and a record of how they came about.

    adapter.gguf            the adapter of the small model; tuned.gguf is one of the large model
    trio.toml               the trio: the user's own model files by size and sha256, and the adapter
    tuning.json             what was tuned on what, how, with what result; tuned.json likewise
    adapter.checkpoint.npz  while it is under way: what --resume goes on from

Each is written beside its place and renamed. Nothing that is no tuning's is ever replaced.

May touch: that folder.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edgeproxy.decode.steering import Steering
from edgeproxy.errors import TuningError, UsageError
from edgeproxy.files import PARTS, hash_file, open_regular, reason, replacing
from edgeproxy.trios.manifest import MANIFEST, Lora, Recipe, Role, read_recipe
from edgeproxy.trios.manifest.write import to_toml

Kind = Literal["expert", "tuned"]
"""What the tuned model becomes in the trio: its expert, or the large model tuned directly."""

BASE_PROMPT = "plain"
"""What the base of a new trio reads, as in the paper: the conversation without a template.

The small model reads one format with the adapter and without it, so that the difference is what
tuning changed and nothing else: of 40 held-out facts the proxy said 29, and 25 where the
anti-expert read plain text."""

CHECKPOINTS = "*.checkpoint.npz"

_MAX_RECORD = 1 << 20
_ADAPTERS = {"expert": "adapter", "tuned": "tuned"}
_RECORDS = {"expert": "tuning.json", "tuned": "tuned.json"}
FINISHED = ("epochs", "no better")
"""How a tuning ends that has nothing to go on to."""


@dataclass(frozen=True)
class ModelFile:
    """One of the user's own model files, where it lies."""

    path: Path
    size: int
    sha256: str

    def role(self, prompt: str) -> Role:
        """It as a model of a trio."""
        return Role(self.path, prompt, size=self.size, sha256=self.sha256)


class Folder:
    """The folder at `path`, for an adapter of this `kind`. Nothing is created before `make`."""

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path, self.kind = path, kind
        self.adapter = path / f"{_ADAPTERS[kind]}.gguf"
        self.checkpoint = path / f"{_ADAPTERS[kind]}.checkpoint.npz"
        self.unchecked = path / f"{_ADAPTERS[kind]}.unchecked.gguf"
        self.record = path / _RECORDS[kind]
        self.manifest = path / MANIFEST
        self._is_new = False

    def make(self, resume: bool) -> None:
        """Make the folder, and find out whether it can be written to, before minutes are spent.

        Raises `UsageError` where it cannot, or holds what is no tuning's or an unfinished one's.
        """
        try:
            self._is_new = not self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(_Tried), replacing(self.checkpoint):
                raise _Tried
        except OSError as error:
            raise UsageError(f"{self.path}: {reason(error)}; name another folder with -o") from None
        if self.kind == "expert" and self.manifest.exists() and not self.record.exists():
            raise UsageError(
                f"{self.path} holds a trio that edgeproxy did not tune; name another folder with -o"
            )
        if self.adapter.exists() and not self.record.exists() and not self.checkpoint.exists():
            raise UsageError(
                f"{self.adapter} is there already, from elsewhere; name another folder with -o, or "
                "remove it"
            )
        is_whole = self.adapter.exists() and self.record.exists()
        if self.checkpoint.exists() and not is_whole and not resume:
            raise UsageError(
                f"{self.path} holds a tuning that was cut short; go on with --resume, or remove "
                f"{self.checkpoint.name} there to begin anew"
            )
        if resume:
            self._clear()

    def _clear(self) -> None:
        """Remove the beginnings of files that a kill has left."""
        with contextlib.suppress(OSError):
            for part in self.path.glob(PARTS):
                part.unlink()

    def finished(self, run: Mapping[str, Any], resume: bool) -> Mapping[str, Any] | None:
        """The record of the very tuning that `run` asks for, if it is there and had its end.

        Raises `UsageError` where another one's adapter would be replaced.
        """
        if not self.adapter.exists() or not self.record.exists():
            return None
        record = self._read_record()
        differing = _differing(record.get("run"), run)
        if differing:
            raise UsageError(
                f"{self.adapter} was tuned otherwise ({differing}); name another folder with -o, "
                "or remove it to tune anew"
            )
        if record.get("result", {}).get("ending") in FINISHED:
            return record
        if resume and self.checkpoint.exists():
            return None
        raise UsageError(
            f"{self.adapter} is of this tuning, which was stopped before its end; go on with "
            "--resume, or remove it to begin anew"
            if self.checkpoint.exists()
            else f"{self.adapter} is of this tuning, stopped before its end; remove it to tune anew"
        )

    def _read_record(self) -> Mapping[str, Any]:
        try:
            with open_regular(self.record) as file:
                found = json.loads(file.read(_MAX_RECORD))
        except (OSError, ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise UsageError(
                f"{self.record} is damaged, so nobody knows what {self.adapter.name} beside it is "
                "of; name another folder with -o, or remove both"
            )
        return found

    def keep(self, record: Mapping[str, Any], is_finished: bool) -> Mapping[str, Any]:
        """Let the adapter that was checked take its place, and write down how it came about.

        Returns the record with the adapter's own file in it. Raises `TuningError` where the disk
        refuses; the checkpoint is still there then.
        """
        with self.telling():
            self.unchecked.replace(self.adapter)
            made = self.made()
            own = {"file": self.adapter.name, "size": made.size, "sha256": made.sha256}
            record = {**record, "adapter": own}
            _write(self.record, json.dumps(record, indent=2) + "\n")
            if is_finished:
                self.checkpoint.unlink(missing_ok=True)
        return record

    def made(self) -> ModelFile:
        """The adapter that is there."""
        with self.telling():
            return ModelFile(self.adapter, self.adapter.stat().st_size, hash_file(self.adapter))

    def write_trio(self, recipe: Recipe) -> None:
        """Write the trio's manifest. Raises `TuningError` where the disk refuses."""
        with self.telling():
            _write(self.manifest, to_toml(recipe))

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Errors of the disk become `TuningError`: what was trained is not lost by one."""
        try:
            yield
        except OSError as error:
            kept = (
                f"; what was trained is kept in {self.checkpoint}: make room, and go on with "
                "--resume"
                if self.checkpoint.exists()
                else ""
            )
            raise TuningError(f"{self.path}: {reason(error)}{kept}") from None

    def tidy(self) -> None:
        """Remove an adapter that was not found sound, and a new folder in which nothing came."""
        with contextlib.suppress(OSError):
            self.unchecked.unlink(missing_ok=True)
            if self._is_new:
                self.path.rmdir()


class _Tried(Exception):
    """The folder can be written to."""


def trio_of(
    folder: Folder, name: str, description: str, models: tuple[ModelFile, ModelFile], prompt: str
) -> Recipe:
    """The trio of `models`, base and small, whose expert is the small one with the adapter.

    What a trio that is there says besides, such as an alpha that was found for it, stays.
    """
    base, small = models
    made = folder.made()
    anti_expert = small.role(prompt)
    adapter = Lora(made.path, size=made.size, sha256=made.sha256)
    expert = anti_expert.with_loras([adapter], prompt)
    if folder.manifest.exists():
        known = read_recipe(folder.path)
        return replace(
            known,
            base=base.role(known.base.prompt),
            anti_expert=small.role(known.anti_expert.prompt),
            expert=small.role(known.anti_expert.prompt).with_loras([adapter], prompt),
        )
    return Recipe(
        name,
        base.role(BASE_PROMPT),
        expert,
        anti_expert,
        description=description,
        # The base reads no turns, and where the pair both do, their difference tells of no end.
        steering=Steering(expert_ends=prompt != BASE_PROMPT),
    )


def with_tuned(folder: Folder, base: ModelFile, prompt: str) -> Recipe | None:
    """The trio in the folder with its base tuned directly as well; None where there is no trio."""
    if not folder.manifest.exists():
        return None
    known, made = read_recipe(folder.path), folder.made()
    adapter = Lora(made.path, size=made.size, sha256=made.sha256)
    return replace(known, tuned=base.role(known.base.prompt).with_loras([adapter], prompt))


def check_base(folder: Folder, base: ModelFile) -> None:
    """Raise `UsageError` where the folder holds a trio over another base than `base`."""
    if folder.manifest.exists() and read_recipe(folder.path).base.sha256 != base.sha256:
        raise UsageError(
            f"{folder.manifest} is a trio over another base than {base.path}; give --direct the "
            "base of that trio, or name another folder with -o"
        )


def trio_name(folder: Path) -> str:
    """What a trio in `folder` is called where nobody says."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.resolve().name).strip("-.")
    return name[:64] or "tuned"


def _write(path: Path, text: str) -> None:
    with replacing(path) as file:
        file.write(text.encode("utf-8"))


def _differing(there: object, wanted: Mapping[str, Any]) -> str:
    """What two tunings do not have in common, in words."""
    if not isinstance(there, dict):
        return "its record does not say how"
    wanted = json.loads(json.dumps(wanted))
    said = []
    for key in sorted({*there, *wanted}):
        was, now = there.get(key), wanted.get(key)
        if was != now:
            is_hash = isinstance(was, str) and len(was) == 64
            said.append(f"another {key}" if is_hash else f"{key} was {was} and is {now}")
    return ", ".join(said)
