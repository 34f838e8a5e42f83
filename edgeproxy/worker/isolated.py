"""A session in a process of its own: an end of that process is an error here, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.core.model import Model
from edgeproxy.core.threads import Crew
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.steering import Alone
from edgeproxy.errors import UsageError
from edgeproxy.session.floor import Holder
from edgeproxy.session.messages import Messages, as_messages
from edgeproxy.session.model_files import Progress as LoadProgress
from edgeproxy.session.prompt_cache import Cached
from edgeproxy.session.prompt_cache.statefile import Progress
from edgeproxy.session.reading import Reading
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import TrioSpeaker
from edgeproxy.worker.facts import Facts
from edgeproxy.worker.keeper import Keeper
from edgeproxy.worker.speaker import FarSpeaker

TRIO = ("trio",)
"""How a worker knows whoever answers for the trio."""


def load_isolated(
    options: Mapping[str, Any], progress: LoadProgress | None, cancel: Cancel | None
) -> IsolatedSession:
    """Load a trio in a process of its own, with the `options` of `edgeproxy.load`.

    Raises as that does, and `WorkerError`.
    """
    cancel = cancel or Flag()
    keeper = Keeper(options, progress)
    try:
        return IsolatedSession(keeper, keeper.load(cancel), cancel)
    except BaseException:
        keeper.close()
        raise


class IsolatedSession(Session):
    """A `Session` whose models are in the process that `keeper` keeps.

    Where that process ends, or hangs and is ended, whatever was under way raises `WorkerError`; the
    next call starts a fresh one. Conversations are here, so they go on. What needs the models
    themselves, such as `trio`, `drafter` and `encode`, raises `UsageError`.
    """

    def __init__(self, keeper: Keeper, facts: Facts, cancel: Cancel | None = None) -> None:
        reading = None
        if facts.readers is not None:
            documents = facts.recipe.documents
            reading = Reading(self._find, facts.readers, documents.system if documents else ())
        speaker = FarSpeaker(
            keeper,
            TRIO,
            facts.n_ctx,
            facts.n_vocab,
            facts.endings,
            facts.sampling,
            reading,
            facts.steering,
            facts.alone,
            cancel,
        )
        super().__init__(
            facts.recipe,
            speaker,
            keeper,
            self._solo_of_worker,
            matches=facts.matches,
            crew=Crew(0, 0, 1),  # the worker has its own
            memory=facts.memory,
            doubts=facts.doubts,
            another=self._another_of_worker,
        )
        self._far = speaker
        self._keeper = keeper
        self._cancel = cancel
        self._made = 0

    @property
    def pid(self) -> int | None:
        """The number of the process that the models are in; None while there is none."""
        return self._keeper.pid

    @property
    def starts(self) -> int:
        """How many processes there have been: one, and one for each that had ended."""
        return self._keeper.starts

    @property
    def alone(self) -> Alone | None:
        """As `Session.alone`."""
        return self._far.alone

    @property
    def vocab(self) -> Vocab:
        """As `Session.vocab`; it comes from the worker when it is first asked for."""
        return self._far.vocab

    @property
    def pair(self) -> Mapping[str, Model]:
        """None of them is here."""
        return {}

    @property
    def trio_speaker(self) -> TrioSpeaker:
        """Raise `UsageError`: the models are elsewhere."""
        raise UsageError(
            "the models are in a process of their own; load the trio without isolate for this"
        )

    def cache_prompt(
        self, system: str, path: str | Path, progress: Progress | None = None
    ) -> Cached:
        """As `Session.cache_prompt`."""
        given = {"system": system, "path": Path(path).absolute()}
        found: Cached = self._on_the_floor("cache_prompt", given, progress)
        return found

    def keep_read(
        self,
        messages: Messages,
        path: str | Path,
        progress: Progress | None = None,
        *,
        most: int | None = None,
    ) -> int:
        """As `Session.keep_read`."""
        given = {"messages": as_messages(messages), "path": Path(path).absolute(), "most": most}
        return int(self._on_the_floor("keep_read", given, progress))

    def put_back(self, path: str | Path, progress: Progress | None = None) -> int:
        """As `Session.put_back`."""
        given = {"path": Path(path).absolute()}
        return int(self._on_the_floor("put_back", given, progress))

    def close(self) -> None:
        """As `Session.close`, and at once: what is under way ends with its process."""
        self.cancel()
        self._keeper.close()
        super().close()

    def _on_the_floor(self, do: str, arguments: dict[str, Any], progress: Progress | None) -> Any:
        work = Holder(self._far.floor)
        with work.step():
            try:
                return self._far.ask(do, arguments, "kept or read a prompt", work, progress)
            finally:
                work.let_go()

    def _find(self, messages: Any) -> Any:
        return self._far.ask("find", {"messages": tuple(messages)}, "looked for passages")

    def _solo_of_worker(self, role: str) -> FarSpeaker:
        self._made += 1
        return self._speaker("solo", role, self._made)

    def _another_of_worker(self, n_threads: int) -> FarSpeaker:
        self._made += 1
        return self._speaker("another", n_threads, self._made)

    def _speaker(self, *key: Any) -> FarSpeaker:
        """One more that answers. The worker makes it now, and again after a restart."""
        cancel = self._far.floor.cancel_all
        found = self._keeper.ask("solo", {"speaker": key}, "loaded a model", cancel)
        is_trio = key[0] == "another"
        far = self._far
        return FarSpeaker(
            self._keeper,
            key,
            found.n_ctx,
            found.n_vocab,
            found.endings,
            far.sampling,
            far.reading,
            far.steering if is_trio else None,
            far.alone if is_trio else None,
            self._cancel,
        )

    def __enter__(self) -> IsolatedSession:
        return self
