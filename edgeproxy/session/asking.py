"""What a speaker can be asked for, checked before anything is evaluated, and the turn for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from edgeproxy.core.check import whole
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Change, Steering
from edgeproxy.errors import UsageError
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.prompts.formats import Message
from edgeproxy.remote.model import RemoteModel
from edgeproxy.session.messages import Messages, as_given, as_messages, as_stops
from edgeproxy.session.prompt_progress import PromptProgress
from edgeproxy.session.reading import Reading, chosen_readers
from edgeproxy.session.servers import check_asked
from edgeproxy.session.turn import Asked, Ended, Speaks, Turn
from edgeproxy.trios.manifest import Readers

DEFAULT_MAX_TOKENS = 256


class Answers(Speaks, Protocol):
    """Who answers what was asked: a `Speaker`."""

    remote: RemoteModel | None


class Asks(ABC):
    """The part of a `Speaker` that takes what is asked for, and makes turns of it."""

    sampling: Sampling
    reading: Reading | None

    def reply(
        self,
        messages: Messages,
        sampling: Sampling | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        stops: str | Sequence[str] = (),
        *,
        steering: Steering | None = None,
        alpha: float | None = None,
        plausibility: float | None = None,
        docs_to: Readers | None = None,
        grammar: Grammar | None = None,
        record: int = 0,
        wait: bool = False,
        progress: PromptProgress | None = None,
        ended: Ended | None = None,
    ) -> Turn:
        """The turn that answers the last of `messages`; nothing is evaluated until it is read.

        See `Session.reply`. `ended` is called once, when the turn has ended in whatever way.
        """
        asked = self._asked(
            as_messages(messages),
            sampling,
            max_tokens,
            stops,
            self._steered(steering, {"alpha": alpha, "plausibility": plausibility}),
            record,
            chosen_readers(self.reading, docs_to),
            grammar,
        )
        return self.turn(asked, wait, ended, progress)

    def complete(
        self,
        text: str | Sequence[int],
        sampling: Sampling | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        stops: str | Sequence[str] = (),
        *,
        steering: Steering | None = None,
        alpha: float | None = None,
        plausibility: float | None = None,
        grammar: Grammar | None = None,
        record: int = 0,
        echo: int | None = None,
        wait: bool = False,
        progress: PromptProgress | None = None,
        ended: Ended | None = None,
    ) -> Turn:
        """The turn that goes on with `text`; see `Session.complete`, and `reply`."""
        messages, tokens = as_given(text)
        if echo is not None:
            echo = whole("echo", echo, 0, self.n_vocab)
        asked = self._asked(
            messages,
            sampling,
            max_tokens,
            stops,
            self._steered(steering, {"alpha": alpha, "plausibility": plausibility}),
            record,
            "nobody",
            grammar,
            least=1 if echo is None else 0,
        )
        asked = asked._replace(is_raw=True, tokens=tokens, echo=echo)
        return self.turn(asked, wait, ended, progress)

    def turn(
        self,
        asked: Asked,
        wait: bool = False,
        ended: Ended | None = None,
        progress: PromptProgress | None = None,
    ) -> Turn:
        """The turn that answers what is `asked`, which `reply` and `complete` make of arguments."""
        self._check(asked)
        who = self._who(asked)
        if who.remote is not None:  # not so where the expert answers for a trio
            check_asked(who.remote, asked)
        return Turn(who, asked, wait, ended, progress)

    def _asked(
        self,
        messages: tuple[Message, ...],
        sampling: Sampling | None,
        max_tokens: int,
        stops: str | Sequence[str],
        steering: Steering | None,
        record: int,
        readers: Readers,
        grammar: Grammar | None,
        least: int = 1,
    ) -> Asked:
        """The arguments of a reply, checked. Raises `UsageError`."""
        sampling = self.sampling if sampling is None else sampling
        max_tokens = whole("max_tokens", max_tokens, least)
        record = whole("record", record, 0, self.n_vocab)
        if not isinstance(sampling, Sampling):
            raise UsageError(f"sampling must be a Sampling, not {sampling!r}")
        if grammar is not None and not isinstance(grammar, Grammar):
            raise UsageError(f"grammar must be a Grammar, not {grammar!r}")
        texts = as_stops(stops)
        return Asked(messages, sampling, max_tokens, texts, steering, record, readers, grammar)

    @property
    @abstractmethod
    def n_vocab(self) -> int:
        """How many tokens there are that a reply is drawn from."""

    @abstractmethod
    def _steered(self, steering: Steering | None, change: Change) -> Steering | None:
        """What a reply that asks for these is steered by. Raises `UsageError`."""

    @abstractmethod
    def _check(self, asked: Asked) -> None:
        """Raise `UsageError` for what else this speaker cannot do."""

    @abstractmethod
    def _who(self, asked: Asked) -> Answers:
        """Whoever will answer."""
