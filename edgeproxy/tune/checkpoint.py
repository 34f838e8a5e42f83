"""The whole state of a tuning in one file, from which it goes on after a kill.

An archive of NumPy arrays (.npz, nothing pickled): A and B, AdamW's moments of them, the best A
and B so far, and a description in JSON. It is written beside its place and renamed, so that there
is always a whole one.

May touch: the file that it is given, and a temporary one in the same folder.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.check import is_number
from edgeproxy.errors import TuningError
from edgeproxy.files import open_regular, reason, replacing
from edgeproxy.tune.progress import Ending
from edgeproxy.tune.settings import Dtype, Settings
from edgeproxy.tune.tokens import Tokens

Arrays = Mapping[str, NDArray[np.float32]]
"""Numbers of A's and B's shapes, by their names in `lora.parameters`."""

_FORMAT = 1
_DESCRIPTION = "description"
_KINDS = ("parameters", "first_moments", "second_moments", "best")


@dataclass(frozen=True)
class Origin:
    """What a tuning is of: a checkpoint goes on only with the same.

    `model` is its file's sha256. `training` and `held_out` are those of the examples' tokens.
    `settings` are those that decide the result, by name.
    """

    model: str
    training: str
    held_out: str
    settings: Mapping[str, Any]

    @classmethod
    def of(
        cls, model: str, training: Iterable[Tokens], held_out: Iterable[Tokens], settings: Settings
    ) -> Origin:
        """The origin of a tuning with these."""
        return cls(model, _hash(training), _hash(held_out), settings.deciding())

    def differences(self, other: Origin) -> list[str]:
        """What this one has otherwise than `other`, in words."""
        found = [
            words
            for words, own, others in (
                ("another model file", self.model, other.model),
                ("other examples to train on", self.training, other.training),
                ("other examples held out", self.held_out, other.held_out),
            )
            if own != others
        ]
        for name in sorted({*self.settings, *other.settings}):
            own, others = self.settings.get(name), other.settings.get(name)
            if own != others:
                found.append(f"{name.replace('_', ' ')} {own} and not {others}")
        return found


@dataclass(frozen=True)
class Position:
    """Where a tuning is: after `step` steps of the optimizer, which took `seconds`.

    Losses are of the held-out examples, in nats per token of a reply: `first_loss` before the
    first step, `best_loss` the least since, at `best_step`, and `last_loss` the newest, at step
    `evaluated`; None, and -1, where there is none yet. `since_best` counts the evaluations after
    the best. `ending` says why it has ended, None while it goes on.
    """

    step: int = 0
    seconds: float = 0.0
    evaluated: int = -1
    first_loss: float | None = None
    best_loss: float | None = None
    best_step: int = 0
    last_loss: float | None = None
    since_best: int = 0
    ending: Ending | None = None

    def with_loss(self, loss: float) -> Position:
        """This position when the held-out loss is `loss` at its step."""
        here = replace(self, last_loss=loss, evaluated=self.step)
        if self.step == 0:
            return replace(here, first_loss=loss)
        if self.best_loss is None or loss < self.best_loss:
            return replace(here, best_loss=loss, best_step=self.step, since_best=0)
        return replace(here, since_best=self.since_best + 1)


@dataclass(frozen=True)
class Way:
    """How it is computed, which decides about the last bits: a tuning goes on as it began."""

    threads: int
    dtype: Dtype
    micro_tokens: int


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A tuning's state after a whole step. `best` is empty before the first evaluation."""

    origin: Origin
    way: Way
    position: Position
    parameters: Arrays
    first_moments: Arrays
    second_moments: Arrays
    best: Arrays

    def write(self, path: Path) -> None:
        """Write it to `path`, in one step. Raises `TuningError`; what was there is there then."""
        description = {
            "format": _FORMAT,
            "origin": asdict(self.origin),
            "way": asdict(self.way),
            "position": asdict(self.position),
        }
        text = np.frombuffer(json.dumps(description).encode(), np.uint8)
        arrays = {_DESCRIPTION: text}
        for kind in _KINDS:
            arrays |= {f"{kind}/{name}": array for name, array in getattr(self, kind).items()}
        try:
            with replacing(path, private=True) as file:
                np.savez(file, allow_pickle=False, **arrays)
        except OSError as error:
            raise TuningError(
                f"the state of the tuning cannot be kept in {path}: {reason(error)}; make room "
                "there, or allow writing, and go on with --resume: what was kept before is whole"
            ) from None

    @classmethod
    def read(cls, path: Path) -> Checkpoint:
        """The checkpoint in `path`. Raises `TuningError` where none is there, or a damaged one."""
        try:
            with open_regular(path) as file, np.load(file, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            return _checkpoint(arrays)
        except FileNotFoundError:
            raise TuningError(
                f"{path}: there is nothing to go on with; leave out --resume to begin"
            ) from None
        except OSError as error:
            raise TuningError(f"{path} cannot be read: {reason(error)}") from None
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
            raise TuningError(
                f"{path} is damaged, or no checkpoint of this version; remove it and begin again, "
                "without --resume"
            ) from None

    def check_origin(self, path: Path, origin: Origin) -> None:
        """Raise `TuningError` where this one, read from `path`, is of another tuning."""
        differences = self.origin.differences(origin)
        if differences:
            raise TuningError(
                f"{path} is of a tuning with {', '.join(differences)}: go on with what it was "
                "begun with, or remove it and begin again, without --resume"
            )

    def check(self, path: Path, origin: Origin, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """As `check_origin`, and where A and B of the network have other `shapes`."""
        self.check_origin(path, origin)
        for kind in _KINDS:
            own = {name: array.shape for name, array in getattr(self, kind).items()}
            if own != shapes and (own or kind != "best"):
                raise TuningError(
                    f"{path} has other A and B than this model's ({kind.replace('_', ' ')}); "
                    "remove it and begin again, without --resume"
                )


def _checkpoint(arrays: Mapping[str, NDArray[Any]]) -> Checkpoint:
    """Raises `ValueError`, `KeyError`, `TypeError` or `AttributeError` where something is wrong."""
    description = json.loads(arrays[_DESCRIPTION].tobytes())
    if description["format"] != _FORMAT:
        raise ValueError("it has another format")
    groups: dict[str, dict[str, NDArray[np.float32]]] = {kind: {} for kind in _KINDS}
    for key, array in arrays.items():
        if key == _DESCRIPTION:
            continue
        kind, _, name = key.partition("/")
        if array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError(f"{key} is not of finite float32 numbers")
        groups[kind][name] = array
    way, position = Way(**description["way"]), Position(**description["position"])
    counts = (position.step, position.since_best, way.threads, way.micro_tokens)
    is_sound = (
        all(type(n) is int and n >= 0 for n in counts)
        and is_number(position.seconds)
        and position.ending in (None, *get_args(Ending))
        and way.dtype in get_args(Dtype)
    )
    if not is_sound:
        raise ValueError("its position is none")
    return Checkpoint(Origin(**description["origin"]), way, position, **groups)


def _hash(examples: Iterable[Tokens]) -> str:
    """The sha256 of the examples' tokens, in their order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(len(example.ids).to_bytes(8, "little"))
        digest.update(example.ids.astype("<i4").tobytes())
        digest.update(example.is_reply.astype(np.bool_).tobytes())
    return digest.hexdigest()
