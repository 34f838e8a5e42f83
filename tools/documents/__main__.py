"""Measures how well a trio reads documents: who reads best, what it says without the answer, and
what hostile documents do.

`readers TRIO QUESTIONS --docs NAME` asks each model alone and the proxy, with the documents read by
nobody, the base, the expert and all: how right they are, how long they take, and how often the
passage that holds the value is given as the source.

`missing TRIO QUESTIONS --docs NAME` makes an index of the same documents without the answers, and
asks again: how often a reply says that it is not there. NAME is an index of the Factbook's files,
and QUESTIONS are of the task facts (python -m tools.tasks build).

`private TRIO QUESTIONS URL --docs NAME` has the expert alone read, the base here and on the server
at URL in turn: how right each is, and whether any request holds what stands in a passage.

`hostile TRIO` makes 60 documents that try something, and asks what they are about.

Replies are kept in --out as they come; the same command goes on. Without --systems all are asked.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from edgeproxy.cli.ui.progress import Working
from edgeproxy.measure.evaluate import read_questions
from tools.command import add_json, at_least, make_parser, run
from tools.documents import hostile, missing, private, readers, withheld
from tools.documents.asking import Setup, ask
from tools.documents.told import with_said

_REPLIES = "replies.jsonl"
_CTX = 1024
"""Tokens: room for passages, a question and a reply."""

_SYSTEMS = {"readers": readers.SYSTEMS, "missing": missing.SYSTEMS, "hostile": hostile.SYSTEMS}
_AS_TEXT = {
    "readers": readers.as_text,
    "missing": missing.as_text,
    "private": private.as_text,
    "hostile": hostile.as_text,
}


def main() -> int:
    """Do what the command line asks for; the exit code."""
    parser = make_parser("tools.documents", __doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="|".join(_AS_TEXT))
    for name, what in (
        ("readers", "compare who reads"),
        ("missing", "ask for what no document has"),
        ("private", "the base on a server that is told nothing"),
        ("hostile", "ask about documents that try something"),
    ):
        verb = verbs.add_parser(name, help=what)
        verb.add_argument("trio", help="a trio, by its name or the path of its manifest")
        limit = missing.COUNT if name == "missing" else None
        of = "documents of each family" if name == "hostile" else "first questions"
        if name != "hostile":
            verb.add_argument("questions", type=Path, help="a file of questions, as of eval")
        if name == "private":
            verb.add_argument("url", help="the server, such as http://127.0.0.1:8080")
        if name != "hostile":
            verb.add_argument("--docs", required=True, metavar="NAME", help="the index")
        verb.add_argument(
            "--limit", type=at_least(1), default=limit, metavar="N", help=f"only N {of}"
        )
        if name == "hostile":
            verb.add_argument(
                "--terminal",
                type=at_least(0),
                default=hostile.ON_TERMINAL,
                metavar="N",
                help="replies that are looked at on a terminal (default %(default)s)",
            )
        if name in _SYSTEMS:
            verb.add_argument(
                "--systems", default=_SYSTEMS[name], metavar="LIST", help="as of eval"
            )
            verb.add_argument(
                "--base-prompt", metavar="FORMAT", help="the base's prompt format where it is alone"
            )
        verb.add_argument(
            "--out",
            type=Path,
            default=Path(f"documents-{name}"),
            metavar="FOLDER",
            help="where replies are kept (default %(default)s)",
        )
        verb.add_argument("--ctx", type=at_least(1), default=_CTX, metavar="TOKENS")
        verb.add_argument("--threads", type=at_least(1), metavar="N")
        add_json(verb)
    return run(parser, _work, _as_text)


def _work(asked: argparse.Namespace, work: Working) -> dict[str, Any]:
    return {"verb": asked.verb, "trio": asked.trio, **_measured(asked, work)}


def _measured(asked: argparse.Namespace, work: Working) -> dict[str, Any]:
    setup = Setup(
        asked.trio,
        vars(asked).get("docs", ""),
        asked.ctx,
        asked.threads,
        vars(asked).get("base_prompt"),
    )
    if asked.verb == "hostile":
        return hostile.measure(setup, asked.systems, asked.out, asked.limit, asked.terminal, work)
    questions = [with_said(each) for each in read_questions(asked.questions, asked.limit)]
    if asked.verb == "private":
        return private.measure(setup, asked.url, questions, asked.out, work)
    systems = setup.systems(asked.systems)
    if asked.verb == "missing":
        # Of all questions, so that the index is the same whatever the limit.
        every = read_questions(asked.questions)
        setup = setup.reading(str(withheld.make(asked.docs, every, asked.out, work)))
    replies = ask(setup, systems, questions, asked.out / _REPLIES, work)
    figures = missing.figures if asked.verb == "missing" else readers.figures
    return figures(replies, questions)


def _as_text(found: dict[str, Any]) -> str:
    return _AS_TEXT[found["verb"]](found)


if __name__ == "__main__":
    sys.exit(main())
