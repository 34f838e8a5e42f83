"""What this machine can run, what is slow on it and why, as data; `edgeproxy doctor` shows it.

May touch: headers of model files, /proc, /sys and the environment, read-only.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from edgeproxy import __version__
from edgeproxy.errors import EdgeproxyError, OutOfMemoryError
from edgeproxy.llama import build, system_info
from edgeproxy.measure.bench import machine
from edgeproxy.session.memory_free import Free, free_memory, group_folders
from edgeproxy.session.memory_plan import Part, Plan, adapter_bytes
from edgeproxy.trios.available import Listed
from edgeproxy.trios.home import home
from edgeproxy.units import in_units

FEATURES: Mapping[str, tuple[str, ...]] = {
    "AVX": ("avx",),
    "AVX2": ("avx2",),
    "FMA": ("fma", "fma3"),
    "F16C": ("f16c",),
    "AVX512": ("avx512f",),
    "AVX512_VNNI": ("avx512_vnni", "avx512vnni"),
    "NEON": ("asimd", "neon"),
    "DOTPROD": ("asimddp",),
    "MATMUL_INT8": ("i8mm",),
}
"""llama.cpp's name of what a processor can do, and the names that Linux and NumPy have for it."""

DECISIVE = {"AVX", "AVX2", "FMA", "F16C", "NEON", "DOTPROD"}
"""Without these a model takes several times as long; the others are worth some percent."""

VARIABLES = ("OMP_", "GOMP_", "KMP_", "EDGEPROXY_", "HF_", "GGML_", "LLAMA_")
_SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD")
_LITTLE_DISK = 1_000_000_000


@dataclass(frozen=True)
class Advice:
    """`what` is the matter and what to `do`; `urgent` where something fails or is far too slow."""

    what: str
    do: str
    urgent: bool


def examine(
    trios: Sequence[Listed], environment: Mapping[str, str], told: Callable[[str], None]
) -> dict[str, Any]:
    """Everything, as JSON will have it; `told` hears which trio is looked at."""
    free = free_memory()
    compiled, able = compiled_features(system_info()), machine_features()
    here = machine()
    folder = home()
    found_trios = [_trio(listed, free, told) for listed in trios]
    variables = relevant(environment)
    quota = cpu_quota()
    disk = free_disk(folder)
    advice = [
        *_of_features(compiled, able),
        *_of_processors(here["processors"], here["load"], quota),
        *_of_variables(variables, here["processors"]),
        *_of_trios(found_trios),
        *_of_disk(folder, disk),
    ]
    return {
        "versions": {
            "edgeproxy": __version__,
            "python": here["python"],
            "llama_cpp_python": here["llama_cpp_python"],
            "llama_cpp": build(),
        },
        "processor": {
            "name": here["processor"],
            "system": here["system"],
            "cores": os.cpu_count(),
            "usable": here["processors"],
            "quota": quota,
            "load": here["load"],
            "compiled": sorted(compiled),
            "unused": sorted(able - compiled) if compiled else [],
        },
        "memory": {
            "free": free.bytes if free else None,
            "limit": free.limit if free else None,
        },
        "disk": {"folder": str(folder) if folder else None, "free": disk},
        "environment": variables,
        "trios": found_trios,
        "advice": [asdict(one) for one in advice],
        "ok": not any(one.urgent for one in advice),
    }


def compiled_features(told: str) -> set[str]:
    """The features that llama.cpp says it was compiled for; none where it does not say."""
    pairs = (part.split(":")[-1].partition("=") for part in told.split("|"))
    return {name.strip() for name, _, value in pairs if value.strip() == "1"}


def machine_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """What this processor can do, of `FEATURES`; by Linux's account, or NumPy's elsewhere."""
    known: set[str] = set()
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                known = set(value.split())
                break
    except OSError:
        known = _numpy_features()
    return {name for name, names in FEATURES.items() if known.intersection(names)}


def _numpy_features() -> set[str]:
    try:
        # NumPy keeps it to itself, and an older one elsewhere.
        features = import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):
        return set()
    return {name.lower() for name, is_there in features.items() if is_there}


def cpu_quota() -> float | None:
    """How many processors' time a control group allows, where one limits it."""
    found = []
    for folder, version in group_folders("cpu"):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if version == 1 else ("cpu.max",)
        try:
            words = " ".join((folder / name).read_text() for name in names).split()
            quota, period = map(int, words)
        except (OSError, ValueError):  # "max", or no such file at the root
            continue
        if quota > 0 and period > 0:
            found.append(quota / period)
    return min(found, default=None)


def free_disk(folder: Path | None) -> int | None:
    """The bytes that are free where `folder` is or would be made."""
    if folder is None:
        return None
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        return shutil.disk_usage(there).free
    except OSError:
        return None


def relevant(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that change what edgeproxy and its libraries do; secrets are not shown."""
    return {
        name: "(set)" if any(word in name for word in _SECRET) else value
        for name, value in sorted(environment.items())
        if name.startswith(VARIABLES)
    }


def _trio(listed: Listed, free: Free | None, told: Callable[[str], None]) -> dict[str, Any]:
    told(f"reading the headers of {listed.name}")
    found: dict[str, Any] = {"trio": listed.name, "origin": listed.origin}
    found |= {"needs": None, "total": None, "context": None, "fits": None}
    try:
        if listed.recipe is None:
            raise EdgeproxyError(listed.problem or "its manifest is damaged")
        roles = listed.recipe.roles
        parts = {path: Part.read(path) for path in {role.path for role in roles.values()}}
        plan = Plan(
            {name: parts[role.path] for name, role in roles.items()},
            adapters=adapter_bytes(roles.values()),
        )
        estimate = plan.estimate()
        found["needs"], found["total"] = asdict(estimate), estimate.total
        found["context"] = min(map(plan.context, plan.parts.values()))
        plan.check(free)
        return found | {"fits": None if free is None else True, "problem": None}
    except OutOfMemoryError as error:
        return found | {"fits": False, "problem": str(error)}
    except EdgeproxyError as error:
        return found | {"problem": str(error)}


def _of_features(compiled: set[str], able: set[str]) -> Iterator[Advice]:
    unused = able - compiled
    if not compiled or not unused:
        return
    names = ", ".join(sorted(unused))
    yield Advice(
        f"llama.cpp was compiled without {names}, which this processor has: it is slower than "
        "it could be",
        "compile it for this machine: pip install --force-reinstall --no-cache-dir --no-binary "
        "llama-cpp-python llama-cpp-python",
        urgent=bool(unused & DECISIVE),
    )


def _of_processors(usable: int, load: float | None, quota: float | None) -> Iterator[Advice]:
    if quota is not None and quota < usable:
        threads = max(1, int(quota))
        yield Advice(
            f"a control group allows the time of {quota:g} of {usable} processors: more threads "
            "than that wait for each other",
            f"use --threads {threads}, or allow more",
            urgent=True,
        )
    if load is not None and load > 0.7 * usable:
        yield Advice(
            f"other programs keep {load:.1f} of {usable} processors busy",
            "end them, or expect less speed",
            urgent=False,
        )
    # Apple's kernel tells its own architecture, also to a program that it translates.
    if platform.machine() == "x86_64" and "ARM64" in platform.version():
        yield Advice(
            "this Python was made for Intel processors, and runs translated on this one",
            "install edgeproxy with a Python for arm64",
            urgent=True,
        )


def _of_variables(variables: Mapping[str, str], processors: int) -> Iterator[Advice]:
    if variables.get("OMP_WAIT_POLICY", "").lower() == "active":
        yield Advice(
            "OMP_WAIT_POLICY=active lets idle threads keep processors busy that the other models "
            "need",
            "unset OMP_WAIT_POLICY",
            urgent=True,
        )
    limit = variables.get("OMP_THREAD_LIMIT", "")
    if limit.isdecimal() and int(limit) < processors:
        yield Advice(
            f"OMP_THREAD_LIMIT={limit} keeps models from using all {processors} processors",
            "unset OMP_THREAD_LIMIT",
            urgent=True,
        )


def _of_trios(trios: Sequence[Mapping[str, Any]]) -> Iterator[Advice]:
    for trio in trios:
        if trio["problem"]:
            what, _, remedy = trio["problem"].partition(": ")
            is_room = trio["fits"] is False
            do = remedy if is_room else f"see: edgeproxy verify {trio['trio']}"
            said = what if is_room else trio["problem"]
            yield Advice(f"{trio['trio']}: {said}", do, urgent=True)


def _of_disk(folder: Path | None, free: int | None) -> Iterator[Advice]:
    if folder is None:
        yield Advice(
            "this user has no home folder, so no trio can be installed",
            "name a folder as EDGEPROXY_HOME, and one as EDGEPROXY_CACHE",
            urgent=False,
        )
    if free is not None and free < _LITTLE_DISK:
        yield Advice(
            f"only {in_units(free)} are free on the disk of {folder}, where trios are installed",
            "free some, or name a folder on another disk as EDGEPROXY_HOME",
            urgent=False,
        )
