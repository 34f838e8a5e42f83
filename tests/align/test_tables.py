"""Which own tokens speak for a base token, and the same kept on disk."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from edgeproxy.align.cache import folder, tables_for
from edgeproxy.align.tables import Arrays, Tables, build
from edgeproxy.core.vocab import Vocab
from tests.helpers.tokenizing import LARGE, PIECES, SMALL, unigram_vocab

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


def kept_file() -> Path:
    """The one alignment that is kept."""
    kept = folder()
    assert kept is not None
    (file,) = kept.iterdir()
    return file


def test_an_alignment_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = tables_for(LARGE, SMALL)
    file = kept_file()
    assert file.suffix == ".npz"

    def never(base: Vocab, own: Vocab) -> Arrays:
        raise AssertionError("built again")

    monkeypatch.setattr("edgeproxy.align.cache.build", never)
    again = tables_for(replace(LARGE), replace(SMALL))
    assert same(first.arrays, again.arrays)
    with pytest.raises(AssertionError, match="built again"):
        tables_for(SMALL, LARGE)
    # Another byte anywhere is another alignment.
    other = replace(SMALL, tokens=(b"#", *SMALL.tokens[1:]))
    with pytest.raises(AssertionError, match="built again"):
        tables_for(LARGE, other)


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "bytes"])
def test_a_damaged_file_is_built_again(damage: str) -> None:
    first = tables_for(LARGE, SMALL)
    file = kept_file()
    content = file.read_bytes()
    source = np.random.default_rng(3)
    for _ in range(30 if damage == "bytes" else 1):
        match damage:
            case "empty":
                file.write_bytes(b"")
            case "text":
                file.write_text("not an archive")
            case "cut":
                file.write_bytes(content[: len(content) // 2])
            case "bytes":
                broken = bytearray(content)
                for at in source.integers(0, len(content), 40):
                    broken[at] ^= int(source.integers(1, 256))
                file.write_bytes(broken)
        found = tables_for(LARGE, SMALL).arrays
        assert same(found, first.arrays)


@pytest.mark.parametrize("name", [field.name for field in fields(Arrays)])
def test_a_file_with_indices_out_of_place_is_built_again(name: str) -> None:
    first = tables_for(LARGE, SMALL)
    file = kept_file()
    content = asdict(first.arrays)
    for value in (1 << 20, -1):
        wrong = content[name].astype(np.int64)
        wrong[len(wrong) // 2] = value
        np.savez(file, **{**content, name: wrong})
        assert same(tables_for(LARGE, SMALL).arrays, first.arrays)


def test_a_folder_that_cannot_be_written_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    monkeypatch.setenv("EDGEPROXY_CACHE", str(blocked))
    assert same(tables_for(LARGE, SMALL).arrays, build(LARGE, SMALL))


def test_a_vocabulary_without_bytes_has_tokens_that_nobody_speaks_for() -> None:
    own = unigram_vocab({"ab": -1.0, "b": -2.0}, with_bytes=False)
    begun = {n for n, text in enumerate(LARGE.texts) if text.startswith((b"ab", b"b"))}
    assert set(speakers(LARGE, own)) == begun
    assert (build(LARGE, own).one == len(own)).sum() > 200
