"""Whoever answers messages: a trio, or one model alone, each with the prompts that it reads."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Generic

from edgeproxy.align import Cost, ProjectedModel, own_tokens, own_vocab, reads
from edgeproxy.core.cancel import Cancel
from edgeproxy.core.model import Logits, Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.constrained import Constrained
from edgeproxy.decode.drafted import Drafted, Drafter
from edgeproxy.decode.pieces import Piece, complete
from edgeproxy.decode.sample import Sampler, Sampling
from edgeproxy.decode.scoring import log_probabilities
from edgeproxy.decode.steering import Change, Steering
from edgeproxy.decode.stepwise import Decode, Evaluates, Prompt, stepwise
from edgeproxy.decode.text import spans
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import UsageError
from edgeproxy.grammar.constraint import Tokens
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.llama import Weights
from edgeproxy.prompts.formats import Format, Message, as_it_stands, encode
from edgeproxy.remote.model import RemoteModel
from edgeproxy.remote.spent import Spent
from edgeproxy.session import given
from edgeproxy.session.asking import Asks
from edgeproxy.session.checks import (
    check_three_speak,
    check_unrecorded,
    check_unsteered,
    is_expert_alone,
    unmasked,
)
from edgeproxy.session.floor import Floor
from edgeproxy.session.messages import Messages, as_asked
from edgeproxy.session.prompt_progress import PromptProgress, listening, work_of
from edgeproxy.session.reading import NOTHING, Read, Reading, chosen_readers
from edgeproxy.session.servers import UNTOLD, draws_of
from edgeproxy.session.turn import Asked, Recorder
from edgeproxy.trios.manifest import Readers

if TYPE_CHECKING:
    from edgeproxy.session.prompt_cache.shelf import Shelf

GREEDY = Sampling()

Draw = Callable[[Logits], int]
"""Chooses a token from a row, shape (n_vocab,)."""


class Speaker(Asks, Generic[Prompt]):
    """Answers messages over models that it gives to one turn at a time.

    `floor` is whose turn it is. The tokens `endings` end a reply. `weights` are those whose
    tokenizer DRY uses. `sampling` is what replies are drawn with unless they ask otherwise, and
    `reading` finds the passages of documents that they read.
    """

    steering: Steering
    """That of replies that do not ask for another; one model beside a trio has none."""

    def __init__(
        self,
        model: Evaluates[Prompt],
        vocab: Vocab,
        endings: frozenset[int],
        floor: Floor | None = None,
        weights: Weights | None = None,
        decode: Decode[Prompt] = stepwise,
        sampling: Sampling = GREEDY,
        reading: Reading | None = None,
    ) -> None:
        self.floor = floor or Floor()
        self.sampling = sampling
        self.reading = reading
        self._model = model
        self._vocab = vocab
        self.endings = endings
        """The tokens that end a reply, and are left out of its text."""
        self._weights = weights
        self._decode = decode
        self.remote: RemoteModel | None = None
        """The model among its own that is on a server."""
        self._tokens: Tokens | None = None
        self._has_scored = False

    @property
    def floors(self) -> list[Floor]:
        """Whose turn it is with all the models that it has."""
        return [self.floor]

    def _who(self, asked: Asked) -> Speaker[Any]:
        return self

    def begin(
        self,
        asked: Asked,
        cancel: Cancel,
        record: Recorder,
        progress: PromptProgress | None = None,
    ) -> Iterator[Piece]:
        """The pieces of a turn that has the models; `record` hears of its prompt and its rows.

        `progress` hears how much of the prompt has been read.
        """
        if cancel.is_set():
            yield Piece("", None, None, "cancelled")
            return
        self._prepare(asked)
        draws_itself = self.remote is not None and self.remote.way == "bias"
        if self.remote is not None and draws_itself:
            self.remote.draws = draws_of(asked.sampling)
        if self.reading is not None:
            record.read = self.reading.read(asked.messages, asked.readers)
        tokens = given.tokens_of(asked, self._vocab)
        prompt = first = self._prompt(asked, record.read, tokens)
        if asked.echo is not None:
            given.check_room(self._longest(prompt), self.n_ctx, asked.max_tokens)
            first = self._of_tokens(tokens[:1])
        if asked.echo is None or not self._has_scored:  # nobody goes on with what was scored
            self._fetch(first, cancel)
        self._has_scored = asked.echo is not None
        rest = self._resume(first)
        unread = self._size(prompt) - self._size(first) + self._size(rest)
        work = self._work(rest if asked.echo is None else prompt)
        record.prompt(self._size(prompt), unread)
        with (
            listening(self.floor, progress, unread, work, cancel),
            closing(Sampler(self._vocab, asked.sampling, self._weights)) as sampler,
        ):
            held = self._held(sampler, asked.grammar)
            draw: Draw = held or sampler
            if asked.echo is not None:
                self._prepare(unmasked(asked))
                over = given.note(asked, tokens, rest, self._model, self._vocab, record, cancel)
                if over is not None:
                    yield Piece("", None, None, over)
                    return
                self._prepare(asked)
                rest = self._go_on(prompt)
                draw = record.scored(draw, self._vocab, asked.echo)
            yield from complete(
                rest,
                self._model,
                self._vocab,
                self._noted(draw, record, is_recorded=asked.record > 0),
                decode=self._decode,
                max_tokens=asked.max_tokens,
                endings=self.endings,
                stops=asked.stops,
                cancel=cancel,
                has_rows=not draws_itself,
                is_over=held.is_over if held else lambda: False,
            )

    def _prompt(self, asked: Asked, read: Read, tokens: Sequence[int]) -> Prompt:
        if tokens:
            return self._of_tokens(tokens)
        return self.encode(asked.messages, read, asked.is_raw)

    def score(
        self, asked: Asked, read: Read, said: Sequence[int], cancel: Cancel | None = None
    ) -> list[float]:
        """log p, in nats, of each token of a reply to what was `asked`, had it read `read`.

        By the rows that a reply is drawn from, steered as asked, at temperature 1; neither the mask
        nor the sampler drops a token. The models must be its own. Raises as `Model.eval` does.
        """
        if self.remote is not None and self.remote.way == "bias":
            raise UsageError(UNTOLD)
        self._prepare(unmasked(asked))
        rest = self._resume(self.encode(asked.messages, read, asked.is_raw))
        return log_probabilities(rest, said, self._model, cancel)

    def spans(self, said: Sequence[int]) -> list[tuple[int, int]]:
        """Of each token of a reply the characters of its text that it is of, [start, end)."""
        return spans(b"" if t in self.endings else self._vocab.piece(t) for t in said)

    @property
    def vocab(self) -> Vocab:
        """The vocabulary that a reply is drawn from."""
        return self._vocab

    @property
    def spent(self) -> Spent | None:
        """What asking a server has cost so far; None where all models are here."""
        return None if self.remote is None else self.remote.server.spent

    @property
    @abstractmethod
    def n_ctx(self) -> int:
        """How many tokens a conversation can have."""

    @abstractmethod
    def encode(
        self, messages: Sequence[Message], read: Read = NOTHING, is_raw: bool = False
    ) -> Prompt:
        """The prompt of a conversation, and of what is read for its last message.

        Where it `is_raw`, that of the texts of `messages` as they stand.
        """

    @abstractmethod
    def _of_tokens(self, tokens: Sequence[int]) -> Prompt:
        """The prompt of tokens that are gone on with as they stand. Raises `PromptError`."""

    def tokenize(self, text: str) -> list[int]:
        """A text's tokens, without the one for its beginning. Raises `PromptError`."""
        return given.text_tokens(as_asked(text, is_raw=True), self._vocab)

    @property
    def drafted(self) -> Drafted | None:
        """What drafting did in the last reply; None where nothing drafts."""
        return None

    @property
    def cost(self) -> Cost | None:
        """What reading the last reply has cost a pair with a tokenizer of its own; else None."""
        return None

    @property
    def n_vocab(self) -> int:
        """How many tokens there are that a reply is drawn from."""
        return len(self._vocab)

    def count(
        self, messages: Messages, is_raw: bool = False, docs_to: Readers | None = "nobody"
    ) -> int:
        """How many tokens of the context a conversation takes: those of the longest prompt.

        With `is_raw` that is a text to go on with as it stands (see `Session.complete`). What
        `docs_to` read of documents for its last message is among them; None is those who read where
        a reply does not say. Raises `PromptError` and `DocumentError`.
        """
        asked, read = as_asked(messages, is_raw), NOTHING
        if self.reading is not None and not is_raw:
            read = self.reading.read(asked, chosen_readers(self.reading, docs_to))
        return self._longest(self.encode(asked, read, is_raw))

    @abstractmethod
    def _longest(self, prompt: Prompt) -> int:
        """The tokens of the longest of the roles' prompts, which is what the context limits."""

    @abstractmethod
    def _work(self, prompt: Prompt) -> int:
        """What reading `prompt` takes, in tokens times weights."""

    @abstractmethod
    def _resume(self, prompt: Prompt) -> Prompt:
        """Bring the model to where only the returned part of `prompt` is still to be read."""

    def _go_on(self, prompt: Prompt) -> Prompt:
        """As `_resume`, where all but the end of `prompt` has just been read."""
        return self._resume(prompt)

    def _fetch(self, prompt: Prompt, cancel: Cancel) -> None:
        """Have the model hold what spares it most of reading `prompt`, where that is kept."""

    def close(self) -> None:
        """Give back what is kept beside the models. A second call does nothing."""

    @abstractmethod
    def _size(self, prompt: Prompt) -> int:
        """The tokens of a prompt, as the base or the model alone reads it."""

    @abstractmethod
    def _prepare(self, asked: Asked) -> None:
        """Set the models to what a reply asked for."""

    def _noted(self, draw: Draw, record: Recorder, *, is_recorded: bool) -> Draw:
        """`draw`; a trio has noted in `record` what its rows say of each token."""
        return draw

    def _held(self, draw: Draw, grammar: Grammar | None) -> Constrained | None:
        """`draw` held to a grammar; None where there is none. Raises `GrammarError`."""
        if grammar is None:
            return None
        if self._tokens is None:
            self._tokens = Tokens(self._vocab, self.endings)
        return Constrained(draw, self._tokens.begin(grammar))


class TrioSpeaker(Speaker[RoleTokens]):
    """A trio that answers; each role reads the conversation in its own format and vocabulary.

    What the models have read of the same conversation is kept between replies. `steering` begins as
    the trio's, and is that of replies that do not ask for another one. `drafter` is the decode
    loop; without one, nothing is drafted. `expert_alone` makes the expert alone, which answers for
    the trio where the base has no weight; it is called once, and only when such a reply is asked
    for. The base needs no such: with alpha 0 the fused rows are its own. On the `shelf` is kept
    what the models have read of other conversations.
    """

    def __init__(
        self,
        trio: Trio,
        formats: tuple[Format, Format, Format],
        vocabs: tuple[Vocab, Vocab, Vocab],
        endings: frozenset[int],
        floor: Floor | None = None,
        weights: Weights | None = None,
        drafter: Drafter | None = None,
        sampling: Sampling = GREEDY,
        expert_alone: Callable[[], Speaker[Any]] | None = None,
        reading: Reading | None = None,
        shelf: Shelf | None = None,
    ) -> None:
        drafter = drafter or Drafter(trio, "off")
        super().__init__(trio, trio.vocab, endings, floor, weights, drafter, sampling, reading)
        self.trio = trio
        self.drafter = drafter
        self.remote = trio.base if isinstance(trio.base, RemoteModel) else None
        self._formats = formats
        self._vocabs = vocabs
        self.steering = trio.steering
        self._make_expert_alone = expert_alone
        self._expert_alone: Speaker[Any] | None = None
        self.shelf = shelf

    @property
    def floors(self) -> list[Floor]:
        """As `Speaker.floors`."""
        alone = self._expert_alone
        return [self.floor] if alone is None else [self.floor, alone.floor]

    @property
    def n_ctx(self) -> int:
        """As `Speaker.n_ctx`."""
        return self.trio.n_ctx

    def encode(
        self, messages: Sequence[Message], read: Read = NOTHING, is_raw: bool = False
    ) -> RoleTokens:
        """The prompt of a conversation, by role; see `Speaker.encode`. Raises `PromptError`."""
        formats = (as_it_stands,) * 3 if is_raw else self._formats
        return RoleTokens(
            *(
                own_tokens(model, encode(layout(read.messages(role, messages)), vocab))
                for role, model, layout, vocab in zip(
                    RoleTokens._fields, self.trio.models, formats, self._vocabs, strict=True
                )
            )
        )

    def _of_tokens(self, tokens: Sequence[int]) -> RoleTokens:
        shares = []
        for model, own in zip(self.trio.models, self._vocabs, strict=True):
            if own_vocab(model) is model.vocab:
                shares.append(given.read_by(tokens, own))
                continue
            opening, rest = given.read_by_other(tokens, self._vocab, own, partial(reads, model))
            shares.append([*own_tokens(model, opening), *rest])
        return RoleTokens(*shares)

    @property
    def drafted(self) -> Drafted | None:
        """As `Speaker.drafted`."""
        return self.drafter.done

    @property
    def cost(self) -> Cost | None:
        """As `Speaker.cost`."""
        expert = self.trio.expert
        return expert.cost if isinstance(expert, ProjectedModel) else None

    def _fetch(self, prompt: RoleTokens, cancel: Cancel) -> None:
        if self.shelf is not None:
            self.shelf.change(self.trio, prompt, cancel)

    def close(self) -> None:
        """As `Speaker.close`."""
        if self.shelf is not None:
            self.shelf.clear()

    def _resume(self, prompt: RoleTokens) -> RoleTokens:
        return self.trio.resume(prompt)

    def _longest(self, prompt: RoleTokens) -> int:
        return max(map(len, prompt))

    def _work(self, prompt: RoleTokens) -> int:
        return sum(work_of(m, len(p)) for m, p in zip(self.trio.models, prompt, strict=True))

    def _size(self, prompt: RoleTokens) -> int:
        return len(prompt.base)

    def _steered(self, steering: Steering | None, change: Change) -> Steering:
        return (steering or self.steering).changed(change)

    def _who(self, asked: Asked) -> Speaker[Any]:
        if not is_expert_alone(asked):
            return self
        if asked.tokens:
            raise UsageError(
                "tokens' ids are the base's, and with base_weight 0 the expert alone answers: give "
                "the text itself"
            )
        if self._expert_alone is None:
            if self._make_expert_alone is None:
                raise UsageError("this trio has no expert that answers alone; give base_weight > 0")
            self.floor.check_open()
            self._expert_alone = self._make_expert_alone()
        return self._expert_alone

    def _check(self, asked: Asked) -> None:
        check_three_speak(asked)

    def _noted(self, draw: Draw, record: Recorder, *, is_recorded: bool) -> Draw:
        if self.remote is not None and self.remote.way == "bias":
            return draw  # what the base itself finds likeliest is never seen
        counted = record.counted(draw, self.trio)
        return record.watched(counted, self.trio, self.drafter) if is_recorded else counted

    def _held(self, draw: Draw, grammar: Grammar | None) -> Constrained | None:
        self.drafter.done = Drafted()  # of no reply before this one, should nothing be drawn
        held = super()._held(draw, grammar)
        self.drafter.ahead = held.ahead if held else None
        return held

    def _prepare(self, asked: Asked) -> None:
        steering = asked.steering or self.steering
        # The mask could drop all that a grammar allows.
        self.trio.steering = replace(steering, plausibility=0.0) if asked.grammar else steering
        # What the expert drafts, or finds plausible, would go to the base's server, whether the
        # trio says it or not.
        self.trio.keeps_secrets = self.remote is not None and asked.readers == "expert"


class SoloSpeaker(Speaker[Sequence[int]]):
    """One model that answers alone, from the beginning each time: what a trio is compared with.

    It reads documents where the model of that `role` does.
    """

    def __init__(
        self,
        model: Model,
        layout: Format,
        floor: Floor | None = None,
        weights: Weights | None = None,
        sampling: Sampling = GREEDY,
        reading: Reading | None = None,
        role: str = "base",
    ) -> None:
        endings = model.vocab.end_of_generation
        super().__init__(
            model, model.vocab, endings, floor, weights, sampling=sampling, reading=reading
        )
        self.role = role
        self.remote = model if isinstance(model, RemoteModel) else None
        self._solo = model
        self._layout = layout

    @property
    def n_ctx(self) -> int:
        """As `Speaker.n_ctx`."""
        return self._solo.n_ctx

    def encode(
        self, messages: Sequence[Message], read: Read = NOTHING, is_raw: bool = False
    ) -> Sequence[int]:
        """The prompt of a conversation; see `Speaker.encode`. Raises `PromptError`."""
        layout = as_it_stands if is_raw else self._layout
        return encode(layout(read.messages(self.role, messages)), self._vocab)

    def _of_tokens(self, tokens: Sequence[int]) -> Sequence[int]:
        return given.read_by(tokens, self._vocab)

    def _resume(self, prompt: Sequence[int]) -> Sequence[int]:
        self._solo.rewind(self._solo.n_past)
        return prompt

    def _go_on(self, prompt: Sequence[int]) -> Sequence[int]:
        return prompt[self._solo.n_past :]

    def _longest(self, prompt: Sequence[int]) -> int:
        return len(prompt)

    def _work(self, prompt: Sequence[int]) -> int:
        return work_of(self._solo, len(prompt))

    def _size(self, prompt: Sequence[int]) -> int:
        return len(prompt)

    def _steered(self, steering: Steering | None, change: Change) -> Steering | None:
        check_unsteered(steering, change)
        return None

    def _check(self, asked: Asked) -> None:
        check_unrecorded(asked)

    def _prepare(self, asked: Asked) -> None:
        pass  # it has nothing to set
