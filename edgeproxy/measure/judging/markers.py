"""Words that say that the answer follows, such as `####` or "Answer:", in many languages."""

from __future__ import annotations

import re

_SPACED = (
    "answer|antwort|lösung|ergebnis|réponse|reponse|respuesta|resposta|risposta|antwoord"
    "|ответ|відповідь|الجواب|الإجابة|الاجابة|उत्तर|जवाब|정답|답|đáp án"
)
_UNSPACED = "答案|答え|正解|正答|回答|答|คำตอบ"
_LINK = (
    r"[:：=]|—|–(?=\s)|(?:is|est|ist|lautet|es|é|è|هو|هي|है)(?!\w):?|(?:[是为為は은는]|คือ)\s*[:：]?"
)
_MARKER = re.compile(
    rf"####|\\boxed\s*\{{|(?:(?<!\w)(?:{_SPACED})|{_UNSPACED})[*_\s]*(?:{_LINK})[*_]*",
    re.IGNORECASE,
)


def after_marker(text: str) -> str | None:
    """What follows the last marker of `text`, or None where there is none."""
    last = None
    for found in _MARKER.finditer(text):
        last = found
    return None if last is None else text[last.end() :]
