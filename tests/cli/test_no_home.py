"""A user of whom the system knows nothing, without a home folder: what containers are run as."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from edgeproxy.files import own_folder

CHILD = """
import contextlib, io, json, os, pwd, sys

def getpwuid(uid):
    raise KeyError(uid)

if sys.argv[2] == "real" and os.geteuid() == 0:
    os.setreuid(54_321_987, 0)
else:
    pwd.getpwuid = getpwuid

from edgeproxy.cli import main

found = []
for arguments in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    found.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(found))
"""
NAMES = ("HOME", "EDGEPROXY_HOME", "EDGEPROXY_CACHE", "XDG_DATA_HOME", "XDG_CACHE_HOME")

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="users have no numbers here"),
    pytest.mark.slow,
]


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def run(*commands: Sequence[str], real: bool = True, **variables: str) -> list[Ended]:
    """Each of these commands, run by a user without a home.

    A `real` one has a number that no user has, which takes root, but may not read root's files:
    click asks for the real user. For the others the system's list of users is empty.
    """
    own = {name: value for name, value in os.environ.items() if name not in NAMES}
    child = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(commands), "real" if real else ""],
        env=own | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return [Ended(*each) for each in json.loads(child.stdout)]


def test_what_only_reads_works(tmp_path: Path) -> None:
    ls, show, verify, doctor = run(["ls"], ["show"], ["verify", "factbook"], ["doctor", "--json"])
    for ended in (ls, show, verify):
        assert (ended.code, ended.err) == (0, "")
    assert "factbook" in ls.out
    assert "sound" in verify.out
    found = json.loads(doctor.out)
    assert found["disk"] == {"folder": None, "free": None}
    assert "EDGEPROXY_HOME" in " ".join(advice["do"] for advice in found["advice"])
    assert doctor.err == ""


def test_what_would_write_says_which_folder_to_name(tmp_path: Path) -> None:
    bundle = str(tmp_path / "factbook.bundle")
    remove, leftovers, pull, create, install = run(
        ["rm", "mine", "--yes"],
        ["rm", "--leftovers", "--yes"],
        ["pull", "qwen2.5-7b"],
        ["bundle", "create", "factbook", "-o", bundle],
        ["bundle", "install", bundle],
        real=False,
    )
    assert (create.code, remove.code) == (0, 2)
    assert "no trio called 'mine' is installed (there are: none)" in remove.err
    for ended in (leftovers, pull, install):
        assert (ended.code, ended.out) == (1, ""), ended.err
        assert ended.err == (
            "edgeproxy: there is no folder to install trios in: this user has no home folder; "
            "name a folder as EDGEPROXY_HOME\n"
        )


def test_a_folder_that_is_named_is_used(tmp_path: Path) -> None:
    bundle, store = str(tmp_path / "factbook.bundle"), tmp_path / "store"
    create, install, ls = run(
        ["bundle", "create", "factbook", "-o", bundle],
        ["bundle", "install", bundle],
        ["ls"],
        real=False,
        EDGEPROXY_HOME=str(store),
    )
    assert [each.code for each in (create, install, ls)] == [0, 0, 0], install.err
    assert "installed" in ls.out
    assert (store / "trios" / "factbook" / "trio.toml").is_file()


@pytest.mark.weights
def test_a_pair_with_its_own_vocabulary_runs_and_its_alignment_is_not_kept(tmp_path: Path) -> None:
    question = [
        "run",
        "--trio",
        "factbook-phi",
        "What is the capital of Peru?",
        "--max-tokens",
        "4",
    ]
    before, kept = run(question), run(question, EDGEPROXY_CACHE=str(tmp_path))
    assert before[0].code == 0, before[0].err
    assert before[0].out == kept[0].out
    assert len(list((tmp_path / "alignments").iterdir())) == 1


def test_a_home_that_is_not_known_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANY_FOLDER", raising=False)

    def raising(*_: object, **__: object) -> Path:
        raise RuntimeError("could not determine the home directory")

    assert own_folder("ANY_FOLDER", raising) is None
    assert own_folder("ANY_FOLDER", lambda *_, **__: Path("~/.cache/edgeproxy")) is None
    monkeypatch.setenv("ANY_FOLDER", "here")
    assert own_folder("ANY_FOLDER", raising) == Path("here")
