"""The key of a server: where it is read, and that nothing shows it."""

from __future__ import annotations

import copy
import os
import pickle
import sys
from pathlib import Path

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.remote.key import Key, read_key

SECRET = "sk-0123456789"


def test_a_key_is_shown_by_nothing() -> None:
    key = Key(SECRET)
    for text in (repr(key), str(key), f"{key}", f"{key!r}", f"{[key]}", f"{ {1: key} }"):
        assert SECRET not in text
    assert repr(key) == "Key(...)"
    assert not hasattr(key, "__dict__")


@pytest.mark.parametrize("how", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_is_not_written_anywhere(how: object) -> None:
    with pytest.raises(TypeError, match="not pickled"):
        how(Key(SECRET))  # type: ignore[operator]


def test_it_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", f" {SECRET}\n")
    assert read_key(env="A_KEY").header == f"Bearer {SECRET}"


@pytest.mark.parametrize("name", ["NO_SUCH_KEY", "", "A=B", "A\0B"])
def test_a_variable_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_key(env=name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("value", ["two words", "sk-é", "a\nb: c", "a\x7fb", "k" * 9000])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(
    value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("A_KEY", value)
    (tmp_path / "key").write_text(value, "utf-8")
    for how in ({"env": "A_KEY"}, {"key_file": tmp_path / "key"}):
        with pytest.raises(UsageError) as caught:
            read_key(**how)
        assert value not in str(caught.value)
        assert next(iter(how.values())).__str__() in str(caught.value)


def test_it_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xef\xbb\xbf" + SECRET.encode() + b"\r\n")
    assert read_key(key_file=path).header == f"Bearer {SECRET}"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such bits")
@pytest.mark.parametrize(("mode", "warns"), [(0o600, False), (0o400, False), (0o644, True)])
def test_a_file_that_others_may_read_is_warned_of(mode: int, warns: bool, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(SECRET)
    path.chmod(mode)
    warning = read_key(key_file=path).warning
    assert bool(warning) == warns
    assert SECRET not in warning


@pytest.mark.parametrize("data", [b"", b"\n", b"\xff\xfe", b"\0" * 10, b"x" * 10_000])
def test_a_file_without_a_key_is_named(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="key"):
        read_key(key_file=path)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    places = [tmp_path, tmp_path / "missing", Path("a\0b")]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "fifo")
        places.append(tmp_path / "fifo")
    for path in places:
        with pytest.raises(UsageError, match="cannot be read"):
            read_key(key_file=path)


def test_just_one_place_is_named(tmp_path: Path) -> None:
    for how in ({}, {"env": "A", "key_file": tmp_path}):
        with pytest.raises(UsageError, match="either"):
            read_key(**how)  # type: ignore[arg-type]
