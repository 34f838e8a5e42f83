"""A child process that renders chat templates, kept for as long as a session.

May touch: a child process, and a temporary file for what the child complains of.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from edgeproxy import children
from edgeproxy.children import own_group
from edgeproxy.errors import PromptError

SECONDS = 10.0
"""The longest that one rendering may take."""

_START_SECONDS = 60.0  # a slow disk, a busy machine
_GRACE_SECONDS = 5.0  # the child ends itself so much after its parent should have ended it
_MAX_TEMPLATE = 1 << 17  # characters
_FOLDER = Path(__file__).parents[2]
_BY_NAME = "choose a prompt format by name"


class Renderer:
    """Renders chat templates in one child process, started when the first one is rendered.

    A rendering may take `seconds` and the child 1 GB; a child that takes more is ended, and the
    next rendering starts another. Several threads may use one; they wait for each other. `now` says
    what time templates are told. Close it, or use it as a context manager; one that is forgotten is
    closed when it is collected, and the child ends when this process does.
    """

    def __init__(
        self, *, seconds: float = SECONDS, now: Callable[[], datetime] = datetime.now
    ) -> None:
        self._seconds = seconds
        self._now = now
        self._lock = threading.Lock()
        self._child: _Child | None = None

    def render(
        self,
        template: str,
        messages: Sequence[tuple[str, str]],
        variables: Mapping[str, Any] | None = None,
        twins: Mapping[str, str] | None = None,
        *,
        add_generation_prompt: bool = True,
    ) -> str:
        """The text of `template` for (role, content) pairs.

        `variables` are more that the template sees, such as `bos_token`. In the contents `twins`
        (see `jinja.content_with`) stand for characters. Raises `PromptError` where the template
        refuses or fails, takes too long or too much, or where no child can be started.
        """
        (found,) = self.render_all(
            template, [messages], variables, twins, add_generation_prompt=add_generation_prompt
        )
        if isinstance(found, PromptError):
            raise found
        return found

    def render_all(
        self,
        template: str,
        conversations: Sequence[Sequence[tuple[str, str]]],
        variables: Mapping[str, Any] | None = None,
        twins: Mapping[str, str] | None = None,
        *,
        add_generation_prompt: bool = True,
    ) -> list[str | PromptError]:
        """As `render` for several conversations, in one turn of the child's and its time limit.

        Where the template refuses one, its error stands in the place of its text. Raises
        `PromptError` where there are no answers at all.
        """
        if len(template) > _MAX_TEMPLATE:
            raise PromptError(f"the model's chat template is too long; {_BY_NAME}")
        job = {
            "template": template,
            "conversations": [
                [{"role": role, "content": content} for role, content in messages]
                for messages in conversations
            ],
            "variables": {
                **(variables or {}),
                "add_generation_prompt": add_generation_prompt,
                "now": self._now().isoformat(),
            },
            "twins": dict(twins or {}),
            "seconds": self._seconds + _GRACE_SECONDS,
        }
        try:
            line = json.dumps(job, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise PromptError(
                "a message holds half of a surrogate pair and not a character; send valid Unicode"
            ) from None
        return [
            PromptError(f"the model's chat template failed ({answer['failed']}); {_BY_NAME}")
            if "failed" in answer
            else answer["text"]
            for answer in json.loads(self._ask(line))
        ]

    def _ask(self, line: bytes) -> bytes:
        with self._lock:
            if self._child is not None and not self._child.usable:
                self._child.end()
                self._child = None
            if self._child is None:
                self._child = _Child()
            try:
                return self._child.ask(line, self._seconds)
            except BaseException:  # also Ctrl-C: its late answer must not be the next one's
                self._child.end()
                self._child = None
                raise

    def close(self) -> None:
        """End the child. A second call does nothing; a later rendering starts another."""
        with self._lock:
            child, self._child = self._child, None
            if child is not None:
                child.end()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Child:
    """One process that answers lines with lines."""

    def __init__(self) -> None:
        # A file and not a pipe: no one reads it while the child writes.
        complaints = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the child
        try:
            process = subprocess.Popen(
                command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                cwd=_FOLDER if _FOLDER.is_dir() else None,
                **own_group(),
            )
        except OSError as error:
            complaints.close()
            raise PromptError(
                f"the process that renders chat templates cannot be started ({error}); {_BY_NAME}"
            ) from None
        except BaseException:
            complaints.close()
            raise
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._stdin, self._complaints = process, process.stdin, complaints
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # A thread, because Windows cannot wait for a pipe with a time limit.
        self._listener = threading.Thread(
            target=_listen, args=(process.stdout, self._answers), daemon=True
        )
        self._listener.start()
        self._owner = os.getpid()
        self.end = weakref.finalize(self, _end, process, self._listener, complaints, self._owner)
        try:
            self._answer(_START_SECONDS)  # its ready
        except BaseException:
            self.end()
            raise

    @property
    def usable(self) -> bool:
        """Whether it is alive, and this process's own: a fork shares its pipes."""
        return self._owner == os.getpid() and self._process.poll() is None

    def ask(self, line: bytes, seconds: float) -> bytes:
        with contextlib.suppress(OSError):  # it has ended: the answer will say so
            self._stdin.write(line + b"\n")
            self._stdin.flush()
        return self._answer(seconds)

    def _answer(self, seconds: float) -> bytes:
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            raise PromptError(
                f"the model's chat template did not finish in {seconds:g} seconds; {_BY_NAME}"
            ) from None
        if answer:
            return answer
        code = self._process.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").strip().splitlines()
        said = "".join(filter(str.isprintable, lines[-1][:300])) if lines else ""
        raise PromptError(
            f"the model's chat template failed ({said or f'exit code {code}'}); {_BY_NAME}"
        )


def _listen(pipe: IO[bytes], answers: queue.SimpleQueue[bytes]) -> None:
    for line in pipe:
        answers.put(line)
    answers.put(b"")  # it has ended


def _end(
    process: subprocess.Popen[bytes], listener: threading.Thread, complaints: IO[bytes], owner: int
) -> None:
    if owner != os.getpid():
        return  # a fork's copy: the process is its parent's
    process.kill()
    process.wait()
    listener.join()
    for pipe in (process.stdin, process.stdout, complaints):
        if pipe is not None:
            with contextlib.suppress(OSError):  # what was not sent any more
                pipe.close()


def command() -> list[str]:
    """What starts the child. Raises `PromptError` where this program has no Python for it."""
    found = children.command("edgeproxy.prompts.jinja")
    if not found:
        raise PromptError(
            "this program has no Python to render the model's own chat template with; "
            f"{_BY_NAME}, call edgeproxy.worker.main() where the program begins, or set "
            f"{children.PYTHON} to a Python that has edgeproxy"
        )
    return found
