"""The whole way: a bundle with wheels, carried to where no network is, by the words in it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from edgeproxy.trios.bundle import Bundle
from tests.helpers.network import without_network

pytestmark = [
    pytest.mark.weights,
    pytest.mark.slow,
    pytest.mark.skipif(os.name != "posix", reason="network namespaces are Linux's"),
]

QUESTION = b"What is the capital of Mongolia?\n"
PYTHON = getattr(sys, "_base_executable", sys.executable)


def commands(text: str) -> list[str]:
    """What INSTALL.txt tells a person to type, in its order."""
    return re.findall(r"^ {5}(\S.*)$", text, re.MULTILINE)


def test_from_nothing_to_an_answer(tmp_path: Path, factbook: Path) -> None:
    nowhere = without_network()
    # Under a name that does not ship, so that only the bundle can have brought it.
    models = tmp_path / "models"
    models.mkdir()
    for path in factbook.parent.glob("*.gguf"):
        shutil.copy(path, models)
    text = factbook.read_text("utf-8").replace('name = "factbook"', 'name = "carried"')
    (models / "trio.toml").write_text(text, "utf-8")
    bundle = tmp_path / "carried.bundle"
    started = time.monotonic()
    create = [sys.executable, "-m", "edgeproxy", "bundle", "create"]
    made = subprocess.run(
        [*create, str(models / "trio.toml"), "factbook", "--wheels", "-o", str(bundle)],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    print(f"made in {time.monotonic() - started:.1f} s")

    # There: a person who has Python, the bundle, and what INSTALL.txt says.
    there = tmp_path / "there"
    there.mkdir()
    (there / "home").mkdir()
    clean = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(there / "home"),
        "EDGEPROXY_HOME": str(there / "data"),
        "PIP_CONFIG_FILE": os.devnull,
    }

    def type_in(line: str, stdin: bytes = b"") -> str:
        line = line.replace("BUNDLE", str(bundle)).replace("FOLDER", "unpacked")
        words = shlex.split(line)
        if words[0] == "python3":
            words[0] = PYTHON
        elif "/" in words[0]:
            words[0] = str(there / words[0])
        done = subprocess.run(
            [*nowhere, *words],
            input=stdin,
            capture_output=True,
            cwd=there,
            env=clean,
            timeout=300,
            check=False,
        )
        print(f"{time.monotonic() - started:.1f} s: {line}")
        assert done.returncode == 0, f"{line}: {done.stdout!r} {done.stderr!r}"
        return done.stdout.decode()

    type_in("python3 -m tarfile -e BUNDLE FOLDER")
    (wheel,) = (there / "unpacked" / "wheels").glob("edgeproxy-*.whl")
    assert "edgeproxy/py.typed" in zipfile.ZipFile(wheel).namelist()
    steps = commands((there / "unpacked" / "INSTALL.txt").read_text("ascii"))
    words = ("--version", "-m tarfile", "-m venv", "-m pip", "bundle install", "chat --trio")
    assert [word in step for word, step in zip(words, steps, strict=True)] == [True] * len(words)
    for step in steps[:-1]:
        said = type_in(step)
    assert "carried is installed: edgeproxy chat --trio carried\n" in said
    assert steps[-1].endswith("edgeproxy chat --trio carried")
    assert type_in(steps[-1], QUESTION) == "The capital of Mongolia is Ulaanbaatar.\n"

    # From there it can be carried on, without the network too: nothing is fetched or compiled.
    type_in("FOLDER/env/bin/edgeproxy bundle create carried factbook --wheels -o again.bundle")
    with Bundle(bundle) as first, Bundle(there / "again.bundle") as again:
        names = [[file.name for file in each.manifest.of("wheel")] for each in (first, again)]
        assert names[0] == names[1]
        for kind in ("trio", "model"):
            assert first.manifest.of(kind) == again.manifest.of(kind)
