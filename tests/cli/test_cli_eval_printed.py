"""`edgeproxy eval`: what it prints, and what it refuses."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from edgeproxy.prompts.formats import plain
from edgeproxy.session.speaker import SoloSpeaker
from tests.helpers.command_line import REPLIES, Run
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import FakeModel, saying


def test_eval_json(run: Run, trio: Path, questions: Path, tmp_path: Path) -> None:
    replies = tmp_path / "replies.jsonl"
    arguments = ("--json", "--threads", "1", "--replies", str(replies))
    code, out, err = run("eval", str(trio), str(questions), *arguments)
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert list(found) == [
        "trio",
        "alpha",
        "base_weight",
        "plausibility",
        "expert_ends",
        "questions",
        "systems",
        "gap_closed",
        "comparisons",
        "general",
        "cut",
        "seconds",
    ]
    assert list(found["systems"]) == ["base", "anti_expert", "expert", "proxy"]
    assert found["questions"] == 2
    assert found["gap_closed"] is None
    proxy = found["systems"]["proxy"]
    assert (proxy["accuracy"], proxy["n"], proxy["f1"], proxy["said"]) == (0.5, 2, None, None)
    assert proxy["interval"] == pytest.approx([0.0945, 0.9055], abs=1e-4)
    assert {kind: of["accuracy"] for kind, of in proxy["kinds"].items()} == {"city": 1.0, "line": 0}
    pairs = [(pair["one"], pair["other"], pair["p"]) for pair in found["comparisons"]]
    assert pairs == [("proxy", "base", 1.0), ("proxy", "expert", 1.0)]
    assert found["general"] is None
    assert found["systems"]["base"]["accuracy"] == 0.0
    assert found["cut"] == {"base": 0, "anti_expert": 0, "expert": 0, "proxy": 0}
    lines = [json.loads(line) for line in replies.read_text().splitlines()]
    assert len(lines) == 8
    assert all(line.pop("took")["tokens"] > 0 for line in lines)
    assert {
        "question": "Capital?",
        "kind": "city",
        "answer": ["Quito", "Lima"],
        "system": "proxy",
        "reply": "It is Lima.",
        "judge": "contains",
        "right": True,
    } in lines


def test_eval_as_text(run: Run, trio: Path, questions: Path) -> None:
    arguments = ("--threads", "1", "--systems", "proxy,anti-expert", "--limit", "1", "--stats")
    code, out, err = run("eval", str(trio), str(questions), *arguments)
    assert code == 0
    assert out.splitlines()[:4] == [
        "kind  n  anti-expert      proxy",
        "city  1         0.0%     100.0%",
        "all   1         0.0%     100.0%",
        "95%          [0, 79]  [21, 100]",
    ]
    assert "2 replies in" in err
    assert err.endswith(", pair: same vocabulary\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--systems", "nonsense"],
        ["--systems", "tuned"],
        ["--systems", ""],
        ["--replies", "/nonsense/replies"],
        ["--limit", "0"],
        ["--judge", "nobody"],
        ["--systems", "expert/alpha=2"],
        ["--systems", "proxy/"],
        ["--systems", "proxy/beta=1"],
        ["--systems", "proxy/alpha=much"],
        ["--systems", "proxy/base_weight=2"],
        ["--systems", "proxy/policy=unsure"],
        ["--systems", "proxy/base_weight=0/alpha=2"],
        ["--general", "/nonsense.jsonl"],
        ["--general", "{questions}", "--systems", "proxy"],
        ["--rejudge"],
        ["--rejudge", "--resume", "--replies", "x"],
    ],
)
def test_eval_wrong_usage(run: Run, trio: Path, questions: Path, arguments: list[str]) -> None:
    given = [word.format(questions=questions) for word in arguments]
    code, out, err = run("eval", str(trio), str(questions), *given)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_eval_does_not_overwrite_its_questions(run: Run, trio: Path, questions: Path) -> None:
    before = questions.read_text()
    assert run("eval", str(trio), str(questions), "--replies", str(questions))[0] == 2
    assert questions.read_text() == before


def test_eval_stops_at_ctrl_c(
    run: Run, trio: Path, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def solo(session: FakeSession, role: str) -> SoloSpeaker:
        signal.raise_signal(signal.SIGINT)
        return SoloSpeaker(saying({}), plain)

    monkeypatch.setattr(FakeSession, "solo", solo)
    code, out, err = run("eval", str(trio), str(questions), "--threads", "1")
    assert (code, out, err) == (130, "", "edgeproxy: interrupted\n")


def test_a_system_that_fails_ends_the_evaluation(
    run: Run, trio: Path, questions: Path, models: list[FakeModel]
) -> None:
    models[:] = [saying(REPLIES, n_ctx=4) for _ in range(3)]
    code, out, err = run("eval", str(trio), str(questions), "--threads", "1")
    assert (code, out) == (1, "")
    assert "context of 4" in err
