"""The task "gsm8k": grade-school arithmetic in words (Cobbe et al., arXiv 2110.14168, MIT).

What is learnt is the solution with its last line "#### 72", without the marks `<<48/2=24>>` that a
calculator reads; what counts in a reply is the number alone. Lines for validation have both, so
that tuning can stop by them, too.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgeproxy.errors import UsageError
from tools.tasks.lines import Line, by_digest, read_lines

VALIDATION, TEST = 100, 200
_MARKS = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"#### *(-?[\d,]*\.?\d+) *\Z")


def gsm8k(folder: Path) -> dict[str, list[Line]]:
    """`VALIDATION` of the training questions, `TEST` of the test's, each with the smallest md5."""
    known = read_lines(folder / "train-1500.jsonl")
    asked = by_digest(read_lines(folder / "test.jsonl"))[:TEST]
    validation = by_digest(known)[:VALIDATION]
    apart = {line["question"] for line in (*validation, *asked)}
    return {
        "train": [_line(line, solution(line)) for line in known if line["question"] not in apart],
        "validation": [_line(line, [solution(line), number(line)]) for line in validation],
        "test": [_line(line, number(line)) for line in asked],
    }


def solution(line: Line) -> str:
    """The worked solution, without the calculator's marks, numbers in the last line plain."""
    before = _MARKS.sub("", line["answer"]).rpartition("####")[0].rstrip()
    return f"{before}\n#### {number(line)}"


def number(line: Line) -> str:
    """The number after the last line's ####, without commas; `UsageError` where there is none."""
    found = _NUMBER.search(line["answer"].rstrip())
    if not found:
        raise UsageError(f"{line['question']!r}: the answer has no last line like '#### 72'")
    return found[1].replace(",", "")


def _line(line: Line, answer: str | list[str]) -> Line:
    return {"question": line["question"], "answer": answer, "kind": "gsm8k", "judge": "number"}
