"""`edgeproxy eval --replies`: nothing that came is lost, and `--resume` goes on from it."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeproxy.cli import main
from edgeproxy.errors import EdgeproxyError, EngineError, OutOfMemoryError
from edgeproxy.measure import replies as replies_module
from edgeproxy.measure.replies import Replies
from edgeproxy.measure.took import Took
from edgeproxy.session import load as loader
from tests.helpers.command_line import FAKE_TRIO, Run, names, replies_in, untimed
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import FakeModel, fake_vocab, saying, script

ANSWERS = {"Capital?\n": "It is Lima.\nAnd more", "Lines\n": "one\ntwo"}
ASKED = "".join(
    json.dumps({"question": question.strip(), "answer": "Lima"}) + "\n" for question in ANSWERS
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a manifest, questions, and replies of an earlier evaluation."""
    (tmp_path / "trio.toml").write_text(FAKE_TRIO)
    (tmp_path / "questions").write_text(ASKED)
    (tmp_path / "replies").write_text("older")
    return tmp_path


@pytest.fixture
def models() -> list[FakeModel]:
    return [saying(ANSWERS) for _ in range(3)]


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str], sessions: list[FakeSession]) -> Run:
    """Evaluate with these options more: exit code, standard output, standard error."""

    def run(*options: str) -> tuple[int, str, str]:
        files = str(folder / "trio.toml"), str(folder / "questions")
        code = main(["eval", *files, "--replies", str(folder / "replies"), *options])
        return code, *capsys.readouterr()

    return run


WHOLE = ["questions", "replies", "trio.toml"]
CUT = ["questions", "replies", "replies.part", "trio.toml"]


def test_a_trio_that_does_not_load_leaves_the_file_as_it_was(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, code in ((EngineError("no"), 1), (OutOfMemoryError("no"), 1)):

        def fails(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(loader, "load", fails)
        assert run() == (code, "", "edgeproxy: no\n")
        assert (folder / "replies").read_text() == "older"
        assert names(folder) == WHOLE


def test_ctrl_c_keeps_what_came_and_resume_goes_on(
    run: Run, folder: Path, models: list[FakeModel], sessions: list[FakeSession]
) -> None:
    answers = script(ANSWERS, fake_vocab())

    def interrupted(history: Sequence[int]) -> NDArray[np.float32]:
        if bytes(history).startswith(b"Lines\n"):
            signal.raise_signal(signal.SIGINT)
            while not sessions[-1].speaker.floor.cancels:  # the main thread hears it
                time.sleep(0.001)
        return answers(history)

    sound = models[0]
    models[0] = FakeModel(interrupted, vocab=fake_vocab())
    options = ("--systems", "proxy", "--threads", "1")
    code, out, err = run(*options)
    part = folder / "replies.part"
    assert (code, out) == (130, "")
    assert err == (
        f"1 of 2 replies are kept in {part}; --resume goes on from it\nedgeproxy: interrupted\n"
    )
    assert (folder / "replies").read_text() == "older"
    assert replies_in(part) == [("proxy", "It is Lima.")]

    models[0] = sound
    code, _, err = run(*options)
    assert code == 2
    assert "go on with --resume" in err
    code, out, err = run(*options, "--resume", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["systems"]["proxy"]["accuracy"] == 0.5
    assert replies_in(folder / "replies") == [("proxy", "It is Lima."), ("proxy", "one")]
    assert b"Capital" not in b"".join(bytes(tokens) for tokens in sound.evals)
    assert names(folder) == WHOLE


def fail_at_the_third(run: Run, folder: Path, models: list[FakeModel]) -> str:
    """An evaluation whose third question does not fit the context; what was said of it."""
    with (folder / "questions").open("a") as file:
        file.write(json.dumps({"question": "x" * 200, "answer": "y"}) + "\n")
    models[:] = [saying(ANSWERS, n_ctx=100) for _ in range(3)]
    code, out, err = run("--systems", "proxy", "--threads", "1")
    assert (code, out) == (1, "")
    return err


def test_an_error_keeps_what_came(run: Run, folder: Path, models: list[FakeModel]) -> None:
    err = fail_at_the_third(run, folder, models)
    kept, failed = err.splitlines()
    assert kept.startswith("2 of 3 replies are kept in ")
    assert "context of 100" in failed
    assert names(folder) == CUT
    models[:] = [saying(ANSWERS) for _ in range(3)]
    assert run("--systems", "proxy", "--threads", "1", "--resume")[0] == 0
    assert [reply for _, reply in replies_in(folder / "replies")][:2] == ["It is Lima.", "one"]


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (("--alpha", "0.5"), "alpha was 1.0 and is 0.5"),
        (("--temperature", "0.5"), "temperature was 0.0 and is 0.5"),
        (("--systems", "base"), "other systems"),
        (("--limit", "1"), "other questions"),
        (("--max-tokens", "9"), "max_tokens was 48 and is 9"),
        (("--ctx", "512"), "ctx was None and is 512"),
    ],
)
def test_it_goes_on_with_the_same_evaluation_alone(
    run: Run, folder: Path, models: list[FakeModel], other: tuple[str, str], said: str
) -> None:
    fail_at_the_third(run, folder, models)
    before = (folder / "replies.part").read_bytes()
    options = {"--systems": "proxy", "--threads": "1"} | dict([other])
    code, out, err = run("--resume", *(word for pair in options.items() for word in pair))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert (folder / "replies.part").read_bytes() == before


def test_resume_where_nothing_was_kept_begins(run: Run, folder: Path) -> None:
    assert run("--resume", "--systems", "proxy", "--threads", "1")[0] == 0
    assert replies_in(folder / "replies") == [("proxy", "It is Lima."), ("proxy", "one")]


def test_only_the_models_that_have_still_to_answer_are_loaded(
    run: Run, folder: Path, sessions: list[FakeSession]
) -> None:
    options = ("--systems", "base,expert,proxy", "--threads", "1")
    assert run(*options)[0] == 0
    assert sessions[-1].asked["solo"] == ["base", "expert"]

    # As if it had been cut short after the base's two replies.
    class Full(Replies):
        def add(self, system: str, number: int, text: str, took: Took | None = None) -> None:
            if system == "base":
                super().add(system, number, text, took)

        def finish(self, systems: Iterable[str]) -> None:
            raise EdgeproxyError("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replies_module, "Replies", Full)
        assert run(*options)[0] == 1
    assert [system for system, _ in replies_in(folder / "replies.part")] == ["base", "base"]
    assert run(*options, "--resume")[0] == 0
    assert sessions[-1].asked["solo"] == ["expert"]
    assert len(replies_in(folder / "replies")) == 6


def test_resume_needs_replies(
    folder: Path, capsys: pytest.CaptureFixture[str], sessions: list[FakeSession]
) -> None:
    assert main(["eval", str(folder / "trio.toml"), str(folder / "questions"), "--resume"]) == 2
    assert "--resume goes on with the file of --replies" in capsys.readouterr().err
    assert sessions == []


# Variants, other judges, what is kept


def asked_of(folder: Path, *lines: dict[str, Any]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "questions").write_text(text)


def test_variants_of_the_proxy_answer_one_after_another(
    run: Run, folder: Path, models: list[FakeModel]
) -> None:
    """Base, expert and anti-expert say different things, so that each steering says its own."""
    asked_of(folder, {"question": "Capital?", "answer": "Lima"})
    said = ("Quito", "Lima", "Lagos")
    models[:] = [saying({"Capital?\n": word}) for word in said]
    systems = "proxy/base_weight=0.01,proxy,proxy/alpha=0,proxy/alpha=0/plausibility=0.0"
    code, out, err = run("--systems", systems, "--threads", "2", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)["systems"]
    assert list(found) == [
        "proxy",
        "proxy/base_weight=0.01",
        "proxy/alpha=0",
        "proxy/alpha=0/plausibility=0",
    ]
    texts = dict(replies_in(folder / "replies"))
    assert texts["proxy/base_weight=0.01"] == "Lima"
    assert texts["proxy/alpha=0"] == texts["proxy/alpha=0/plausibility=0"] == "Quito"


def test_resume_goes_on_with_variants(run: Run, folder: Path, models: list[FakeModel]) -> None:
    systems = ("--systems", "base,proxy,proxy/alpha=0.5", "--threads", "1")
    assert run(*systems)[0] == 0
    whole = untimed(folder / "replies")

    class CutShort(Replies):
        def finish(self, systems: Iterable[str]) -> None:
            raise EdgeproxyError("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replies_module, "Replies", CutShort)
        assert run(*systems)[0] == 1
    part = folder / "replies.part"
    lines = part.read_text().splitlines(keepends=True)
    part.write_text("".join(lines[:4]))
    for model in models:
        model.evals.clear()
    assert run(*systems, "--resume")[0] == 0
    assert untimed(folder / "replies") == whole


def test_a_reply_goes_on_until_its_judge_has_heard_enough(
    run: Run, folder: Path, models: list[FakeModel]
) -> None:
    said = {
        "Object?\n": 'Here:\n{\n "a": 1,\n "b": "x"\n}\nand more',
        "Number?\n": "It is 2\n#### 3\n4",
        "Line?\n": "one\ntwo",
    }
    models[:] = [saying(said) for _ in range(3)]
    asked_of(
        folder,
        {"question": "Object?", "answer": {"a": 1, "b": "y"}, "contains": ["X", "Z"]},
        {"question": "Number?", "answer": 3, "judge": "number"},
        {"question": "Line?", "answer": "two"},
    )
    code, out, _ = run("--systems", "proxy", "--threads", "1", "--json")
    assert code == 0
    proxy = json.loads(out)["systems"]["proxy"]
    assert (proxy["accuracy"], proxy["f1"], proxy["said"]) == (1 / 3, 0.5, 1.0)
    texts = [reply for _, reply in replies_in(folder / "replies")]
    assert texts == ['Here:\n{\n "a": 1,\n "b": "x"\n}', "It is 2\n#### 3", "one"]
    first = json.loads((folder / "replies").read_text().splitlines()[0])
    assert (first["judge"], first["right"], first["f1"], first["said"]) == (
        "json",
        False,
        0.5,
        True,
    )


def test_replies_are_judged_again_without_a_model(
    run: Run, folder: Path, sessions: list[FakeSession]
) -> None:
    options = ("--systems", "proxy", "--threads", "1")
    assert run(*options)[0] == 0
    count = len(sessions)
    code, out, _ = run(*options, "--rejudge", "--judge", "exact", "--json")
    assert code == 0
    assert json.loads(out)["systems"]["proxy"]["accuracy"] == 0.0
    lines = [json.loads(line) for line in (folder / "replies").read_text().splitlines()]
    assert [(line["judge"], line["right"]) for line in lines] == [("exact", False)] * 2
    code, out, err = run("--systems", "base", "--rejudge")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "there is no reply of base to 'Capital?'" in err
    (folder / "replies").write_text("[1]\n")
    code, _, err = run(*options, "--rejudge")
    assert (code, err.count("\n")) == (2, 1)
    assert "replies:1: this line is no reply" in err
    assert len(sessions) == count


def test_questions_outside_of_the_task_say_what_is_kept(
    run: Run, folder: Path, models: list[FakeModel]
) -> None:
    (folder / "general").write_text(json.dumps({"question": "Capital?", "answer": "know"}) + "\n")
    options = ("--general", str(folder / "general"), "--judge", "exact", "--threads", "1")
    code, out, _ = run(*options, "--json", "--systems", "base,expert,proxy")
    assert code == 0
    found = json.loads(out)
    assert found["questions"] == 2
    assert [found["systems"][name]["n"] for name in ("base", "expert", "proxy")] == [2, 2, 2]
    general = found["general"]
    assert (general["questions"], general["known"]) == (1, 1)
    assert list(general["systems"]) == ["base", "proxy"]
    assert general["systems"]["base"]["kept"] is None
    assert general["systems"]["proxy"]["kept"] == 0.0
    lines = [json.loads(line) for line in (folder / "replies").read_text().splitlines()]
    assert [line["system"] for line in lines if line.get("general")] == ["base", "proxy"]
    code, out, _ = run(*options)
    assert code == 0
    assert "of 1 question outside of the task the base answers 1 right:" in out
    assert "  proxy 0.0% [0, 79], keeps 0.0% [0, 79] of the base's" in out


def test_replies_do_not_overwrite_the_general_questions(run: Run, folder: Path) -> None:
    (folder / "replies").write_text(ASKED)
    code, _, err = run("--general", str(folder / "replies"), "--threads", "1")
    assert (code, err.count("\n")) == (2, 1)
    assert "would overwrite" in err
