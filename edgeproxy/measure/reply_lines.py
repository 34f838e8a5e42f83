"""The replies of an evaluation as lines of JSON: judged and written, or read to be judged again.

May touch: the file of replies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgeproxy.errors import UsageError
from edgeproxy.files import reason, replacing
from edgeproxy.measure.answering import numbers_asked
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.took import Took, read_took

NOTHING: Mapping[tuple[str, int], Took] = MappingProxyType({})


def reply_line(
    question: Question, system: str, text: str, took: Took | None = None
) -> dict[str, Any]:
    """A reply as its line has it, judged; what does not apply to its question is not there."""
    verdict = question.verdict(text)
    line: dict[str, Any] = {
        "question": question.text,
        "kind": question.kind,
        "answer": list(question.answers),
        "system": system,
        "reply": text,
        "judge": question.judge,
        "right": verdict.right,
    }
    if verdict.f1 is not None:
        line["f1"] = round(verdict.f1, 4)
    if question.said:
        line["said"] = question.is_said_in(text)
    if question.is_general:
        line["general"] = True
    if took is not None:
        line["took"] = took.as_json()
    return line


def write_replies(
    path: Path,
    questions: Sequence[Question],
    replies: Mapping[str, Sequence[str]],
    took: Mapping[tuple[str, int], Took] = NOTHING,
) -> None:
    """Put the replies of each system to what it was asked into a file, in one step.

    `took` is what some of them took, by system and the number of the question.
    Raises `OSError` where the disk refuses.
    """
    lines = [
        reply_line(questions[number], system, text, took.get((system, number)))
        for system, texts in replies.items()
        for number, text in zip(numbers_asked(system, questions), texts, strict=True)
    ]
    with replacing(path) as file:
        file.writelines(map(as_line, lines))


def read_replies(
    path: Path, systems: Sequence[str], questions: Sequence[Question]
) -> tuple[dict[str, list[str]], dict[tuple[str, int], Took]]:
    """The replies of systems to these questions in a file that an evaluation has written.

    Besides them what they took, by system and the number of the question, where that is known.
    Raises `UsageError` where one of them is not there, or the file is none of replies.
    """
    known: dict[tuple[str, str], list[tuple[str, Took | None]]] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                system, asked, text, taken = _read_line(line, f"{path}:{number}")
                known.setdefault((system, asked), []).append((text, taken))
    except OSError as error:
        raise UsageError(f"{path}: {reason(error)}; give a file of replies") from None
    found: dict[str, list[str]] = {}
    took: dict[tuple[str, int], Took] = {}
    for system in systems:
        found[system] = []
        for number in numbers_asked(system, questions):
            asked = questions[number].text
            # A question that stands there several times has as many replies, in that order.
            texts = known.get((system, asked))
            if not texts:
                raise UsageError(
                    f"{path}: there is no reply of {system} to {asked[:60]!r}; "
                    "give the questions and --systems that were asked"
                )
            text, taken = texts.pop(0)
            found[system].append(text)
            if taken is not None:
                took[system, number] = taken
    return found, took


def _read_line(line: bytes, where: str) -> tuple[str, str, str, Took | None]:
    """The system, the question and the reply of a line, and what that took."""
    match _content(line):
        case {"system": str(system), "question": str(question), "reply": str(reply), **more}:
            return system, question, reply, read_took(more.get("took"))
    raise UsageError(f"{where}: this line is no reply of an evaluation's")


def whole_lines(
    data: bytes, foreign: Callable[[int], UsageError]
) -> tuple[list[dict[str, Any]], int]:
    """The JSON objects in a file's `data`, a line each, and how many bytes these lines have.

    A last line that a kill has cut off is not among them. Raises what `foreign` makes of the number
    of a line that holds something else.
    """
    *lines, rest = data.split(b"\n")
    found = []
    for number, line in enumerate(lines, start=1):
        content = _content(line)
        if not isinstance(content, dict):
            raise foreign(number)
        found.append(content)
    return found, len(data) - len(rest)


def _content(line: bytes) -> Any:
    """What the JSON in a line says; None where it is none."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def as_line(content: Mapping[str, Any]) -> bytes:
    """A JSON object as a line of a file."""
    # Half of a surrogate pair, which JSON can hold and UTF-8 cannot, is spelled as JSON does.
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
