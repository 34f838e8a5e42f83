"""`tools.measure.context`: its figures, and that a turn reads only what is new."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edgeproxy.decode.trio import RoleTokens
from edgeproxy.errors import Cancelled
from edgeproxy.prompts.formats import Message, encode, make_format
from edgeproxy.session.load import load
from edgeproxy.trios.find import find_recipe
from tools.measure import context

TURNS = [
    "What is the capital of Mongolia?",
    "And its currency?",
    "Tell me about Peru.",
    "Hello!",
    "Which highest point would a climber reach in Bulgaria?",
    "What do people speak in Côte d'Ivoire?",
    "And how many live there? 🙂",
    "Who borders Bolivia?",
    "Tell me about São Tomé and Príncipe.",
    "Thanks!",
]


def nobody(_what: str) -> None:
    """Hears what is measured."""


@pytest.fixture(scope="module", params=["factbook", "factbook-phi"])
def observed(request: pytest.FixtureRequest) -> Iterator[context.Observed]:
    """A shipped trio with room for ten turns, and its three contexts."""
    with load(find_recipe(request.param), n_ctx=2048) as session:
        yield context.Observed(session)


@pytest.mark.weights
def test_the_contexts_are_those_of_the_roles(observed: context.Observed) -> None:
    context.forget(observed)
    list(observed.session.reply("Hello!", max_tokens=1))
    recipe = observed.session.recipe
    prompts = [
        encode(make_format(role.prompt, model.vocab, "")([Message("user", "Hello!")]), model.vocab)
        for model, role in zip(observed.contexts, recipe.roles.values(), strict=True)
    ]
    assert observed.text_lengths == [len(prompt) for prompt in prompts]
    assert observed.contexts[0] is observed.trio.base
    assert observed.session.memory.kv == sum(model.kv_bytes for model in observed.contexts)


@pytest.mark.weights
@pytest.mark.parametrize("longest", [40, 7])
def test_each_of_ten_turns_reads_only_what_is_new(observed: context.Observed, longest: int) -> None:
    """Of all three models, with whole replies and with ones that are cut off."""
    turns = context.measure_chat(observed, TURNS, longest, nobody)
    tried = 8 if observed.trio.is_stepwise else 0
    for turn in turns:
        # Such a pair may also have the base write what its tokenizer would have cut otherwise.
        assert max(map(abs, turn.again)) <= tried
    # What a turn adds is a message and the template around it, however long the talk has become.
    assert all(1 <= count <= 50 for turn in turns for count in turn.evaluated)
    assert all(model.n_past > 150 for model in observed.contexts)


@pytest.mark.weights
def test_what_is_read_again_would_be_counted(
    observed: context.Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume = observed.trio.resume
    nothing = RoleTokens([], [], [])

    def from_nothing(prompt: RoleTokens) -> RoleTokens:
        resume(nothing)
        return resume(prompt)

    monkeypatch.setattr(observed.session.speaker, "_resume", from_nothing)
    first, second = context.measure_chat(observed, TURNS[:2], 40, nobody)
    assert first.again == (0, 0, 0)
    # A pair with a tokenizer of its own finds what it has read before; the base does not.
    assert second.again[0] > 5


@pytest.mark.weights
def test_an_interrupt_ends_it(observed: context.Observed) -> None:
    def stop(_what: str) -> None:
        raise Cancelled("the measurement was interrupted")

    with pytest.raises(Cancelled):
        context.measure_lengths(observed, [16], 1, 1, stop)
    with pytest.raises(Cancelled):
        context.measure_chat(observed, TURNS, 4, stop)


@pytest.mark.weights
def test_lengths_are_measured_in_order_and_leave_nothing(observed: context.Observed) -> None:
    found = context.measure_lengths(observed, [40, 16, 16], 2, 3, nobody)
    assert [one.tokens for one in found] == [16, 40]
    assert all(spent > 0 for one in found for spent in (one.trio, *one.models))
    assert [len(one.models) for one in found] == [3, 3]


@pytest.mark.weights
def test_the_command_line_prints_all_of_it() -> None:
    code, out, err = run("factbook", *SHORT, "--json", *TINY)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [one["tokens"] for one in found["lengths"]] == [16, 48]
    assert found["lengths"][0]["tokens_per_second"] > 0
    assert set(found["ms_for_1000_tokens"]) == {"trio", *context.ROLES, "trio / models"}
    assert [one["turn"] for one in found["turns"]] == [1, 2, 3]
    assert [set(one["again"].values()) for one in found["turns"]] == [{0}] * 3
    first = [one["first_token_ms"] for one in found["turns"]]
    assert found["last / second turn"] == pytest.approx(first[2] / first[1])
    lines = list(context.as_text(found))
    assert any(line.startswith("1,000 tokens of context add") for line in lines)
    assert "first token of the last turn" in lines[-1]


SHORT = ("--lengths", "16,48", "--turns", "3", "--chats", "2")
TINY = ("--rounds", "1", "--steps", "1", "--max-tokens", "4")


def run(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "tools.measure.context", *arguments], capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (["no-such-trio"], 2),
        (["factbook", "--lengths", "64,0"], 2),
        (["factbook", "--lengths", "64,"], 2),
        (["factbook", "--turns", "-1"], 2),
        (["factbook", "--lengths", "64", "--message", " "], 2),
    ],
)
def test_wrong_usage_is_told_without_a_traceback(wrong: list[str], code: int) -> None:
    found, out, err = run(*wrong, *TINY)
    assert (found, out) == (code, "")
    assert "Traceback" not in err
    assert "python -m tools.measure.context: " in err


def test_a_slope_is_that_of_the_line() -> None:
    assert context.slope([(1000, 1.0), (2000, 3.0), (4000, 7.0)]) == pytest.approx(2.0)
    assert context.slope([(500, 3.0)]) == 0.0
