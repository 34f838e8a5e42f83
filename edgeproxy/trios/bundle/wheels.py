"""A wheelhouse: edgeproxy as it runs here, and everything that it needs, as wheels.

Each distribution is packed again from what is installed (`repack`); edgeproxy itself is built from
its source where it runs from there. pip is asked for what cannot be had so.

May touch: a folder for the wheels; pip, and through it the network, where pip is needed.
"""

from __future__ import annotations

import platform
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution
from pathlib import Path

from edgeproxy.errors import BundleError
from edgeproxy.trios.bundle.install_text import Wheels
from edgeproxy.trios.bundle.repack import Unfit, repack

Progress = Callable[[str], None]
"""Called with what is under way, ten times a second while pip works; may raise to stop it."""

_NAME = "edgeproxy"
_PACKAGE = Path(__file__).parents[2]
_POLL_SECONDS = 0.1


def collect(folder: Path, extras: Sequence[str], progress: Progress) -> Wheels:
    """Put a wheelhouse into `folder`, which is empty.

    Of `extras` those are carried whose packages are installed here. Raises `BundleError` for what
    cannot be had as a wheel.
    """
    if getattr(sys, "frozen", False):  # its program is no Python, and would be started again
        raise BundleError(
            "a frozen application has no wheels to carry; leave out --wheels, or make the bundle "
            "with an edgeproxy that pip installed"
        )
    progress(f"packing {_NAME}")
    if _source() is None:
        own = _wheel(distribution(_NAME), folder, progress)
    else:
        own = _by_pip(str(_source()), folder, progress)
    with zipfile.ZipFile(own) as file:
        me = _metadata(file)
        carried = [extra for extra in extras if _is_installed(me, extra)]
        for needed in _closure(me, carried):
            progress(f"packing {needed.name} {needed.version}")
            _wheel(needed, folder, progress)
    return Wheels(sorted(folder.glob("*.whl")), carried, _platform())


def _source() -> Path | None:
    """The source tree that this very edgeproxy runs from; None where it is installed."""
    root = _PACKAGE.parent
    return root if (root / "pyproject.toml").is_file() else None


def _metadata(wheel: zipfile.ZipFile) -> Distribution:
    """A wheel's own account of itself: what is installed may be of another time."""
    info = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return PathDistribution(zipfile.Path(wheel, info.removesuffix("METADATA")))


def _wheel(found: Distribution, folder: Path, progress: Progress) -> Path:
    try:
        return repack(found, folder)
    except Unfit as why:
        progress(f"asking pip for {found.name} {found.version} ({why})")
        return _by_pip(f"{found.name}=={found.version}", folder, progress)


def _closure(root: Distribution, extras: Sequence[str]) -> list[Distribution]:
    """All distributions that `root` needs with `extras`, each once, without itself."""
    from packaging.utils import canonicalize_name

    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    todo = [(root, extra) for extra in ("", *extras)]
    while todo:
        needing, extra = todo.pop()
        for name, more in _needed(needing, extra):
            try:
                needed = found[name] = found.get(name) or distribution(name)
            except PackageNotFoundError:
                raise BundleError(
                    f"{needing.name} needs {name}, which is not installed here; install it with pip"
                ) from None
            fresh = {(name, each) for each in ("", *more)} - seen
            seen |= fresh
            todo += [(needed, each) for _, each in fresh]
    found.pop(canonicalize_name(root.name), None)
    return [found[name] for name in sorted(found)]


def _needed(needing: Distribution, extra: str) -> Iterator[tuple[str, set[str]]]:
    """The distributions that one needs on this machine for one of its extras, and their extras."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    for line in needing.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            yield canonicalize_name(requirement.name), requirement.extras


def _is_installed(root: Distribution, extra: str) -> bool:
    if extra not in (root.metadata.get_all("Provides-Extra") or ()):
        return False
    try:
        _closure(root, [extra])
    except BundleError:
        _closure(root, [])  # raises where it is not the extra that lacks something
        return False
    return True


def _by_pip(what: str, folder: Path, progress: Progress) -> Path:
    """The wheel that pip builds, or fetches, for `what`: a requirement, or a source tree."""
    before = set(folder.glob("*.whl"))
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps"]
    with tempfile.TemporaryFile() as said:
        pip = subprocess.Popen(
            [*command, "--wheel-dir", str(folder), what],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            while _is_running(pip):
                progress(f"pip makes a wheel of {what}; minutes, where something must be compiled")
        finally:
            pip.kill()
            pip.wait()
        said.seek(0)
        lines = said.read().decode("utf-8", "replace").strip().splitlines()
    made = set(folder.glob("*.whl")) - before
    if pip.returncode != 0 or len(made) != 1:
        why = [line for line in lines if "ERROR" in line] or lines or ["it said nothing"]
        raise BundleError(
            f"pip made no wheel of {what} ({why[-1].strip()}); try it by hand: "
            f"{sys.executable} -m pip wheel --no-deps {what}"
        )
    return made.pop()


def _is_running(child: subprocess.Popen[bytes]) -> bool:
    try:
        child.wait(_POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return True
    return False


def _platform() -> str:
    python = f"{platform.python_implementation()} {sys.version_info[0]}.{sys.version_info[1]}"
    library, version = platform.libc_ver()
    needs = f" with {library} {version} or newer" if library else ""
    return f"{python} on {sysconfig.get_platform()}{needs}"
