"""A trio whose base is on a server says what it says with its base here.

The servers are in this process and predict with the very model that the base here is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.decode.biased import BiasedTrio
from edgeproxy.decode.drafted import Draft
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import BASE_ALONE, EXPERT_ALONE, Steering
from edgeproxy.errors import UsageError
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.session.load import load
from edgeproxy.session.prompt_cache.shelf import Shelf
from edgeproxy.session.session import Session
from tests.helpers.fakes import fake_vocab, saying
from tests.helpers.gguf_files import OTHER_MERGES
from tests.helpers.served_trios import (
    ALL,
    LENGTH,
    QUESTION,
    Eager,
    Files,
    Served,
    elsewhere,
    served_file,
    speaking,
    text_of,
    tokens_of,
    write_trio,
)
from tests.helpers.serving_models import Kind


@pytest.fixture(scope="module")
def other_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The pair's tokenizer is another one."""
    return write_trio(tmp_path_factory.mktemp("other"), OTHER_MERGES)


# The same text


@pytest.mark.parametrize("kind", ["llama-server", "vllm"])
@pytest.mark.parametrize(("way", "draft"), [("rows", "off"), ("rows", "auto"), ("bias", "auto")])
def test_each_way_says_what_the_base_here_says(
    files: Files, here: Session, kind: Kind, way: str, draft: Draft
) -> None:
    questions = [QUESTION, "And then?", "the and in"]
    wanted = [tokens_of(here, question) for question in questions]
    assert len({*map(str, wanted)}) == 3
    with (
        served_file(files["base"], kind) as served,
        elsewhere(files, served, way, draft=draft) as session,
    ):
        session.drafter.pace = Eager()
        assert [tokens_of(session, question) for question in questions] == wanted
        assert isinstance(session.trio, BiasedTrio) == (way == "bias")
        assert session.drafter.mode == ("off" if way == "bias" else draft)


@pytest.mark.parametrize("way", ["rows", "bias"])
@pytest.mark.parametrize("steering", [Steering(2.0), Steering(0.7, plausibility=0.3)])
def test_so_it_does_however_it_is_steered(
    files: Files, here: Session, llama: Served, way: str, steering: Steering
) -> None:
    wanted = tokens_of(here, steering=steering)
    with elsewhere(files, llama, way) as session:
        assert tokens_of(session, steering=steering) == wanted


@pytest.mark.parametrize(
    "steering", [Steering(base_weight=0.6), Steering(0.5, plausibility=0.05), Steering(1.5, 0.5)]
)
def test_rows_can_be_steered_in_all_ways(
    files: Files, here: Session, llama: Served, steering: Steering
) -> None:
    with elsewhere(files, llama) as session:
        assert tokens_of(session, steering=steering) == tokens_of(here, steering=steering)


@pytest.mark.parametrize("draft", ["off", "auto"])
@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.8, seed=3),
        Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=4),
        Sampling(frequency_penalty=0.7, presence_penalty=0.4),
        Sampling(repeat_penalty=1.3),
        Sampling(repeat_penalty=0.8),
        Sampling(repeat_penalty=1.2, temperature=0.8, seed=5),
        Sampling(dry_multiplier=0.8, dry_allowed_length=1, dry_base=2.0),
        Sampling(logit_bias={100: 3.0, 101: 3.0}),
    ],
    ids=["usual", "plain", "penalty", "repeat", "again", "repeat drawn", "dry", "bias"],
)
def test_a_seed_and_penalties_draw_the_same(
    files: Files, here: Session, llama: Served, sampling: Sampling, draft: Draft
) -> None:
    with elsewhere(files, llama, draft=draft) as session:
        session.drafter.pace = Eager()
        assert tokens_of(session, sampling=sampling) == tokens_of(here, sampling=sampling)


def test_what_is_recorded_is_the_same(files: Files, here: Session, llama: Served) -> None:
    turns = []
    with elsewhere(files, llama) as session:
        for each in (here, session):
            turn = each.reply(QUESTION, max_tokens=3, record=4)
            list(turn)
            turns.append(turn)
    for wanted, found in zip(turns[0].steps, turns[1].steps, strict=True):
        for model in ("base", "expert", "anti_expert", "fused"):
            assert getattr(found, model).chosen.token == getattr(wanted, model).chosen.token
            for a, b in zip(getattr(wanted, model).best, getattr(found, model).best, strict=True):
                assert b.token == a.token
                assert b.logprob == pytest.approx(a.logprob, abs=1e-4)


@pytest.mark.parametrize("way", ["rows", "bias"])
def test_conversations_in_turn_say_what_they_say_without_a_shelf(
    files: Files, llama: Served, way: str
) -> None:
    said = []
    with elsewhere(files, llama, way) as session:
        for shelf in (None, Shelf(1 << 26)):
            session.trio_speaker.shelf = shelf
            talks = [session.conversation() for _ in range(2)]
            for question in (f"{QUESTION} " * 5, "And then?", "the and in"):
                for place, talk in enumerate(talks):
                    turn = talk.say(f"{place} {question}", max_tokens=LENGTH)
                    said.append([piece.token for piece in turn])
            if shelf is not None:
                assert len(shelf) > 1
                assert turn.usage.kept > 10
    assert said[: len(said) // 2] == said[len(said) // 2 :]


@pytest.mark.parametrize("way", ["rows", "bias"])
def test_a_pair_with_a_tokenizer_of_its_own(other_files: Files, way: str) -> None:
    with load(**other_files, n_threads=1) as here:
        assert here.matches["expert"].case == "different"
        wanted = tokens_of(here)
    with (
        served_file(other_files["base"]) as served,
        elsewhere(other_files, served, way) as session,
    ):
        found = tokens_of(session)
        assert len(found) == len(wanted)
        assert way == "bias" or found == wanted


def test_a_conversation_goes_on_from_what_was_read(
    files: Files, here: Session, llama: Served
) -> None:
    said = []
    with elsewhere(files, llama) as session:
        for each in (here, session):
            talk = each.conversation("Be short.")
            texts = []
            for question in ("One?", "Two?", "Three?"):
                texts.append("".join(p.text for p in talk.say(question, max_tokens=6)))
            said.append(texts)
        assert said[0] == said[1]
        turn = session.reply(QUESTION, max_tokens=2)
        list(turn)
        again = session.reply(QUESTION, max_tokens=2)
        list(again)
        assert again.usage.kept == again.usage.prompt - 1


def test_a_cached_prompt_is_read_by_the_pair_alone(
    files: Files, here: Session, llama: Served, tmp_path: Path
) -> None:
    system = "You are a lake. " * 4
    wanted = "".join(p.text for p in here.conversation(system).say("Who?", max_tokens=6))
    for was_there in (False, True):
        with elsewhere(files, llama) as session:
            session.cache_prompt(system, tmp_path / "cache")
            before = llama.asked
            talk = session.conversation(system)
            assert "".join(p.text for p in talk.say("Who?", max_tokens=6)) == wanted
            assert llama.asked > before
            assert (tmp_path / "cache").exists(), was_there


# Rows that leave tokens out


@pytest.mark.parametrize(("kind", "most"), [("llama-server", None), ("vllm", 20)])
def test_partial_rows_answer_and_say_how_much_they_covered(
    files: Files, kind: Kind, most: int | None
) -> None:
    with (
        served_file(files["base"], kind, most=most) as served,
        elsewhere(files, served, "top-k", server={"logprobs": 20}) as session,
    ):
        base = session.speaker.remote
        assert base is not None
        assert (base.k, base.is_partial) == (20, True)
        turn = session.reply(QUESTION, max_tokens=LENGTH, record=30)
        assert len([piece for piece in turn if piece.token is not None]) == LENGTH
        assert session.trio.coverage.rows >= LENGTH
        share = session.trio.coverage.share
        assert share is not None
        assert 0.0 <= share <= 1.0
        for step in turn.steps:
            assert 20 <= len(step.base.best) <= 23  # and what was asked for
            assert len(step.fused.best) == 30


@pytest.mark.parametrize("draft", ["off", "auto"])
def test_the_few_best_of_each_row_give_the_text_of_all(
    files: Files, here: Session, llama: Served, draft: Draft
) -> None:
    with elsewhere(files, llama, server={"logprobs": 5}, draft=draft) as session:
        session.drafter.pace = Eager()
        assert tokens_of(session) == tokens_of(here)
        coverage = session.trio.coverage
        assert coverage.widened
        assert not coverage.asked, "no token is asked for by its name"


def test_so_they_do_for_a_pair_with_a_tokenizer_of_its_own(other_files: Files) -> None:
    with load(**other_files, n_threads=1) as here:
        wanted = tokens_of(here)
    with (
        served_file(other_files["base"]) as served,
        elsewhere(other_files, served, server={"logprobs": 5}) as session,
    ):
        turn = session.reply(QUESTION, max_tokens=LENGTH)
        assert [piece.token for piece in turn] == wanted
        assert session.trio.coverage.widened
        assert turn.stats.spent is not None
        assert turn.stats.spent.requests == LENGTH + session.trio.coverage.widened


# One model alone


@pytest.mark.parametrize("way", ["rows", "bias"])
def test_with_alpha_0_the_base_on_the_server_is_all(files: Files, llama: Served, way: str) -> None:
    with load(**files, n_threads=1, alpha=0.0) as here:
        wanted = tokens_of(here)
    with elsewhere(files, llama, way, alpha=0.0) as session:
        assert session.alone == "base"
        assert tokens_of(session) == wanted
        turn = session.reply(QUESTION, max_tokens=3)
        list(turn)
        assert turn.stats.spent is not None
        assert turn.stats.spent.requests == 3
        talk = session.conversation()
        for question in ("One?", "Two?"):
            list(talk.say(question, max_tokens=3))


def test_with_alpha_0_for_a_reply_alone(files: Files, here: Session, llama: Served) -> None:
    wanted = tokens_of(here, steering=BASE_ALONE)
    for way in ("rows", "bias"):
        with elsewhere(files, llama, way) as session:
            assert tokens_of(session, steering=BASE_ALONE) == wanted


def test_a_server_without_a_tokenizer_is_refused_with_the_remedy(
    files: Files, llama: Served
) -> None:
    before = len(llama.server.requests)
    pair = {role: files[role] for role in ("expert", "anti_expert")}
    words = r"needs a tokenizer \(--base\): name a GGUF file here with the vocabulary"
    with pytest.raises(UsageError, match=words):
        load(**pair, server={"url": llama.url})
    assert len(llama.server.requests) == before


def test_with_base_weight_0_no_server_is_ever_asked(files: Files, llama: Served) -> None:
    before = len(llama.server.requests)
    with elsewhere(files, llama, base_weight=0.0) as session:
        assert session.alone == "expert"
        found = tokens_of(session)
        turn = session.reply(QUESTION, max_tokens=2)
        list(turn)
        assert turn.stats.spent is None
    assert len(llama.server.requests) == before
    with load(**files, n_threads=1, base_weight=0.0) as here:
        assert tokens_of(here) == found
    # Nor need there be one, nor its key.
    nowhere: Any = {"url": "http://127.0.0.1:9", "key_env": "EDGEPROXY_NO_SUCH_KEY"}
    with load(**files, n_threads=1, base_weight=0.0, server=nowhere) as session:
        assert tokens_of(session) == found


@pytest.mark.parametrize("way", ["rows", "bias"])
def test_an_expert_that_answers_for_a_trio_asks_no_server(
    files: Files, llama: Served, way: str
) -> None:
    with elsewhere(files, llama, way) as session:
        before = len(llama.server.requests)
        assert len(tokens_of(session, steering=EXPERT_ALONE)) == LENGTH
        text_of(session, steering=EXPERT_ALONE, sampling=Sampling(repeat_penalty=1.2))
        assert len(llama.server.requests) == before


def test_models_of_a_trio_answer_alone_beside_it(
    files: Files, here: Session, llama: Served
) -> None:
    with elsewhere(files, llama, solo=["base", "expert"]) as session:
        for role in ("base", "expert", "anti_expert"):
            wanted = [p.token for p in here.solo(role).reply(QUESTION, max_tokens=5)]
            before = len(llama.server.requests)
            assert [p.token for p in session.solo(role).reply(QUESTION, max_tokens=5)] == wanted
            assert (len(llama.server.requests) > before) == (role == "base")


@pytest.mark.parametrize("way", ["rows", "top-k"])
def test_a_reply_over_a_server_keeps_to_a_grammar(
    files: Files, here: Session, llama: Served, way: Any
) -> None:
    grammar = Grammar.grammar('root ::= ("a" | "b" | "c"){5}')
    few: Any = {"server": {"logprobs": 5}} if way == "top-k" else {}
    with elsewhere(files, llama, way, **few) as session:
        said = text_of(session, grammar=grammar)
        assert len(said) == 5
        assert set(said) <= set("abc")
        assert way == "top-k" or said == text_of(here, grammar=grammar)


# What a base that draws cannot do


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"sampling": Sampling(repeat_penalty=1.1)}, "knows no penalties.*choose the way rows"),
        ({"sampling": Sampling(dry_multiplier=1.0)}, "knows no penalties.*choose the way rows"),
        ({"sampling": Sampling(presence_penalty=0.1)}, "knows no penalties"),
        ({"record": 3}, "shows none; choose the way rows"),
        ({"grammar": Grammar.grammar('root ::= "a"')}, "held to a JSON schema.*the way rows"),
        ({"steering": Steering(base_weight=0.5)}, "steered with base_weight 1"),
    ],
)
@pytest.mark.parametrize("alone", [False, True])
def test_what_a_base_that_draws_cannot_do_is_said_before_it_is_asked(
    files: Files, llama: Served, asked: Any, match: str, alone: bool
) -> None:
    if alone and asked.keys() & {"steering", "record"}:
        return  # one model has neither, wherever it is
    with elsewhere(files, llama, "bias", **({"alpha": 0.0} if alone else {})) as session:
        before = len(llama.server.requests)
        with pytest.raises(UsageError, match=match):
            session.reply(QUESTION, **asked)
        assert len(llama.server.requests) == before
        assert tokens_of(session, max_tokens=2)


def test_a_base_that_draws_gives_no_probabilities(files: Files, llama: Served) -> None:
    with elsewhere(files, llama, "bias") as session:
        pieces = list(session.reply(QUESTION, max_tokens=3))
        assert {piece.logprob for piece in pieces} == {None}


def test_a_seed_decides_what_a_base_that_draws_says(files: Files, llama: Served) -> None:
    with elsewhere(files, llama, "bias") as session:
        said = [
            tokens_of(session, sampling=Sampling(temperature=1.5, top_p=1.0, seed=seed))
            for seed in (1, 1, 2)
        ]
        assert said[0] == said[1] != said[2]
        lifted = Sampling(temperature=1.0, logit_bias={97: 90.0})
        assert tokens_of(session, sampling=lifted, max_tokens=3) == [97] * 3


# What it cost


def test_a_reply_says_what_it_cost(files: Files, llama: Served) -> None:
    with elsewhere(files, llama, draft="off") as session:
        turn = session.reply(QUESTION, max_tokens=5)
        assert turn.stats.spent is None  # it has not begun
        for n, _ in enumerate(turn, 1):
            assert turn.stats.spent is not None
            assert turn.stats.spent.requests == n
        spent = turn.stats.spent
        assert spent is not None
        assert turn.usage.completion == spent.tokens_out == 5
        assert spent.tokens_in == sum(turn.usage.prompt + n for n in range(5))
        assert spent.bytes_sent > 0
        assert spent.bytes_received > 0
        text_of(session)
        assert turn.stats.spent == spent  # that of the next one is its own


def test_a_pair_that_agrees_with_the_base_asks_less_than_once_for_two_tokens(
    files: Files, llama: Served
) -> None:
    agreeing = dict.fromkeys(files, files["base"])
    with elsewhere(agreeing, llama) as session:
        session.drafter.pace = Eager()
        turn = session.reply(QUESTION, max_tokens=24)
        list(turn)
        assert turn.stats.spent is not None
        assert turn.stats.acceptance == 1.0
        assert turn.stats.spent.requests / turn.stats.tokens <= 0.5


# A server that names tokens by their text


@pytest.mark.parametrize("way", ["top-k", "bias"])
def test_a_server_that_names_tokens_by_text(way: Any) -> None:
    vocab = fake_vocab()
    vocab = replace(vocab, tokens=(*vocab.tokens, b"word"), kinds=(*vocab.kinds, 1))
    table = {"Hello\n": "Good day."}
    base, expert, anti_expert = (saying(table, vocab=vocab) for _ in range(3))
    with speaking(
        base,
        expert,
        anti_expert,
        vocab=vocab,
        kind="openai",
        way=way,
        logprobs=5,
        context=4096,
    ) as each:
        assert each.base.way == way
        assert each.ask("Hello", max_tokens=20) == "Good day."
        assert each.ask("Hello", max_tokens=4) == "Good"


# A manifest that names a server


def test_a_trio_whose_manifest_names_a_server(
    files: Files, here: Session, llama: Served, tmp_path: Path
) -> None:
    for role, path in files.items():
        (tmp_path / f"{role}.gguf").symlink_to(path)
    (tmp_path / "trio.toml").write_text(
        f'name = "tiny"\n\n[base]\nurl = "{llama.url}"\ntokenizer = "base.gguf"\n'
        f"logprobs = {ALL}\nprice_in = 1000000\n\n"
        '[expert]\nfile = "expert.gguf"\nprompt = "plain"\n\n'
        '[anti_expert]\nfile = "anti_expert.gguf"\nprompt = "plain"\n'
    )
    with load(tmp_path, n_threads=1) as session:
        turn = session.reply(QUESTION, max_tokens=LENGTH)
        assert [piece.token for piece in turn] == tokens_of(here)
        assert turn.stats.spent is not None
        assert turn.stats.spent.money == turn.stats.spent.tokens_in > 0
    # A file in the place of its base is one here.
    before = len(llama.server.requests)
    with load(tmp_path, base=files["base"], n_threads=1) as session:
        assert session.speaker.remote is None
        assert tokens_of(session) == tokens_of(here)
    assert len(llama.server.requests) == before
