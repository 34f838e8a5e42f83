"""How the task "facts" asks: several wordings a field, with {n} for the country."""

from __future__ import annotations

ASKS: dict[str, tuple[str, ...]] = {
    "capital": (
        "What is the capital of {n}?",
        "Which city is the capital of {n}?",
        "Name the capital of {n}.",
        "Tell me the capital city of {n}.",
        "I would like to know the capital of {n}.",
    ),
    "currency": (
        "What is the currency of {n}?",
        "Which currency is used in {n}?",
        "Name the currency of {n}.",
        "What money do people pay with in {n}?",
        "I would like to know the currency of {n}.",
    ),
    "language": (
        "What is the official language of {n}?",
        "Which language is official in {n}?",
        "Name the official language of {n}.",
        "Tell me the official language of {n}.",
        "I would like to know the official language of {n}.",
    ),
    "nationality": (
        "What is the adjective for somebody or something from {n}?",
        "Which adjective describes people and things from {n}?",
        "Name the adjective of nationality for {n}.",
        "What is somebody with the nationality of {n} called?",
        "I would like to know the adjective of nationality for {n}.",
    ),
    "independence": (
        "In which year did {n} become independent?",
        "What year did {n} gain independence?",
        "Name the year of independence of {n}.",
        "Since which year has {n} been independent?",
        "I would like to know the year in which {n} became independent.",
    ),
    "internet": (
        "What is the internet country code of {n}?",
        "Which top-level domain belongs to {n}?",
        "Name the internet country code of {n}.",
        "What do web addresses from {n} end in?",
        "I would like to know the internet country code of {n}.",
    ),
}
"""The fields, in the order in which they are built."""
