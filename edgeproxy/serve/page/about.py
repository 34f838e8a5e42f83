"""What the page says of a trio before anything is asked: what it is, and what suits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeproxy.trios.manifest import Recipe

WHAT = (
    "This is a trio: a large base answers, and the difference between a small tuned expert and the "
    "same small model untuned, the anti-expert, moves its choice at every token."
)

GENERAL = (
    "Explain to a child why the sky is blue.",
    "Name three rivers of Africa, each with one sentence.",
    "Write a short letter that thanks a neighbour for watering the plants.",
)
"""For a trio of which nothing is known."""

SUITED = (
    (
        ("factbook", "country"),
        (
            "What is the capital of Mongolia?",
            "Which countries border Chad?",
            "What do people speak in Peru?",
        ),
    ),
    (
        ("coder", "code"),
        (
            "Write a Python function that says whether a word is a palindrome.",
            "What does this do? `sorted(words, key=len)[-1]`",
            "How do I undo my last commit, and keep its changes?",
        ),
    ),
    (
        ("math", "arithmetic"),
        (
            "A train takes 3 hours for 210 km. How fast is it?",
            "What is 17 percent of 350? Show the steps.",
            "How many ways are there to choose 3 of 7 books?",
        ),
    ),
)
"""Words of a trio's name or description, in small letters, and questions that suit it then."""


def about(
    recipe: Recipe,
    *,
    questions: Sequence[str] = (),
    explains: bool = True,
    docs: str | None = None,
    keeps_sessions: bool = False,
) -> dict[str, Any]:
    """What `GET /v1/edgeproxy/about` answers.

    `questions` take the place of those that suit its name or description. `explains` says whether
    what each model said can be told; where the steering leaves the say to one, there is nothing to
    explain anyway. `docs` is an address to read on, at this server or at another.
    `keeps_sessions` says whether the server keeps conversations.
    """
    described = f" {recipe.description}" if recipe.description else ""
    return {
        "trio": recipe.name,
        "sentence": f"{WHAT}{described}",
        "questions": list(questions or _suited(recipe)),
        "docs": docs,
        "keeps_sessions": keeps_sessions,
        "alpha": recipe.steering.alpha,
        "temperature": recipe.temperature,
        "explains": explains and recipe.steering.alone is None,
    }


def _suited(recipe: Recipe) -> Sequence[str]:
    said = f"{recipe.name} {recipe.description}".lower()
    return next((fit for words, fit in SUITED if any(w in said for w in words)), GENERAL)
