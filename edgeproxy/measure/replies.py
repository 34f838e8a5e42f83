"""The replies of an evaluation in a file: each is there as soon as it came, and none gets lost.

    FILE.part   while it lasts: a line that says which evaluation this is, then a line a reply
    FILE        at the end, in the place of what was there: a line a reply, system by system

May touch: these two, and a temporary one beside them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from edgeproxy import __version__
from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import EdgeproxyError, UsageError
from edgeproxy.files import reason
from edgeproxy.measure.answering import numbers_asked
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.judging import JUDGES
from edgeproxy.measure.reply_lines import as_line, reply_line, whole_lines, write_replies
from edgeproxy.measure.took import Took, read_took
from edgeproxy.trios.find import Lora, Recipe, Role

Run = Mapping[str, Any]
"""What makes an evaluation this one and no other, as JSON has it."""

_ANEW = "or remove it to begin anew"


class Replies:
    """What will be in the file at `target`; `known` are the replies that are there already.

    With `resume` an evaluation that was cut short goes on, if it was this `run`. Raises
    `UsageError` where it was another one, for what `resume` would have to go on with where that was
    not asked for, and for a target that cannot be written.
    """

    def __init__(
        self, target: Path, run: Run, questions: Sequence[Question], resume: bool = False
    ) -> None:
        # Where a link leads to is what gets replaced, not the link.
        self.target = Path(os.path.realpath(target))
        self.part = self.target.with_name(f"{self.target.name}.part")
        self._questions = questions
        self._lock = threading.Lock()
        self.known: dict[tuple[str, int], str] = {}
        self.took: dict[tuple[str, int], Took] = {}
        """What those of the known replies took that were added with it."""
        _check_target(self.target)
        try:
            if self.part.exists():
                self._take_up(run, resume)
            self._file = self.part.open("ab")
        except OSError as error:
            raise UsageError(f"{error.filename}: {reason(error)}; name another file") from None
        if self._file.tell() == 0:
            self._write({"run": run})

    def _take_up(self, run: Run, resume: bool) -> None:
        """Read what an evaluation that was cut short has left. A line that was, is cut off."""
        data = self.part.read_bytes()
        if not data:
            return
        lines, size = whole_lines(data, self._foreign)
        if not lines or "run" not in lines[0]:
            raise self._foreign(1)
        if len(lines) == 1:  # there is nothing to lose
            os.truncate(self.part, 0)
            return
        if not resume:
            raise UsageError(
                f"{self.part} holds the replies of an evaluation that was cut short; go on with "
                f"--resume, {_ANEW}"
            )
        differing = _differing(lines[0]["run"], json.loads(json.dumps(run)))
        if differing:
            raise UsageError(
                f"{self.part} is of another evaluation ({differing}); give the same trio, settings "
                f"and questions to go on, {_ANEW}"
            )
        for number, line in enumerate(lines[1:], start=2):
            system, at, text = (line.get(key) for key in ("system", "number", "reply"))
            if type(at) is not int or at not in range(len(self._questions)):
                raise self._foreign(number)
            if not isinstance(system, str) or not isinstance(text, str):
                raise self._foreign(number)
            if system not in run["systems"]:
                raise self._foreign(number)
            self.known[system, at] = text
            if "took" in line:
                took = read_took(line["took"])
                if took is None:
                    raise self._foreign(number)
                self.took[system, at] = took
        os.truncate(self.part, size)

    def _foreign(self, number: int) -> UsageError:
        return UsageError(
            f"{self.part}:{number}: this line is no evaluation's; name another file, {_ANEW}"
        )

    def add(self, system: str, number: int, text: str, took: Took | None = None) -> None:
        """Keep a reply, and what it took; from any thread.

        Raises `EdgeproxyError` where the disk refuses.
        """
        with self._lock:
            try:
                line = reply_line(self._questions[number], system, text, took)
                self._write({"number": number, **line})
            except OSError as error:
                raise EdgeproxyError(f"{self.part}: {reason(error)}") from None
            self.known[system, number] = text
            if took is not None:
                self.took[system, number] = took

    def finish(self, systems: Iterable[str]) -> None:
        """Put all replies, which must be there, into the target. Raises `EdgeproxyError`."""
        _check_target(self.target)  # something else may be there by now
        try:
            write_replies(
                self.target,
                self._questions,
                {
                    system: [self.known[system, n] for n in numbers_asked(system, self._questions)]
                    for system in systems
                },
                self.took,
            )
            self._file.close()
            self.part.unlink()
        except OSError as error:
            raise EdgeproxyError(f"{self.target}: {reason(error)}") from None
        self.known.clear()
        self.took.clear()

    def close(self) -> int:
        """Let go of the file; how many replies are in it, to go on from. None leave no file."""
        self._file.close()
        if not self.known:
            with contextlib.suppress(OSError):
                self.part.unlink(missing_ok=True)
        return len(self.known)

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(as_line(line))
        self._file.flush()


def run_of(
    recipe: Recipe,
    systems: Sequence[str],
    questions: Sequence[Question],
    sampling: Sampling,
    settings: Mapping[str, Any],
) -> Run:
    """What replies depend on: the models' files, the questions, and how they are asked.

    How they are judged is not part of it, but when a reply has said enough is.
    """
    roles = {**recipe.roles, **({"tuned": recipe.tuned} if "tuned" in systems else {})}
    asked = [[q.text, JUDGES[q.judge].until, q.is_general] for q in questions]
    documents = recipe.documents
    return {
        "edgeproxy": __version__,
        "trio": recipe.name,
        "documents": None if documents is None else asdict(documents),
        **{name: _identity(role) for name, role in roles.items() if role is not None},
        "systems": list(systems),
        "questions": hashlib.sha256(json.dumps(asked).encode("ascii")).hexdigest(),
        **{field.name: getattr(sampling, field.name) for field in fields(sampling)},
        "logit_bias": dict(sampling.logit_bias),
        **settings,
    }


def _identity(file: Role | Lora) -> dict[str, Any]:
    """What makes a model this one: its hash, or its size and time where nobody gives that."""
    found: dict[str, Any] = {"file": file.file_name, "sha256": file.sha256}
    if file.sha256 is None:
        with contextlib.suppress(OSError):  # loading tells what is wrong with it
            status = file.path.stat()
            found |= {"size": status.st_size, "modified": status.st_mtime_ns}
    if isinstance(file, Lora):
        return found | {"name": file.name, "scale": file.scale}
    found |= {"prompt": file.prompt, "loras": list(map(_identity, file.loras))}
    if file.endpoint is None:
        return found
    at = file.endpoint
    return found | {"server": [at.url, at.model, at.protocol, at.way, at.logprobs]}


def _differing(there: object, wanted: Run) -> str:
    """What two runs do not have in common, in words."""
    if not isinstance(there, dict):
        return "its first line says of none"
    said = []
    for key in sorted({*there, *wanted}):
        was, now = there.get(key), wanted.get(key)
        if was != now:
            is_plain = not isinstance(was, dict | list) and key != "questions"
            said.append(f"{key} was {was} and is {now}" if is_plain else f"other {key}")
    return ", ".join(said)


def _check_target(target: Path) -> None:
    if target.exists() and not target.is_file():
        raise UsageError(f"{target}: this is no regular file; name another file for the replies")
