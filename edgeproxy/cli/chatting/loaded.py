"""The trio that a chat talks to, and another one in its place.

May touch: the model files.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from edgeproxy.cli.ui.opening import Opened, opened
from edgeproxy.cli.ui.options import Models

if TYPE_CHECKING:
    from edgeproxy.session.session import Session


class Loaded:
    """A trio in memory; use it as a context manager. `switch` puts another one in its place."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._stack = ExitStack()
        self._opened: Opened

    def __enter__(self) -> Loaded:
        self._open(self._models)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def session(self) -> Session:
        """The session over it."""
        return self._opened.session

    @property
    def load_seconds(self) -> float:
        """How long loading it has taken."""
        return self._opened.load_seconds

    def switch(self, name: str) -> None:
        """Load the trio called `name` in place of this one, which comes back where that fails.

        Only one is in memory at a time. What the start asked of contexts, threads and drafts
        holds; its files and its steering are the named trio's own. Raises as `edgeproxy.load` does.
        """
        from edgeproxy.trios.find import choose_recipe

        choose_recipe(name, None, None, None)  # one that is not there costs nothing
        old = self._models
        chosen = Models(
            trio=name,
            docs=old.docs,
            docs_to=old.docs_to,
            ctx=old.ctx,
            threads=old.threads,
            kv=old.kv,
            strict=old.strict,
            draft=old.draft,
            force=old.force,
            verbose=old.verbose,
        )
        steering = self.session.steering
        self._stack.close()
        try:
            self._open(chosen)
        except BaseException:
            self._open(replace(old, **asdict(steering)))
            raise

    def _open(self, models: Models) -> None:
        self._opened = self._stack.enter_context(opened(models))
        self._models = models
