"""Servers that hold a model, for tests and measurements.

    python -m tools.servers llama [FOLDER] [--jobs N]

builds llama-server in FOLDER (or EDGEPROXY_SERVERS, or this user's cache) where it is not there
yet, out of the source that llama-cpp-python's archive carries, and prints the program's path. It
takes about five minutes on two cores, and needs cmake, a C++ compiler and once the registry.

    python -m tools.servers compare TRIO QUESTIONS URL [--limit N]

asks the trio with its base here, and with the server's in each way, and counts like replies.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edgeproxy.cli.ui.progress import Working
from tools.command import add_json, at_least, make_parser, run
from tools.servers.build import build_llama_server, default_folder
from tools.servers.compare import as_text, compare, read_all, ways
from tools.servers.delay import delayed


def main() -> int:
    """Do what the command line asks for; the exit code."""
    parser = make_parser("tools.servers", __doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="llama")
    llama = kinds.add_parser("llama", help="build llama-server")
    llama.add_argument("folder", type=Path, nargs="?", help="where it is kept, if not in the cache")
    llama.add_argument("--jobs", type=at_least(1), help="how many compilers run at once")
    both = kinds.add_parser("compare", help="a base on a server against the same base here")
    both.add_argument("trio", help="the trio, whose base the server has too")
    both.add_argument("questions", type=Path, help="JSON lines of question and answer")
    both.add_argument("url", help="the server, such as http://127.0.0.1:8080")
    both.add_argument("--limit", type=at_least(1), help="so many questions")
    both.add_argument("--model", help="what the server calls the model")
    both.add_argument("--delay", type=float, help="milliseconds that each round trip takes more")
    both.add_argument("--ways", help="some of them, with commas between: rows,bias")
    add_json(both)
    if parser.parse_args().kind == "llama":
        return run(parser, _build, str)
    return run(parser, _compare, as_text)


def _compare(asked: argparse.Namespace, work: Working) -> list[dict[str, Any]]:
    if asked.delay:
        with delayed(asked.url, asked.delay / 1e3) as far:
            return _compared(asked, far, work)
    return _compared(asked, asked.url, work)


def _compared(asked: argparse.Namespace, url: str, work: Working) -> list[dict[str, Any]]:
    chosen = ways(url, {"model": asked.model})
    if asked.ways:
        kept = ("here", *asked.ways.split(","))
        chosen = {name: way for name, way in chosen.items() if name.startswith(kept)}
    return compare(asked.trio, read_all(asked.questions, asked.limit), chosen, work.tell)


def _build(asked: argparse.Namespace, work: Working) -> Path:
    folder = asked.folder or default_folder()
    return build_llama_server(folder.absolute(), work, asked.jobs)


if __name__ == "__main__":
    sys.exit(main())
