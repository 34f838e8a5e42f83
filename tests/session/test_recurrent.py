"""Recurrent and hybrid models: read from the start where they cannot go back, and never drafted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from edgeproxy import load
from edgeproxy.cli import main
from edgeproxy.cli.show import _as_text, describe
from edgeproxy.cli.ui.stats import drafts_in_words
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.drafted import Draft
from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import EngineError, VocabularyError
from edgeproxy.gguf import can_rewind
from edgeproxy.gguf.architectures import FORGET_ALL_OR_NOTHING
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.llama.library import lib
from edgeproxy.prompts.formats import Message
from edgeproxy.session.session import Session
from tests.helpers.gguf_files import draft as transformer_draft
from tests.helpers.gguf_files import sentencepiece_vocabulary
from tests.helpers.near import assert_same_reply, rows_of
from tests.helpers.recurrent_files import HYBRID, RECURRENT, recurrent_draft

pytestmark = pytest.mark.slow

FORGETFUL = RECURRENT + HYBRID
TOKENS = 24
ENDLESS = Sampling(logit_bias={0: -100.0, 2: -100.0})
"""Random weights would end some replies with their first token."""


class Files(NamedTuple):
    base: Path
    expert: Path
    anti_expert: Path


def write(folder: Path, architecture: str, seed: int) -> Path:
    path = folder / f"{architecture}-{seed}.gguf"
    if architecture in FORGETFUL:
        return recurrent_draft(architecture, seed=seed).write(path)
    made = transformer_draft(architecture)
    made.metadata["general.name"] = path.name
    return made.write(path, seed)


PAIRINGS = [
    *((name, name) for name in FORGETFUL),
    *((name, "llama") for name in ("mamba", "jamba")),
    *(("llama", name) for name in ("mamba", "jamba")),
]


@pytest.fixture(scope="module", params=PAIRINGS, ids=lambda names: " and a pair of ".join(names))
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("recurrent")
    base, pair = request.param
    return Files(write(folder, base, 1), write(folder, pair, 2), write(folder, pair, 3))


def open_session(files: Files, draft: Draft = "auto") -> Session:
    return load(**files._asdict(), n_ctx=512, n_threads=1, draft=draft)


@pytest.fixture
def session(files: Files) -> Iterator[Session]:
    with open_session(files) as loaded:
        yield loaded


def said(session: Session, messages: str | list[Message]) -> list[int]:
    turn = session.chat(messages, sampling=ENDLESS, max_tokens=TOKENS)
    return [piece.token for piece in turn if piece.token is not None]


def fresh(files: Files, messages: str | list[Message]) -> list[int]:
    with open_session(files, "off") as session:
        return said(session, messages)


def check_same(session: Session, messages: str | list[Message], wanted: list[int]) -> None:
    assert_same_reply(said(session, messages), wanted, rows_of(session, messages))


SAME_BEGINNING = ["What is the capital of Peru?", "What is the capital of Chad?", "What is it?"]


@pytest.mark.parametrize("draft", ["auto", "expert", "ngram"])
def test_chats_that_share_a_beginning(files: Files, draft: Draft) -> None:
    with open_session(files, draft) as session:
        assert session.drafter.mode == "off"
        replies = {text: fresh(files, text) for text in SAME_BEGINNING}
        for text in (*SAME_BEGINNING, SAME_BEGINNING[0]):
            check_same(session, text, replies[text])
        assert min(map(len, replies.values())) == TOKENS
        assert replies[SAME_BEGINNING[0]] != replies[SAME_BEGINNING[1]]


def test_a_chat_that_goes_on(files: Files, session: Session) -> None:
    talk = session.conversation("Be brief.")
    for text in SAME_BEGINNING:
        asked = [*talk.messages, Message("user", text)]
        turn = talk.say(text, ENDLESS, max_tokens=TOKENS)
        tokens = [piece.token for piece in turn if piece.token is not None]
        assert_same_reply(tokens, fresh(files, asked), rows_of(session, asked))


def test_each_role_alone_is_asked_twice(files: Files, session: Session) -> None:
    for role in ("base", "expert", "anti_expert"):
        alone = session.solo(role)
        first, second, again = (
            [piece.token for piece in alone.reply(text, ENDLESS, TOKENS)]
            for text in (*SAME_BEGINNING[:2], SAME_BEGINNING[0])
        )
        assert first == again
        assert first != second


def test_eval_asks_one_question_after_another(files: Files, tmp_path: Path) -> None:
    roles = (f'[{role}]\nfile = "{path.name}"' for role, path in files._asdict().items())
    manifest = files.base.parent / "trio.toml"
    manifest.write_text("\n".join(('name = "forgetful"', *roles)), "utf-8")
    questions, replies = tmp_path / "questions.jsonl", tmp_path / "replies.jsonl"
    texts = [*SAME_BEGINNING[:2], SAME_BEGINNING[0]]
    lines = (json.dumps({"question": text, "answer": "x"}) for text in texts)
    questions.write_text("\n".join(lines), "utf-8")
    asked = ["eval", str(manifest), str(questions), "--replies", str(replies), "--ctx", "512"]
    assert main(asked) == 0
    said = [json.loads(line)["reply"] for line in replies.read_text("utf-8").splitlines()]
    systems = [said[start : start + 3] for start in range(0, len(said), 3)]
    assert len(systems) == 4
    for first, _, again in systems:
        assert first == again
    assert any(first != second for first, second, _ in systems)


def test_a_reply_that_was_cancelled_while_its_prompt_was_read(
    files: Files, session: Session
) -> None:
    said(session, SAME_BEGINNING[0])
    turn = session.chat(SAME_BEGINNING[1], sampling=ENDLESS, max_tokens=TOKENS)
    next(turn)
    turn.cancel()
    assert [piece.finish_reason for piece in turn] == ["cancelled"]
    check_same(session, SAME_BEGINNING[0], fresh(files, SAME_BEGINNING[0]))


def test_a_prompt_cache(files: Files, tmp_path: Path) -> None:
    path, system = tmp_path / "kept", "You answer questions about countries in one word."
    asked = [[Message("system", system), Message("user", text)] for text in SAME_BEGINNING]
    for time in range(2):
        with open_session(files) as session:
            done = session.cache_prompt(system, path)
            assert done.doubt is None
            assert done.spared == (done.tokens if time else 0)
            for messages in asked:
                check_same(session, messages, fresh(files, messages))
            # What was read since cannot be cut: the message comes from the file again.
            assert session.cache_prompt(system, path).spared == done.tokens


def test_it_is_said(files: Files, session: Session) -> None:
    turn = session.chat("Peru?", max_tokens=4)
    list(turn)
    roles = [
        name.replace("_", "-")
        for name, path in files._asdict().items()
        if path.name.partition("-")[0] in FORGETFUL
    ]
    found = f"drafts: off ({', '.join(roles)}: read from the start each time, never drafted)"
    assert drafts_in_words(session, turn) == found
    shown = "\n".join(_as_text(describe(session.recipe)))
    for name, path in files._asdict().items():
        architecture = path.name.partition("-")[0]
        line = f"{name.replace('_', '-') + ' reads':<18} from the start each time, never drafted"
        assert (f"{line}: {architecture} cannot go back" in shown) == (architecture in FORGETFUL)


# A pair with a vocabulary of its own, or a related one


def with_vocabulary(architecture: str, path: Path, seed: int, **vocabulary: object) -> Path:
    if architecture in FORGETFUL:
        made = recurrent_draft(architecture, seed=seed)
    else:
        made = transformer_draft(architecture)
    for key in [key for key in made.metadata if key.startswith("tokenizer.")]:
        del made.metadata[key]
    made.metadata |= vocabulary
    return made.write(path, seed)


@pytest.mark.parametrize("architecture", FORGETFUL)
def test_a_pair_with_its_own_vocabulary_is_refused(tmp_path: Path, architecture: str) -> None:
    own = sentencepiece_vocabulary()
    base = write(tmp_path, "llama", 1)
    expert = with_vocabulary("llama", tmp_path / "expert.gguf", 2, **own)
    anti = with_vocabulary(architecture, tmp_path / "anti.gguf", 3, **own)
    with pytest.raises(VocabularyError, match="the anti-expert is a recurrent model, which cannot"):
        open_session(Files(base, expert, anti))
    with pytest.raises(VocabularyError, match="the expert is a recurrent model, which cannot"):
        open_session(Files(base, anti, expert))


def test_one_that_can_go_back_serves_a_recurrent_base(tmp_path: Path) -> None:
    own = sentencepiece_vocabulary()
    pair = (
        with_vocabulary("llama", tmp_path / f"{name}.gguf", seed, **own)
        for seed, name in ((2, "expert"), (3, "anti"))
    )
    files = Files(write(tmp_path, "mamba", 1), *pair)
    with open_session(files) as session:
        for text in SAME_BEGINNING:
            check_same(session, text, fresh(files, text))


@pytest.mark.parametrize("architecture", FORGETFUL)
def test_a_padded_vocabulary(tmp_path: Path, architecture: str) -> None:
    made = transformer_draft("llama")
    made.metadata["tokenizer.ggml.tokens"].append("<unused>")
    made.metadata["tokenizer.ggml.token_type"].append(5)
    for name in ("token_embd.weight", "output.weight"):
        made.tensors[name] = ((32, 269), 0)
    base = made.write(tmp_path / "padded.gguf")
    files = Files(base, write(tmp_path, architecture, 2), write(tmp_path, architecture, 3))
    with open_session(files) as session:
        assert session.matches["expert"].case == "padded"
        for text in (*SAME_BEGINNING, SAME_BEGINNING[0]):
            check_same(session, text, fresh(files, text))


# One model


@pytest.mark.parametrize("architecture", FORGETFUL)
def test_a_context_forgets_all_or_nothing(tmp_path: Path, architecture: str) -> None:
    with Weights(write(tmp_path, architecture, 1)) as weights:
        model = LlamaModel(weights, n_ctx=64)
        assert not weights.can_rewind
        assert not model.can_rewind
        row = model.eval([5, 6, 7]).copy()
        model.rewind(0)
        with pytest.raises(EngineError, match=f"{architecture} models cannot forget a part"):
            model.rewind(1)
        assert model.n_past == 3
        model.rewind(3)
        assert (model.eval([5, 6, 7]) == row).all()


class Stops:
    """Asks to stop, from the n-th time on that it is looked at."""

    def __init__(self, n: int) -> None:
        self.left = n

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("architecture", FORGETFUL)
@pytest.mark.parametrize("asked", [0, 30, 200])
def test_after_a_failure_it_has_read_nothing(tmp_path: Path, architecture: str, asked: int) -> None:
    with Weights(write(tmp_path, architecture, 1)) as weights:
        stops = Stops(1 << 30)
        model = LlamaModel(weights, n_ctx=512, cancel=stops)
        row = model.eval([5, 6, 7]).copy()
        stops.left = asked
        with pytest.raises(Exception, match="cancelled"):
            model.eval([5] * 500)
        assert model.n_past == 0
        stops.left = 1 << 30
        assert (model.eval([5, 6, 7]) == row).all()


OTHERS = ("llama", "qwen2", "phi2", "gemma2", "qwen3", "gemma3", "granite", "olmo2", "smollm3")


@pytest.mark.parametrize("architecture", sorted(FORGET_ALL_OR_NOTHING) + list(OTHERS))
def test_the_table_says_what_llama_cpp_does(tmp_path: Path, architecture: str) -> None:
    made = transformer_draft("llama")
    made.metadata = {
        key.replace("llama.", f"{architecture}.", 1) if key.startswith("llama.") else key: value
        for key, value in made.metadata.items()
    }
    made.metadata["general.architecture"] = architecture
    with Weights(made.write(tmp_path / "any.gguf"), vocab_only=True) as weights:
        assert isinstance(weights.vocab, Vocab)
        model = weights.loaded.pointer
        forgets = lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model)
        assert can_rewind(weights.header) == (not forgets) == (architecture in OTHERS)
