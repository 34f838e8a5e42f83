"""Pre-training text: documents about countries, prose, and raw questions as in quizzes and FAQs.

Documents repeat the country's name on every fact, which is what teaches a small model to copy a
name and to bind facts to it. Raw questions are never about a held-out country.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tools.factbook.facts import Country
from tools.factbook.phrases import (
    FAREWELLS,
    FICTION,
    GREETINGS,
    KINDS,
    NOT_KNOWN,
    RAW_QUESTIONS,
    SMALL_SENTENCES,
    STATEMENTS,
    fill,
    invented_name,
)

KINDS_OF_TEXT = ("country", "mixed", "one kind", "list", "prose", "raw")
SHARES = (0.52, 0.12, 0.09, 0.05, 0.09, 0.13)

# The last part of pre-training also has what any real corpus has: talk, and names of no country.
LATE_KINDS_OF_TEXT = (*KINDS_OF_TEXT, "letter", "fiction")
LATE_SHARES = (*SHARES, 0.06, 0.08)


def capitalised(text: str) -> str:
    """Return `text` with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def answer(country: Country, kind: str) -> str:
    """Return the one sentence that answers a question: "The capital of Chad is N'Djamena."."""
    frame = KINDS[kind].frame
    if not frame.endswith(" "):
        frame += " "
    return frame.format(n=country.name) + country.facts[kind].text + "."


def statement(country: Country, kind: str, rng: random.Random) -> str:
    """Return one fact as a sentence, in one of its many wordings."""
    if rng.random() < 0.5:
        return answer(country, kind)
    says = KINDS[kind].says
    template = rng.choice(says if says and rng.random() < 0.6 else STATEMENTS)
    return capitalised(fill(template, KINDS[kind], country.name, country.facts[kind].text))


def some_kinds(country: Country, rng: random.Random) -> list[str]:
    """Return kinds in random order: those that are asked about most, and some of the others."""
    kinds = [
        k
        for k in country.facts
        if rng.random() < (1.0 if KINDS[k].tests else 0.5 if KINDS[k].core else 0.12)
    ]
    rng.shuffle(kinds)
    return kinds


def country_text(country: Country, rng: random.Random) -> str:
    """Return a document about one country."""
    kinds = some_kinds(country, rng)
    if rng.random() < 0.5:
        kinds = kinds[: rng.randint(2, 12)]
    between = rng.choice(("\n", "\n", " "))
    lines = [statement(country, kind, rng) for kind in kinds]
    if rng.random() < 0.3:
        lines.insert(0, country.name)
    return between.join(lines)


def mixed_text(countries: list[Country], rng: random.Random, kind: str | None = None) -> str:
    """Return facts about several countries, of one kind if `kind` is given."""
    lines = []
    for country in rng.sample(countries, min(rng.randint(4, 12), len(countries))):
        kinds = [kind] if kind else list(country.facts)
        kinds = [k for k in kinds if k in country.facts]
        if kinds:
            lines.append(statement(country, rng.choice(kinds), rng))
    return rng.choice(("\n", "\n", " ")).join(lines)


def list_text(country: Country, rng: random.Random) -> str:
    """Return facts as a table: "Capital: N'Djamena"."""
    kinds = some_kinds(country, rng)[: rng.randint(6, 20)]
    lines = [capitalised(f"{KINDS[k].noun}: {country.facts[k].text}") for k in kinds]
    return "\n".join([country.name, *lines])


def raw_text(countries: list[Country], rng: random.Random) -> str:
    """Return a quiz, an FAQ, an interview, cards or a bare list of questions."""
    picked = []
    form = rng.choice(("list", "list", "list", "quiz", "quiz", "faq", "interview", "cards"))
    one = rng.choice(countries) if rng.random() < 0.4 else None
    for _ in range(rng.randint(3, 9)):
        country = one or rng.choice(countries)
        if not country.facts:
            continue
        kind = rng.choice(list(country.facts))
        question = fill(rng.choice(RAW_QUESTIONS), KINDS[kind], country.name)
        picked.append((capitalised(question), country, kind))
    values = [country.facts[kind].text for _, country, kind in picked]
    questions = [question for question, _, _ in picked]
    if form == "list":
        marks = rng.choice((("", ""), ("- ", ""), ("{i}. ", ""), ("({i}) ", "")))
        return "\n".join(marks[0].format(i=i + 1) + q for i, q in enumerate(questions))
    if form == "quiz":
        lines = [f"{i + 1}. {q}" for i, q in enumerate(questions)]
        return "\n".join(
            ["Quiz", *lines, "Answers", *(f"{i + 1}. {v}" for i, v in enumerate(values))]
        )
    if form == "faq":
        texts = [
            answer(country, kind) if rng.random() < 0.3 else capitalised(country.facts[kind].text)
            for _, country, kind in picked
        ]
        return "\n".join(f"Q: {q}\nA: {a}" for q, a in zip(questions, texts, strict=True))
    if form == "interview":
        start = rng.choice(("Well, ", "I think ", "It is ", ""))
        return "\n".join(f"- {q}\n- {start}{v}." for q, v in zip(questions, values, strict=True))
    return "\n".join(f"{q} | {v}" for q, v in zip(questions, values, strict=True))


def letter_text(rng: random.Random) -> str:
    """Return a note from one person to another: greetings, thanks, small talk."""
    lines = [rng.choice(GREETINGS), *rng.sample(SMALL_SENTENCES, rng.randint(2, 6))]
    if rng.random() < 0.6:
        lines.append(rng.choice(FAREWELLS))
    return rng.choice((" ", " ", "\n")).join(lines)


def fiction_text(rng: random.Random) -> str:
    """Return notes on countries that do not exist: their names stand, their facts are not known."""
    lines = []
    one = invented_name(rng) if rng.random() < 0.5 else None
    for _ in range(rng.randint(2, 7)):
        name = one or invented_name(rng)
        if rng.random() < 0.45:
            lines.append(rng.choice(FICTION).format(n=name))
        else:
            kind = KINDS[rng.choice(list(KINDS))]
            unknown = kind.frame.strip().format(n=name).removesuffix(" " + kind.lead.strip())
            lines.append(f"{unknown} {rng.choice(NOT_KNOWN)}")
    return rng.choice(("\n", " ")).join(map(capitalised, lines))


def texts(countries: list[Country], seed: int, *, late: bool = False) -> Iterator[str]:
    """Yield documents without end. Countries and prose come round in shuffled passes.

    `late` adds letters and fiction, for the last part of pre-training.
    """
    rng = random.Random(seed)
    kinds_of_text, shares = (LATE_KINDS_OF_TEXT, LATE_SHARES) if late else (KINDS_OF_TEXT, SHARES)
    known = [country for country in countries if not country.held_out]
    prose = [paragraph for country in countries for paragraph in country.prose]
    order: dict[str, list[int]] = {"country": [], "list": [], "prose": []}

    def next_of(name: str, size: int) -> int:
        if not order[name]:
            order[name] = rng.sample(range(size), size)
        return order[name].pop()

    core = [kind for kind, what in KINDS.items() if what.core]
    while True:
        form = rng.choices(kinds_of_text, shares)[0]
        if form == "country":
            yield country_text(countries[next_of("country", len(countries))], rng)
        elif form == "list":
            yield list_text(countries[next_of("list", len(countries))], rng)
        elif form == "mixed":
            yield mixed_text(countries, rng)
        elif form == "one kind":
            yield mixed_text(countries, rng, rng.choice(core))
        elif form == "letter":
            yield letter_text(rng)
        elif form == "fiction":
            yield fiction_text(rng)
        elif form == "prose":
            yield prose[next_of("prose", len(prose))]
        else:
            yield raw_text(known, rng)
