"""Judging by patterns: an accepted answer is a regular expression of Python's.

It is searched for in the whole reply, stripped of the space around it, with the flags that it
names itself, such as (?i); for the whole reply write `\\A...\\Z`. A pattern can take years on a
reply of 40 characters, so a child process searches, and ends itself after some seconds.

May touch: a child process, which lasts until this one ends.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path

from edgeproxy import children
from edgeproxy.errors import UsageError
from edgeproxy.measure.judging import pattern_child
from edgeproxy.measure.judging.verdict import Verdict

SECONDS = 2.0
"""The longest that one search may take."""

MAX_PATTERN = 2000
"""Characters."""

MAX_REPLY = 20_000
"""Characters of a reply that are searched."""


class Searcher:
    """Searches for patterns in one child process; several threads may use one.

    A search that takes longer than `seconds` ends the child, and the next one starts another.
    """

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def finds(self, pattern: str, text: str) -> bool:
        """Whether `pattern` matches anywhere in `text`.

        Raises `UsageError` where that takes too long, or where no child can be started.
        """
        job = {"pattern": pattern, "text": text[:MAX_REPLY], "seconds": self._seconds}
        line = json.dumps(job).encode("ascii") + b"\n"
        with self._lock:
            child = self._child or self._start()
            self._child = None  # whatever happens: a late answer must not be the next one's
            assert child.stdin is not None
            assert child.stdout is not None
            try:
                child.stdin.write(line)
                child.stdin.flush()
                answer = child.stdout.readline()
            except OSError:  # it has ended
                answer = b""
            except BaseException:
                _end(child)
                raise
            if not answer:
                raise UsageError(self._why(child, pattern))
            self._child = child
        return bool(json.loads(answer))

    def _why(self, child: subprocess.Popen[bytes], pattern: str) -> str:
        """Why a child that has ended gave no answer."""
        code = child.wait()
        _end(child)
        if code != pattern_child.TOOK_TOO_LONG:
            return f"the search for the pattern {pattern!r} failed (exit code {code}); try again"
        return (
            f"the pattern {pattern!r} takes more than {self._seconds:g} seconds on a reply; "
            "write it without a repetition inside of another one"
        )

    def _start(self) -> subprocess.Popen[bytes]:
        script = Path(pattern_child.__file__)
        command = children.command(pattern_child.__name__)
        if children.python() and script.is_file():
            command = [children.python(), "-I", "-S", str(script)]  # starts sooner
        try:
            if not command:
                raise FileNotFoundError
            child = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError:
            raise UsageError(
                "there is no Python here to search for patterns with; set EDGEPROXY_PYTHON to one, "
                "or choose another judge"
            ) from None
        weakref.finalize(self, _end, child)
        return child


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was not sent any more
                pipe.close()


_SEARCHER = Searcher()


def judge_regex(reply: str, answers: Sequence[str], _choices: object = None) -> Verdict:
    """Whether an accepted answer, a pattern, matches anywhere in `reply`. Raises `UsageError`."""
    text = reply.strip()
    return Verdict(any(_SEARCHER.finds(answer, text) for answer in answers))


def no_pattern(answer: str) -> str | None:
    """What is wrong with an accepted answer, or None."""
    if not answer or len(answer) > MAX_PATTERN:
        return f"must be a regular expression of 1 to {MAX_PATTERN} characters"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(answer)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is no regular expression: {error}"
    return None
