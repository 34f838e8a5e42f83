"""Prompt caches: what is kept is what was read, and no file of any kind does harm."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import stat
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeproxy.align import align, match
from edgeproxy.core.model import Logits
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import ContextFullError, EngineError, UsageError
from edgeproxy.prompts.formats import FORMATS, Message, Segment, plain
from edgeproxy.session.load import load
from edgeproxy.session.prompt_cache import statefile
from edgeproxy.session.prompt_cache.prefix import Cached, cache_prompt, opening
from edgeproxy.session.prompt_cache.statefile import MAGIC, check_path
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import TrioSpeaker
from edgeproxy.trios.find import Recipe, find_recipe
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
from tests.helpers.near import NEAR_QUANTISED, assert_same_reply, rows_of
from tests.helpers.tokenizing import LARGE, PIECES

SYSTEM = "You are a terse assistant, and very careful. " * 20
OTHER = SYSTEM[:400] + "Now you are another one."
QUESTION = "What is a fjord?"

posix = pytest.mark.skipif(os.name != "posix", reason="modes and special files of POSIX systems")


def speaker_of(trio: Trio) -> TrioSpeaker:
    formats = (plain, FORMATS["chatml"], plain)
    vocab = fake_vocab()
    return TrioSpeaker(trio, formats, (vocab,) * 3, vocab.end_of_generation)


def beginning(system: str = SYSTEM) -> RoleTokens:
    return opening(speaker_of(random_trio()).encode, [Message("system", system)])


def fill(path: Path, trio: Trio | None = None, system: str = SYSTEM) -> Cached:
    return cache_prompt(path, trio or random_trio(), beginning(system))


def fakes(trio: Trio) -> Sequence[FakeModel]:
    return trio.models  # type: ignore[return-value]


def evaluated(trio: Trio) -> list[int]:
    return [model.n_evaluated for model in fakes(trio)]


def reply(trio: Trio, system: str = SYSTEM) -> list[Any]:
    messages = [Message("system", system), Message("user", QUESTION)]
    return list(speaker_of(trio).reply(messages, max_tokens=4))


def beside(path: Path) -> list[str]:
    """What the folder holds."""
    return sorted(entry.name for entry in path.parent.iterdir())


def check(path: Path, trio: Trio, done: Cached, spared: int = 0) -> None:
    """Whatever the file was, the trio holds the message, says the same, and the file is good."""
    total = len(beginning().base)
    assert (done.tokens, done.spared) == (total, spared)
    assert [model.history for model in fakes(trio)] == list(beginning())
    assert reply(trio) == reply(random_trio())
    assert beside(path) == [path.name]
    assert fill(path) == Cached(total, total)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "system.prefix"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound file."""
    path = tmp_path_factory.mktemp("made") / "system.prefix"
    assert fill(path).doubt is None
    return path.read_bytes()


# What is kept


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


# Made and used


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


# Pairs of other vocabularies


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


# Files that do not fit


def flips(data: bytes) -> list[int]:
    """Places in each part of a file: its numbers, header, checksum, and three states."""
    length = struct.unpack_from("<I", data, 12)[0]
    end = 16 + length
    source = random.Random(1)
    drawn = [source.randrange(16, end) for _ in range(25)]
    drawn += [source.randrange(end + 32, len(data)) for _ in range(20)]
    sums = [data.index(part["sha256"].encode()) for part in json.loads(data[16:end])]
    return [8, 11, 12, 13, 15, 16, end - 1, end, end + 31, end + 32, len(data) - 1, *sums, *drawn]


def test_every_flipped_byte_is_found(path: Path, made: bytes) -> None:
    for place in flips(made):
        damaged = bytearray(made)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        trio = random_trio()
        done = fill(path, trio)
        assert done.doubt is not None
        assert done.doubt.startswith(f"{path}: ")
        assert "damaged" in done.doubt
        assert [model.history for model in fakes(trio)] == list(beginning())
        assert path.read_bytes() == made


def test_every_truncated_file_is_found(path: Path, made: bytes) -> None:
    # An empty file is nobody's, and no news.
    lengths = [*range(1, 20), *range(20, len(made), 997), len(made) - 1]
    for data in (*(made[:length] for length in lengths), made + b"\0"):
        path.write_bytes(data)
        trio = random_trio()
        assert fill(path, trio).doubt == f"{path}: it is damaged; it was made anew"
        assert [model.history for model in fakes(trio)] == list(beginning())
        assert path.read_bytes() == made


def test_an_empty_file_is_filled(path: Path) -> None:
    path.touch()
    trio = random_trio()
    done = fill(path, trio)
    assert done.doubt is None
    check(path, trio, done)


def sealed(header: bytes, states: bytes = b"") -> bytes:
    """A file with this header whose checksum is right."""
    head = struct.pack("<8sII", MAGIC, 1, len(header)) + header
    return head + hashlib.sha256(head).digest() + states


def a_part(**other: Any) -> dict[str, Any]:
    state = b"[1, 2]"
    found = hashlib.sha256(state).hexdigest()
    return {"origin": {}, "tokens": [1, 2], "size": len(state), "sha256": found, **other}


@pytest.mark.parametrize(
    "content",
    [
        None,
        3,
        "text",
        {},
        [],
        [1, 2, 3],
        [a_part()] * 2,
        [a_part()] * 4,
        [{**a_part(), "more": 1}] * 3,
        [{"origin": {}}] * 3,
        [a_part(origin=[])] * 3,
        [a_part(tokens=[])] * 3,
        [a_part(tokens={})] * 3,
        [a_part(tokens=[-1, 2])] * 3,
        [a_part(tokens=[True, 2])] * 3,
        [a_part(tokens=[1.0, 2])] * 3,
        [a_part(size=0)] * 3,
        [a_part(size=-6)] * 3,
        [a_part(size=6.0)] * 3,
        [a_part(size="6")] * 3,
        [a_part(size=1 << 62)] * 3,
        [a_part(size=7), a_part(), a_part()],
    ],
    ids=repr,
)
def test_a_header_of_nonsense_with_a_right_checksum(path: Path, content: Any) -> None:
    path.write_bytes(sealed(json.dumps(content).encode(), b"[1, 2]" * 3))
    trio = random_trio()
    done = fill(path, trio)
    assert done.doubt == f"{path}: it is damaged; it was made anew"
    check(path, trio, done)


@pytest.mark.parametrize("header", [b"", b"{", b"\xff", b"[" * 200_000], ids=lambda h: repr(h[:4]))
def test_a_header_that_is_not_json_with_a_right_checksum(path: Path, header: bytes) -> None:
    path.write_bytes(sealed(header))
    trio = random_trio()
    done = fill(path, trio)
    assert done.doubt == f"{path}: it is damaged; it was made anew"
    check(path, trio, done)


@posix
def test_lengths_beyond_all_reason_allocate_nothing(path: Path) -> None:
    size = 1 << 40
    part = a_part(size=size, origin=random_model(1).origin())
    path.write_bytes(sealed(json.dumps([part] * 3).encode()))
    os.truncate(path, path.stat().st_size + 3 * size)  # takes no room: it is a hole
    trio = random_trio()
    done = fill(path, trio)
    assert done.doubt == f"{path}: it is damaged; it was made anew"
    check(path, trio, done)
    path.write_bytes(struct.pack("<8sII", MAGIC, 1, 0xFFFFFFFF))
    os.truncate(path, 1 << 40)
    check(path, trio := random_trio(), fill(path, trio))


def test_the_first_state_is_taken_back_when_the_second_is_damaged(path: Path, made: bytes) -> None:
    length = struct.unpack_from("<I", made, 12)[0]
    first = json.loads(made[16 : 16 + length])[0]["size"]
    damaged = bytearray(made)
    damaged[16 + length + 32 + first] ^= 1
    path.write_bytes(damaged)
    trio = random_trio()
    fill(path, trio)
    assert [model.adopted > 0 for model in fakes(trio)] == [True, False, False]
    assert evaluated(trio) == [len(part) for part in beginning()]


@pytest.mark.parametrize("role", range(3))
def test_another_model_for_one_role(path: Path, role: int) -> None:
    fill(path)
    trio = random_trio()
    fakes(trio)[role].name = "another"
    done = fill(path, trio)
    whose = ("base", "expert", "anti-expert")[role]
    said = f"it was made with another model for the {whose}; it was made anew"
    assert done.doubt == f"{path}: {said}"
    assert done.spared == 0
    assert evaluated(trio) == [len(part) for part in beginning()]
    assert fill(path, trio).doubt is None


def test_another_context_length(path: Path) -> None:
    fill(path, random_trio(n_ctx=2048))
    done = fill(path)
    assert done.doubt is not None
    assert "another context length for the base" in done.doubt


def test_a_state_that_a_model_does_not_take(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path)

    def refuse(*_: object) -> None:
        raise EngineError("llama.cpp does not take it")

    trio = random_trio()
    with monkeypatch.context() as patch:
        patch.setattr(fakes(trio)[2], "adopt", refuse)
        done = fill(path, trio)
    assert done.doubt is not None
    assert "could not be put back (llama.cpp does not take it)" in done.doubt
    check(path, trio, done)


# Files that are not ours


@pytest.mark.parametrize(
    "content",
    [b"My letters.\n", b"GGUF" + bytes(100), b"\0", b"EDGEPFX", MAGIC[:-1] + b"\r\n"],
    ids=repr,
)
def test_somebody_elses_file_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content + b" and more")
    before = path.stat()
    trio = random_trio()
    for attempt in (lambda: check_path(path), lambda: fill(path, trio)):
        with pytest.raises(UsageError, match="not a prompt cache, so it is left as it is"):
            attempt()
    assert path.read_bytes() == content + b" and more"
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert evaluated(trio) == [0, 0, 0]


def test_a_flipped_byte_of_the_magic_makes_it_somebody_elses(path: Path, made: bytes) -> None:
    for place in range(len(MAGIC)):
        damaged = bytearray(made)
        damaged[place] ^= 0x20
        path.write_bytes(damaged)
        with pytest.raises(UsageError, match="not a prompt cache"):
            fill(path)
        assert path.read_bytes() == damaged


def test_a_file_that_appears_meanwhile_is_left_as_it_is(path: Path) -> None:
    def put(what: str, _share: float) -> None:
        if what.startswith("writing"):
            path.write_text("My letters.\n")

    with pytest.raises(UsageError, match="not a prompt cache"):
        cache_prompt(path, random_trio(), beginning(), put)
    assert path.read_text() == "My letters.\n"
    assert beside(path) == [path.name]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none/system.prefix", "there is no such folder"),
        (".", "it is a directory"),
        ("nul\0", "cannot be a prompt cache"),
        ("a" * 300, "cannot be a prompt cache"),
        ("letter/system.prefix", "cannot be a prompt cache|no such folder"),
    ],
    ids=["no folder", "a directory", "NUL", "too long", "below a file"],
)
def test_impossible_paths(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "letter").touch()
    for attempt in (check_path, fill):
        with pytest.raises(UsageError, match=said) as caught:
            attempt(tmp_path / name)
        assert str(caught.value).count(str(tmp_path)) == 1


@posix
def test_links_and_pipes_are_refused(path: Path, made: bytes) -> None:
    target = path.with_name("target")
    target.write_bytes(made)
    path.symlink_to(target)
    os.mkfifo(path.with_name("fifo"))
    specials = {path: "symbolic link", path.with_name("fifo"): "regular file"}
    for special, said in {**specials, Path(os.devnull): "regular file"}.items():
        for attempt in (check_path, fill):
            with pytest.raises(UsageError, match=said) as caught:
                attempt(special)
            assert str(caught.value).count(str(special)) == 1
    assert target.read_bytes() == made
    path.with_name("dangling").symlink_to("nowhere")
    with pytest.raises(UsageError, match="symbolic link"):
        check_path(path.with_name("dangling"))


# Writing


@posix
def test_only_its_owner_may_read_it(path: Path) -> None:
    path.touch(0o644)
    fill(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_may_not_be_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path.parent))

    trio = random_trio()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "touch", refuse)
        done = fill(path, trio)
    said = "it could not be written (Permission denied); the next start reads the message again"
    assert done.doubt == f"{path}: {said}"
    assert reply(trio) == reply(random_trio())
    assert not path.exists()


@posix
def test_a_disk_that_is_full(path: Path, made: bytes) -> None:
    import resource

    sound, shown = bytearray(made), resource.getrlimit(resource.RLIMIT_FSIZE)
    sound[-1] ^= 1
    path.write_bytes(sound)
    trio = random_trio()
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(made) - 100, shown[1]))
    try:
        done = fill(path, trio)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, shown)
    assert done.doubt is not None
    assert "it is damaged, and it could not be written (File too large)" in done.doubt
    assert path.read_bytes() == sound
    assert beside(path) == [path.name]
    assert reply(trio) == reply(random_trio())


def test_several_writers_at_once(path: Path) -> None:
    failed: list[BaseException] = []

    def write(system: str) -> None:
        try:
            for _ in range(5):
                trio = random_trio()
                fill(path, trio, system)
                assert [model.history for model in fakes(trio)] == list(beginning(system))
        except BaseException as error:  # noqa: BLE001 - told by the test
            failed.append(error)

    threads = [threading.Thread(target=write, args=(s,)) for s in (SYSTEM, OTHER) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert beside(path) == [path.name]
    both = [fill(path, system=system) for system in (SYSTEM, OTHER)]
    assert any(done.doubt and "another system message" in done.doubt for done in both)


# The trio that ships


LONG = "You are a careful assistant who knows The World Factbook and is terse. " * 8


MESSAGES = [Message("system", LONG), Message("user", "What is the capital of Mongolia?")]


def tokens_of(session: Session) -> list[int]:
    pieces = session.chat(MESSAGES, max_tokens=24)
    return [piece.token for piece in pieces if piece.token is not None]


def check_same(session: Session, wanted: list[int]) -> None:
    assert_same_reply(tokens_of(session), wanted, rows_of(session, MESSAGES), NEAR_QUANTISED)


def engines(session: Session) -> list[Any]:
    """The contexts behind the three."""
    models: list[Any] = list(session.trio.models)
    return [m._reader._model if hasattr(m, "_reader") else m for m in models]


def on_disk(name: str) -> Callable[[], Session]:
    recipe: Recipe = find_recipe(name)
    return lambda: load(recipe, n_threads=1, draft="off")


@pytest.mark.weights
@pytest.mark.parametrize("name", ["factbook", "factbook-phi"])
def test_the_shipped_trios_say_the_same_and_read_less(path: Path, name: str) -> None:
    make = on_disk(name)
    with make() as session:
        plain = tokens_of(session)
        whole = [model.evaluated for model in engines(session)]
    with make() as session:
        total = session.cache_prompt(LONG, path).tokens
        check_same(session, plain)
    with make() as session:
        assert session.cache_prompt(LONG, path) == Cached(total, total)
        assert [model.evaluated for model in engines(session)] == [0, 0, 0]
        assert [model.n_past > 100 for model in engines(session)] == [True] * 3
        said = tokens_of(session)
        again = [model.evaluated for model in engines(session)]
        assert_same_reply(said, plain, rows_of(session, MESSAGES), NEAR_QUANTISED)
    assert [w - a > 100 for w, a in zip(whole, again, strict=True)] == [True] * 3


@pytest.mark.weights
def test_damage_to_real_states_never_reaches_the_engine(path: Path) -> None:
    make = on_disk("factbook")
    with make() as session:
        session.cache_prompt(LONG, path)
        wanted = tokens_of(session)
        sound = path.read_bytes()
        for place in random.Random(2).sample(range(16, len(sound)), 6):
            damaged = bytearray(sound)
            damaged[place] ^= 1 << place % 8
            path.write_bytes(damaged)
            session.trio.resume(RoleTokens([], [], []))
            done = session.cache_prompt(LONG, path)
            assert done.doubt == f"{path}: it is damaged; it was made anew"
            assert session.cache_prompt(LONG, path) == Cached(done.tokens, done.tokens)
        check_same(session, wanted)


@pytest.mark.weights
def test_a_cache_of_other_files_or_another_context_is_not_used(
    path: Path, factbook_recipe: Recipe
) -> None:
    with on_disk("factbook")() as session:
        session.cache_prompt(LONG, path)
    with load(factbook_recipe, n_ctx=700) as session:
        done = session.cache_prompt(LONG, path)
        assert done.doubt is not None
        assert "another context length for the base" in done.doubt
    with on_disk("factbook-phi")() as session:
        done = session.cache_prompt(LONG, path)
        assert done.doubt is not None
        assert "another " in done.doubt
        assert done.spared == 0
