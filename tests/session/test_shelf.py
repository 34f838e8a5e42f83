"""The shelf: conversations that take turns are not read again, and say the same as without."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.align import align
from edgeproxy.core.cancel import Flag
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.drafted import Draft, Drafter
from edgeproxy.decode.remembering import common_length
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import EngineError, OutOfMemoryError, UsageError
from edgeproxy.prompts.formats import FORMATS, Message
from edgeproxy.session.conversation import Conversation
from edgeproxy.session.load import load
from edgeproxy.session.prompt_cache import shelf as shelf_module
from edgeproxy.session.prompt_cache.shelf import LEAST_LOST, LEAST_SPARED, Shelf
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import TrioSpeaker
from edgeproxy.trios.find import find_recipe
from tests.helpers.fakes import (
    FakeModel,
    Fault,
    fake_vocab,
    noise,
    random_model,
    shuffled,
    wide_vocab,
)
from tests.helpers.near import NEAR_QUANTISED, assert_same_reply, rows_of

PLAIN, CHATML = FORMATS["plain"], FORMATS["chatml"]
AMPLE = 1 << 30
TOPICS = ("Mongolia, of which I know little", "Peru, where I have been before", "Chad and its lake")
QUESTIONS = ("Tell me about {}.", "And what do they eat in {}?", "Who lives in {}, then?")


def letters(seed: int, vocab: Vocab | None = None) -> FakeModel:
    """A model that says letters by chance, which a conversation has as they were said."""
    vocab = vocab or fake_vocab()
    rows = noise(seed, vocab)
    silent = np.full(len(vocab), -1000.0, np.float32)
    silent[97:123] = 0.0
    return FakeModel(lambda history: rows(history) + silent, vocab=vocab)


def random_trio() -> Trio:
    return Trio(letters(1), letters(2), letters(3))


def speaker_of(trio: Trio, budget: int = AMPLE, draft: Draft = "off") -> TrioSpeaker:
    vocabs = (trio.vocab,) * 3
    ends, drafter = trio.vocab.end_of_generation, Drafter(trio, draft)
    shelf = Shelf(budget) if budget else None
    formats = PLAIN, CHATML, PLAIN
    return TrioSpeaker(trio, formats, vocabs, ends, drafter=drafter, shelf=shelf)


@dataclass
class Said:
    """What was said in turns of several conversations, in order, and how much was not read."""

    tokens: list[list[int | None]]
    kept: list[int]
    prompts: list[int]


def take_turns(speaker: TrioSpeaker, max_tokens: int = 12, topics: Sequence[str] = TOPICS) -> Said:
    """Each question to each of the conversations in turn."""
    talks = [Conversation(speaker) for _ in topics]
    said = Said([], [], [])
    for question, (talk, topic) in itertools.product(QUESTIONS, zip(talks, topics, strict=True)):
        turn = talk.say(question.format(topic), max_tokens=max_tokens)
        said.tokens.append([piece.token for piece in turn])
        said.kept.append(turn.usage.kept)
        said.prompts.append(turn.usage.prompt)
    return said


def fakes(trio: Trio) -> list[FakeModel]:
    return list(trio.models)  # type: ignore[arg-type]


def shelf_of(speaker: TrioSpeaker) -> Shelf:
    assert speaker.shelf is not None
    return speaker.shelf


def fill(speaker: TrioSpeaker, *texts: str) -> None:
    """Have each text read, one after the other."""
    for text in texts:
        list(speaker.complete(text, max_tokens=1))


A, B, C, D = (letter * 100 for letter in "ABCD")


# What is said, and what is read


@pytest.mark.parametrize("draft", ["off", "ngram", "expert", "auto"])
def test_replies_are_the_same_with_and_without(draft: Draft) -> None:
    without = take_turns(speaker_of(random_trio(), 0, draft))
    trio = random_trio()
    speaker = speaker_of(trio, draft=draft)
    said = take_turns(speaker)
    assert said.tokens == without.tokens
    assert said.prompts == without.prompts
    assert max(without.kept[3:]) < 20
    assert all(model.adopted for model in fakes(trio))
    assert len(shelf_of(speaker)) == 3


def test_a_conversation_that_goes_on_reads_only_what_is_new() -> None:
    trio = random_trio()
    said = take_turns(speaker_of(trio))
    one = speaker_of(random_trio(), 0)
    alone = take_turns(one, topics=TOPICS[:1])
    # Its second and third turns, which two others had come between.
    assert [said.kept[3], said.kept[6]] == alone.kept[1:]


def test_each_role_is_put_back_as_it_was() -> None:
    trio = random_trio()
    speaker = speaker_of(trio)
    messages = [Message("user", A)]
    list(speaker.reply(messages, max_tokens=4))
    read = [list(model.history) for model in fakes(trio)]
    list(speaker.reply(B, max_tokens=4))
    assert not any(model.history == was for model, was in zip(fakes(trio), read, strict=True))
    prompt = RoleTokens(*([*was, 65] for was in read))
    shelf_of(speaker).change(trio, prompt, Flag())
    assert [model.history for model in fakes(trio)] == read
    assert [len(rest) for rest in trio.resume(prompt)] == [1, 1, 1]


def test_without_a_shelf_nothing_is_taken_out() -> None:
    trio = random_trio()
    for model in fakes(trio):
        model.state = None  # type: ignore[assignment, method-assign]
    take_turns(speaker_of(trio, 0))


def test_a_single_conversation_never_comes_to_the_shelf() -> None:
    speaker = speaker_of(random_trio())
    take_turns(speaker, topics=TOPICS[:1])
    assert len(shelf_of(speaker)) == 0


def test_a_pair_with_other_tokens_does_not_fill_it_with_one_conversation() -> None:
    """The pair reads a reply again in its own tokens, and the base may cut it otherwise."""
    speaker = mapped_speaker()
    take_turns(speaker, topics=TOPICS[:1])
    assert len(shelf_of(speaker)) == 0
    take_turns(speaker)
    assert len(shelf_of(speaker)) <= len(TOPICS) + 1


def mapped_speaker(budget: int = AMPLE) -> TrioSpeaker:
    vocab = wide_vocab(50)
    other, _ = shuffled(vocab)
    base = letters(1, vocab)
    expert, anti_expert = (random_model(seed, vocab=other) for seed in (2, 3))
    aligned = align(expert, anti_expert, vocab)
    trio = Trio(base, aligned.expert, aligned.anti_expert, Steering(0.5))
    shelf = Shelf(budget) if budget else None
    ends = vocab.end_of_generation
    return TrioSpeaker(trio, (PLAIN, CHATML, PLAIN), (vocab, other, other), ends, shelf=shelf)


def test_a_pair_with_other_tokens_says_the_same() -> None:
    assert take_turns(mapped_speaker()).tokens == take_turns(mapped_speaker(0)).tokens


@pytest.mark.parametrize("forgetful", [(0,), (1,), (1, 2), (0, 1, 2)])
def test_models_that_cannot_rewind_are_put_back_whole(forgetful: Sequence[int]) -> None:
    def made() -> Trio:
        models = [letters(seed) for seed in (1, 2, 3)]
        for place in forgetful:
            models[place].can_rewind = False
        return Trio(*models)  # type: ignore[arg-type]

    trio = made()
    said = take_turns(speaker_of(trio))
    assert said.tokens == take_turns(speaker_of(made(), 0)).tokens
    assert all(model.adopted for model in fakes(trio))
    assert said.kept[6] > said.prompts[3]


def test_a_part_of_what_a_model_that_cannot_rewind_has_read_is_kept_apart() -> None:
    models = [letters(seed) for seed in (1, 2, 3)]
    models[0].can_rewind = False
    speaker = speaker_of(Trio(*models))  # type: ignore[arg-type]
    fill(speaker, A, B, A + C, D)
    assert texts(speaker) == [B.encode(), (A + C).encode()]  # A went when A + C came
    fill(speaker, A)  # which it cannot have of A + C
    assert len(models[0].evals[-1]) == len(A)


# What is kept, and what goes


def texts(speaker: TrioSpeaker) -> list[bytes]:
    return [kept.text for kept in shelf_of(speaker)._kept]


def size_of(*kept: str) -> int:
    """What the states of these texts take."""
    speaker = speaker_of(random_trio())
    fill(speaker, *kept, "z" * 100)
    return shelf_of(speaker).size


def test_what_was_not_used_for_longest_goes_first() -> None:
    speaker = speaker_of(random_trio(), int(size_of(A, B) * 1.1))
    fill(speaker, A, B, C)
    assert texts(speaker) == [A.encode(), B.encode()]
    fill(speaker, A + "?")  # A is put back, and stays, so that B makes room for C
    assert texts(speaker) == [C.encode(), A.encode()]
    fill(speaker, D)
    assert texts(speaker) == [C.encode(), (A + "?").encode()]


def test_no_more_than_so_many_conversations_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf_module, "MOST", 2)
    speaker = speaker_of(random_trio())
    fill(speaker, A, B, C, D)
    assert texts(speaker) == [B.encode(), C.encode()]
    fill(speaker, B + "?")
    assert texts(speaker) == [D.encode(), B.encode()]


def test_what_goes_on_takes_the_place_of_what_it_began_as() -> None:
    speaker = speaker_of(random_trio())
    fill(speaker, A, B, A + "a", B + "b", A + "aa", B + "bb", "z" * 100)
    assert texts(speaker) == [(A + "aa").encode(), (B + "bb").encode()]


def test_a_beginning_of_what_is_there_is_not_taken_out_again() -> None:
    trio = random_trio()
    speaker = speaker_of(trio)
    fill(speaker, A + A, B, A + C, A[:60], B)
    assert (A + A).encode() in texts(speaker)
    assert A[:60].encode() not in texts(speaker)


def test_little_is_not_worth_being_kept_or_put_back() -> None:
    trio = random_trio()
    speaker = speaker_of(trio)
    fill(speaker, "a" * (LEAST_LOST - 1), "b" * LEAST_LOST, "c")
    assert texts(speaker) == [b"b" * LEAST_LOST]
    fill(speaker, "b" * (LEAST_SPARED - 1) + "x")
    assert not any(model.adopted for model in fakes(trio))
    fill(speaker, "c", "b" * LEAST_SPARED + "x")
    assert all(model.adopted for model in fakes(trio))


def test_long_states_are_not_put_back_to_spare_a_few_tokens() -> None:
    trio = random_trio()
    speaker = speaker_of(trio)
    fill(speaker, "a" * 20 + "b" * 1000, "c" * 100, "a" * 20)
    assert not any(model.adopted for model in fakes(trio))
    fill(speaker, "c" * 100, "a" * 20 + "b" * 100)
    assert all(model.adopted for model in fakes(trio))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_too_small_a_budget_changes_nothing(share: float) -> None:
    speaker = speaker_of(random_trio(), max(1, int(size_of(A) * share)))
    fill(speaker, A, B, C, A)
    assert texts(speaker) == []


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_no_more_than_the_budget_is_ever_in_memory(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    trio = random_trio()
    budget = int(size_of(A) * (count + 0.5))
    speaker = speaker_of(trio, budget)
    shelf, out = shelf_of(speaker), 0
    most = 0
    taken_out = FakeModel.state

    def state(model: FakeModel) -> memoryview:
        nonlocal out, most
        taken = taken_out(model)
        if model is trio.models[0]:
            out = 0
        out += len(taken)
        most = max(most, shelf.size + out)
        return taken

    monkeypatch.setattr(FakeModel, "state_size", lambda model: len(taken_out(model)))
    monkeypatch.setattr(FakeModel, "state", state)
    order = np.random.default_rng(count).integers(0, 6, 60)
    for n, letter in enumerate(order):
        fill(speaker, "uvwxyz"[letter] * 90 + str(n))
        assert shelf.size <= budget
    assert 0 < most <= budget


def test_a_state_that_is_to_be_put_back_does_not_go_for_the_one_that_is_taken_out() -> None:
    speaker = speaker_of(random_trio(), int(size_of(A, B, C) * 1.1))
    fill(speaker, A, B, C, A + "1")
    for n in range(2, 6):
        for text in (B, C, A):
            turn = speaker.complete(text + "1" * n, max_tokens=1)
            list(turn)
            assert turn.usage.kept >= 100


def test_several_conversations_with_one_beginning_are_told_apart() -> None:
    system = "Be brief and kind. " * 20
    speaker = speaker_of(random_trio())
    talks = [Conversation(speaker, system) for _ in range(4)]
    for n, (place, talk) in itertools.product(range(3), enumerate(talks)):
        turn = talk.say(f"{place} asks about {TOPICS[n]}", max_tokens=20)
        list(turn)
        if n:
            assert turn.usage.kept > len(system) + 20
    assert len(shelf_of(speaker)) == 4


# What fails


class Unable(FakeModel):
    """A model whose states fail as it is told."""

    taken: BaseException | None = None
    put: BaseException | None = None

    def state(self) -> memoryview:
        if self.taken is not None:
            raise self.taken
        return super().state()

    def adopt(self, tokens: Sequence[int], state: memoryview) -> None:
        if self.put is not None:
            self.history.clear()
            raise self.put
        super().adopt(tokens, state)


def unable_trio() -> tuple[Trio, list[Unable]]:
    models = [Unable(model._rows) for model in fakes(random_trio())]
    base, expert, anti_expert = models
    return Trio(base, expert, anti_expert), models


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("error", [EngineError("no"), MemoryError()])
def test_states_that_cannot_be_taken_out_are_read_again(place: int, error: Exception) -> None:
    trio, models = unable_trio()
    models[place].taken = error
    speaker = speaker_of(trio)
    assert take_turns(speaker).tokens == take_turns(speaker_of(random_trio(), 0)).tokens
    assert len(shelf_of(speaker)) == 0


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("error", [EngineError("no"), MemoryError()])
def test_states_that_cannot_be_put_back_are_read_again(place: int, error: Exception) -> None:
    trio, models = unable_trio()
    models[place].put = error
    speaker = speaker_of(trio)
    assert take_turns(speaker).tokens == take_turns(speaker_of(random_trio(), 0)).tokens
    fill(speaker, A, B)
    models[place].put = None
    fill(speaker, A + "!")  # and it is of use again
    assert models[place].adopted


@pytest.mark.parametrize("where", ["taken", "put"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_interrupt_leaves_all_sound(where: str, place: int) -> None:
    trio, models = unable_trio()
    speaker = speaker_of(trio)
    fill(speaker, A, B)
    setattr(models[place], where, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        list(speaker.complete(A + "!", max_tokens=3))
    setattr(models[place], where, None)
    wanted = speaker_of(random_trio(), 0)
    for text in (A + "!", B + "!", A + "?"):
        assert list(speaker.complete(text, max_tokens=5)) == list(
            wanted.complete(text, max_tokens=5)
        )


def test_a_prompt_that_fails_or_is_cancelled_leaves_all_sound() -> None:
    trio = random_trio()
    speaker = speaker_of(trio)
    wanted = speaker_of(random_trio(), 0)
    fill(speaker, A, B, C)
    for n, place in itertools.product(range(3), range(3)):
        model = fakes(trio)[place]
        model.fail_on(1, Fault(EngineError("no"), late=bool(n % 2)))
        with pytest.raises(EngineError):
            list(speaker.complete((A, B, C)[n] + "new text", max_tokens=3))
        for text in (B + "!", A + "!", C + "!"):
            assert list(speaker.complete(text, max_tokens=5)) == list(
                wanted.complete(text, max_tokens=5)
            )


def test_a_cancelled_prompt_leaves_all_sound() -> None:
    stop = threading.Event()
    base, expert, anti_expert = (
        FakeModel(model._rows, cancel=stop) for model in fakes(random_trio())
    )
    trio = Trio(base, expert, anti_expert)
    speaker, wanted = speaker_of(trio), speaker_of(random_trio(), 0)
    fill(speaker, A, B)
    stop.set()
    (piece,) = speaker.complete(A + " and more", max_tokens=3)
    assert piece.finish_reason == "cancelled"
    stop.clear()
    for text in (B + "!", A + "!", B + "!"):
        assert list(speaker.complete(text, max_tokens=5)) == list(
            wanted.complete(text, max_tokens=5)
        )


def test_nothing_is_taken_out_or_put_back_once_it_is_cancelled() -> None:
    trio = random_trio()
    speaker = speaker_of(trio)
    fill(speaker, A, B)
    is_set = Flag()
    is_set.set()
    prompt = RoleTokens(*([*A.encode(), 1],) * 3)
    shelf_of(speaker).change(trio, prompt, is_set)
    assert texts(speaker) == [A.encode()]
    assert not any(model.adopted for model in fakes(trio))


def test_a_reply_that_was_left_does_not_go_on_with_other_states() -> None:
    speaker, wanted = speaker_of(random_trio(), draft="auto"), speaker_of(random_trio(), 0)
    fill(speaker, A, B)
    left = speaker.complete(C, max_tokens=50)
    next(left)
    assert list(speaker.complete(A + "!", max_tokens=5)) == list(
        wanted.complete(A + "!", max_tokens=5)
    )
    with pytest.raises(Exception, match="later reply"):
        next(left)


# In a session


@pytest.mark.parametrize("wrong", [-1, True, 1.5, "1", None])
def test_a_budget_is_a_number_of_bytes(wrong: Any) -> None:
    with pytest.raises(UsageError, match="shelf"):
        load("factbook", shelf=wrong)


@pytest.fixture(scope="module", params=["factbook", "factbook-phi"])
def shipped(request: pytest.FixtureRequest) -> Iterator[tuple[Session, Session]]:
    """A trio that ships without a shelf, and with one."""
    recipe = find_recipe(request.param)
    with load(recipe) as without, load(recipe, shelf=AMPLE) as with_it:
        yield without, with_it


COUNTRIES = ("Mongolia", "Peru", "Chad")
OF_COUNTRIES = ("What is the capital of {}?", "And what is its climate like?")


@pytest.mark.weights
@pytest.mark.parametrize("draft", ["off", "auto"])
def test_the_trios_that_ship_say_the_same(shipped: tuple[Session, Session], draft: Draft) -> None:
    without, with_it = shipped
    for session in shipped:
        session.drafter.mode = draft
    talks = [with_it.conversation() for _ in COUNTRIES]
    spared = 0
    for question, (talk, country) in itertools.product(
        OF_COUNTRIES, zip(talks, COUNTRIES, strict=True)
    ):
        turn = talk.say(question.format(country), max_tokens=24)
        said = [piece.token for piece in turn]
        spared += turn.usage.kept
        messages = list(turn.asked.messages)
        plain = [piece.token for piece in without.reply(messages, max_tokens=24)]
        ends = [token for token in (said, plain) if token[-1] is None]
        assert not ends
        assert_same_reply(said, plain, rows_of(without, messages), NEAR_QUANTISED)  # type: ignore[arg-type]
    assert spared > 60
    shelf = with_it.trio_speaker.shelf
    assert shelf is not None
    assert len(shelf) >= len(COUNTRIES) - 1


@pytest.mark.weights
def test_the_states_of_a_closed_session_are_given_back(factbook: Path) -> None:
    with load(factbook, shelf=AMPLE) as session:
        list(session.complete("Mongolia " * 40, max_tokens=1))
        list(session.complete("Peru " * 40, max_tokens=1))
        shelf = session.trio_speaker.shelf
        assert shelf is not None
        assert shelf.size > 0
    assert (len(shelf), shelf.size) == (0, 0)


@pytest.mark.weights
def test_it_is_in_the_process_that_has_the_models(factbook: Path) -> None:
    with load(factbook, shelf=AMPLE, isolate=True) as session:
        talks = [session.conversation() for _ in range(2)]
        for talk in talks:
            list(talk.say("Tell me about the rivers and the lakes of Mongolia.", max_tokens=9))
            list(
                session.reply("Something else, and at some length: what is a fjord?", max_tokens=9)
            )
        turn = talks[0].say("And its climate?", max_tokens=9)
        list(turn)
        assert turn.usage.kept > 15
        assert session.memory.shelf == AMPLE


@pytest.mark.weights
def test_it_counts_as_memory(factbook: Path) -> None:
    with load(factbook) as session:
        plain = session.memory
    with load(factbook, shelf=50_000_000) as session:
        assert session.memory.total == plain.total + 50_000_000
        assert session.memory.another == plain.another
    with pytest.raises(OutOfMemoryError, match=r"other conversations.*\(shelf\)"):
        load(factbook, shelf=1 << 50)


@given(st.lists(st.integers(0, 1), max_size=700), st.lists(st.integers(0, 1), max_size=700))
def test_the_common_beginning_is_found_by_stretches(left: list[int], right: list[int]) -> None:
    naive = sum(
        1 for _ in itertools.takewhile(lambda p: p[0] == p[1], zip(left, right, strict=False))
    )
    assert common_length(left, right) == naive
    assert common_length(left + right, tuple(left)) == len(left)
    assert common_length(bytes(left), bytes(right)) == naive
