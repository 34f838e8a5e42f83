"""A loaded trio that answers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

from edgeproxy.align import Cost, Match
from edgeproxy.core.model import Model
from edgeproxy.core.threads import Crew
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.drafted import Drafter
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.scoring import TokenScore
from edgeproxy.decode.steering import Alone, Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import Cancelled, UsageError
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.prompts.formats import Message
from edgeproxy.remote.spent import Spent
from edgeproxy.session.alone import AloneSpeaker
from edgeproxy.session.asking import DEFAULT_MAX_TOKENS
from edgeproxy.session.conversation import Conversation
from edgeproxy.session.floor import Floor, Holder
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.session.messages import Messages, as_messages
from edgeproxy.session.prompt_progress import PromptProgress
from edgeproxy.session.reading import Reading
from edgeproxy.session.speaker import Speaker, TrioSpeaker
from edgeproxy.session.turn import Turn
from edgeproxy.trios.find import Recipe
from edgeproxy.trios.manifest import Readers

if TYPE_CHECKING:
    from edgeproxy.remote.model import RemoteModel
    from edgeproxy.session.prompt_cache import Cached
    from edgeproxy.session.prompt_cache.statefile import Progress


class Closes(Protocol):
    """What is given back with the session, such as the models' weights."""

    def close(self) -> None:
        """Give it back. A second call does nothing."""


class Session:
    """A loaded trio that answers. Use it as a context manager, or `close` it.

    Made by `edgeproxy.load`, or of parts: `speaker` answers, `files` are closed with it, and
    `solo(role)` makes one model of the trio answer alone. Where the recipe leaves the say to one
    model (see `Steering.alone`), that is the speaker, and nothing else is in memory. One turn at a
    time has the models; `cancel` may be called from any thread and any signal handler.
    """

    def __init__(
        self,
        recipe: Recipe,
        speaker: Speaker[Any],
        files: Closes,
        solo: Callable[[str], Speaker[Any]],
        *,
        matches: Mapping[str, Match],
        crew: Crew,
        memory: Estimate,
        doubts: Sequence[str] = (),
        another: Callable[[int], Speaker[Any]] | None = None,
    ) -> None:
        self.recipe = recipe
        self.speaker = speaker
        self.matches: Mapping[str, Match] = MappingProxyType(dict(matches))
        """How the expert's and the anti-expert's vocabularies are related to the base's."""
        self.crew = crew
        """Who chooses the threads of evaluations."""
        self.memory = memory
        """What the trio takes of memory, as estimated."""
        self.doubts = tuple(doubts)
        """What of this trio may not work as wished, a sentence each."""
        self._files = files
        self._make_solo = solo
        self._solo: dict[str, Speaker[Any]] = {}
        self._make_another = another
        self._others: list[Speaker[Any]] = []

    @property
    def alone(self) -> Alone | None:
        """The model that was loaded alone, as it is the only one with a say; None for a trio."""
        return self.speaker.role if isinstance(self.speaker, AloneSpeaker) else None

    @property
    def trio(self) -> Trio:
        """The three models as one. Raises `UsageError` where one was loaded alone."""
        return self.trio_speaker.trio

    @property
    def pair(self) -> Mapping[str, Model]:
        """The expert and the anti-expert, by role; empty where they are not in this process."""
        return {"expert": self.trio.expert, "anti_expert": self.trio.anti_expert}

    @property
    def drafter(self) -> Drafter:
        """The decode loop, which drafts as its mode says. Raises as `trio` does."""
        return self.trio_speaker.drafter

    @property
    def trio_speaker(self) -> TrioSpeaker:
        """Who answers where all three were loaded. Raises as `trio` does."""
        if isinstance(self.speaker, TrioSpeaker):
            return self.speaker
        raise UsageError(
            f"this needs all three models of {self.recipe.name}, and only the {self.alone} was "
            "loaded, for by this steering it answers alone: load the trio with another one "
            "(--alpha 1 --base-weight 1)"
        )

    @property
    def n_ctx(self) -> int:
        """How many tokens a conversation can have."""
        return self.speaker.n_ctx

    @property
    def vocab(self) -> Vocab:
        """The vocabulary of the tokens that pieces have: the base's, or that of one model alone."""
        return self.speaker.vocab

    @property
    def cost(self) -> Cost | None:
        """What reading the last reply has cost a pair with a tokenizer of its own; else None."""
        return self.speaker.cost

    @property
    def remote(self) -> RemoteModel | None:
        """The base as it is on a server, of whoever asks it; None where all models are here."""
        speakers = (self.speaker, *list(self._solo.values()))
        return next((each.remote for each in speakers if each.remote is not None), None)

    @property
    def spent(self) -> Spent | None:
        """What asking a server has cost this session; None where all models are here."""
        speakers = (self.speaker, *list(self._solo.values()), *list(self._others))
        spent = [found for speaker in speakers if (found := speaker.spent) is not None]
        return functools.reduce(Spent.plus, spent) if spent else None

    @property
    def steering(self) -> Steering:
        """How the three are put together in replies that do not ask for another way."""
        return self.speaker.steering

    @steering.setter
    def steering(self, value: Steering) -> None:
        self.speaker.steering = value

    @property
    def alpha(self) -> float:
        """The steering's weight of the pair's opinion; setting it leaves the rest as it is."""
        return self.steering.alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        self.steering = replace(self.steering, alpha=value)

    @property
    def plausibility(self) -> float:
        """The steering's beta of the mask, 0 is off; setting it leaves the rest as it is."""
        return self.steering.plausibility

    @plausibility.setter
    def plausibility(self, value: float) -> None:
        self.steering = replace(self.steering, plausibility=value)

    @property
    def reading(self) -> Reading | None:
        """What replies read of documents; None where the session was loaded without any."""
        return self.speaker.reading

    @property
    def sampling(self) -> Sampling:
        """The settings that the manifest asks for."""
        return self.speaker.sampling

    def reply(
        self,
        messages: Messages,
        *,
        sampling: Sampling | None = None,
        steering: Steering | None = None,
        alpha: float | None = None,
        plausibility: float | None = None,
        docs_to: Readers | None = None,
        grammar: Grammar | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        stops: str | Sequence[str] = (),
        record: int = 0,
        wait: bool = False,
        progress: PromptProgress | None = None,
    ) -> Turn:
        """The turn that answers one message, or the last of a whole conversation.

        Iterate over it for the pieces. Nothing is evaluated before the first one is asked for, and
        what the models have already read of the same conversation is not read again.

        `messages` is text, or `Message`s or dicts of "role" and "content". `sampling` defaults to
        the manifest's temperature, `steering` to the session's, of which `alpha` and `plausibility`
        change these two; `docs_to` says who reads the session's documents for this reply; `stops`
        is a text or several that end the reply and are left out. The reply keeps to `grammar`, in
        place of the mask of `plausibility`, and is whole unless it is cut short. With `record`
        above 0, `Turn.steps` keeps so many of the best tokens of each model's row and of the fused
        one, for every token. `progress` is called, from any thread, with how many of the prompt's
        unread tokens have been read, and of how many.

        One turn at a time has the models. While another thread's has them, asking for a piece
        raises `BusyError`, or waits with `wait`. A turn begun later in the same thread takes them,
        and the older one raises `BusyError`.

        Raises `UsageError` and `PromptError` for impossible arguments; while it is read, also
        `GrammarError` for a grammar that no reply can be held to.
        """
        return self.speaker.reply(
            messages,
            sampling,
            max_tokens,
            stops,
            steering=steering,
            alpha=alpha,
            plausibility=plausibility,
            docs_to=docs_to,
            grammar=grammar,
            record=record,
            wait=wait,
            progress=progress,
        )

    chat = reply

    def complete(
        self,
        text: str | Sequence[int],
        *,
        sampling: Sampling | None = None,
        steering: Steering | None = None,
        alpha: float | None = None,
        plausibility: float | None = None,
        grammar: Grammar | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        stops: str | Sequence[str] = (),
        record: int = 0,
        echo: int | None = None,
        wait: bool = False,
        progress: PromptProgress | None = None,
    ) -> Turn:
        """The turn that goes on with `text` as it stands, by no prompt format.

        Every model reads the text itself, after its beginning-of-text token where it has one. As in
        messages, nothing in the text becomes a marker. In its place there may be ids of `vocab`'s
        tokens, of which only the first may be a special one: it stands for the beginning of text.
        No documents are read for it.

        With `echo`, `Turn.echo` has how likely each token of the text was, and `Turn.scores` the
        same of the reply, with so many of the likeliest tokens at each place; then all of the text
        is read again, and `max_tokens` may be 0. All else is as in `reply`.
        """
        return self.speaker.complete(
            text,
            sampling,
            max_tokens,
            stops,
            steering=steering,
            alpha=alpha,
            plausibility=plausibility,
            grammar=grammar,
            record=record,
            echo=echo,
            wait=wait,
            progress=progress,
        )

    def score(
        self,
        text: str | Sequence[int],
        best: int = 0,
        *,
        steering: Steering | None = None,
        alpha: float | None = None,
        wait: bool = False,
        progress: PromptProgress | None = None,
    ) -> list[TokenScore]:
        """How likely each token of a text is after those before it, as the models are steered.

        In the fused distribution at temperature 1, without the mask of `plausibility`, which is
        about what is drawn. `best` likeliest tokens are told of each place. The first token has
        neither. It is `complete` with `max_tokens` 0, read to its end; raises as that does,
        `ContextFullError` before anything is read where the text is too long, `UsageError` where a
        server draws the tokens, and `Cancelled`.
        """
        turn = self.complete(
            text,
            steering=steering,
            alpha=alpha,
            max_tokens=0,
            echo=best,
            wait=wait,
            progress=progress,
        )
        for _ in turn:
            pass
        if turn.finish_reason == "cancelled":
            raise Cancelled("the text was not scored to its end: it was cancelled")
        return list(turn.echo)

    def conversation(self, system: str | None = None) -> Conversation:
        """A conversation that remembers its turns."""
        return Conversation(self.speaker, system)

    def cache_prompt(
        self, system: str, path: str | Path, progress: Progress | None = None
    ) -> Cached:
        """Have a system message read before the first question: from the file at `path`, if it can.

        Where the file is not there yet, or was made for another message or another trio, the
        message is read and kept there for the next time (see `prompt_cache`). `progress` gets what
        is under way and the share done. Raises `UsageError` for a file that is something else,
        `BusyError` while a reply is under way, and as a reply does.
        """
        from edgeproxy.session.prompt_cache import cache_prompt, opening  # few need it

        speaker = self.trio_speaker
        prompt = opening(speaker.encode, [Message("system", system)])
        work = Holder(speaker.floor)
        with work.step():
            try:
                return cache_prompt(Path(path), speaker.trio, prompt, progress)
            finally:
                work.let_go()

    def keep_read(
        self,
        messages: Messages,
        path: str | Path,
        progress: Progress | None = None,
        *,
        most: int | None = None,
    ) -> int:
        """Keep what the models have read of a conversation in the file at `path`, for `put_back`.

        How many of the base's tokens that are; 0, and no file, where it is none, or where the file
        would take over `most` bytes. Nothing is evaluated. Raises `OSError`, `BusyError`, and
        `UsageError` for a file that is something else or where one model was loaded alone.
        """
        from edgeproxy.session.prompt_cache import keep_read, opening  # few need it

        speaker = self.trio_speaker
        prompt = opening(speaker.encode, as_messages(messages))
        work = Holder(speaker.floor)
        with work.step():
            try:
                return keep_read(Path(path), speaker.trio, prompt, progress, most)
            finally:
                work.let_go()

    def put_back(self, path: str | Path, progress: Progress | None = None) -> int:
        """Have the models hold what the file at `path` keeps; how many of the base's tokens.

        The next reply reads what of its prompt is not among them. 0 where there is no file, or one
        that is damaged or of other models. Raises as `keep_read`.
        """
        from edgeproxy.session.prompt_cache import put_back  # few need it

        speaker = self.trio_speaker
        work = Holder(speaker.floor)
        with work.step():
            try:
                return put_back(Path(path), speaker.trio, progress)
            finally:
                work.let_go()

    def solo(self, role: str) -> Speaker[Any]:
        """One model of the trio answering alone: "base", "expert", "anti_expert" or "tuned".

        It gets a context of its own over the same weights, and a floor of its own, so that it may
        answer while the trio does. Raises `UsageError` for another role, or for "tuned" where the
        trio has none, `OutOfMemoryError` where there is no room, `EngineError` once closed.
        """
        self.speaker.floor.check_open()
        if role not in self._solo:
            self._solo[role] = self._make_solo(role)
        return self._solo[role]

    def another(self, role: str | None = None, n_threads: int = 1) -> Speaker[Any]:
        """One more that answers as the trio does, or as the model `role` alone, at the same time.

        It gets contexts of its own over the same weights (`memory.another` is what those of a trio
        take), a floor of its own, and `n_threads` threads. Each call makes one more. Raises as
        `solo` does, and `UsageError` for a session that was put together without a way to do so.
        """
        self.speaker.floor.check_open()
        if role is None and self._make_another is None:
            raise UsageError("this session cannot answer several questions at once")
        made: Speaker[Any]
        if role is None and self._make_another is not None:
            made = self._make_another(n_threads)
        else:
            made = self._make_solo(str(role))
        self._others.append(made)
        return made

    def cancel(self) -> None:
        """Stop every reply that was asked for until now within a token, begun or not."""
        for floor in self._floors():
            floor.cancel()

    def close(self) -> None:
        """Give all memory back, once the step under way has ended. A second call does nothing."""
        for floor in self._floors():
            floor.close()
        self.speaker.close()
        self._files.close()

    def _floors(self) -> list[Floor]:
        others = (*list(self._solo.values()), *list(self._others))
        return [*self.speaker.floors, *(floor for each in others for floor in each.floors)]

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
