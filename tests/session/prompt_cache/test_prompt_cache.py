"""Prompt caches: what is kept is what was read, also for pairs of other vocabularies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproxy.align import align, match
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import ContextFullError, UsageError
from edgeproxy.prompts.formats import FORMATS, Message, Segment, plain
from edgeproxy.session.prompt_cache import statefile
from edgeproxy.session.prompt_cache.prefix import Cached, cache_prompt, opening
from edgeproxy.session.speaker import TrioSpeaker
from tests.helpers.fakes import (
    FakeModel,
    Fault,
    fake_vocab,
    noise,
    random_model,
    random_trio,
    shuffled,
    wide_vocab,
    without,
)
from tests.helpers.prompt_caches import (
    OTHER,
    SYSTEM,
    beginning,
    beside,
    check,
    evaluated,
    fakes,
    fill,
    reply,
)
from tests.helpers.tokenizing import LARGE, PIECES


def test_what_is_kept_ends_where_the_users_message_begins() -> None:
    vocab = fake_vocab()
    expert = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
    own = vocab.encode(f"{SYSTEM}\n")
    assert beginning() == RoleTokens(own, vocab.encode(expert, special=True), own)


def test_a_system_message_inside_the_first_turn_is_kept_too() -> None:
    vocab = fake_vocab()
    encode = TrioSpeaker(random_trio(), (FORMATS["gemma"],) * 3, (vocab,) * 3, frozenset()).encode
    kept = opening(encode, [Message("system", SYSTEM)])
    assert bytes(kept.base).endswith(f"{SYSTEM}\n\n".encode())


def test_a_format_that_puts_the_question_first_is_refused() -> None:
    def backwards(messages: Sequence[Message]) -> list[Segment]:
        return [Segment(message.content, False) for message in reversed(messages)]

    encode = TrioSpeaker(
        random_trio(), (plain, backwards, plain), (fake_vocab(),) * 3, frozenset()
    ).encode
    with pytest.raises(UsageError, match="the expert's prompts have no common beginning"):
        opening(encode, [Message("system", SYSTEM)])


def test_the_second_trio_reads_only_what_is_new(path: Path) -> None:
    first = random_trio()
    total = len(beginning().base)
    assert fill(path, first) == Cached(total, 0)
    said = reply(first)
    second = random_trio()
    assert fill(path, second) == Cached(total, total)
    assert evaluated(second) == [0, 0, 0]
    assert reply(second) == said == reply(random_trio())
    whole = [len(model.history) for model in fakes(second)]
    kept = [len(part) for part in beginning()]
    assert evaluated(second) == [n - k for n, k in zip(whole, kept, strict=True)]


def test_a_trio_that_has_talked_may_be_given_a_cache(path: Path) -> None:
    trio = random_trio()
    reply(trio, OTHER)
    check(path, trio, fill(path, trio))
    reply(trio, OTHER)
    total = len(beginning().base)
    check(path, trio, fill(path, trio), spared=total)


def test_another_message_is_read_from_where_it_differs(path: Path) -> None:
    fill(path, system=OTHER)
    trio = random_trio()
    done = fill(path, trio)
    assert done.doubt == f"{path}: it holds another system message; it was made anew"
    assert evaluated(trio)[0] == len(SYSTEM) + 1 - 400 == done.tokens - done.spared
    check(path, trio, done, spared=400)


def recurrent_trio() -> Trio:
    base, expert, anti = (
        FakeModel(noise(seed, fake_vocab()), can_rewind=False) for seed in (1, 2, 3)
    )
    return Trio(base, expert, anti)


def test_a_recurrent_model_reads_another_message_from_the_beginning(path: Path) -> None:
    fill(path, recurrent_trio(), OTHER)
    trio = recurrent_trio()
    done = fill(path, trio)
    assert done.doubt is not None
    check(path, trio, done)
    again = recurrent_trio()
    fill(path, again)
    assert evaluated(again) == [0, 0, 0]


def test_a_long_message_is_read_in_pieces_and_told(path: Path) -> None:
    shown: list[tuple[str, float]] = []
    trio = random_trio()
    cache_prompt(path, trio, beginning(), lambda *told: shown.append(told))
    fill(path)
    cache_prompt(path, random_trio(), beginning(), lambda *told: shown.append(told))
    assert [what.split()[0] for what, _ in shown] == ["reading"] * 4 + ["writing"] * 3 + [
        "loading"
    ] * 3
    assert all(0 <= share < 1 for _, share in shown)
    for model in fakes(trio):
        assert [len(tokens) <= 256 for tokens in model.evals] == [True] * 4


def test_large_states_go_by_chunks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)
    whole = path.read_bytes()
    monkeypatch.setattr(statefile, "_CHUNK", 1000)
    trio = random_trio()
    check(path, trio, fill(path, trio), spared=len(beginning().base))
    path.unlink()
    fill(path)
    assert path.read_bytes() == whole
    path.write_bytes(whole[:-1] + b"!")
    assert "damaged" in (fill(path).doubt or "")


def test_a_message_that_does_not_fit_the_context_is_an_error(path: Path) -> None:
    trio = random_trio(n_ctx=300)
    with pytest.raises(ContextFullError):
        fill(path, trio)
    assert not path.exists()
    trio.resume(RoleTokens([], [], []))
    assert trio.n_past == 0


def test_an_interrupt_while_reading_writes_nothing(path: Path) -> None:
    trio = random_trio()
    fakes(trio)[1].fail_on(2, Fault(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        fill(path, trio)
    assert beside(path) == []
    check(path, trio, fill(path, trio))


@pytest.mark.parametrize("during", ["loading", "writing"])
def test_an_interrupt_at_the_file_leaves_nothing_behind(path: Path, during: str) -> None:
    def interrupt(what: str, _share: float) -> None:
        if what.startswith(during):
            raise KeyboardInterrupt

    trio = random_trio()
    if during == "loading":
        fill(path)
    with pytest.raises(KeyboardInterrupt):
        cache_prompt(path, trio, beginning(), interrupt)
    assert beside(path) == ([path.name] if during == "loading" else [])
    total = len(beginning().base)
    check(path, trio, fill(path, trio), spared=total if during == "loading" else 0)


WIDE = wide_vocab()
PAIRS: dict[str, tuple[Vocab, Vocab]] = {
    "padded": (fake_vocab(3), fake_vocab()),
    "permuted": (WIDE, shuffled(WIDE)[0]),
    "few": (WIDE, shuffled(without(WIDE, 300))[0]),
    "different": (LARGE, PIECES),
}


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_of_another_vocabulary(path: Path, name: str) -> None:
    base_vocab, own = PAIRS[name]

    def make() -> Trio:
        pair = align(random_model(2, vocab=own), random_model(3, vocab=own), base_vocab)
        return Trio(random_model(1, vocab=base_vocab), pair.expert, pair.anti_expert)

    assert match(base_vocab, own).case == (name if name != "few" else "permuted")
    text = b"hello there, the world "
    base_tokens = [base_vocab.tokens.index(bytes([byte])) for byte in text]
    own_tokens = [len(base_vocab) + own.tokens.index(bytes([byte])) for byte in text]
    prompt = RoleTokens(base_tokens, own_tokens, own_tokens)
    rest = [base_vocab.tokens.index(bytes([byte])) for byte in b"and more"]

    def rows(trio: Trio) -> Logits:
        asked = RoleTokens(*([*part, part[0]] for part in prompt))
        first = trio.eval(trio.resume(asked)).copy()
        return np.concatenate([first, *(trio.eval([token]).copy() for token in rest)])

    first, second = make(), make()
    assert cache_prompt(path, first, prompt) == Cached(len(text), 0)
    wanted = rows(first)
    assert cache_prompt(path, second, prompt) == Cached(len(text), len(text))
    inner: Any = second.expert
    assert inner._reader._model.evaluated == 0
    assert second.n_past == len(text)
    assert np.array_equal(rows(second), wanted)
    # Also after another text, of which nothing may remain.
    reused = make()
    reused.eval(RoleTokens(base_tokens[::-1], own_tokens[::-1], own_tokens[::-1]))
    reused.eval(rest[:3])
    assert cache_prompt(path, reused, prompt).spared == len(text)
    assert np.array_equal(rows(reused), wanted)
    reused.resume(RoleTokens([], [], []))
    reused.eval(RoleTokens(base_tokens[::-1], own_tokens[::-1], own_tokens[::-1]))
    reused.eval(rest[:1])
    cache_prompt(path, reused, prompt)
    fresh = make()
    fresh.eval(prompt)
    assert np.array_equal(reused.eval(rest[1:2]), fresh.eval(rest[1:2]))
