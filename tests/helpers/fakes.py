"""Models and vocabularies without weights, so that most tests run in milliseconds.

A `FakeModel` is a table over a vocabulary of bytes: what follows the text so far. It keeps the
invariants of `Model`, counts what it has read, and fails where a test asks it to.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import Cancelled, ContextFullError, EngineError, PromptError

END, TURN, TURN_END, BOS = 256, 257, 258, 259
SPECIALS = {"<|end|>": END, "<|im_start|>": TURN, "<|im_end|>": TURN_END, "<s>": BOS}

MAX_ROWS = 32
LIKELY = 20.0
"""The logit of what the table says comes next; everything else has 0."""

Rows = Callable[[Sequence[int]], NDArray[np.float32]]
"""The tokens read so far -> the row that follows, shape (n_vocab,)."""


def tokenize_bytes(text: str, first: bool, special: bool) -> list[int]:
    """One token a byte; with `special`, the spelling of a special token is that token."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise PromptError("the text holds half of a surrogate pair") from None
    tokens: list[int] = []
    while data:
        found = next((s for s in SPECIALS if special and data.startswith(s.encode())), None)
        tokens.append(SPECIALS[found] if found else data[0])
        data = data[len(found) if found else 1 :]
    return tokens


def fake_vocab(extra: int = 0, *, add_bos: bool = False, template: str | None = None) -> Vocab:
    """The 256 bytes, four special tokens, and `extra` unused ones as padding."""
    return Vocab(
        tokens=(
            *(bytes([n]) for n in range(256)),
            *(text.encode() for text in SPECIALS),
            *(f"<unused{n}>".encode() for n in range(extra)),
        ),
        kinds=(*[Kind.BYTE] * 256, *[Kind.CONTROL] * len(SPECIALS), *[Kind.UNUSED] * extra),
        bos=BOS,
        end_of_generation=frozenset((END, TURN_END)),
        add_bos=add_bos,
        chat_template=template,
        tokenize=tokenize_bytes,
    )


def word_vocab(*words: str) -> Vocab:
    """A vocabulary of these ordinary tokens, without a tokenizer."""
    return Vocab(tuple(w.encode() for w in words), (Kind.NORMAL,) * len(words))


def wide_vocab(words: int = 2000) -> Vocab:
    """The 256 bytes, four special tokens and ordinary words `w0`, `w1`, ..., spelled in bytes."""
    vocab = fake_vocab()
    return replace(
        vocab,
        tokens=(*vocab.tokens, *(f"w{n}".encode() for n in range(words))),
        kinds=(*vocab.kinds, *[Kind.NORMAL] * words),
    )


def without(vocab: Vocab, *lacking: int) -> Vocab:
    """`vocab` with unused tokens in the place of those `lacking`."""
    for token in lacking:
        vocab = changed(vocab, token, f"<unused{token}>".encode(), Kind.UNUSED)
    return replace(vocab, end_of_generation=vocab.end_of_generation - set(lacking))


def shuffled(vocab: Vocab, seed: int = 0) -> tuple[Vocab, NDArray[np.int64]]:
    """`vocab` under other ids, and the new id of each token."""
    order = np.random.default_rng(seed).permutation(len(vocab)).tolist()
    places = np.argsort(order)

    def tokenize(text: str, first: bool, special: bool) -> list[int]:
        return [int(places[token]) for token in vocab.tokenize(text, first, special)]

    other = replace(
        vocab,
        tokens=tuple(vocab.tokens[token] for token in order),
        kinds=tuple(vocab.kinds[token] for token in order),
        bos=None if vocab.bos is None else int(places[vocab.bos]),
        end_of_generation=frozenset(int(places[token]) for token in vocab.end_of_generation),
        tokenize=tokenize,
    )
    return other, places


def changed(vocab: Vocab, token: int, spelling: bytes, kind: int = Kind.NORMAL) -> Vocab:
    """`vocab` with another spelling and kind for one token."""
    tokens, kinds = list(vocab.tokens), list(vocab.kinds)
    tokens[token], kinds[token] = spelling, kind
    return replace(vocab, tokens=tuple(tokens), kinds=tuple(kinds))


def script(replies: Mapping[str, str], vocab: Vocab) -> Rows:
    """After a text that ends with a key comes its reply, byte by byte, and then the end."""

    def row(history: Sequence[int]) -> NDArray[np.float32]:
        said = b"".join(vocab.tokens[token] for token in history).decode("latin-1")
        likely = END
        for prompt, reply in replies.items():
            encoded = reply.encode().decode("latin-1")
            for length in range(len(encoded) + 1):
                if said.endswith(prompt + encoded[:length]):
                    likely = ord(encoded[length]) if length < len(encoded) else END
        logits = np.zeros(len(vocab), np.float32)
        logits[likely] = LIKELY
        return logits

    return row


def noise(seed: int, vocab: Vocab) -> Rows:
    """A random row for every history, the same each time."""

    return lambda history: drawn((seed, *history), 3.0, len(vocab))


@lru_cache(maxsize=1 << 15)
def drawn(seed: tuple[int, ...], spread: float, size: int) -> NDArray[np.float32]:
    """A random row, the same each time; kept, since making a generator is what takes time."""
    row = np.random.default_rng(seed).normal(0.0, spread, size).astype(np.float32)
    row.flags.writeable = False
    return row


def constant(row: Sequence[float]) -> Rows:
    """The same row whatever has been read."""
    logits = np.asarray(row, np.float32)
    return lambda _: logits


class Fault(NamedTuple):
    """What goes wrong: `error` is raised, or without one a row holds `value`.

    A `late` error comes when the tokens have been read, as an interrupt may.
    """

    error: BaseException | None = None
    late: bool = False
    value: float = float("nan")


class FakeModel:
    """A `Model` whose rows come from a function of all that it has read."""

    def __init__(
        self,
        rows: Rows | None = None,
        *,
        vocab: Vocab | None = None,
        n_ctx: int = 4096,
        n_branches: int = 16,
        can_rewind: bool = True,
        cancel: threading.Event | None = None,
    ) -> None:
        self._vocab = vocab or fake_vocab()
        self._rows = rows or noise(0, self._vocab)
        self._n_ctx = n_ctx
        self._n_branches = n_branches
        self.can_rewind = can_rewind
        self._cancel = cancel or threading.Event()
        self._faults: dict[int, Fault] = {}
        self.history: list[int] = []
        self.evals: list[list[int]] = []
        self.branches: list[tuple[list[int], list[tuple[int, list[int]]]]] = []
        self.rewinds: list[int] = []
        self.evaluated = 0
        self.adopted = 0
        self.name = "fake"

    def fail_on(self, nth_eval: int, fault: Fault) -> None:
        """Let the n-th eval or branch from now (1 is the next one) go wrong."""
        self._faults[len(self.evals) + len(self.branches) + nth_eval] = fault

    def _next_fault(self) -> Fault | None:
        fault = self._faults.pop(len(self.evals) + len(self.branches), None)
        if fault is not None and fault.error is not None and not fault.late:
            raise fault.error
        return fault

    @property
    def vocab(self) -> Vocab:
        return self._vocab

    @property
    def n_past(self) -> int:
        return len(self.history)

    @property
    def n_ctx(self) -> int:
        return self._n_ctx

    @property
    def n_evaluated(self) -> int:
        """How many tokens were ever given to `eval`."""
        return sum(map(len, self.evals))

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        self.evals.append(list(tokens))
        fault = self._next_fault()
        if not 1 <= rows <= min(len(tokens), MAX_ROWS):
            raise EngineError(f"{rows} rows asked of {len(tokens)} tokens")
        if not all(0 <= token < len(self._vocab) for token in tokens):
            raise EngineError("a token is outside the vocabulary")
        if self.n_past + len(tokens) > self._n_ctx:
            raise ContextFullError(f"the context of {self._n_ctx} tokens is full")
        if len(tokens) > 1 and self._cancel.is_set():
            raise Cancelled("the evaluation was cancelled")
        before = len(self.history)
        self.history += tokens
        self.evaluated += len(tokens)
        if fault is not None and fault.error is not None:
            if not self.can_rewind:
                self.history.clear()
            raise fault.error
        ends = range(before + len(tokens) - rows + 1, before + len(tokens) + 1)
        out = np.stack([self._rows(self.history[:end]) for end in ends])
        if fault is not None:
            out[-1, 0] = fault.value
        return out

    def branch(
        self, trunk: Sequence[int], others: Sequence[tuple[int, Sequence[int]]] = ()
    ) -> list[Logits]:
        self.branches.append((list(trunk), [(n, list(tokens)) for n, tokens in others]))
        fault = self._next_fault()
        before = list(self.history)
        if len(others) > self._n_branches:
            raise EngineError(f"{len(others)} other paths; {self._n_branches} are possible")
        if not all(0 <= n <= len(before) for n, _ in others):
            raise EngineError(f"cannot continue more than {len(before)} tokens")
        paths = [(len(before), trunk), *others]
        if not all(0 <= t < len(self._vocab) for _, tokens in paths for t in tokens):
            raise EngineError("a token is outside the vocabulary")
        # A token is evaluated once for all the paths that are the same up to it.
        n_rows = len({(n, *tokens[: i + 1]) for n, tokens in paths for i in range(len(tokens))})
        if n_rows > MAX_ROWS:
            raise EngineError(f"{n_rows} rows asked; {MAX_ROWS} are possible")
        if len(before) + n_rows > self._n_ctx:
            raise ContextFullError(f"the context of {self._n_ctx} tokens is full")
        if n_rows > 1 and self._cancel.is_set():
            raise Cancelled("the evaluation was cancelled")
        self.history += trunk
        self.evaluated += n_rows
        if fault is not None and fault.error is not None:
            raise fault.error
        out = [np.empty((len(tokens), len(self._vocab)), np.float32) for _, tokens in paths]
        for rows, (n, tokens) in zip(out, paths, strict=True):
            for i in range(len(tokens)):
                rows[i] = self._rows([*before[:n], *tokens[: i + 1]])
        if fault is not None:
            next(rows for rows in reversed(out) if len(rows))[-1, 0] = fault.value
        return out

    def rewind(self, n: int) -> None:
        if not 0 <= n <= self.n_past:
            raise EngineError(f"cannot forget {n} tokens of {self.n_past}")
        if not self.can_rewind and 0 < n < self.n_past:
            raise EngineError("a recurrent model forgets all or nothing")
        self.rewinds.append(n)
        del self.history[self.n_past - n :]

    def origin(self) -> dict[str, str]:
        return {"model": self.name, "context length": str(self._n_ctx)}

    def state_size(self) -> int:
        return len(self.state())

    def state(self) -> memoryview:
        return memoryview(json.dumps(self.history).encode())

    def adopt(self, tokens: Sequence[int], state: memoryview) -> None:
        self.history.clear()
        held = json.loads(bytes(state))
        if len(held) != len(tokens):
            raise EngineError("the state does not fit")
        self.history += held
        self.adopted += len(held)


def saying(
    replies: Mapping[str, str], *, vocab: Vocab | None = None, n_ctx: int = 4096
) -> FakeModel:
    """A model that answers from a table; see `script`."""
    vocab = vocab or fake_vocab()
    return FakeModel(script(replies, vocab), vocab=vocab, n_ctx=n_ctx)


def random_model(seed: int, *, vocab: Vocab | None = None, n_ctx: int = 4096) -> FakeModel:
    """A model with a random row for every text."""
    vocab = vocab or fake_vocab()
    return FakeModel(noise(seed, vocab), vocab=vocab, n_ctx=n_ctx)


def random_trio(alpha: float = 1.0, plausibility: float = 0.0, *, n_ctx: int = 4096) -> Trio:
    """Three models, each with its own random row for every text."""
    return steered_trio(Steering(alpha, plausibility=plausibility), n_ctx=n_ctx)


def steered_trio(steering: Steering, *, n_ctx: int = 4096) -> Trio:
    """The same, steered in any way."""
    base, expert, anti_expert = (random_model(seed, n_ctx=n_ctx) for seed in (1, 2, 3))
    return Trio(base, expert, anti_expert, steering)
