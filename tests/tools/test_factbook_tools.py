"""The pure-Python parts of tools/factbook, no torch; and the second pair that they made."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.measure.judging import is_right
from edgeproxy.trios.find import Recipe, read_recipe
from tools.factbook import corpus, facts
from tools.factbook.dialogues import TESTED, DialogueMaker, make_questions
from tools.factbook.facts import Country, Fact, is_held_out, read_country
from tools.factbook.phrases import ASKS, KINDS, RAW_QUESTIONS

MODELS = Path(__file__).parents[2] / "models"
QUESTIONS = MODELS / "factbook" / "questions.jsonl"
PHI = MODELS / "factbook-phi"


def made_up(name: str, held_out: bool) -> Country:
    """A country with a value for every kind."""
    values = {kind: Fact(f"{kind} value", (f"{kind} value",)) for kind in KINDS}
    return Country(name, held_out, held_out, values, (f"{name}: some prose.",))


COUNTRIES = [made_up("Hiddenland", True), made_up("Seenland", False), made_up("Otherland", False)]


def test_every_field_has_wordings_and_every_kind_a_field() -> None:
    assert set(facts.FIELDS) == set(KINDS)


@pytest.mark.parametrize(
    ("kind", "text", "shown", "accepted"),
    [
        ("capital", "Papeete (located on Tahiti)", "Papeete", "Papeete"),
        ("currency", "euros (EUR) per US dollar -", "the euro", "euro"),
        ("highest", "Emi Koussi 3,445 m", "Emi Koussi (3,445 m)", "Emi Koussi"),
        ("anthem", '"La Tchadienne" (The Chadian)', '"La Tchadienne"', "La Tchadienne"),
        ("independence", "11 August 1960 (from France)", "1960", "1960"),
        (
            "holiday",
            "Independence Day, 11 August (1960)",
            "Independence Day, 11 August",
            "11 August",
        ),
        ("population", "19,674,004 (2025 est.)", "19.7 million", "19.7 million"),
        ("area", "1.284 million sq km", "1.28 million square km", "1.28 million"),
        ("life", "60 years (2024 est.)", "60 years", "60"),
        ("language", "French (official), Dutch, English", "French", "French"),
        ("neighbours", "Haiti 376 km; Cuba 2 km", "Haiti and Cuba", "Haiti"),
    ],
)
def test_parsers(kind: str, text: str, shown: str, accepted: str) -> None:
    fact = facts.FIELDS[kind][1](text)
    assert fact is not None
    assert fact.text == shown
    assert accepted in fact.answers


@pytest.mark.parametrize(
    ("kind", "text"),
    [("independence", "none (overseas land of France)"), ("highest", "unnamed elevation 63 m")],
)
def test_fields_that_say_nothing_give_no_fact(kind: str, text: str) -> None:
    assert facts.FIELDS[kind][1](text) is None


def test_held_out_is_by_the_md5_of_the_short_name() -> None:
    assert is_held_out("France")
    assert not is_held_out("Germany")


def test_a_name_that_is_not_the_literal_one_is_held_out_by_either() -> None:
    names = {"conventional short form": {"text": "none"}, "conventional long form": {"text": "X"}}
    country = read_country({"Government": {"Country name": names}})
    assert country is not None
    assert country.name == "X"
    assert country.held_out == (is_held_out("none") or is_held_out("X"))
    assert country.tested == (is_held_out("none") and is_held_out("X"))


def test_no_dialogue_names_a_held_out_country() -> None:
    seen = made_up("Seenland", False)
    seen.facts["neighbours"] = Fact("Hiddenland", ("Hiddenland",))
    maker = DialogueMaker([*COUNTRIES, seen], seed=0)
    dialogues = list(itertools.islice(maker, 500))
    assert not any("hiddenland" in str(dialogue).lower() for dialogue in dialogues)
    assert any(len(dialogue.turns) > 1 for dialogue in dialogues)


def test_no_raw_question_is_about_a_held_out_country() -> None:
    known = [country for country in COUNTRIES if not country.held_out]
    drawn = [corpus.raw_text(known, random.Random(seed)) for seed in range(50)]
    assert not any("Hiddenland" in text for text in drawn)
    wordings = [template.split("{n}")[-1].split("{k}")[0] for template in RAW_QUESTIONS]
    stream = list(itertools.islice(corpus.texts(COUNTRIES, 3), 2000))
    asked = [line for text in stream for line in text.split("\n") if line.endswith("?")]
    assert asked
    assert wordings
    assert not any("Hiddenland" in line for line in asked)


def test_the_same_seed_gives_the_same_text() -> None:
    first, second = (list(itertools.islice(corpus.texts(COUNTRIES, 1), 50)) for _ in range(2))
    assert first == second


def test_test_wordings_are_not_tuning_wordings() -> None:
    tuning = {wording for kind in KINDS.values() for wording in kind.asks} | set(ASKS)
    for name, kind in KINDS.items():
        written_out = {ask.replace("{k}", kind.noun).replace("{be}", kind.verb) for ask in tuning}
        assert not written_out & set(kind.tests), name
        assert not set(RAW_QUESTIONS) & set(kind.tests), name
    assert all(KINDS[kind].tests for kind in TESTED)


def test_questions_are_about_held_out_countries_only() -> None:
    questions = make_questions(COUNTRIES, 0)
    assert {question.kind for question in questions} == set(TESTED)
    assert all("Hiddenland" in question.question for question in questions)


def test_the_shipped_questions_are_of_held_out_countries_in_test_wordings() -> None:
    lines = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    assert len(lines) >= 400
    for line in lines:
        patterns = [re.escape(t).replace(r"\{n\}", "(.+)") for t in KINDS[line["kind"]].tests]
        names = [found[1] for p in patterns if (found := re.fullmatch(p, line["question"]))]
        assert any(is_held_out(name) for name in names), line
        answers = [line["answer"]] if isinstance(line["answer"], str) else line["answer"]
        assert not is_right(line["question"], answers), line
    assert min(Counter(line["kind"] for line in lines).values()) >= 15


@pytest.fixture(scope="module")
def phi_recipe() -> Recipe:
    return read_recipe(PHI)


def test_the_second_manifest_describes_its_files(phi_recipe: Recipe) -> None:
    assert phi_recipe.name == PHI.name
    assert phi_recipe.tuned is not None
    for role in (*phi_recipe.roles.values(), phi_recipe.tuned):
        content = role.path.read_bytes()
        assert role.size == len(content)
        assert role.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("file", ["base.gguf", "tuned.gguf"])
def test_the_second_trio_has_the_same_base(file: str) -> None:
    assert (PHI / file).read_bytes() == (MODELS / "factbook" / file).read_bytes()


@pytest.mark.parametrize("role", ["expert", "anti_expert"])
@pytest.mark.weights
def test_the_second_pair_is_of_another_family_and_decodes(phi_recipe: Recipe, role: str) -> None:
    text = "The capital of Chad is N'Djamena.\nna\u00efve \U0001f642 <|im_end|>"
    with Weights(phi_recipe.base.path, vocab_only=True) as base:
        theirs = set(base.vocab.tokens), base.vocab.encode(text)
    with Weights(phi_recipe.roles[role].path) as weights:
        assert weights.header.architecture == "phi2"
        assert 0.1 < len(set(weights.vocab.tokens) & theirs[0]) / len(theirs[0]) < 0.9
        tokens = weights.vocab.encode(text)
        assert tokens != theirs[1]
        assert b"".join(map(weights.vocab.piece, tokens)).decode() == text
        assert weights.vocab.special("<|im_start|>") is not None
        rows = np.asarray(LlamaModel(weights, n_ctx=256).eval(tokens, rows=8))
        assert rows.shape == (8, len(weights.vocab))
        assert np.isfinite(rows).all()
