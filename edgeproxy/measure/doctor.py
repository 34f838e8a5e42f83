"""What this machine can run, what is slow on it and why, as data; `edgeproxy doctor` shows it.

May touch: headers of model files, /proc, /sys and the environment, read-only; a process of its own.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeproxy import __version__
from edgeproxy.core.control_groups import cpu_quota
from edgeproxy.core.loadable import BUILD_HERE, probe
from edgeproxy.core.memory_free import Free, free_memory
from edgeproxy.errors import EdgeproxyError, EngineLoadError, OutOfMemoryError
from edgeproxy.gguf import read
from edgeproxy.measure.machine import machine, machine_features
from edgeproxy.trios.address import without_login
from edgeproxy.trios.available import Listed
from edgeproxy.trios.home import home
from edgeproxy.trios.manifest import Recipe
from edgeproxy.units import in_units

DECISIVE = {"AVX", "AVX2", "FMA", "F16C", "NEON", "DOTPROD"}
"""Without these a model takes several times as long; the others are worth some percent."""

VARIABLES = ("OMP_", "GOMP_", "KMP_", "EDGEPROXY_", "HF_", "GGML_", "LLAMA_")
_SECRET = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL", "AUTH")
_LITTLE_DISK = 1_000_000_000


@dataclass(frozen=True)
class Engine:
    """What llama.cpp says of itself, or in `problem` why it cannot be loaded."""

    build: str | None = None
    features: str = ""
    problem: str | None = None


@dataclass(frozen=True)
class Advice:
    """`what` is the matter and what to `do`; `urgent` where something fails or is far too slow."""

    what: str
    do: str
    urgent: bool


def examine(
    trios: Sequence[Listed], environment: Mapping[str, str], progress: Callable[[str], None]
) -> dict[str, Any]:
    """Everything, as JSON will have it; `progress` hears which trio is looked at."""
    free = free_memory()
    engine = load_engine()
    compiled, able = compiled_features(engine.features), machine_features()
    here = machine()
    folder = home()
    found_trios = [_trio(listed, free, progress, engine.problem is None) for listed in trios]
    variables = relevant(environment)
    quota = cpu_quota()
    disk = free_disk(folder)
    advice = [
        *_of_engine(engine),
        *_of_features(compiled, able),
        *_of_processors(here["processors"], os.cpu_count(), here["load"], quota),
        *_of_variables(variables, here["processors"]),
        *_of_trios(found_trios),
        *_of_disk(folder, disk),
    ]
    return {
        "versions": {
            "edgeproxy": __version__,
            "python": here["python"],
            "llama_cpp_python": here["llama_cpp_python"],
            "llama_cpp": engine.build,
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


def load_engine() -> Engine:
    """Load llama.cpp, which a machine may be unable to, and ask what it is."""
    problem = probe()
    if problem is not None:
        return Engine(problem=problem)
    try:
        from edgeproxy.llama import build, system_info
    except EngineLoadError as error:
        return Engine(problem=str(error))
    return Engine(build(), system_info())


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
        name: "(set)" if any(word in name for word in _SECRET) else without_login(value)
        for name, value in sorted(environment.items())
        if name.startswith(VARIABLES)
    }


def _trio(
    listed: Listed, free: Free | None, progress: Callable[[str], None], can_estimate: bool
) -> dict[str, Any]:
    """What is to be said of one trio; what it takes of memory only llama.cpp can tell."""
    progress(f"reading the headers of {listed.name}")
    found: dict[str, Any] = {"trio": listed.name, "origin": listed.origin, "missing": []}
    found |= {"needs": None, "total": None, "context": None, "fits": None, "problem": None}
    found["server"] = None
    if listed.recipe is None:
        return found | {"problem": listed.problem or "its manifest is damaged"}
    roles = listed.recipe.roles.values()
    files = {file.path: file.file_name for role in roles for file in role.files}
    # Path.exists raises for a folder that may not be looked into.
    is_there = os.path.exists
    missing = sorted({name for path, name in files.items() if not is_there(path)})
    if missing:
        problem = f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        return found | {"missing": missing, "problem": problem}
    server = _server(listed.recipe, progress)
    if server is not None and server["problem"]:
        return found | {"server": server, "problem": server["problem"]}
    found["server"] = server
    try:
        return found | (_needs(listed.recipe, free) if can_estimate else _checked(listed.recipe))
    except OutOfMemoryError as error:
        return found | _needs(listed.recipe, None) | {"fits": False, "problem": str(error)}
    except EdgeproxyError as error:
        return found | {"problem": str(error)}


def _server(recipe: Recipe, progress: Callable[[str], None]) -> dict[str, Any] | None:
    """What the server of a trio's base says of itself; None where the base is here."""
    if recipe.base.endpoint is None or "base" not in recipe.loaded:
        return None
    from edgeproxy.core.cancel import Flag
    from edgeproxy.session.servers import ask  # few need it, and llama.cpp

    progress(f"asking {recipe.base.endpoint.url}")
    return ask(recipe.base, Flag())


def _checked(recipe: Recipe) -> dict[str, Any]:
    for role in recipe.roles.values():
        read(role.path, vocab_only=role.vocab_only)
    return {}


def _needs(recipe: Recipe, free: Free | None) -> dict[str, Any]:
    """What a trio takes of memory. Raises `OutOfMemoryError` where it is more than is free."""
    from edgeproxy.session.memory_plan import Part, Plan, adapter_bytes

    roles = recipe.loaded
    files = {role.path: role.vocab_only for role in roles.values()}
    parts = {path: Part.read(path, vocab_only) for path, vocab_only in files.items()}
    plan = Plan(
        {name: parts[role.path] for name, role in roles.items()},
        adapters=adapter_bytes(roles.values()),
        elsewhere=recipe.base.vocab_only,
    )
    plan.check(free)
    estimate = plan.estimate()
    return {
        "needs": asdict(estimate),
        "total": estimate.total,
        "context": min(map(plan.context, plan.here.values()), default=None),
        "fits": None if free is None else True,
    }


def _of_engine(engine: Engine) -> Iterator[Advice]:
    if engine.problem is not None:
        what, _, remedy = engine.problem.partition("; ")
        yield Advice(what, remedy or BUILD_HERE, urgent=True)


def _of_features(compiled: set[str], able: set[str]) -> Iterator[Advice]:
    unused = able - compiled
    if not compiled or not unused:
        return
    names = ", ".join(sorted(unused))
    yield Advice(
        f"llama.cpp was compiled without {names}, which this processor has: it is slower than "
        "it could be",
        BUILD_HERE,
        urgent=bool(unused & DECISIVE),
    )


def _of_processors(
    usable: int, cores: int | None, load: float | None, quota: float | None
) -> Iterator[Advice]:
    if quota is not None and int(quota) <= usable < (cores or 1):
        yield Advice(
            f"a control group allows the time of {quota:g} of {cores} processors, and models get "
            f"{'one thread' if usable == 1 else f'{usable} threads'}",
            "allow more, as with --cpus for a container, if that is too slow",
            urgent=False,
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
            said, do = trio["problem"], _remedy(trio)
            if trio["fits"] is False:
                said, _, do = said.partition(": ")
            yield Advice(f"{trio['trio']}: {said}", do, urgent=True)


def _remedy(trio: Mapping[str, Any]) -> str:
    """What to do about a trio whose files are missing or damaged."""
    name = trio["trio"]
    if trio["origin"] == "path":
        return "put the right files there, or type edgeproxy add FILE, or correct the manifest"
    if not trio["missing"]:
        return f"edgeproxy verify {name}, which says what is wrong"
    if trio["origin"] == "shipped":
        return "install edgeproxy again"
    return f"edgeproxy pull {name}, or install its bundle again, or type edgeproxy add FILE"


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
