"""`edgeproxy run`: a reply, its statistics, and Ctrl-C."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import pytest

from edgeproxy.__main__ import main as started
from edgeproxy.align import Cost, Match
from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.stats import pair_in_words
from edgeproxy.core.cancel import Flag
from edgeproxy.session import load as loader
from edgeproxy.session.session import Session
from tests.helpers.command_line import Run, pressing_after
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import FakeModel


def test_run_prints_the_reply_alone(run: Run) -> None:
    assert run("run", "Hi") == (0, "Hello.\n", "")
    assert run("run", "Unicode")[1] == "Ünïcödé 🙂\n"


def test_run_reads_standard_input(run: Run) -> None:
    assert run("run", "-", stdin=b"Hi\n") == (0, "Hello.\n", "")
    assert run("run", "-", stdin=b"\xef\xbb\xbfHi\r\n") == (0, "Hello.\n", "")
    code, out, err = run("run", "-", stdin=b"H\xffi")
    assert (code, out) == (2, "")
    assert "not UTF-8 text: byte 0xff at offset 1" in err
    assert run("run", "-")[0] == 2


def test_run_says_why_a_reply_ended_early(run: Run) -> None:
    code, out, err = run("run", "Hi", "--max-tokens", "3")
    assert (code, out) == (0, "Hel\n")
    assert "--max-tokens" in err


def test_run_json(run: Run) -> None:
    code, out, err = run("run", "Hi", "--json", "--seed", "7", "--alpha", "0.5")
    found = json.loads(out, parse_constant=pytest.fail)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert list(found) == [
        "text",
        "finish_reason",
        "tokens",
        "usage",
        "alpha",
        "base_weight",
        "plausibility",
        "expert_ends",
        "seed",
        "trio",
        "changed",
    ]
    assert found["text"] == "Hello." == "".join(token["text"] for token in found["tokens"])
    assert found["finish_reason"] == "stop"
    assert (found["alpha"], found["seed"], found["trio"]) == (0.5, 7, "fake")
    assert found["tokens"][0] == {
        "id": ord("H"),
        "text": "H",
        "logprob": pytest.approx(0, abs=1e-3),
    }
    assert found["usage"] == {"prompt_tokens": 3, "completion_tokens": 7, "total_tokens": 10}
    assert found["changed"] == {"tokens": 0, "of": 7, "share": 0.0}


def test_run_json_draws_a_seed(run: Run) -> None:
    seeds = {json.loads(run("run", "Hi", "--json")[1])["seed"] for _ in range(3)}
    assert len(seeds) > 1


def test_run_json_keeps_text_that_came_late(run: Run) -> None:
    found = json.loads(run("run", "Unicode", "--json", "--max-tokens", "3")[1])
    assert found["text"] == "Ün\ufffd"[: len(found["text"])]
    assert "".join(token["text"] for token in found["tokens"]) == found["text"]


def test_stats_tell_what_was_drafted(run: Run) -> None:
    for mode in ("off", "ngram", "expert", "auto"):
        _, out, err = run("run", "Hi", "--stats", "--draft", mode)
        assert out == "Hello.\n"
        assert f"drafts: {mode}" in err
    code, _, err = run("run", "Hi", "--draft", "sideways")
    assert code == 2
    assert "sideways" in err


def test_stats_are_one_line(run: Run) -> None:
    _, out, err = run("run", "Hi", "--stats")
    assert out == "Hello.\n"
    assert err.count("\n") == 1
    assert all(part in err for part in ("7 tokens", "tokens/s", "first token", "loaded in"))
    assert ", pair: same vocabulary, drafts: auto, " in err
    assert ", threads: 1 for the base, 1 for the pair, " in err
    little = "of so few tokens that says little; 13 to 25% is usual over longer replies"
    assert err.endswith(f", the pair changed 0% of the tokens ({little})\n")


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ([], ""),
        ([None], ""),
        ([Cost(0, 0, 0)], ""),
        ([Cost(100, 131, 122)], ", read 1.31 tokens a token (ideal 1.22, 1.07x)"),
        (
            [Cost(10, 12, 10), None, Cost(30, 36, 30)],
            ", read 1.20 tokens a token (ideal 1.00, 1.20x)",
        ),
    ],
)
def test_stats_tell_what_the_pair_took(
    run: Run, sessions: list[FakeSession], costs: list[Cost | None], said: str
) -> None:
    run("run", "Hi")
    (session,) = sessions
    session.matches = {"expert": Match("permuted", 9), "anti_expert": Match("different", 5)}
    assert pair_in_words(session, costs) == f"pair: different vocabulary{said}"


def test_a_system_message_comes_first(run: Run, models: list[FakeModel]) -> None:
    run("run", "Hi", "--system", "Be kind.")
    assert bytes(models[0].history).startswith(b"Be kind.\nHi\n")


def test_ctrl_c_stops_a_reply_and_keeps_what_was_written(run: Run, models: list[FakeModel]) -> None:
    models[0] = pressing_after(3)
    assert run("run", "x", "--max-tokens", "1000") == (130, "aaa\n", "edgeproxy: interrupted\n")


def test_ctrl_c_while_loading(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    load = loader.load

    def slow_load(*arguments: Any, **settings: Any) -> Session:
        signal.raise_signal(signal.SIGINT)
        assert settings["cancel"].is_set()
        return load(*arguments, **settings)

    monkeypatch.setattr(loader, "load", slow_load)
    assert run("run", "Hi") == (130, "", "edgeproxy: interrupted\n")


def test_ctrl_c_before_the_command_line_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Pressing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "edgeproxy.cli":
                raise KeyboardInterrupt

    monkeypatch.setattr(sys, "meta_path", [Pressing(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "edgeproxy.cli")
    assert started() == 130
    assert capsys.readouterr() == ("", "edgeproxy: interrupted\n")


def test_ctrl_c_calls_stop_and_never_raises_before_the_third() -> None:
    flag = Flag()
    with on_interrupt(flag.set) as presses:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert flag.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert presses.count == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with on_interrupt(lambda: None) as presses:
        signal.raise_signal(signal.SIGINT)
    assert presses.count == 0
