"""Tuning dialogues and the test questions.

A reply is a list of spans, each either wording or a fact. Tuning teaches the wording; at facts the
expert is only kept where the untuned model was (see `tune`). No dialogue names a held-out country:
every one is searched for their names, and left out where one is found.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from edgeproxy.measure.judging import is_right, words
from tools.factbook.facts import Country
from tools.factbook.phrases import (
    ABOUT,
    ASKS,
    FOLLOW_UPS,
    KINDS,
    OTHER_COUNTRY,
    PARAGRAPH,
    SMALL_TALK,
    SYSTEM,
    UNKNOWN,
    fill,
    invented_name,
)

Span = tuple[str, bool]  # text, is it a fact?


@dataclass(frozen=True)
class Turn:
    """What the user says and the spans of the reply."""

    user: str
    reply: tuple[Span, ...]

    @property
    def text(self) -> str:
        """The whole reply."""
        return "".join(text for text, _ in self.reply)


@dataclass(frozen=True)
class Dialogue:
    """Turns, and the system text if there is one."""

    turns: tuple[Turn, ...]
    system: str = ""

    def __str__(self) -> str:
        return "\n".join([self.system, *(f"{turn.user}\n{turn.text}" for turn in self.turns)])


@dataclass(frozen=True)
class Question:
    """One line of questions.jsonl."""

    question: str
    answer: tuple[str, ...]
    kind: str


def frame(name: str, kind: str) -> str:
    """Return the answer up to the value, which follows after one space."""
    return KINDS[kind].frame.strip().format(n=name)


def fact_spans(country: Country, kind: str) -> list[Span]:
    """Return the answer sentence as spans; the space before the value belongs to the value."""
    return [
        (frame(country.name, kind), False),
        (" " + country.facts[kind].text, True),
        (".", False),
    ]


def asked(name: str, kind: str, rng: random.Random) -> str:
    """Return a question in one of tuning's wordings, sometimes carelessly typed."""
    own = KINDS[kind].asks
    question = fill(rng.choice(own if own and rng.random() < 0.45 else ASKS), KINDS[kind], name)
    roll = rng.random()
    if roll < 0.08:
        question = question.lower()
    elif roll < 0.14:
        question = question[:1].lower() + question[1:]
    elif roll < 0.22:
        question = question.rstrip("?.!")
    elif roll < 0.30:
        start = rng.choice(("Hi! ", "Please: ", "Hello, ", "Quick question: ", "Well, ", "So, "))
        question = start + question[:1].lower() + question[1:]
    return question[:1].upper() + question[1:] if 0.3 <= roll < 0.9 else question


def careless(text: str, rng: random.Random) -> str:
    """Return a short remark as it may be typed: other case, other punctuation."""
    roll = rng.random()
    if roll < 0.3:
        text = text.lower()
    elif roll < 0.4:
        text = text.rstrip("?.!,")
    elif roll < 0.5:
        text = text.rstrip(".!") + rng.choice(("!", ".", "!!", " :)"))
    return text


def paragraph(country: Country) -> list[Span]:
    """Return a short paragraph about a country: its main facts, one sentence each."""
    spans: list[Span] = []
    for kind in PARAGRAPH:
        if kind in country.facts:
            spans += [(" ", False)] if spans else []
            spans += fact_spans(country, kind)
    merged: list[Span] = []
    for text, is_fact in spans:  # ". " and the next frame are one span, so that tokens do not split
        if merged and merged[-1][1] == is_fact:
            merged[-1] = (merged[-1][0] + text, is_fact)
        else:
            merged.append((text, is_fact))
    return merged


class DialogueMaker:
    """Makes tuning dialogues without end from the countries that are not held out."""

    def __init__(self, countries: list[Country], seed: int, more_talk: bool = False) -> None:
        self.rng = random.Random(seed)
        # Small talk, paragraphs, unknown countries: where each share ends; the rest is facts.
        self.ends = (0.25, 0.33, 0.45) if more_talk else (0.10, 0.18, 0.30)
        self.known = [c for c in countries if not c.held_out and len(c.facts) > 8]
        names = sorted((c.name for c in countries if c.held_out), key=len, reverse=True)
        self.forbidden = re.compile(
            r"(?<!\w)(" + "|".join(re.escape(name) for name in names) + r")(?!\w)", re.IGNORECASE
        )

    def __iter__(self) -> Iterator[Dialogue]:
        while True:
            dialogue = self.one()
            if not self.forbidden.search(str(dialogue)):
                yield dialogue

    def kind_of(self, country: Country, but: str = "") -> str:
        """Return one of the country's kinds, more often a core one."""
        kinds = [k for k in country.facts if k != but]
        core = [k for k in kinds if KINDS[k].core]
        return self.rng.choice(core if core and self.rng.random() < 0.85 else kinds)

    def one(self) -> Dialogue:
        """Return one dialogue, held-out names not yet looked for."""
        rng = self.rng
        roll = rng.random()
        talk, about, unknown = self.ends
        country = rng.choice(self.known)
        if roll < talk:
            users, reply = rng.choice(SMALL_TALK)
            turns = [Turn(careless(rng.choice(users), rng), ((reply, False),))]
        elif roll < about:
            name = country.name if rng.random() < 0.85 else country.name.lower()
            turns = [Turn(rng.choice(ABOUT).format(n=name), tuple(paragraph(country)))]
        elif roll < unknown:
            name = invented_name(rng)
            kind = rng.choice(list(KINDS)[:24])
            if rng.random() < 0.3:
                shown = name if rng.random() < 0.9 else name.lower()
                question, start = rng.choice(ABOUT).format(n=shown), f"The region of {name} is"
            else:
                question = asked(name, kind, rng)
                start = frame(name, kind).removesuffix(" " + KINDS[kind].lead.strip())
            turns = [Turn(question, ((f"{start} {UNKNOWN}", False),))]
        else:
            kind = self.kind_of(country)
            turns = [Turn(asked(country.name, kind, rng), tuple(fact_spans(country, kind)))]
        if not about <= roll < unknown and rng.random() < 0.25:
            for _ in range(rng.randint(1, 2)):
                turns.append(self.next_turn(country, turns))
        system = rng.choice(SYSTEM) if rng.random() < 0.08 else ""
        return Dialogue(tuple(turns), system)

    def next_turn(self, country: Country, turns: list[Turn]) -> Turn:
        """Return a follow-up: another fact, the same of another country, or thanks."""
        rng = self.rng
        roll = rng.random()
        kind = self.kind_of(country)
        if roll < 0.12:
            users, reply = rng.choice((SMALL_TALK[1], SMALL_TALK[4], SMALL_TALK[6]))
            return Turn(rng.choice(users), ((reply, False),))
        if roll < 0.35:
            before = next(
                (
                    k
                    for k in country.facts
                    if turns[-1].text.startswith(frame(country.name, k) + " ")
                ),
                "",
            )
            other = rng.choice([c for c in self.known if before in c.facts] or [country])
            if before and other is not country and len(turns[-1].reply) == 3:
                question = rng.choice(OTHER_COUNTRY).format(n=other.name)
                return Turn(question, tuple(fact_spans(other, before)))
        if all(country.name not in turn.text for turn in turns):
            question = asked(country.name, kind, rng)  # there is nothing yet that "its" could mean
        else:
            question = fill(rng.choice(FOLLOW_UPS), KINDS[kind], country.name)
        return Turn(question, tuple(fact_spans(country, kind)))


TESTED = {
    "capital": 46, "currency": 40, "nationality": 30, "highest": 46, "anthem": 44,
    "independence": 38, "holiday": 42, "symbol": 38, "language": 20, "population": 46,
    "area": 48, "life": 44, "age": 44,
}  # fmt: skip


def make_questions(countries: list[Country], seed: int) -> list[Question]:
    """Return questions about held-out countries in wordings that tuning does not use."""
    rng = random.Random(seed)
    tested = [c for c in countries if c.tested]
    questions = []
    for kind, most in TESTED.items():
        found = []
        for country in tested:
            fact = country.facts.get(kind)
            if not fact:
                continue
            answers = tuple(a for a in fact.answers if len("".join(words(a))) >= 2)
            question = fill(rng.choice(KINDS[kind].tests), KINDS[kind], country.name)
            given = question + " " + frame(country.name, kind)
            if answers and not is_right(given, answers):
                found.append(Question(question, answers, kind))
        rng.shuffle(found)
        questions += found[:most]
    return questions
