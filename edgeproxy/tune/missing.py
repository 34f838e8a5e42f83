"""Whether what tuning needs is installed: PyTorch and gguf, which nothing else here does."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec

from edgeproxy.errors import TuningError

NEEDED = {"torch": "PyTorch", "gguf": "gguf"}
INSTALL = "pip install 'edgeproxy[tune]'"
PROCESSORS_BUILD = "https://download.pytorch.org/whl/cpu"
"""Where PyTorch for processors alone is; elsewhere than on Linux pip takes that by itself."""


def check_extra() -> None:
    """Raise `TuningError` with the command to type, where a package is missing or broken."""
    missing = [name for module, name in NEEDED.items() if find_spec(module) is None]
    if not missing:
        _check_loadable()
        return
    there = " ".join((" and ".join(missing), "is" if len(missing) == 1 else "are"))
    command, sizes = INSTALL, "about 200 MB to download, 900 MB on the disk"
    if sys.platform == "linux":
        command += f" --extra-index-url {PROCESSORS_BUILD}"
        sizes += "; without that address pip takes a build of several GB with libraries for GPUs"
    raise TuningError(
        f"tuning needs PyTorch and gguf, and {there} not installed: {command} ({sizes})"
    )


def _check_loadable() -> None:
    for module, name in NEEDED.items():
        try:
            import_module(module)
        except (ImportError, OSError) as error:
            raise TuningError(
                f"tuning needs {name}, which is installed and cannot be loaded ({error}); install "
                "it again"
            ) from None
