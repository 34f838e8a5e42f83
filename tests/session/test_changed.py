"""`Stats.changed`: in how many tokens of a reply the pair changed the likeliest choice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from edgeproxy.cli import main
from edgeproxy.cli.ui.stats import changed_in_words
from edgeproxy.decode.compared import has_changed
from edgeproxy.decode.drafted import Draft
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.explain import explain
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.session.turn import Changed, Stats, Turn
from tests.helpers.explained import session_of
from tests.helpers.fakes import random_trio, saying
from tests.helpers.served_trios import Files, elsewhere, served_file


def changed_of(turn: Turn) -> Changed | None:
    list(turn)
    return turn.stats.changed


@pytest.mark.parametrize("draft", ["off", "expert", "auto"])
@pytest.mark.parametrize("alpha", [0.3, 1.0])
@pytest.mark.parametrize("expert_ends", [False, True])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_it_is_what_explain_counts(
    draft: Draft, alpha: float, temperature: float, expert_ends: bool
) -> None:
    session = session_of(random_trio(), draft)
    sampling = Sampling(temperature, seed=3)
    steering = Steering(alpha, expert_ends=expert_ends)
    asked: dict[str, Any] = {"steering": steering, "sampling": sampling, "max_tokens": 40}
    recorded = session.reply("Hello", record=3, **asked)
    changed = changed_of(recorded)
    summary = explain(recorded, session).summary
    assert changed == (summary.changed, summary.tokens)
    assert 0 < summary.changed <= summary.tokens
    # Also where nothing is recorded.
    assert changed_of(session.reply("Hello", **asked)) == changed


def test_it_is_known_while_the_reply_comes_and_once_it_is_over() -> None:
    session = session_of(random_trio())
    turn = session.reply("Hello", max_tokens=8)
    assert turn.stats.changed is None
    next(turn)
    changed = turn.stats.changed
    assert changed is not None
    assert changed.of == 1
    turn.close()
    assert turn.stats.changed == changed
    assert changed_of(session.reply("Hello", max_tokens=1)) == changed


def test_with_alpha_0_nothing_is_changed() -> None:
    changed = changed_of(session_of(random_trio()).reply("Hello", alpha=0.0, max_tokens=9))
    assert changed == (0, 9)


def test_each_reply_counts_its_own() -> None:
    said = {"Hello\n": "abc"}
    trio = Trio(saying({"Hello\n": "xyz"}), saying(said), saying({"Hello\n": "xyz"}))
    session = session_of(trio)
    for _ in range(2):  # the base would say x, then an end, and an end at last
        assert changed_of(session.reply("Hello", alpha=2.0)) == (3, 4)


def test_a_model_alone_changes_nothing_of_another_one() -> None:
    session = session_of(random_trio())
    assert changed_of(session.solo("base").reply("Hello", max_tokens=4)) is None


def test_a_grammar_s_choice_is_no_change_of_the_pair_s() -> None:
    same = saying({"Hello\n": "abc"})
    trio = Trio(same, saying({"Hello\n": "abc"}), saying({"Hello\n": "abc"}))
    turn = session_of(trio).reply("Hello", grammar=Grammar.grammar('root ::= "xyz"'))
    assert changed_of(turn) == (0, 3)
    assert turn.text == "xyz"


@pytest.mark.parametrize(
    ("way", "settings"), [("rows", {}), ("top-k", {"server": {"logprobs": 5}})]
)
def test_a_base_on_a_server_tells_its_best_token(
    files: Files, way: Any, settings: dict[str, Any]
) -> None:
    with served_file(files["base"]) as served, elsewhere(files, served, way, **settings) as session:
        turn = session.reply("Hello", record=5, max_tokens=12)
        changed = changed_of(turn)
        assert changed == (sum(step.compared.changed for step in turn.steps), 12)


def test_of_a_server_that_draws_nobody_knows(files: Files) -> None:
    with served_file(files["base"]) as served, elsewhere(files, served, "bias") as session:
        turn = session.reply("Hello", max_tokens=6)
        assert changed_of(turn) is None
        assert changed_in_words(turn) == []


def test_a_row_of_which_nothing_is_told_does_not_count() -> None:
    trio = random_trio()
    trio.eval([97])
    told = trio.rows.base.copy()
    best = int(trio.rows.fused[0].argmax())
    for known, wanted in ((best, False), (best + 1, True), (None, None)):
        told.fill(-np.inf)
        if known is not None:
            told[0, known] = -3.0
        assert has_changed(told[0], trio.rows.fused[0]) is wanted


def of(changed: Changed | None) -> Iterator[str]:
    class Done:
        stats = Stats(changed=changed)

    yield from changed_in_words(cast(Turn, Done))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (Changed(18, 100), "18% of the tokens (13 to 25% is usual)"),
        (Changed(5, 100), "5% of the tokens (less than the usual 13 to 25%, it steers little"),
        (Changed(23, 100), "23% of the tokens (13 to 25% is usual, and from 20% on the pair may"),
        (Changed(60, 100), "60% of the tokens (more than the usual 13 to 25%, so the pair repl"),
        (Changed(1, 3), "33% of the tokens (of so few tokens that says little; 13 to 25% is"),
    ],
)
def test_the_words_say_what_is_usual(changed: Changed, said: str) -> None:
    (words,) = of(changed)
    assert words.startswith(f"the pair changed {said}")
    assert list(of(None)) == []


@pytest.mark.weights
def test_run_tells_it(factbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = "What is the capital of Chad?"
    assert main(["run", question, "--trio", str(factbook), "--json", "--stats"]) == 0
    out, err = capsys.readouterr()
    changed = json.loads(out)["changed"]
    assert changed["of"] == json.loads(out)["usage"]["completion_tokens"]
    assert changed["share"] == changed["tokens"] / changed["of"] > 0
    assert f", the pair changed {changed['share']:.0%} of the tokens (" in err
    assert main(["run", question, "--trio", str(factbook), "--json", "--base-weight", "0"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is None
