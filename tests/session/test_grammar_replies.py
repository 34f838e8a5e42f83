"""Replies of a session that keep to a JSON schema or a grammar."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import GrammarError, UsageError
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from tests.grammar.test_constraint import SCHEMAS
from tests.session.test_turn import session_of, text_of, trio_saying

YES = Grammar.grammar('root ::= "yes" | "no"')
HELLO = Grammar.grammar('root ::= [A-Z] [a-z, ?]+ "?"')


@pytest.fixture(params=["off", "auto"])
def session(request: pytest.FixtureRequest) -> Session:
    return session_of(trio_saying(), request.param)


def test_a_reply_keeps_to_a_grammar_and_the_next_one_does_not(session: Session) -> None:
    turn = session.reply("Hello", grammar=YES)
    assert text_of(turn) in ("yes", "no")
    assert turn.finish_reason == "stop"
    assert text_of(session.reply("Hello")) == "Hi, how are you?"
    assert text_of(session.reply("Hello", grammar=HELLO)) == "Hi, how are you?"


def test_a_reply_ends_where_it_can_have_no_other_end(session: Session) -> None:
    """Without a token that ends it, which would take another step of all models."""
    pieces = list(session.reply("Hello", grammar=YES))
    assert "".join(piece.text for piece in pieces) in ("yes", "no")
    assert pieces[-1].text
    assert pieces[-1].token is not None


def test_the_mask_gives_way_to_the_grammar(session: Session) -> None:
    """What the expert finds plausible, "H", is nothing that the grammar allows."""
    for plausibility in (0.9, 0.0):
        said = text_of(session.reply("Hello", grammar=YES, plausibility=plausibility))
        assert said in ("yes", "no")
    session.steering = Steering(plausibility=0.9)
    assert text_of(session.reply("Hello", grammar=YES)) in ("yes", "no")
    assert session.steering.plausibility == 0.9


def test_what_was_recorded_is_what_the_models_said(session: Session) -> None:
    turn = session.reply("Hello", grammar=YES, record=2)
    assert text_of(turn) in ("yes", "no")
    first = turn.steps[0]
    assert first.fused.best[0].token == ord("H")
    assert first.token in b"yn"


def test_a_model_alone_keeps_to_a_grammar(session: Session) -> None:
    assert text_of(session.solo("base").reply("Hello", grammar=YES)) in ("yes", "no")


def test_a_reply_that_is_cut_short_says_so(session: Session) -> None:
    turn = session.reply("Hello", grammar=HELLO, max_tokens=4)
    assert (text_of(turn), turn.finish_reason) == ("Hi, ", "length")


def test_a_grammar_that_no_text_keeps_to_leaves_the_session_as_it_was(session: Session) -> None:
    nothing = Grammar.json_schema('{"$ref": "#"}')
    for _ in range(2):
        with pytest.raises(GrammarError, match="the JSON schema"):
            text_of(session.reply("Hello", grammar=nothing))
    assert text_of(session.reply("Hello")) == "Hi, how are you?"


def test_a_grammar_is_a_grammar(session: Session) -> None:
    wrong: Any = 'root ::= "a"'
    with pytest.raises(UsageError, match="grammar must be a Grammar"):
        session.reply("Hello", grammar=wrong)


@pytest.fixture(scope="module", params=["factbook", "factbook-phi"])
def real(request: pytest.FixtureRequest) -> Iterator[Session]:
    with load(request.param) as session:
        yield session


@pytest.mark.weights
@pytest.mark.slow
def test_real_models_keep_to_schemas(real: Session) -> None:
    """200 replies under 20 schemas, of a pair with the base's tokenizer and of one with another."""
    for place, schema in enumerate(SCHEMAS):
        grammar = Grammar.json_schema(schema)
        for seed in range(5):
            sampling = Sampling(temperature=float(seed > 0), seed=seed)
            turn = real.reply(
                f"What is the capital of country {place}?",
                grammar=grammar,
                sampling=sampling,
                max_tokens=300,
            )
            said = text_of(turn)
            assert turn.finish_reason == "stop", (schema, said)
            jsonschema.validate(json.loads(said), schema)
