"""Pulls that are killed, that meet one another, and that fill the disk."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.forked import FILE_LIMIT, Forks, forks_running
from tests.helpers.gguf_files import draft, size_of
from tests.helpers.hub_server import Hub, Twist, hub_running
from tests.helpers.pulling import Home, check_installed, check_whole, models, serve, sha256

pytestmark = pytest.mark.slow

DATA = models()


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forks_running(tmp_path_factory.mktemp("forks")) as running:
        yield running


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_running() as running:
        serve(running, DATA)
        yield running


@pytest.fixture
def home(tmp_path: Path, hub: Hub, forks: Forks) -> Home:
    return Home(tmp_path, hub, forks)


def large_model() -> bytes:
    """A sound model of 306 MB of which no two stretches are alike."""
    made = draft("llama", width=2048)
    size = sum(size_of(shape, kind) for shape, kind in made.tensors.values())
    return made.header() + np.arange(size // 8, dtype=np.uint64).tobytes()


def test_a_large_file_killed_twenty_times(home: Home) -> None:
    """It ends in the right file, and no more than a tenth of it was sent twice."""
    data = {**DATA, "base": large_model()}
    serve(home.hub, data)
    size = len(data["base"])
    assert size > 300_000_000
    recipe = home.recipe(data)
    home.hub.rate = 150e6
    random.seed(5)
    at = sorted(random.randrange(len(DATA["expert"]), size) for _ in range(20))
    killed: list[int] = []

    def watch(sent: int) -> None:
        if at and sent >= at[0]:
            killed.append(at.pop(0))
            running.kill()

    home.hub.watch = watch
    while True:
        running = home.start("pull", recipe)
        done = running.wait()
        check_whole(home.store)
        if done.code != -signal.SIGKILL:
            break
        assert home.store.names() == []
    assert done.code == 0, done.err
    assert len(killed) == 20
    assert home.hub.sent <= 1.1 * sum(map(len, data.values()))
    check_installed(home.store, "little", data)


def test_a_hundred_kills_at_any_point(home: Home) -> None:
    """The store always opens; what was installed before is there, and nothing is half there."""
    others = {"base": draft("llama").bytes(8), "expert": draft("llama").bytes(9)}
    first = {**DATA, **others}  # the anti-expert belongs to both
    serve(home.hub, first)
    assert home.run("pull", home.recipe(first, "first")).code == 0
    serve(home.hub, DATA)
    recipe = home.recipe(DATA, "second")
    home.hub.rate = 4e6
    started = time.perf_counter()
    assert home.run("pull", recipe).code == 0
    whole = time.perf_counter() - started
    random.seed(7)
    kills = ends = 0
    while kills < 100:
        if "second" in home.store.names():
            home.store.remove("second")
            ends += 1
        running = home.start("pull", recipe)
        time.sleep(random.uniform(0, whole))
        running.kill()
        kills += running.wait().code == -signal.SIGKILL
        assert set(home.store.names()) <= {"first", "second"}
        check_whole(home.store)
        check_installed(home.store, "first", first)
        if kills % 10 == 9:
            home.store.clean()
    assert home.run("pull", recipe).code == 0
    check_installed(home.store, "second", DATA)


def test_two_pulls_of_the_same_files(home: Home) -> None:
    home.hub.rate = 1e6
    both = [home.start("pull", home.recipe(DATA), "--json") for _ in range(2)]
    done = [running.wait() for running in both]
    assert [d.code for d in done] == [0, 0], done
    check_installed(home.store, "little", DATA)
    assert home.hub.sent == sum(map(len, DATA.values()))
    origins = [json.loads(d.out)["models"]["base"]["from"] for d in done]
    assert sorted(origins) == ["hub", "store"]


def test_one_of_two_pulls_is_killed_and_the_other_takes_over(home: Home) -> None:
    home.hub.rate = 0.5e6
    one = home.start("pull", home.recipe(DATA))
    while home.hub.sent < 70_000:
        time.sleep(0.005)
    other = home.start("pull", home.recipe(DATA))
    time.sleep(0.3)
    one.kill()
    home.hub.rate = 0
    assert one.wait().code == -signal.SIGKILL
    assert other.wait().code == 0
    check_installed(home.store, "little", DATA)
    assert home.hub.sent < 1.5 * sum(map(len, DATA.values()))


def test_too_little_space_is_told_before_anything_is_fetched(home: Home) -> None:
    free = shutil.disk_usage(home.folder).free
    huge = {"base": {"size": free * 2, "sha256": "e" * 64}}
    found = Twist(etag="e" * 64, headers={"X-Linked-Size": str(free * 2)})
    home.hub.twist("hub", "HEAD", found)
    done = home.run("pull", home.recipe(DATA, changes=huge))
    assert done.code == 1
    assert "disk space" in done.err
    assert (home.hub.sent, home.store.names()) == (0, [])


@pytest.mark.parametrize("way", ["tmpfs", "limit"])
def test_a_disk_that_fills_up_on_the_way(home: Home, way: str) -> None:
    """The trio that is there stays, and with room the pull goes on where it was."""
    other = {**models(64), "anti_expert": DATA["anti_expert"]}
    part = len(other["base"]) // 2
    (home.folder / "home").mkdir()
    with small_disk(home.folder / "home") if way == "tmpfs" else nullcontext(False) as is_mounted:
        assert home.run("pull", home.recipe(DATA)).code == 0
        serve(home.hub, other)
        home.hub.calm()
        recipe = home.recipe(other, "second")
        filler = home.folder / "home" / "filler"
        if is_mounted:
            home.hub.watch = lambda sent: fill(filler) if sent >= part else None
            done = home.run("pull", recipe)
        else:
            done = home.run("pull", recipe, **{FILE_LIMIT: str(part)})
        assert done.code == 1, done.err
        assert "the disk is full" in done.err.splitlines()[-1]
        assert home.store.names() == ["little"]
        check_installed(home.store, "little", DATA)
        filler.unlink(missing_ok=True)
        kept = home.store.received(sha256(other["base"]))
        assert kept > 0
        home.hub.calm()
        done = home.run("pull", recipe)
        assert done.code == 0, done.err
        assert f"bytes={kept}-" in [asked.headers.get("range") for asked in home.hub.gets()]
        check_installed(home.store, "second", other)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """A disk of 4 MB at `folder`; False where this user may not mount one."""
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)]
    try:
        is_mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(filler: Path) -> None:
    """Take all the room that is left on a disk."""
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(bytes(1 << 12)):
            pass
