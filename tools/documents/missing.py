"""What replies say to questions whose answers no document has: that it is not there, or what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from edgeproxy.measure.compare import interval, share_in_words
from edgeproxy.measure.evaluate import Question
from tools.documents.given import holding, holding_about
from tools.documents.readers import given, given_in_words
from tools.documents.sayings import says_missing
from tools.documents.told import Told

SYSTEMS = (
    "base/docs=nobody,base/docs=base,expert/docs=nobody,expert/docs=expert,"
    "proxy/docs=nobody,proxy/docs=base,proxy/docs=expert,proxy/docs=all"
)
COUNT = 60
"""Questions that are asked where nobody says how many."""

Sort = Literal["missing", "right", "wrong"]
SORTS: tuple[Sort, ...] = ("missing", "right", "wrong")
_TITLES = ("says that it is not there", "right anyway", "wrong")


def sort_of(told: Told) -> Sort:
    """What a reply is: right whatever else it says, or else an honest no, or wrong."""
    if told.right:
        return "right"
    return "missing" if says_missing(told.text) else "wrong"


def figures(replies: Mapping[str, Sequence[Told]], questions: Sequence[Question]) -> dict[str, Any]:
    """How many replies of each system are of each sort, as shares with 95% intervals.

    `leaked` counts questions for which a passage about their country still holds the value, and
    `elsewhere` those for which only one about something else has it.
    """
    read = max(replies.values(), key=lambda told: sum(bool(one.passages) for one in told))
    about = [bool(holding_about(one, q)) for one, q in zip(read, questions, strict=True)]
    anywhere = [bool(holding(one)) for one in read]
    return {
        "questions": len(questions),
        "leaked": sum(about),
        "elsewhere": sum(anywhere) - sum(about),
        "systems": {system: _of(told) for system, told in replies.items()},
        "given": given(replies, questions),
    }


def _of(told: Sequence[Told]) -> dict[str, Any]:
    counts, n = Counter(map(sort_of, told)), len(told)
    return {
        "n": n,
        **{
            sort: {
                "count": counts[sort],
                "share": counts[sort] / n,
                "interval": list(interval(counts[sort], n)),
            }
            for sort in SORTS
        },
    }


def as_text(found: Mapping[str, Any]) -> str:
    """The figures for a person: a table in Markdown."""
    lines = [f"| system | {' | '.join(_TITLES)} |", f"|{'---|' * (len(SORTS) + 1)}"]
    for system, figure in found["systems"].items():
        cells = [share_in_words(figure[sort]["count"], figure["n"]) for sort in SORTS]
        lines.append(f"| {system} | {' | '.join(cells)} |")
    lines += [
        "",
        f"{found['questions']} questions; a passage about the country still holds the value for "
        f"{found['leaked']}, one about something else for {found['elsewhere']}",
    ]
    return "\n".join([*lines, *given_in_words(found["given"])])
