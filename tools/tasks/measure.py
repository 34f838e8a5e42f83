"""The measuring of rows: each step is an `edgeproxy` of its own, done once and written down.

    FOLDER/tasks/TASK/          the tasks' files
    FOLDER/ROW/STEP.json        what a step printed, its command, its seconds, and the machine
    FOLDER/ROW/STEP.log         what it said
    FOLDER/ROW/STEP.seconds     what a step that is not done yet has taken
    FOLDER/ROW/STEP.jsonl       the replies of fit and eval
    FOLDER/ROW/paper            the trio, steered as in the paper
    FOLDER/ROW/fitted           a copy, into whose manifest fit wrote what it found

A step whose STEP.json is there is not done again; one that was cut short goes on.

May touch: FOLDER.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeproxy.errors import Cancelled, EdgeproxyError, UsageError
from edgeproxy.files import replacing
from edgeproxy.measure.machine import machine
from edgeproxy.trios.disk import remove_tree
from edgeproxy.units import duration
from tools.tasks.build import Sources, build
from tools.tasks.child import Runner
from tools.tasks.rows import ROWS, Row, model_path

Record = Mapping[str, Any]
"""A step that is done: `command`, `seconds`, `machine`, and `found`, the JSON that it printed."""

GENERAL = Path(__file__).with_name("general.jsonl")

_INTERRUPTED = 130
_OTHERWISE_MEASURED = ("base", "expert", "proxy")
"""What fit may choose that is measured anyway."""


class StepFailedError(EdgeproxyError):
    """A step did not do its work; the message names its command and its log."""


def read_record(folder: Path, row: Row, step: str) -> Record | None:
    """What was written down of a step; None where it is not done. Raises `UsageError`."""
    path = folder / row.name / f"{step}.json"
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}; remove it to do this step again") from None
    if not isinstance(found, dict) or not {"command", "seconds", "found"} <= set(found):
        raise UsageError(f"{path}: this is no record of a step; remove it to do the step again")
    return found


class Measuring:
    """Measures rows in `folder`, with the models in `models`.

    `tell` hears what is under way and raises `Cancelled` when it is to end; `say` hears what a
    person may read later.
    """

    def __init__(
        self,
        folder: Path,
        models: Path,
        sources: Sources,
        run: Runner,
        *,
        tell: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self.folder, self._models, self._sources = folder, models, sources
        self._run, self._tell, self._say = run, tell, say

    def rows(self, rows: list[Row]) -> list[str]:
        """Measure `rows`; the names of those that failed, for which the others do not wait.

        Raises as `row` does, bar the failure of a step, which is said.
        """
        failed: list[str] = []
        for row in rows:
            if row.trio_of in failed:
                failed.append(row.name)
                self._say(f"{row.name}: left out, for it takes the adapter of {row.trio_of}")
                continue
            try:
                self.row(row)
            except StepFailedError as error:
                failed.append(row.name)
                self._say(str(error))
        return failed

    def row(self, row: Row) -> None:
        """Do what is missing of `row`.

        Raises `StepFailedError` for a step that failed, `UsageError` for a model or data that is
        not there, `Cancelled`.
        """
        self._build(row.task)
        self._tune(row)
        if "fit" in row.steps:
            self._fit(row)
        self._eval(row)

    def check_models(self, rows: list[Row]) -> None:
        """Raise `UsageError` for a model that is not there, before hours are spent on others."""
        for name in dict.fromkeys(name for row in rows for name in (row.small, row.base)):
            self._tell(f"checking {name}")
            model_path(self._models, name)

    def _build(self, task: str) -> None:
        if not (self._task(task) / "test.jsonl").exists():
            build(self.folder / "tasks", [task], self._sources, self._tell)

    def _task(self, task: str) -> Path:
        return self.folder / "tasks" / task

    def _tune(self, row: Row) -> None:
        """Tune an adapter, or take that of another row; the trio is in `paper` then."""
        if read_record(self.folder, row, "tune"):
            return
        trio = self.folder / row.name / "paper"
        if row.trio_of is not None:
            source = ROWS[row.trio_of]
            self._tune(source)
            if not trio.exists():
                _copy(self.folder / source.name / "paper", trio)
        small, base = (str(model_path(self._models, name)) for name in (row.small, row.base))
        models = ["--direct", base] if row.is_direct else ["--small", small, "--base", base]
        # The name is the replies' too: a trio of another row keeps that row's.
        named = [] if row.is_direct else ["--name", row.name]
        most = [] if row.minutes is None else ["--minutes", str(row.minutes)]
        examples = str(self._task(row.task) / "train.jsonl")
        found = self._step(
            row, "tune", ["tune", examples, *models, "-o", str(trio), *named, *most, "--resume"]
        )
        if found.get("result", {}).get("ending") == "stopped":
            raise Cancelled("interrupted")

    def _fit(self, row: Row) -> None:
        if read_record(self.folder, row, "fit"):
            return
        trio = self.folder / row.name / "fitted"
        remove_tree(trio)  # a fit that ended before it was written down has changed it
        _copy(self.folder / row.name / "paper", trio)
        questions = str(self._task(row.task) / "validation.jsonl")
        most = [] if row.fit_minutes is None else ["--minutes", str(row.fit_minutes)]
        how = [*most, *self._how(row, "fit")]
        self._step(row, "fit", ["fit", str(trio / "trio.toml"), questions, *how])

    def _eval(self, row: Row) -> None:
        if read_record(self.folder, row, "eval"):
            return
        questions = str(self._task(row.task) / "test.jsonl")
        systems = ["base", "expert", "proxy"]
        general: list[str] = []
        if row.is_direct:
            systems = ["base", "proxy", "tuned"]
            general = ["--general", str(GENERAL)]
        elif (chosen := self._chosen(row)) not in _OTHERWISE_MEASURED:
            systems.append(chosen)
        trio = str(self.folder / row.name / "paper" / "trio.toml")
        asked = ["--systems", ",".join(systems), *general, *self._how(row, "eval")]
        self._step(row, "eval", ["eval", trio, questions, *asked])

    def _chosen(self, row: Row) -> str:
        record = read_record(self.folder, row, "fit")
        assert record is not None, "fit comes before eval"
        return str(record["found"]["chosen"]["setting"])

    def _how(self, row: Row, step: str) -> list[str]:
        replies = self.folder / row.name / f"{step}.jsonl"
        return ["--ctx", str(row.ctx), "--replies", str(replies), "--resume"]

    def _step(self, row: Row, step: str, arguments: list[str]) -> Record:
        """Run a step and write down what came of it, which is returned."""
        folder = self.folder / row.name
        folder.mkdir(parents=True, exist_ok=True)
        command = shlex.join(["edgeproxy", *arguments])
        self._say(f"{row.name}: {command}")
        log, output = folder / f"{step}.log", folder / f"{step}.output"
        with _Clock(folder / f"{step}.seconds") as clock:

            def tick() -> None:
                clock.keep()
                self._tell(f"{row.name}: {step}, {duration(clock.seconds)}{_at(folder, step)}")

            code = self._run([*arguments, "--json"], output, log, tick)
        if code == _INTERRUPTED:
            raise Cancelled("interrupted")
        if code:
            raise StepFailedError(_failed(row, step, code, command, log))
        found = _read_output(output, command)
        if found.get("result", {}).get("ending") == "stopped":
            return found
        record = {
            "command": command,
            "seconds": round(clock.seconds, 1),
            "machine": _this_machine(),
            "found": found,
        }
        with replacing(folder / f"{step}.json") as file:
            file.write(json.dumps(record, indent=2, ensure_ascii=False).encode() + b"\n")
        output.unlink()
        clock.forget()
        self._say(f"{row.name}: {step} took {duration(clock.seconds)}")
        return found


class _Clock:
    """How long a step has taken, all its beginnings together; kept in the file at `path`."""

    _EVERY = 5.0  # seconds

    def __init__(self, path: Path) -> None:
        self._path = path
        self._before = 0.0
        with contextlib.suppress(OSError, ValueError):
            self._before = float(path.read_text("ascii"))
        self._started = self._kept = time.monotonic()
        self._ended: float | None = None

    @property
    def seconds(self) -> float:
        """What it has taken so far, or took."""
        now = time.monotonic() if self._ended is None else self._ended
        return self._before + now - self._started

    def keep(self) -> None:
        """Write down what it has taken, where that was not done a moment ago."""
        if time.monotonic() - self._kept >= self._EVERY:
            self._write()

    def forget(self) -> None:
        """The step is done, and written down elsewhere."""
        self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        with replacing(self._path) as file:
            file.write(f"{self.seconds:.1f}\n".encode("ascii"))
        self._kept = time.monotonic()

    def __enter__(self) -> _Clock:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = time.monotonic()
        self._write()


def _copy(source: Path, target: Path) -> None:
    """Copy a trio's folder, whole or not at all, without what a tuning would go on from."""
    temporary = target.with_name(f".{target.name}.copy")
    remove_tree(temporary)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, temporary, ignore=shutil.ignore_patterns("*.checkpoint.npz"))
    temporary.replace(target)


def _at(folder: Path, step: str) -> str:
    """How far a step is: the replies that it has, or what it said last."""
    with contextlib.suppress(OSError):
        lines = (folder / f"{step}.jsonl.part").read_bytes().count(b"\n")
        return f", {max(lines - 1, 0)} replies"
    last = _last_line(folder / f"{step}.log")
    return f", {last}" if last else ""


def _last_line(log: Path) -> str:
    with contextlib.suppress(OSError):
        lines = log.read_text("utf-8", errors="replace").strip().splitlines()
        return " ".join(lines[-1].split()) if lines else ""
    return ""


def _failed(row: Row, step: str, code: int, command: str, log: Path) -> str:
    how = f"was killed by signal {-code}" if code < 0 else f"failed with code {code}"
    said = _last_line(log)
    return (
        f"{row.name}: {step} {how}{f': {said}' if said else ''}\n"
        f"  the command: {command}\n  all that it said: {log}"
    )


def _read_output(output: Path, command: str) -> dict[str, Any]:
    try:
        found = json.loads(output.read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise StepFailedError(f"{output}: this is not the JSON that {command} --json prints")
    return found


def _this_machine() -> str:
    here = machine()
    return f"{here['processor']}, {here['processors']} processors, {here['system']}"


def unfinished(folder: Path, rows: list[Row]) -> Iterator[tuple[Row, list[str]]]:
    """Each row with the steps that are still to do."""
    for row in rows:
        yield row, [step for step in row.steps if not read_record(folder, row, step)]
