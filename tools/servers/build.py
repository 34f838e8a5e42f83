"""Builds llama-server out of the source that llama-cpp-python's archive carries.

So it has the very llama.cpp that edgeproxy runs on itself. pip downloads the archive, as it is
configured to; nothing is installed.

    FOLDER/llama-server-VERSION/llama-server    VERSION is llama-cpp-python's

May touch: the folder that it is given; starts pip and cmake; needs the package registry and a
compiler, once.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections import deque
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath

import platformdirs

from edgeproxy.cli.ui.progress import Working
from edgeproxy.errors import EdgeproxyError
from edgeproxy.files import reason
from edgeproxy.trios.disk import lock
from tools.incoming import incoming
from tools.models.real import download

PROGRAM = "llama-server.exe" if os.name == "nt" else "llama-server"
SOURCE = PurePosixPath("vendor/llama.cpp")
"""Where llama.cpp is in the archive, below its one folder."""

OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "OFF",
    "LLAMA_BUILD_COMMON": "ON",
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    # The page of the server is not looked at, and is fetched when it is built.
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
}

KEPT_LINES = 15
"""Lines of a failed command's output that its error shows."""

_PERCENT = re.compile(r"\[\s*(\d+)%\]")


def default_folder() -> Path:
    """Where servers are kept: `EDGEPROXY_SERVERS`, or a folder of this user's cache."""
    chosen = os.environ.get("EDGEPROXY_SERVERS")
    cache = platformdirs.user_cache_path("edgeproxy", appauthor=False)
    return Path(chosen) if chosen else cache / "servers"


def program_in(folder: Path) -> Path:
    """Where llama-server of the installed llama-cpp-python's version is, or would be."""
    return folder / f"llama-server-{version('llama-cpp-python')}" / PROGRAM


def build_llama_server(folder: Path, work: Working, jobs: int | None = None) -> Path:
    """The path of the program in `folder`, built where it is not there: 5 minutes on two cores.

    `jobs` compilers run at once, as many as there are processors by default. Raises `Cancelled`
    when interrupted; then nothing is left. Raises `EdgeproxyError` and `OSError`.
    """
    release = version("llama-cpp-python")
    program = program_in(folder)
    if program.is_file():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    work.tell("waiting for another process that builds llama-server")
    with lock(folder / ".lock"):
        if program.is_file():
            return program
        with incoming(folder) as temporary:
            archive = download(f"llama-cpp-python=={release}", temporary, True, work)
            source = unpack(archive, temporary / "source", work)
            built = compile_server(source, temporary / "build", jobs or os.cpu_count() or 1, work)
            program.parent.mkdir(exist_ok=True)
            built.replace(program)  # last, so that what is there is whole
    return program


def unpack(archive: Path, folder: Path, work: Working) -> Path:
    """Unpack llama.cpp of a source archive into `folder`; the folder that it is in.

    Raises `EdgeproxyError` for an archive that is damaged, or has no llama.cpp.
    """
    work.tell("unpacking llama.cpp")
    try:
        with tarfile.open(archive, "r:*") as source:
            for member in source:
                inside = PurePosixPath(*PurePosixPath(member.name).parts[1:])
                if not member.isreg() or not _is_below(inside, SOURCE):
                    continue
                path = folder / inside.relative_to(SOURCE)
                path.parent.mkdir(parents=True, exist_ok=True)
                data = source.extractfile(member)
                assert data is not None, "a regular file has bytes"
                with data:
                    path.write_bytes(data.read())
    except (tarfile.TarError, EOFError) as error:
        raise EdgeproxyError(f"{archive.name}: the archive is damaged ({error})") from None
    if not (folder / "CMakeLists.txt").is_file():
        raise EdgeproxyError(f"{archive.name}: there is no llama.cpp in this archive")
    return folder


def _is_below(path: PurePosixPath, folder: PurePosixPath) -> bool:
    return ".." not in path.parts and path.parts[: len(folder.parts)] == folder.parts


def find_cmake() -> str:
    """cmake of this environment, which the development extra brings, or else the system's."""
    beside = Path(sys.executable).parent
    return shutil.which("cmake", path=str(beside)) or "cmake"


def compile_server(source: Path, build: Path, jobs: int, work: Working) -> Path:
    """Compile llama-server of the llama.cpp in `source`; where it is below `build`."""
    options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    cmake = find_cmake()
    call([cmake, "-S", str(source), "-B", str(build), *options], "configuring", work)
    target = ["--target", "llama-server", "--config", "Release", "--parallel", str(jobs)]
    call([cmake, "--build", str(build), *target], "compiling llama-server", work)
    found = next((path for path in build.glob(f"bin/**/{PROGRAM}") if path.is_file()), None)
    if found is None:
        raise EdgeproxyError(f"{source}: cmake made no {PROGRAM}")
    return found


def call(command: Sequence[str], what: str, work: Working) -> None:
    """Run `command` and tell how far it is. Raises `EdgeproxyError` with the end of its output."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise EdgeproxyError(f"{command[0]} cannot be run ({reason(error)}); install it") from None
    last: deque[str] = deque(maxlen=KEPT_LINES)
    with process:
        assert process.stdout
        try:
            for line in process.stdout:
                last.append(line.rstrip())
                percent = _PERCENT.match(line)
                work.tell(f"{what}: {percent[1]}%" if percent else what)
        except BaseException:
            process.terminate()
            raise
    work.tell(what)  # raises where Ctrl-C has ended the command too
    if process.returncode:
        shown = "\n".join(last)
        raise EdgeproxyError(f"{command[0]} ended with {process.returncode}:\n{shown}")
