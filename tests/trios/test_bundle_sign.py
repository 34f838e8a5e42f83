"""Signatures of bundles: the right key agrees, and everything else is refused."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest

from edgeproxy.cli import main
from edgeproxy.errors import BundleError, UsageError
from edgeproxy.trios.bundle import Bundle, PublicKey, SecretKey, create, make_keys
from edgeproxy.trios.find import Recipe, read_recipe
from edgeproxy.trios.store import Store
from tests.helpers.bundles import Altered, write_trio

# minisign's own example: its documentation gives this key and signature of the text "test\n".
KEY = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"


def unused() -> str:
    raise AssertionError("no password is needed")


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path / "home"))


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return read_recipe(write_trio(tmp_path / "trio"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A secret key; its public one is beside it."""
    make_keys(tmp_path / "mine.key")
    return tmp_path / "mine.key"


@pytest.fixture
def signed(tmp_path: Path, recipe: Recipe, key: Path) -> Path:
    create([recipe], tmp_path / "signed.bundle", key=SecretKey(key, unused))
    return tmp_path / "signed.bundle"


def refused(bundle: Path, key: str, said: str) -> None:
    """Check that neither verb takes it, in one line, and that nothing is installed."""
    for verb in ("verify", "install"):
        assert main(["bundle", verb, str(bundle), "--key", key]) == 1
        assert Store().names() == []
    with pytest.raises(BundleError, match=said):
        Bundle(bundle, PublicKey(key))


def test_the_right_key_agrees(signed: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    public = Path(f"{key}.pub")
    bare = public.read_text().splitlines()[1]
    for given in (str(public), bare):
        assert main(["bundle", "verify", str(signed), "--key", given, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["signed"], found["signed_by_key"]) == (True, True)
    assert main(["bundle", "verify", str(signed), "--key", bare]) == 0
    assert "by the owner of the key" in capsys.readouterr().out
    assert main(["bundle", "verify", str(signed)]) == 0
    assert "there is one; --key would check it" in capsys.readouterr().out
    assert main(["bundle", "install", str(signed), "--key", bare]) == 0
    assert Store().names() == ["mini"]


def test_it_is_the_same_each_time(signed: Path, recipe: Recipe, key: Path, tmp_path: Path) -> None:
    create([recipe], tmp_path / "again", key=SecretKey(key, unused))
    assert (tmp_path / "again").read_bytes() == signed.read_bytes()


def test_without_a_signature(recipe: Recipe, key: Path, signed: Path, tmp_path: Path) -> None:
    altered = Altered.of(signed.read_bytes())
    altered.signature = None
    (tmp_path / "stripped").write_bytes(altered.to_bytes())
    create([recipe], tmp_path / "plain")
    for name in ("stripped", "plain"):
        refused(tmp_path / name, f"{key}.pub", "it is not signed, and a key was given")


def test_another_key(signed: Path, tmp_path: Path) -> None:
    make_keys(tmp_path / "other.key")
    refused(signed, str(tmp_path / "other.key.pub"), "signed with another key")
    refused(signed, KEY, "signed with another key")


def test_a_key_that_only_claims_to_be_the_one(signed: Path, key: Path, tmp_path: Path) -> None:
    import base64

    make_keys(tmp_path / "other.key")
    mine, other = (
        base64.b64decode(Path(f"{each}.pub").read_text().splitlines()[1])
        for each in (key, tmp_path / "other.key")
    )
    forged = base64.b64encode(mine[:10] + other[10:]).decode()
    refused(signed, forged, "its signature is wrong")


def test_what_was_signed_is_altered(signed: Path, key: Path) -> None:
    altered = Altered.of(signed.read_bytes())
    altered.put("trios/mini/LICENSE", b"Nobody may use this.\n")
    signed.write_bytes(altered.to_bytes())
    assert main(["bundle", "verify", str(signed)]) == 0  # sound, and by nobody knows whom
    refused(signed, f"{key}.pub", "its signature is wrong, so it was altered")


def test_another_bundles_signature(signed: Path, key: Path, recipe: Recipe, tmp_path: Path) -> None:
    other = read_recipe(write_trio(tmp_path / "other", "other"))
    create([other], tmp_path / "other.bundle", key=SecretKey(key, unused))
    altered = Altered.of(signed.read_bytes())
    altered.signature = Altered.of((tmp_path / "other.bundle").read_bytes()).signature
    signed.write_bytes(altered.to_bytes())
    refused(signed, f"{key}.pub", "its signature is wrong")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (rb"trusted comment: the", b"trusted comment: The"),
        (rb"^untrusted", b"Untrusted"),
        (rb"\n$", b"\nmore\n"),
        (rb"(?s).*", b""),
        (rb"(?s).*", b"\xff" * 100),
        (rb"RU[^\n]*", b"RU!"),
        (rb"(?s)\ntrusted.*", b""),
    ],
)
def test_a_damaged_signature(signed: Path, key: Path, old: bytes, new: bytes) -> None:
    altered = Altered.of(signed.read_bytes())
    assert altered.signature is not None
    altered.signature = re.sub(old, new, altered.signature, count=1)
    signed.write_bytes(altered.to_bytes())
    refused(signed, f"{key}.pub", "do not use it|not just that file")


def test_a_password(tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("hunter2\n"))
    key = tmp_path / "locked.key"
    assert main(["bundle", "keygen", str(key), "--password"]) == 0
    assert b"hunter2" not in key.read_bytes()
    for given, code in (("wrong\n", 2), ("", 2), ("hunter2\n", 0)):
        monkeypatch.setattr(sys, "stdin", io.StringIO(given))
        target = tmp_path / "locked.bundle"
        trio = str(recipe.base.path.parent)
        assert main(["bundle", "create", trio, "-o", str(target), "--sign", str(key)]) == code
        assert target.exists() == (code == 0)
    Bundle(target, PublicKey(f"{key}.pub")).close()


def test_new_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = tmp_path / "new.key"
    assert main(["bundle", "keygen", str(key)]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == Path(f"{key}.pub").read_text().splitlines()[1]
    assert "keep it to yourself" in err
    if os.name == "posix":
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    before = key.read_bytes()
    for taken in (key, Path(f"{key}.pub")):
        assert main(["bundle", "keygen", str(taken)]) == 2
    assert key.read_bytes() == before
    key.unlink()
    assert main(["bundle", "keygen", str(key)]) == 2
    assert not key.exists()
    assert main(["bundle", "keygen", str(tmp_path / "json.key"), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"secret", "public", "key"}


def test_files_that_are_no_keys(tmp_path: Path, key: Path, signed: Path) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").touch()
    for name in ("text", "empty", "none", ".", "mine.key"):
        with pytest.raises(UsageError):
            PublicKey(str(tmp_path / name))
    for name in ("text", "empty", "none", ".", "mine.key.pub"):
        with pytest.raises(UsageError):
            SecretKey(tmp_path / name, unused)


def test_keys_and_signatures_are_those_of_minisign() -> None:
    signature = (
        b"untrusted comment: signature from minisign secret key\n"
        b"RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351v"
        b"wIasSSbXxwA=\n"
        b"trusted comment: timestamp:1555779966\tfile:test\n"
        b"QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==\n"
    )
    PublicKey(KEY).check(b"test", signature)
    with pytest.raises(BundleError):
        PublicKey(KEY).check(b"Test", signature)


def test_without_the_package_a_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, signed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "minisign", None)
    assert main(["bundle", "verify", str(signed), "--key", KEY]) == 2
    assert "pip install 'edgeproxy[sign]'" in capsys.readouterr().err
    assert main(["bundle", "verify", str(signed)]) == 0
