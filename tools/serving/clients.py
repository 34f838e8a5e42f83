"""Clients of OpenAI's protocol that others wrote, for tests, in environments of their own.

    FOLDER/python/     llm, litellm, langchain-openai, openai, schemathesis
    FOLDER/lm-eval/    lm-evaluation-harness
    FOLDER/npm/        npm's openai, for Node
    FOLDER/*/complete  what is in it; written last

Their versions are pinned in tests/serve/clients. What was interrupted is gone on with. pip and npm
take the packages from where they are configured to.

May touch: the folder that it is given; starts Python, pip and npm; needs the registries, once.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from edgeproxy.cli.ui.progress import Working
from edgeproxy.errors import EdgeproxyError
from edgeproxy.trios.disk import lock
from tools.servers.build import call
from tools.servers.environment import program

PINS = Path(__file__).parents[2] / "tests" / "serve" / "clients"
PYTHONS = {"python": "requirements.txt", "lm-eval": "requirements-lm-eval.txt"}
"""The environments of Python by their folders' names, each with the file of its packages."""

NPM, NPM_FILE = "npm", "package.json"
_COMPLETE = "complete"


@dataclass(frozen=True)
class Clients:
    """Where the clients are: environments of Python, and a folder with `node_modules`."""

    python: Path
    lm_eval: Path
    npm: Path

    def program(self, name: str) -> str:
        """A program of `python`'s."""
        return str(program(self.python, name))

    @property
    def node_modules(self) -> Path:
        """What Node takes packages from."""
        return self.npm / "node_modules"


def set_up_clients(folder: Path, work: Working) -> Clients:
    """The clients in `folder`, set up as far as they are not there: some minutes and 1.3 GB.

    Raises `Cancelled` when interrupted, `EdgeproxyError` and `OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    work.tell("waiting for another process that sets clients up")
    with lock(folder / ".lock"):
        for name, pins in PYTHONS.items():
            if not _is_complete(folder / name, pins):
                _set_up_python(folder / name, pins, work)
        if not _is_complete(folder / NPM, NPM_FILE):
            _set_up_npm(folder / NPM, work)
    return found_clients(folder)


def found_clients(folder: Path) -> Clients:
    """The clients that are in `folder`. Raises `EdgeproxyError` where one is not as pinned."""
    for name, pins in {**PYTHONS, NPM: NPM_FILE}.items():
        if not _is_complete(folder / name, pins):
            raise EdgeproxyError(
                f"{folder / name} has not what {pins} pins: python -m tools.serving clients "
                f"{folder}"
            )
    return Clients(folder / "python", folder / "lm-eval", folder / NPM)


def _set_up_python(environment: Path, pins: str, work: Working) -> None:
    call([sys.executable, "-m", "venv", str(environment)], "making an environment", work)
    pip = [str(program(environment, "python")), "-m", "pip", "--no-input"]
    pip += ["--disable-pip-version-check", "install"]
    call([*pip, "--requirement", str(PINS / pins)], f"installing {environment.name}", work)
    _write_complete(environment, pins)


def _set_up_npm(folder: Path, work: Working) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise EdgeproxyError("npm is not on the PATH; install Node.js")
    folder.mkdir(exist_ok=True)
    shutil.copy(PINS / NPM_FILE, folder)
    command = [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder)]
    call(command, "installing npm's packages", work)
    _write_complete(folder, NPM_FILE)


def _write_complete(folder: Path, pins: str) -> None:
    (folder / _COMPLETE).write_bytes((PINS / pins).read_bytes())


def _is_complete(folder: Path, pins: str) -> bool:
    complete = folder / _COMPLETE
    return complete.is_file() and complete.read_bytes() == (PINS / pins).read_bytes()
