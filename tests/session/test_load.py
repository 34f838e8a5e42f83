"""From a name or files to a session that answers, and every way in which that may fail."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import edgeproxy
from edgeproxy.align import ALIGNING
from edgeproxy.core import threads
from edgeproxy.core.memory_free import Free
from edgeproxy.core.threads import Threads
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.trio import RoleTokens
from edgeproxy.errors import (
    Cancelled,
    ContextFullError,
    EngineError,
    ManifestError,
    ModelFileError,
    OutOfMemoryError,
    PromptError,
    UsageError,
    VocabularyError,
)
from edgeproxy.llama import LlamaModel
from edgeproxy.prompts.formats import Message
from edgeproxy.session import load as loader
from edgeproxy.session.load import load
from edgeproxy.session.model_files import ModelFiles
from edgeproxy.session.session import Session
from edgeproxy.trios.find import Recipe, Role, choose_recipe, recipe_of_files
from tests.helpers.gguf_files import OTHER_MERGES, byte_level_vocabulary, draft

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trio of tiny random models; the expert carries a chat template."""
    folder = tmp_path_factory.mktemp("trio")
    paths = {}
    for seed, role in enumerate(("base", "expert", "anti_expert")):
        made = draft("llama")
        if role == "expert":
            made.metadata["tokenizer.chat_template"] = CHATML
        paths[role] = made.write(folder / f"{role}.gguf", seed)
    return paths


def text_of(session: Session, question: str = "Hello", max_tokens: int = 8) -> str:
    return "".join(piece.text for piece in session.chat(question, max_tokens=max_tokens))


def with_files(files: dict[str, Path], **others: Any) -> Session:
    return load(**{**files, **others})


# Random models


def test_three_files_answer(files: dict[str, Path]) -> None:
    with with_files(files) as session:
        pieces = list(session.chat("Hello", max_tokens=5))
        assert pieces[-1].finish_reason in ("stop", "length")
        assert session.recipe.name == "base + expert"
        assert session.matches["expert"].case == session.matches["anti_expert"].case == "same"


def test_an_experts_own_template_is_used(files: dict[str, Path]) -> None:
    with with_files(files) as session:
        list(session.chat("Hello", max_tokens=1))
        marker = session.trio.vocab.special("<|im_start|>")
        assert session.trio.expert.n_past > session.trio.base.n_past
        assert marker is not None


@pytest.mark.parametrize("missing", [("base",), ("expert", "anti_expert")])
def test_some_of_three_files_are_not_enough(
    files: dict[str, Path], missing: tuple[str, ...]
) -> None:
    given = {role: path for role, path in files.items() if role not in missing}
    with pytest.raises(UsageError, match=f"no model for {' and '.join(missing)}"):
        load(**given)  # type: ignore[arg-type]


def test_a_missing_file_is_named(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"none\.gguf"):
        with_files(files, anti_expert=tmp_path / "none.gguf")


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A model that lacks one of the base's bytes and has another token in its place."""
    made = draft("llama")
    made.metadata["tokenizer.ggml.tokens"][100] = "different"
    return made.write(tmp_path / "other.gguf")


@pytest.mark.parametrize("role", ["expert", "anti_expert"])
def test_other_vocabularies_answer_and_what_they_lose_is_told(
    files: dict[str, Path], other: Path, role: str
) -> None:
    with with_files(files, **{role: other}) as session:
        assert session.matches[role].case == "different"
        (doubt,) = session.doubts
        assert f"the {role.replace('_', '-')} cannot spell 1 of the base's 265 tokens" in doubt
        assert list(session.chat("Hello", max_tokens=4))
        assert session.cost is not None


def test_a_strict_load_refuses_vocabularies_that_lose_something(
    files: dict[str, Path], other: Path
) -> None:
    with pytest.raises(VocabularyError, match="the anti-expert cannot spell 1 of"):
        load(**{**files, "anti_expert": other}, strict=True)  # type: ignore[arg-type]
    with with_files(files, strict=True) as session:
        assert session.doubts == ()
        assert session.cost is None


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"alpha": float("nan")}, UsageError),
        ({"plausibility": 2.0}, UsageError),
        ({"n_ctx": 0}, UsageError),
        ({"n_ctx": -5}, UsageError),
        ({"n_threads": -1}, UsageError),
        ({"n_threads": 0}, UsageError),
    ],
)
def test_impossible_settings_are_refused(
    files: dict[str, Path], settings: dict[str, float], error: type[Exception]
) -> None:
    with pytest.raises(error):
        with_files(files, **settings)


def test_settings_take_the_recipes_place(files: dict[str, Path]) -> None:
    with with_files(files, alpha=0.5, plausibility=0.2, n_ctx=64) as session:
        assert (session.alpha, session.plausibility) == (0.5, 0.2)
        assert session.trio.n_ctx == 64
        session.alpha = 0.0
        assert session.alpha == 0.0


def test_progress_names_the_role(files: dict[str, Path]) -> None:
    seen: list[tuple[str, float]] = []
    with_files(files, progress=lambda *step: seen.append(step)).close()
    assert list(dict.fromkeys(role for role, _ in seen)) == ["base", "expert", "anti_expert"]
    assert all(0.0 <= share <= 1.0 for _, share in seen)


@pytest.mark.parametrize("role", ["base", "expert", "anti_expert"])
def test_an_interrupt_while_loading_reaches_the_caller(files: dict[str, Path], role: str) -> None:
    def report(name: str, share: float) -> None:
        if name == role:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with_files(files, progress=report)


def test_loading_may_be_cancelled(files: dict[str, Path]) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        with_files(files, cancel=cancel)


@pytest.fixture
def unaligned(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Path]:
    """A base and a pair with other tokens, which nobody has aligned yet."""
    monkeypatch.setenv("EDGEPROXY_CACHE", str(tmp_path / "cache"))
    pair = draft("llama")
    pair.metadata |= byte_level_vocabulary(OTHER_MERGES)
    path = pair.write(tmp_path / "pair.gguf")
    return {"base": files["base"], "expert": path, "anti_expert": path}


def test_aligning_is_told_the_first_time(unaligned: dict[str, Path]) -> None:
    for is_told in (True, False):
        seen: list[tuple[str, float]] = []
        load(**unaligned, progress=lambda *step, to=seen: to.append(step)).close()  # type: ignore[arg-type]
        shares = [share for what, share in seen if what == ALIGNING]
        assert bool(shares) == is_told
        assert shares == sorted(shares)
        assert shares[-1:] == [1.0] * is_told


def test_a_cancel_is_heard_while_vocabularies_are_aligned(unaligned: dict[str, Path]) -> None:
    cancel = threading.Event()

    def report(what: str, share: float) -> None:
        if what == ALIGNING:
            cancel.set()

    with pytest.raises(Cancelled, match="aligning"):
        load(**unaligned, progress=report, cancel=cancel)  # type: ignore[arg-type]


def test_one_file_in_two_roles_is_loaded_once(files: dict[str, Path]) -> None:
    seen: list[str] = []
    session = load(
        base=files["base"],
        expert=files["base"],
        anti_expert=files["base"],
        progress=lambda role, share: seen.append(role),
    )
    assert set(seen) == {"base"}
    assert text_of(session) is not None
    session.close()


def test_a_closed_session_answers_nothing(files: dict[str, Path]) -> None:
    session = with_files(files)
    session.close()
    session.close()
    with pytest.raises(EngineError, match="closed"):
        text_of(session)


def test_one_model_alone_may_be_asked(files: dict[str, Path]) -> None:
    with with_files(files) as session:
        for role in ("base", "expert", "anti_expert"):
            solo = session.solo(role)
            assert solo is session.solo(role)
            assert list(solo.reply([Message("user", "Hello")], max_tokens=3))


def test_models_that_answer_alone_too_are_loaded_with_the_trio(files: dict[str, Path]) -> None:
    loaded: list[str] = []
    tuned = draft("llama").write(files["base"].with_name("tuned.gguf"), 9)
    recipe = replace(
        choose_recipe(None, files["base"], files["expert"], files["anti_expert"]), tuned=Role(tuned)
    )
    with load(recipe, solo=("base", "tuned"), progress=lambda r, _: loaded.append(r)) as session:
        assert list(dict.fromkeys(loaded)) == ["base", "expert", "anti_expert", "tuned"]
        loaded.clear()
        for role in ("base", "tuned"):
            assert list(session.solo(role).reply("Hello", max_tokens=3))
        assert loaded == []


def test_without_room_for_all_nothing_is_loaded(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    with with_files(files) as session:
        needed = session.memory.more
    monkeypatch.setattr(loader, "free_memory", lambda: Free(needed, "this machine has free"))
    with_files(files).close()
    with pytest.raises(OutOfMemoryError, match="this trio and its models alone take"):
        with_files(files, solo=("base",), progress=lambda r, _: loaded.append(r))
    assert loaded == []
    with_files(files, solo=("base",), force=True).close()


def test_a_model_alone_that_the_trio_lacks_is_told_before_anything_is_loaded(
    files: dict[str, Path],
) -> None:
    loaded: list[str] = []
    with pytest.raises(UsageError, match="no model 'tuned'"):
        with_files(files, solo=("tuned",), progress=lambda r, _: loaded.append(r))
    assert loaded == []


def test_a_model_alone_learns_its_threads_as_the_trio_does(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Threads] = []

    def noted(*arguments: Any, **settings: Any) -> LlamaModel:
        given.append(settings["n_threads"])
        return LlamaModel(*arguments, **settings)

    monkeypatch.setattr(loader, "LlamaModel", noted)
    monkeypatch.setattr(threads, "default_threads", lambda _: 2)
    with with_files(files) as session:
        trios = {id(session.crew.base), id(session.crew.pair)}
        assert {id(one) for one in given} == trios
        session.solo("base")
        assert given[-1].choice._options == session.crew.base.choice._options == [2, 1]
        assert id(given[-1]) not in trios


@pytest.mark.parametrize("role", ["tuned", "name", "roles", ""])
def test_a_model_that_the_trio_lacks_cannot_be_asked(files: dict[str, Path], role: str) -> None:
    with with_files(files) as session, pytest.raises(UsageError, match=f"no model {role!r}"):
        session.solo(role)


def test_a_prompt_longer_than_the_context_is_refused(files: dict[str, Path]) -> None:
    with with_files(files) as session:
        with pytest.raises(ContextFullError, match="do not fit the context of 256"):
            text_of(session, "x" * 300)
        assert text_of(session) == text_of(session)


@pytest.mark.parametrize("question", ["", "   ", "a\ud800", "x" * 400_001])
def test_what_cannot_be_asked_is_refused_and_the_session_lives(
    files: dict[str, Path], question: str
) -> None:
    with with_files(files) as session:
        with pytest.raises(PromptError):
            text_of(session, question)
        assert list(session.chat("Hello", max_tokens=1))


def test_a_hundred_thousand_equal_characters_do_not_kill_the_process(
    files: dict[str, Path],
) -> None:
    with with_files(files) as session, pytest.raises(ContextFullError):
        text_of(session, "a" * 100_000)


def test_a_context_that_fills_up_ends_the_reply(files: dict[str, Path]) -> None:
    with with_files(files, n_ctx=60) as session:
        stopless = edgeproxy.Sampling(
            logit_bias=dict.fromkeys(session.trio.vocab.end_of_generation, -1e6)
        )
        pieces = list(session.chat("Hello", sampling=stopless, max_tokens=500))
        assert pieces[-1].finish_reason == "context"
        assert text_of(session) == text_of(session)


def test_cancelling_ends_a_reply_and_not_the_next(files: dict[str, Path]) -> None:
    with with_files(files) as session:
        pieces = []
        for piece in session.chat("Hello", max_tokens=50):
            pieces.append(piece)
            session.cancel()
        assert [piece.finish_reason for piece in pieces[-1:]] in (["cancelled"], ["stop"])
        assert len(pieces) <= 2
        assert list(session.chat("Hello", max_tokens=2))[-1].finish_reason != "cancelled"


# Recipes


def test_a_file_takes_a_roles_place(files: dict[str, Path]) -> None:
    recipe = Recipe("r", Role(Path("b")), Role(Path("e"), "chatml"), Role(Path("a")))
    assert choose_recipe(recipe) == recipe
    changed = choose_recipe(recipe, expert="other.gguf")
    assert changed == replace(recipe, expert=Role(Path("other.gguf"), "chatml"))


def test_nothing_to_load_is_refused() -> None:
    with pytest.raises(UsageError, match="no model for base and expert and anti_expert"):
        choose_recipe()


def test_an_unknown_trio_is_refused() -> None:
    with pytest.raises(ManifestError, match="no trio called 'nothing'"):
        load("nothing")


# The trio that ships


@pytest.mark.weights
def test_the_shipped_trio_answers_by_its_name(
    factbook: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with edgeproxy.load("factbook") as session:
        pieces = list(session.chat("What is the capital of France?", max_tokens=60))
    assert "".join(piece.text for piece in pieces) == "The capital of France is Paris."
    assert pieces[-1].finish_reason == "stop"


@pytest.mark.weights
def test_the_shipped_files_are_those_of_the_manifest(factbook_recipe: Recipe) -> None:
    import hashlib

    for role in factbook_recipe.roles.values():
        data = role.path.read_bytes()
        assert len(data) == role.size
        assert hashlib.sha256(data).hexdigest() == role.sha256


@pytest.mark.weights
def test_a_second_turn_reads_only_what_is_new(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = session.conversation()
    list(conversation.say("What is the capital of France?", max_tokens=30))
    left: list[RoleTokens] = []
    resume = session.trio.resume

    def noted(prompt: RoleTokens) -> RoleTokens:
        left.append(resume(prompt))
        return left[-1]

    monkeypatch.setattr(session.speaker, "_resume", noted)
    list(conversation.say("And its currency?", max_tokens=30))
    base = b"".join(session.trio.vocab.tokens[token] for token in left[0].base)
    assert base.strip() == b"And its currency?"


@pytest.mark.weights
@pytest.mark.parametrize("taken", [1, 2, 3, 5])
def test_a_reply_that_outlives_its_session_says_so(taken: int) -> None:
    """Also between the tokens of a draft, which would otherwise be taken back."""
    with load("factbook") as session:
        pieces = session.chat("What is the capital of Peru?")
        for _ in range(taken):
            next(pieces)
    with pytest.raises(EngineError, match="closed"):
        next(pieces)
    pieces.close()


# What is said or refused before anything is loaded


def test_a_context_beyond_what_a_model_was_trained_with_is_told(files: dict[str, Path]) -> None:
    with load(**files, n_ctx=300) as session:  # type: ignore[arg-type]
        (base, *_) = session.doubts
        assert len(session.doubts) == 3
        assert "the base was trained with 256 tokens, and the context has 300" in base
    # It is no fault of the vocabularies.
    with load(**files, n_ctx=300, strict=True) as session:  # type: ignore[arg-type]
        assert session.doubts


@pytest.mark.parametrize(
    "settings",
    [{"draft": "on"}, {"n_ctx": 2.5}, {"n_threads": "2"}, {"kv_type": "q4"}, {"alpha": "1"}],
)
def test_settings_of_another_kind_are_refused(
    files: dict[str, Path], settings: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        load(**files, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", ["base", "tuned"])
def test_one_model_alone_is_refused_where_there_is_no_memory(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, role: str
) -> None:
    recipe = recipe_of_files(files["base"], files["expert"], files["anti_expert"])
    recipe = replace(recipe, tuned=Role(files["base"].with_name("tuned.gguf")))
    draft("llama").write(recipe.tuned.path)  # type: ignore[union-attr]
    with load(recipe) as session:
        monkeypatch.setattr(loader, "free_memory", lambda: Free(1000, "there are free"))
        with pytest.raises(OutOfMemoryError, match=f"the {role} alone takes .* there are free"):
            session.solo(role)
        monkeypatch.setattr(loader, "free_memory", lambda: None)
        assert session.solo(role)


def test_one_model_alone_may_be_forced(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with load(**files, force=True) as session:  # type: ignore[arg-type]
        monkeypatch.setattr(loader, "free_memory", lambda: Free(1000, "there are free"))
        assert session.solo("base")


# Prompt formats


def with_template(path: Path, template: str) -> Path:
    made = draft("llama")
    made.metadata["tokenizer.chat_template"] = template
    return made.write(path)


def test_formats_are_named_when_loading(files: dict[str, Path]) -> None:
    with load(**files, prompts={"base": "chatml", "expert": "plain"}) as session:  # type: ignore[arg-type]
        assert [role.prompt for role in session.recipe.roles.values()] == [
            *("chatml", "plain", "plain")
        ]
        list(session.chat("Hello", max_tokens=1))
        assert session.trio.base.n_past > session.trio.expert.n_past


def test_a_template_that_fails_is_found_out_before_the_weights_are_read(
    files: dict[str, Path], tmp_path: Path
) -> None:
    expert = with_template(tmp_path / "bad.gguf", "{{ messages.nothing.at.all }}")
    told: list[str] = []
    chosen = {**files, "expert": expert}
    said = r"bad\.gguf: .*failed .*by name: --prompt expert=chatml"
    with pytest.raises(PromptError, match=said):
        load(**chosen, progress=lambda role, _: told.append(role))  # type: ignore[arg-type]
    assert told == []
    with load(**chosen, prompts={"expert": "chatml"}) as session:  # type: ignore[arg-type]
        assert list(session.chat("Hello", max_tokens=1))


def test_what_the_template_ends_a_turn_with_ends_a_reply(tmp_path: Path) -> None:
    """Here a token of kind NORMAL that neither llama.cpp nor the file calls an end."""
    paths = {}
    for seed, role in enumerate(("base", "expert", "anti_expert")):
        made = draft("llama")
        made.metadata["tokenizer.ggml.tokens"][50] = "<|over|>"
        if role == "expert":
            made.metadata["tokenizer.chat_template"] = CHATML.replace("<|im_end|>", "<|over|>")
        paths[role] = made.write(tmp_path / f"{role}.gguf", seed)
    with load(**paths) as session:  # type: ignore[arg-type]
        end = session.trio.base.vocab.tokens.index(b"<|over|>")
        assert end == 50
        sampling = Sampling(logit_bias={end: 1e6})
        (piece,) = session.chat("Hello", sampling=sampling)
        assert (piece.token, piece.text, piece.finish_reason) == (end, "", "stop")
    with load(**paths, prompts={"expert": "plain"}) as session:  # type: ignore[arg-type]
        pieces = list(session.chat("Hello", sampling=sampling, max_tokens=2))
        assert [piece.token for piece in pieces] == [end, end], "nothing says that it is an end"


def test_the_process_that_renders_ends_with_the_session(files: dict[str, Path]) -> None:
    with with_files(files) as session:
        files_held = session._files
        assert isinstance(files_held, ModelFiles)
        child = files_held.renderer._child
        assert child is not None
        list(session.chat("Hello", max_tokens=1))
        assert files_held.renderer._child is child, "one for all renderings"
    assert files_held.renderer._child is None
