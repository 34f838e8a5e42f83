"""Measures how well a trio reads documents: who reads best, what it says without the answer, and
what hostile documents do.

`readers TRIO QUESTIONS --docs NAME` asks each model alone and the proxy, with the documents read by
nobody, the base, the expert and all: how right they are, how long they take, and how often the
passage that holds the value is given as the source.

`missing TRIO QUESTIONS --docs NAME` makes an index of the same documents without the answers, and
asks again: how often a reply says that it is not there. NAME is an index of the Factbook's files,
and QUESTIONS are of the task facts (python -m tools.tasks build).

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
from tools.documents import hostile, missing, readers, withheld
from tools.documents.asking import Setup, ask
from tools.documents.told import with_said

_REPLIES = "replies.jsonl"
_CTX = 1024
"""Tokens: room for passages, a question and a reply."""

_SYSTEMS = {"readers": readers.SYSTEMS, "missing": missing.SYSTEMS, "hostile": hostile.SYSTEMS}
_AS_TEXT = {"readers": readers.as_text, "missing": missing.as_text, "hostile": hostile.as_text}


def main() -> int:
    """Do what the command line asks for; the exit code."""
    parser = make_parser("tools.documents", __doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="readers|missing|hostile")
    for name, what in (
        ("readers", "compare who reads"),
        ("missing", "ask for what no document has"),
        ("hostile", "ask about documents that try something"),
    ):
        verb = verbs.add_parser(name, help=what)
        verb.add_argument("trio", help="a trio, by its name or the path of its manifest")
        limit = None
        if name != "hostile":
            verb.add_argument("questions", type=Path, help="a file of questions, as of eval")
            verb.add_argument("--docs", required=True, metavar="NAME", help="the index")
            limit = missing.COUNT if name == "missing" else None
        of = "documents of each family" if name == "hostile" else "first questions"
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
        verb.add_argument("--systems", default=_SYSTEMS[name], metavar="LIST", help="as of eval")
        verb.add_argument(
            "--out",
            type=Path,
            default=Path(f"documents-{name}"),
            metavar="FOLDER",
            help="where replies are kept (default %(default)s)",
        )
        verb.add_argument("--ctx", type=at_least(1), default=_CTX, metavar="TOKENS")
        verb.add_argument("--threads", type=at_least(1), metavar="N")
        verb.add_argument(
            "--base-prompt", metavar="FORMAT", help="the base's prompt format where it is alone"
        )
        add_json(verb)
    return run(parser, _work, _as_text)


def _work(asked: argparse.Namespace, work: Working) -> dict[str, Any]:
    is_hostile = asked.verb == "hostile"
    setup = Setup(
        asked.trio, "" if is_hostile else asked.docs, asked.ctx, asked.threads, asked.base_prompt
    )
    found: dict[str, Any]
    if is_hostile:
        found = hostile.measure(setup, asked.systems, asked.out, asked.limit, asked.terminal, work)
    else:
        systems = setup.systems(asked.systems)
        questions = [with_said(each) for each in read_questions(asked.questions, asked.limit)]
        if asked.verb == "missing":
            # Of all questions, so that the index is the same whatever the limit.
            every = read_questions(asked.questions)
            setup = setup.reading(str(withheld.make(asked.docs, every, asked.out, work)))
        replies = ask(setup, systems, questions, asked.out / _REPLIES, work)
        figures = missing.figures if asked.verb == "missing" else readers.figures
        found = figures(replies, questions)
    return {"verb": asked.verb, "trio": asked.trio, **found}


def _as_text(found: dict[str, Any]) -> str:
    return _AS_TEXT[found["verb"]](found)


if __name__ == "__main__":
    sys.exit(main())
