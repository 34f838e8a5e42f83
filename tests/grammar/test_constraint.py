"""Which tokens keep to a grammar, over a vocabulary of bytes and over real ones."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import jsonschema
import numpy as np
import pytest

from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import GrammarError
from edgeproxy.grammar.constraint import Constraint, Tokens
from edgeproxy.grammar.grammar import Grammar
from tests.helpers.fakes import END, TURN, fake_vocab

VOCAB = fake_vocab()
YES = Grammar.grammar('root ::= "yes" | "yet" | "no"')
ROW = np.zeros(len(VOCAB), np.float32)


def begin(grammar: Grammar, vocab: Vocab = VOCAB) -> Constraint:
    return Tokens(vocab, vocab.end_of_generation).begin(grammar)


def allowed(constraint: Constraint, vocab: Vocab = VOCAB) -> set[int]:
    row = constraint.allow(np.zeros(len(vocab), np.float32))
    return set(np.flatnonzero(np.isfinite(row)).tolist())


def test_what_may_come_is_told_token_by_token() -> None:
    constraint = begin(YES)
    assert allowed(constraint) == set(b"yn")
    constraint.accept(ord("y"))
    assert allowed(constraint) == set(b"e")
    constraint.accept(ord("e"))
    assert allowed(constraint) == set(b"st")
    assert not constraint.is_over
    constraint.accept(ord("t"))
    assert constraint.is_over
    assert allowed(constraint) == set(VOCAB.end_of_generation)


def test_the_logits_of_what_may_come_are_as_they_were() -> None:
    row = np.arange(len(VOCAB), dtype=np.float32)
    found = begin(YES).allow(row)
    assert [found[token] for token in b"ny"] == [float(token) for token in b"ny"]
    assert row.tolist() == list(range(len(VOCAB)))


def test_a_token_that_may_not_come_is_an_error_that_stays() -> None:
    constraint = begin(YES)
    with pytest.raises(GrammarError, match="the grammar"):
        constraint.accept(ord("x"))
    with pytest.raises(GrammarError, match="the grammar"):
        constraint.allow(ROW)


def test_what_ends_a_reply_may_come_only_where_the_text_may_end() -> None:
    constraint = begin(Grammar.grammar('root ::= "a" "b"*'))
    assert END not in allowed(constraint)
    constraint.accept(ord("a"))
    assert {END, ord("b")} <= allowed(constraint)
    assert TURN not in allowed(constraint)
    assert not constraint.is_over


def test_special_tokens_are_no_text() -> None:
    constraint = begin(Grammar.grammar('root ::= "<|im_start|>" "x"'))
    for character in b"<|im_start|>x":
        assert TURN not in allowed(constraint)
        constraint.accept(character)
    assert constraint.is_over


def test_a_draft_runs_ahead_of_the_reply() -> None:
    constraint = begin(YES)
    ahead = constraint.ahead()
    ahead.accept(ord("n"))
    assert allowed(ahead) == set(b"o")
    assert allowed(constraint) == set(b"yn")
    assert constraint.count_valid(list(b"yes")) == 3
    assert constraint.count_valid(list(b"yawn")) == 1
    assert allowed(constraint) == set(b"yn")


def test_rows_where_nothing_that_may_come_is_possible_are_an_error() -> None:
    row = np.full(len(VOCAB), -np.inf, np.float32)
    row[ord("x")] = 1.0
    with pytest.raises(GrammarError, match="no token"):
        begin(YES).allow(row)


@pytest.mark.parametrize("text", ['{"$ref": "#"}', '{"allOf": [{"enum": [1]}, {"enum": [2]}]}'])
def test_a_schema_that_no_text_keeps_to_is_an_error(text: str) -> None:
    with pytest.raises(GrammarError, match="the JSON schema"):
        begin(Grammar.json_schema(text)).allow(ROW)


def test_a_base_without_an_end_can_be_held_to_nothing() -> None:
    with pytest.raises(GrammarError, match="no token of the base ends a reply"):
        Tokens(replace(VOCAB, end_of_generation=frozenset()), frozenset())


SCHEMAS: tuple[Any, ...] = (
    {"type": "integer"},
    {"type": "number", "minimum": -2.5, "maximum": 7},
    {"type": "boolean"},
    {"type": "null"},
    {"type": "string", "maxLength": 5},
    {"enum": ["red", "grün", "青"]},
    {"const": {"a": [1, "two", None]}},
    {"type": "string", "pattern": "^[A-Z]{2}[0-9]{4}$"},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "uuid"},
    {"type": "array", "items": {"type": "integer", "maximum": 99}, "minItems": 1, "maxItems": 4},
    {"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "null"}], "items": False},
    {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 9}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    {
        "type": "object",
        "properties": {"a": {"type": "null"}, "b": {"type": "boolean"}},
        "additionalProperties": False,
    },
    {"anyOf": [{"type": "integer"}, {"type": "string", "maxLength": 3}]},
    {"type": ["boolean", "null"]},
    {
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {
                    "value": {"type": "boolean"},
                    "children": {
                        "type": "array",
                        "items": {"$ref": "#/$defs/tree"},
                        "maxItems": 1,
                    },
                },
                "required": ["value"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/tree",
    },
    {"allOf": [{"type": "integer"}, {"minimum": 3}, {"maximum": 9}]},
    {
        "type": "object",
        "patternProperties": {"^[a-z]{1,4}$": {"type": "boolean"}},
        "additionalProperties": False,
        "maxProperties": 2,
    },
    {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": {"enum": [1, 2]}, "maxItems": 3}},
        "required": ["rows"],
        "additionalProperties": False,
    },
)
"""Twenty schemas, of the kinds that people write."""


@pytest.mark.parametrize("place", range(len(SCHEMAS)))
def test_whatever_keeps_to_a_schema_is_valid(place: int) -> None:
    """Ten texts of each schema, drawn by chance, their ends as soon as they may come."""
    schema, tokens = SCHEMAS[place], Tokens(VOCAB, VOCAB.end_of_generation)
    grammar = Grammar.json_schema(schema)
    for seed in range(10):
        said = _drawn(tokens.begin(grammar), random.Random(seed))
        jsonschema.validate(json.loads(said), schema)


def _drawn(constraint: Constraint, chance: random.Random) -> bytes:
    said = bytearray()
    while not constraint.is_over and len(said) < 5000:
        may = allowed(constraint)
        if may & VOCAB.end_of_generation and (len(said) > 30 or chance.random() < 0.5):
            break
        closing = [token for token in may if token in b'"}]'] if len(said) > 60 else []
        token = chance.choice(closing or sorted(may - VOCAB.end_of_generation))
        constraint.accept(token)
        said.append(token)
    return bytes(said)
