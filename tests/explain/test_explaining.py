"""An explained reply: its figures, computed once more from three models apart, and its words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import edgeproxy.explain
from edgeproxy.core.model import Logits
from edgeproxy.decode.drafted import Draft
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Policy, Steering
from edgeproxy.errors import UsageError
from edgeproxy.explain import Explanation, as_json, explain, level_of
from edgeproxy.explain.verdict import summary_of
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.prompts.formats import Message
from edgeproxy.session.load import load
from edgeproxy.session.session import Session
from edgeproxy.trios.find import shipped_recipe
from tests.helpers.explained import explained, session_of, trio_of
from tests.helpers.fakes import random_trio
from tests.helpers.rows import figures, log_softmax
from tests.helpers.served_trios import elsewhere, served_file, write_trio

SCHEMA = Path(edgeproxy.explain.__file__).with_name("schema.json")
NEAR = 1e-4
QUESTIONS = ("What is the capital of Mongolia?", "Tell me about Chad.")


def check_form(explanation: Explanation) -> dict[str, Any]:
    """What is printed, read again, and found to be as the schema has it."""
    found = json.loads(json.dumps(as_json(explanation), allow_nan=False))
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))
    assert [error.message for error in validator.iter_errors(found)] == []
    assert "".join(token["text"] for token in found["tokens"]) == found["text"]
    named = {
        guess[0] for token in found["tokens"] for row in token["best"].values() for guess in row
    }
    named |= {known[0] for token in found["tokens"] for known in token["known"]}
    assert {str(token) for token in named} <= found["words"].keys()
    return found  # type: ignore[no-any-return]


def check_figures(
    explanation: Explanation, rows: Iterator[Sequence[Logits]], steering: Steering
) -> None:
    """`rows` are the base's, expert's and anti-expert's of each token, told by others."""
    weights = steering.alpha, steering.base_weight, steering.plausibility
    for token, (base, expert, anti_expert) in zip(explanation.tokens, rows, strict=True):
        wanted = figures(base, expert, anti_expert, token.id, *weights)
        assert token.moved == pytest.approx(wanted.moved, abs=NEAR)
        assert token.kl == pytest.approx(wanted.kl, abs=NEAR)
        assert token.offset == pytest.approx(wanted.offset, abs=NEAR)
        assert token.changed == wanted.changed
        for name, row in wanted.rows.items():
            assert token.logprobs[name] == pytest.approx(row[token.id], abs=NEAR)
            best = np.sort(row)[::-1][: len(token.best[name])]
            assert [g.logprob for g in token.best[name]] == pytest.approx(best, abs=NEAR)
            assert all(g.logprob == pytest.approx(row[g.id], abs=NEAR) for g in token.best[name])
        for known in token.known:
            told = [wanted.rows[name][known.token] for name in ("base", "expert", "anti_expert")]
            assert list(known[1:4]) == pytest.approx(told, abs=NEAR)
        firsts = [int(wanted.rows[name].argmax()) for name in ("base", "expert", "anti_expert")]
        is_best = token.id == int(wanted.rows["fused"].argmax())
        assert token.brought == (is_best and token.id not in firsts)


def explained_of(session: Session, **settings: Any) -> Explanation:
    turn = session.reply("Hello", **{"record": 10, "max_tokens": 12, **settings})
    list(turn)
    return explain(turn, session)


def rows_apart(session: Session, explanation: Explanation) -> Iterator[Sequence[Logits]]:
    """The rows of three fakes that read the reply from its beginning, one token at a time."""
    tokens = [token.id for token in explanation.tokens]
    prompt = session.trio_speaker.encode([Message("user", "Hello")])
    for model in session.trio.models:
        model.rewind(model.n_past)
    for n in range(len(tokens)):
        yield [
            model.eval([*own, *tokens[:n]] if n == 0 else tokens[n - 1 : n])[-1]
            for model, own in zip(session.trio.models, prompt, strict=True)
        ]


@pytest.mark.parametrize("draft", ["off", "expert"])
@pytest.mark.parametrize(
    "steering",
    [
        Steering(),
        Steering(0.4, plausibility=0.1),
        Steering(1.7, 0.5),
        Steering(-0.5),
        Steering(3.0),
    ],
    ids=str,
)
def test_figures_are_those_of_three_models_apart(steering: Steering, draft: Draft) -> None:
    session = session_of(random_trio(), draft)
    explanation = explained_of(session, steering=steering)
    assert len(explanation.tokens) == 12
    check_form(explanation)
    check_figures(explanation, rows_apart(session, explanation), steering)


def test_what_the_page_needs_to_fuse_anew_is_over_the_whole_vocabulary() -> None:
    session = session_of(random_trio(1.0, 0.05))
    explanation = explained_of(session)
    rows = list(rows_apart(session, explanation))
    for token, (base, expert, anti) in zip(explanation.tokens, rows, strict=True):
        b, e, a = map(log_softmax, (base, expert, anti))
        for alpha, rest in (
            (0.0, token.base_rest),
            (1.0, token.log_rest),
            (2.0, token.far.log_rest),
        ):
            fused = b + alpha * (e - a)
            if alpha:
                fused[e < e.max() + np.log(0.05)] = -np.inf
            wanted = np.exp(np.delete(fused, [known.token for known in token.known])).sum()
            assert np.exp(rest) == pytest.approx(wanted, abs=1e-6, rel=1e-5)
        assert token.far.alpha == 2.0
        assert token.far.best[0] == int(fused.argmax())


@pytest.mark.parametrize("policy", ["unchanged", "unsure", "dynamic", "nudge"])
def test_a_policys_own_weights_are_told_at_each_step(policy: Policy) -> None:
    session = session_of(random_trio(), "off")
    explanation = explained_of(session, steering=Steering(policy=policy))
    check_form(explanation)
    rows = rows_apart(session, explanation)
    for token, three in zip(explanation.tokens, rows, strict=True):
        base, expert, anti_expert = three
        weights = token.alpha, token.base_weight
        wanted = figures(base, expert, anti_expert, token.id, *weights)
        assert token.moved == pytest.approx(wanted.moved, abs=NEAR)
        assert token.offset == pytest.approx(wanted.offset, abs=NEAR)
        assert token.far.alpha == pytest.approx(2.0 * token.alpha)
    assert len({(token.alpha, token.base_weight) for token in explanation.tokens}) > 1


def test_drafted_tokens_are_told_and_as_many_as_the_stats_say() -> None:
    session = session_of(trio_of(["a", "b", "a", "b", "a", "b", "a", "b"] * 4), "ngram")
    turn = session.reply("Hello", record=5, max_tokens=40)
    list(turn)
    explanation = explain(turn, session)
    drafted = turn.stats.drafted
    assert drafted is not None
    assert 0 < explanation.summary.drafted == drafted.accepted < len(explanation.tokens)


def test_a_draw_is_told_apart_from_the_likeliest() -> None:
    session = session_of(random_trio())
    sampling = Sampling(temperature=5.0, top_k=0, top_p=1.0, min_p=0.0, seed=3)
    explanation = explained_of(session, sampling=sampling)
    found = check_form(explanation)
    assert found["settings"]["sampling"]["seed"] == 3
    assert any(token.id != token.best["fused"][0].id for token in explanation.tokens)
    check_figures(explanation, rows_apart(session, explanation), Steering())


# Words


def test_a_character_of_several_tokens_belongs_to_the_last() -> None:
    man = "\U0001f468".encode()
    explanation = explained(["Hi", man[:2], man[2:], "é".encode()[:1]])
    found = check_form(replace(explanation, text=explanation.text.rstrip("\ufffd") + "\ufffd"))
    assert [token["text"] for token in found["tokens"][:4]] == ["Hi", "", "\U0001f468", ""]
    assert found["words"][str(found["tokens"][1]["id"])]["bytes"] == man[:2].hex()
    assert found["tokens"][-1]["special"] is True


def test_the_summary_counts_and_says_what_it_means() -> None:
    explanation = explained([" word"] * 2 + [f" w{n}" for n in range(40)])
    summary = explanation.summary
    changed = sum(token.changed for token in explanation.tokens)
    assert (summary.tokens, summary.changed) == (43, changed)
    assert summary.changed_share == pytest.approx(changed / 43)
    assert f"changed {changed} of 43 tokens" in summary.said[0]
    assert "13 to 25%" in summary.said[0]


@pytest.mark.parametrize(
    ("changed", "count", "said"),
    [
        (0, 10, "says little"),
        (2, 40, "steers little"),
        (7, 40, "is usual."),
        (9, 40, "may replace"),
        (20, 40, "replaces the base"),
    ],
)
def test_the_share_of_changed_tokens_is_put_into_words(changed: int, count: int, said: str) -> None:
    token = explained(["Yes"]).tokens[0]
    tokens = [replace(token, changed=n < changed, guessed=False) for n in range(count)]
    assert said in summary_of(tokens).said[0]


def test_nothing_said_is_nothing_to_explain() -> None:
    session = session_of(trio_of(["Yes"]))
    turn = session.reply("Hello", record=3)
    turn.cancel()
    list(turn)
    explanation = explain(turn, session)
    found = check_form(explanation)
    assert (found["finish_reason"], found["tokens"]) == ("cancelled", [])
    assert found["summary"]["changed_share"] is None


def test_a_reply_that_was_left_is_explained_as_far_as_it_came() -> None:
    session = session_of(trio_of(["One", " two", " three"]))
    turn = session.reply("Hello", record=3)
    next(turn)
    next(turn)
    turn.close()
    assert check_form(explain(turn, session))["text"] == "One two"


def test_five_steps_of_how_far_a_choice_moved() -> None:
    moved = [0.0, 0.049, 0.05, 0.3, 0.5, 0.7, 1.0]
    assert list(map(level_of, moved)) == [0, 0, 1, 2, 3, 4, 4]


# What cannot be explained


def test_a_reply_that_was_not_recorded_is_refused() -> None:
    session = session_of(trio_of(["Yes"]))
    turn = session.reply("Hello")
    list(turn)
    with pytest.raises(UsageError, match="record=10"):
        explain(turn, session)


@pytest.mark.weights
@pytest.mark.parametrize("settings", [{"alpha": 0.0}, {"base_weight": 0.0}])
def test_a_trio_of_which_one_model_was_loaded_is_refused(settings: dict[str, Any]) -> None:
    with load("factbook", **settings) as session:
        with pytest.raises(UsageError, match="record is for a trio"):
            session.reply("Hello", record=5)
        turn = session.reply("Hello", max_tokens=1)
        list(turn)
        with pytest.raises(UsageError, match="needs all three models"):
            explain(turn, session)


# The trios that ship


@pytest.mark.weights
@pytest.mark.parametrize("draft", ["off", "auto"])
def test_figures_of_the_shipped_trio_are_those_of_three_contexts(draft: Draft) -> None:
    recipe = shipped_recipe("factbook")
    with load(recipe, draft=draft, n_threads=1) as session:
        turns = [session.reply(question, record=10, max_tokens=48) for question in QUESTIONS]
        for turn in turns:
            list(turn)
        explanations = [explain(turn, session) for turn in turns]
        prompts = [session.trio_speaker.encode(turn.asked.messages) for turn in turns]
    if draft == "auto":
        assert sum(found.summary.drafted for found in explanations) > 0
    by_role: list[list[list[Logits]]] = []
    for place, role in enumerate(recipe.roles.values()):
        with Weights(role.path) as weights:
            model = LlamaModel(weights)
            try:
                told = []
                for explanation, prompt in zip(explanations, prompts, strict=True):
                    model.rewind(model.n_past)
                    rows = [model.eval(list(prompt[place]))[-1].copy()]
                    for token in explanation.tokens[:-1]:
                        rows.append(model.eval([token.id])[-1].copy())
                    told.append(rows)
                by_role.append(told)
            finally:
                model.close()
    for n, explanation in enumerate(explanations):
        check_form(explanation)
        three = zip(*(told[n] for told in by_role), strict=True)
        check_figures(explanation, iter(list(three)), recipe.steering)


@pytest.mark.weights
def test_a_pair_with_other_tokens_spells_each_word_as_far_as_it_came() -> None:
    with load("factbook-phi") as session:
        turn = session.reply(QUESTIONS[0], record=10, max_tokens=24)
        list(turn)
        explanation = explain(turn, session)
    found = check_form(explanation)
    assert found["models"]["expert"]["vocabulary"] == "different"
    word = ""
    for token in found["tokens"]:
        text = token["text"]
        word = text if text.startswith(" ") else word + text
        spelled = "".join(each["text"] for each in token["spelled"]["expert"])
        assert spelled == word
    assert any(len(token["spelled"]["expert"]) > 1 for token in found["tokens"])


# A base on a server


@pytest.mark.parametrize("draft", ["off", "auto"])
def test_a_server_that_tells_a_part_is_told_and_its_figures_are_estimates(
    tmp_path: Path, draft: Draft
) -> None:
    files = write_trio(tmp_path)
    with (
        served_file(files["base"], "vllm", most=20) as served,
        elsewhere(files, served, "top-k", draft=draft, server={"logprobs": 20}) as session,
    ):
        turn = session.reply("Where is it?", max_tokens=8, record=30)
        list(turn)
        explanation = explain(turn, session)
    found = check_form(explanation)
    assert found["summary"]["guessed"] == len(found["tokens"]) == 8
    assert "part of the row" in " ".join(found["summary"]["said"])
    assert found["models"]["base"]["on_server"] is True
    assert served.url not in json.dumps(found)
    for token in explanation.tokens:
        guessed = {known.token for known in token.known if known.is_guess}
        told = {guess.id for guess in token.best["base"]}
        assert guessed
        assert not guessed & told
        assert 20 <= len(told) <= 23


def test_a_server_that_tells_all_gives_the_figures_of_a_base_that_is_here(tmp_path: Path) -> None:
    files = write_trio(tmp_path)
    said = []
    with served_file(files["base"]) as served:
        for session in (load(**files, n_threads=1), elsewhere(files, served)):
            with session:
                turn = session.reply("Where is it?", max_tokens=6, record=5)
                list(turn)
                said.append(explain(turn, session))
    for here, there in zip(said[0].tokens, said[1].tokens, strict=True):
        assert (there.id, there.changed, there.guessed) == (here.id, here.changed, False)
        for name in ("moved", "kl", "offset"):
            assert getattr(there, name) == pytest.approx(getattr(here, name), abs=NEAR)


def test_a_server_that_draws_itself_is_refused(tmp_path: Path) -> None:
    files = write_trio(tmp_path)
    with (
        served_file(files["base"]) as served,
        elsewhere(files, served, "bias") as session,
        pytest.raises(UsageError, match="choose the way rows"),
    ):
        session.reply("Where is it?", record=5)
