"""What a machine is, as figures and advice name it.

May touch: /proc/cpuinfo, read-only.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from edgeproxy.core.control_groups import PROC, read_text
from edgeproxy.core.threads import processors

X86_FEATURES: Mapping[str, tuple[str, ...]] = {
    "AVX": ("avx",),
    "AVX2": ("avx2",),
    "FMA": ("fma", "fma3"),
    "F16C": ("f16c",),
    "AVX512": ("avx512f",),
    "AVX512_VNNI": ("avx512_vnni", "avx512vnni"),
}
ARM_FEATURES: Mapping[str, tuple[str, ...]] = {
    "NEON": ("asimd", "neon"),
    "DOTPROD": ("asimddp",),
    "MATMUL_INT8": ("i8mm",),
}
"""llama.cpp's name of what a processor can do, and the names that Linux and NumPy have for it."""


def machine() -> dict[str, Any]:
    """What figures were measured on, as JSON will have it."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _said_of_processor("model name", "Model") or platform.processor() or "unknown",
        "processors": processors(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        "llama_cpp_python": _version("llama-cpp-python"),
    }


def machine_features() -> set[str]:
    """What this processor can do that counts here; by Linux's account, or NumPy's elsewhere.

    Of the architecture that Python runs on: an emulated Linux may show the flags of its host.
    """
    known = set((_said_of_processor("flags", "Features") or "").split())
    if not (PROC / "cpuinfo").exists():
        known = _numpy_features()
    features = _features_of(platform.machine().lower())
    return {name for name, names in features.items() if known.intersection(names)}


def _features_of(architecture: str) -> Mapping[str, tuple[str, ...]]:
    if architecture in ("x86_64", "amd64", "i386", "i686"):
        return X86_FEATURES
    return ARM_FEATURES if architecture.startswith(("aarch64", "arm")) else {}


def _said_of_processor(*keys: str) -> str | None:
    """What /proc/cpuinfo says under one of these keys."""
    for line in read_text(PROC / "cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return None


def _numpy_features() -> set[str]:
    try:
        # NumPy keeps it to itself, and an older one elsewhere.
        features = import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):
        return set()
    return {name.lower() for name, is_there in features.items() if is_there}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
