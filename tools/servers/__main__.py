"""Servers that hold a model, for tests and measurements.

    python -m tools.servers llama FOLDER [--jobs N]

builds llama-server in FOLDER where it is not there yet, out of the source that llama-cpp-python's
archive carries, and prints the path of the program. It takes about five minutes on two cores, and
needs cmake, a C++ compiler and once the package registry.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgeproxy.cli.ui.progress import Working
from tools.command import at_least, make_parser, run
from tools.servers.build import build_llama_server


def main() -> int:
    """Do what the command line asks for; the exit code."""
    parser = make_parser("tools.servers", __doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="llama")
    llama = kinds.add_parser("llama", help="build llama-server")
    llama.add_argument("folder", type=Path, help="where it is kept")
    llama.add_argument("--jobs", type=at_least(1), help="how many compilers run at once")
    return run(parser, _build, str)


def _build(asked: argparse.Namespace, work: Working) -> Path:
    return build_llama_server(asked.folder.absolute(), work, asked.jobs)


if __name__ == "__main__":
    sys.exit(main())
