"""Which own tokens speak for a base token, and the same kept on disk."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from edgeproxy.align.cache import folder, packed, tables_for
from edgeproxy.align.tables import Arrays, Tables, build
from edgeproxy.core.cancel import Flag
from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.errors import Cancelled
from tests.helpers.tokenizing import LARGE, PIECES, SMALL, unigram_vocab

BASE, OWN = replace(LARGE, fingerprint="large"), replace(SMALL, fingerprint="small")
PAIRS = {"bpe": (LARGE, SMALL), "unigram": (LARGE, PIECES), "back": (PIECES, LARGE)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_CACHE", str(tmp_path / "cache"))


def speakers(base: Vocab, own: Vocab) -> dict[int, set[int]]:
    """For each base token the own tokens whose probability is summed, read out of the arrays."""
    arrays = build(base, own)
    found: dict[int, set[int]] = {
        token: {int(one)} for token, one in enumerate(arrays.one) if one < len(own)
    }
    ends = np.append(arrays.many_starts, len(arrays.many_own))[1:]
    for token, start, end in zip(arrays.many_base, arrays.many_starts, ends, strict=True):
        assert int(token) not in found
        found[int(token)] = set(arrays.many_own[start:end].tolist())
    return found


def wanted_speakers(base: Vocab, own: Vocab) -> dict[int, set[int]]:
    """The same by the definition, token by token."""
    found: dict[int, set[int]] = {}
    by_text = {text: token for token, text in enumerate(base.texts) if text}
    for token, text in enumerate(own.texts):
        if text:
            try:
                first = by_text[text] if text in by_text else base.encode(text.decode())[0]
            except UnicodeDecodeError:
                first = by_text[text[:1]]
            found.setdefault(first, set()).add(token)
    owned = {text for text in own.texts if text}
    for token, text in enumerate(base.texts):
        if text and text not in owned:
            begins = [n for n, other in enumerate(own.texts) if other and text.startswith(other)]
            found.setdefault(token, set()).add(max(begins, key=lambda n: len(own.texts[n])))
            with contextlib.suppress(UnicodeDecodeError):
                found[token].add(own.encode(text.decode())[0])
    return found


@pytest.mark.parametrize(("base", "own"), PAIRS.values(), ids=PAIRS)
def test_who_speaks_for_a_base_token(base: Vocab, own: Vocab) -> None:
    assert speakers(base, own) == wanted_speakers(base, own)


@pytest.mark.parametrize(("base", "own"), PAIRS.values(), ids=PAIRS)
def test_own_tokens_by_their_beginning(base: Vocab, own: Vocab) -> None:
    tables = Tables(base, own, build(base, own))
    for prefix in (b"", b" ", b"t", b" the", b"\xff", b"\xff\xff", b"\xc3", b"zzz"):
        begin = {n for n, text in enumerate(own.texts) if text and text.startswith(prefix)}
        beyond = {n for n in begin if own.texts[n] != prefix}
        assert set(tables.beginning_with(prefix).tolist()) == begin
        assert set(tables.beginning_with(prefix, beyond=True).tolist()) == beyond


def test_the_bases_next_token() -> None:
    tables = Tables(LARGE, SMALL, build(LARGE, SMALL))
    ids = {text: token for token, text in enumerate(LARGE.texts)}
    assert tables.next_base(b" world", 0) == (ids[b" world"], True)
    assert tables.next_base(b" worst", 4) == (ids[b"s"], True)
    # The base would not have cut " world" there: what it might say of the rest instead.
    assert tables.next_base(b" world", 3) == (ids[b"r"], False)
    assert tables.next_base(b"ab", 2)[0] == -1


def same(left: Arrays, right: Arrays) -> bool:
    return all(
        np.array_equal(a, b)
        for a, b in zip(asdict(left).values(), asdict(right).values(), strict=True)
    )


def kept_folder() -> Path:
    kept = folder()
    assert kept is not None
    return kept


def kept_file() -> Path:
    """The one alignment that is kept."""
    (file,) = kept_folder().iterdir()
    return file


def never(*_: object) -> Arrays:
    raise AssertionError("built again")


def test_an_alignment_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = tables_for(BASE, OWN)
    file = kept_file()
    assert file.suffix == ".tables"
    monkeypatch.setattr("edgeproxy.align.cache.build", never)
    again = tables_for(replace(BASE), replace(OWN))
    assert same(first.arrays, again.arrays)
    with pytest.raises(AssertionError, match="built again"):
        tables_for(OWN, BASE)


def test_another_tokenizer_or_other_ends_are_another_alignment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables_for(BASE, OWN)
    monkeypatch.setattr("edgeproxy.align.cache.build", never)
    # The same tokens: another order of merges, say, cuts text otherwise.
    with pytest.raises(AssertionError, match="built again"):
        tables_for(BASE, replace(OWN, fingerprint="small, merged otherwise"))
    with pytest.raises(AssertionError, match="built again"):
        tables_for(replace(BASE, fingerprint="large, merged otherwise"), OWN)
    # A token that ends a reply is no text, whatever its kind.
    with pytest.raises(AssertionError, match="built again"):
        tables_for(BASE, replace(OWN, end_of_generation=OWN.end_of_generation | {7}))
    # One that was none before changes nothing.
    control = OWN.kinds.index(Kind.UNKNOWN)
    tables_for(BASE, replace(OWN, end_of_generation=OWN.end_of_generation | {control}))


def test_what_is_not_known_in_full_is_not_kept() -> None:
    for base, own in ((LARGE, OWN), (BASE, SMALL)):
        tables_for(base, own)
    assert not kept_folder().exists()


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "longer", "foreign", "bytes"])
def test_a_damaged_file_is_built_again(damage: str) -> None:
    first = tables_for(BASE, OWN)
    file = kept_file()
    content = file.read_bytes()
    tables_for(OWN, BASE)
    (foreign,) = set(kept_folder().iterdir()) - {file}
    source = np.random.default_rng(3)
    for _ in range(30 if damage == "bytes" else 1):
        match damage:
            case "empty":
                file.write_bytes(b"")
            case "text":
                file.write_text("not an alignment")
            case "cut":
                file.write_bytes(content[: len(content) // 2])
            case "longer":
                file.write_bytes(content + b"more")
            case "foreign":
                file.write_bytes(foreign.read_bytes())
            case "bytes":
                broken = bytearray(content)
                broken[source.integers(0, len(content))] ^= int(source.integers(1, 256))
                file.write_bytes(broken)
        assert same(tables_for(BASE, OWN).arrays, first.arrays)
        assert file.read_bytes() == content


@pytest.mark.parametrize("name", [field.name for field in fields(Arrays)])
def test_a_file_with_indices_out_of_place_is_built_again(name: str) -> None:
    first = tables_for(BASE, OWN)
    file = kept_file()
    for value in (1 << 20, -1):
        wrong = getattr(first.arrays, name).astype(np.int64)
        wrong[len(wrong) // 2] = value
        file.write_bytes(packed(file.stem, replace(first.arrays, **{name: wrong})))
        assert same(tables_for(BASE, OWN).arrays, first.arrays)


def test_two_processes_may_keep_one_alignment_at_once() -> None:
    wanted = build(BASE, OWN)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: tables_for(BASE, OWN).arrays, range(40)))
    assert all(same(arrays, wanted) for arrays in found)
    file = kept_file()
    assert file.read_bytes() == packed(file.stem, wanted)


def test_how_much_is_done_is_told_once_and_then_nothing_is_to_be_done() -> None:
    told: list[float] = []
    tables_for(BASE, OWN, told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    tables_for(BASE, OWN, told.append)
    assert told[-1] == 1.0
    assert told.count(1.0) == 1


def test_a_cancel_ends_the_work_and_keeps_nothing() -> None:
    cancel = Flag()
    cancel.set()
    with pytest.raises(Cancelled, match="aligning"):
        tables_for(BASE, OWN, cancel=cancel)
    assert not kept_folder().exists()


def test_a_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("EDGEPROXY_CACHE", str(blocked))
    assert same(tables_for(BASE, OWN).arrays, build(BASE, OWN))


def test_a_vocabulary_without_bytes_has_tokens_that_nobody_speaks_for() -> None:
    own = unigram_vocab({"ab": -1.0, "b": -2.0}, with_bytes=False)
    begun = {n for n, text in enumerate(LARGE.texts) if text.startswith((b"ab", b"b"))}
    assert set(speakers(LARGE, own)) == begun
    assert (build(LARGE, own).one == len(own)).sum() > 200
