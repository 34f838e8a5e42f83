"""Asks systems questions, one after another, and keeps what each reply says and takes.

The trio and its expert share one session; the base, which may be asked in another prompt format,
has one of its own. Both count passages by the base's tokens, so that all read the same.

May touch: the models and the index, read only; the file of replies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import BASE_ALONE, PAPER, Steering
from edgeproxy.documents.index import Index
from edgeproxy.documents.named import find
from edgeproxy.errors import Cancelled
from edgeproxy.measure.answering import Ask
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.replies import run_of
from edgeproxy.measure.systems import PROXY, read_systems, readers_of, role_of, steering_of
from edgeproxy.remote.endpoint import ServerChange
from edgeproxy.session.load import load
from edgeproxy.session.messages import as_messages
from edgeproxy.session.reading import chosen_documents
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import Speaker
from edgeproxy.session.turn import Turn
from edgeproxy.trios.find import Recipe, find_recipe
from edgeproxy.units import duration
from tools.documents.lines import Lines
from tools.documents.told import Told, as_line, of_line, question_for

Beside = Callable[[Session, Turn, str, str], dict[str, Any]]
"""(the session, a reply's turn, its question, its text) -> what is kept with it."""

_BASE, _REST = "base", "the others"


@dataclass(frozen=True)
class Setup:
    """A trio, the index that it reads, and how it is asked.

    `base_prompt` is the prompt format of the base where it answers alone, None for the manifest's.
    A reply has at most `max_tokens` tokens, or as many as its question needs. With a `server` the
    base is there.
    """

    trio: str
    docs: str
    ctx: int | None = None
    threads: int | None = None
    base_prompt: str | None = None
    max_tokens: int | None = None
    server: ServerChange | None = None

    @property
    def recipe(self) -> Recipe:
        """The trio, which reads the index. Raises `ManifestError`."""
        found = find_recipe(self.trio)
        documents = chosen_documents(found.documents, self.docs, "base")
        steering = found.steering if found.steering.alone is None else PAPER
        return replace(found, documents=documents, steering=steering)

    def reading(self, docs: str) -> Setup:
        """The same with another index."""
        return replace(self, docs=docs)

    def systems(self, names: str) -> list[str]:
        """The systems in a list with commas between. Raises `UsageError`."""
        return read_systems(names, self.recipe.steering)

    def run(self) -> dict[str, Any]:
        """What replies depend on, besides their systems and questions. Raises `DocumentError`."""
        with Index(find(self.docs)) as index:
            counts = index.counts()
        settings: dict[str, Any] = {
            "ctx": self.ctx,
            "base_prompt": self.base_prompt,
            "max_tokens": self.max_tokens,
            "passages": counts.passages,
            "bytes": counts.read,
        }
        if self.server is not None:
            # Not its address: the same server may be at another one later.
            settings["server"] = {key: each for key, each in self.server.items() if key != "url"}
        return dict(run_of(self.recipe, [], [], Sampling(), settings))


def ask(
    setup: Setup,
    systems: Sequence[str],
    questions: Sequence[Question],
    path: Path,
    work: Working,
    beside: Beside | None = None,
) -> dict[str, list[Told]]:
    """The replies of each system to all questions, those that are in the file at `path` included.

    What `beside` says of a reply is kept with it. Raises `Cancelled` once `work` is to end, with
    all that came by then kept.
    """
    with Lines(path, setup.run()) as lines:
        todo = [(s, q) for s in systems for q in questions if (s, q.text) not in lines.known]
        pace = _Pace(len(systems) * len(questions), len(todo))
        for group in (_REST, _BASE):
            some = [(s, q) for s, q in todo if (role_of(s) == _BASE) == (group == _BASE)]
            if some:
                work.tell(f"loading {setup.trio}")
                with _session(setup, group, {role_of(s) for s, _ in some}, work) as session:
                    for system, question in some:
                        work.tell(pace.in_words(system))
                        lines.add(_asked(setup, session, system, question, work, beside))
                        pace.done += 1
        return {s: [of_line(lines.known[s, q.text], q) for q in questions] for s in systems}


@contextmanager
def _session(setup: Setup, group: str, roles: set[str], work: Working) -> Iterator[Session]:
    recipe, steering = setup.recipe, None
    if group == _BASE:
        steering = BASE_ALONE
        if setup.base_prompt is not None:
            recipe = recipe.with_prompts({"base": setup.base_prompt})
    with load(
        recipe,
        steering=steering,
        n_ctx=setup.ctx,
        n_threads=setup.threads,
        solo=sorted(roles - {PROXY, _BASE}),
        server=setup.server,
        cancel=work.stop,
    ) as session:
        yield session


def _asked(
    setup: Setup,
    session: Session,
    system: str,
    question: Question,
    work: Working,
    beside: Beside | None,
) -> dict[str, Any]:
    """A system's reply to a question, as a line has it."""
    role = role_of(system)
    speaker: Speaker[Any] = session.speaker if role in (PROXY, _BASE) else session.solo(role)
    steering: Steering | None = steering_of(system, session.steering) if role == PROXY else None
    turns: list[Turn] = []
    asks = Ask(Sampling(), setup.max_tokens, turns.append)
    question = question_for(system, question)
    readers = readers_of(system) or "nobody"
    # Found before the clock of the reply starts; who is asked the same later finds it at once.
    started = time.perf_counter()
    if session.reading is not None:
        session.reading.read(as_messages(question.text), readers)
    find_seconds = time.perf_counter() - started
    text = asks(speaker, question, work.stop.is_set, steering, readers)
    if work.stop.is_set():
        raise Cancelled("interrupted; the same command goes on")
    line = as_line(system, question, text, turns[0])
    line["find_seconds"] = round(find_seconds, 4)
    if beside is not None:
        line["beside"] = beside(session, turns[0], question.text, text)
    return line


class _Pace:
    """How many replies there are, and how long the rest will take."""

    def __init__(self, total: int, todo: int) -> None:
        self.total, self.todo, self.done = total, todo, 0
        self._started = time.monotonic()

    def in_words(self, system: str) -> str:
        """How far the asking is."""
        text = f"{self.total - self.todo + self.done} of {self.total} replies, {system}"
        if not self.done:
            return text
        a_reply = (time.monotonic() - self._started) / self.done
        return f"{text}, {duration((self.todo - self.done) * a_reply)} left"
