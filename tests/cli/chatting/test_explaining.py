"""Replies of a chat that are explained, and replies that keep to a schema or a grammar."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.history.keeper import Keeper
from tests.cli.chatting.test_commands import lines
from tests.cli.chatting.test_keeping import _replies, home, texts
from tests.helpers.command_line import Run
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import FakeModel, random_trio

__all__ = ["_replies", "home"]

PAGE = b"<!doctype html>"


# Explained


def explained(run: Run, *asked: str) -> tuple[int, str, str]:
    return run("chat", stdin=lines(*asked))


def test_a_reply_is_explained_and_the_conversation_stays(run: Run, models: list[FakeModel]) -> None:
    code, out, err = explained(run, "Hi", "/explain", "Bye", "/show")
    assert code == 0
    assert out.startswith("Hello.\nHello.")
    assert out.endswith("See you.\n")
    assert "the reply was not recorded, so it is given once more" in err
    assert "message 2    Bye" in err
    assert bytes(models[0].history).startswith(b"Hi\nHello.\nBye\nSee you.")


def test_a_recorded_reply_is_not_given_again(run: Run, models: list[FakeModel]) -> None:
    code, out, err = explained(run, "/set record on", "Hi", "/explain table")
    assert code == 0
    assert "not recorded" not in err
    for title in ("base", "expert", "anti-expert", "together"):
        assert title in out


def test_a_page_is_written(run: Run, tmp_path: Path) -> None:
    page = tmp_path / "reply.html"
    assert explained(run, "Hi", "Bye", f"/explain {page}")[0] == 0
    written = page.read_bytes()
    assert written.startswith(PAGE)
    assert b"See you." in written
    assert explained(run, "Hi", f"/explain {page}")[0] == 0
    assert page.read_bytes() != written


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other.html", "is there already and is no page"),
        ("folder.html", "is a directory and no page"),
        ("missing/x.html", "missing/x.html: there is no folder missing to"),
        ("x" * 300 + ".html", "too long"),
        ("tabel", "takes table, walk, or the name of a page"),
        ("walk", "/explain walk needs a terminal"),
    ],
)
def test_what_cannot_be_explained_or_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    (tmp_path / "other.html").write_text("mine")
    (tmp_path / "folder.html").mkdir()
    monkeypatch.chdir(tmp_path)
    code, out, err = explained(run, "Hi", f"/explain {name}", "Bye")
    assert (code, out) == (1, "Hello.\nSee you.\n")
    assert said in err
    assert err.count("missing/x.html") <= 1
    assert (tmp_path / "other.html").read_text() == "mine"


def test_what_one_model_said_alone_is_not_explained(run: Run) -> None:
    code, out, err = explained(
        run, "/proxy off", "Hi", "/explain", "/proxy on", "/regen", "/explain"
    )
    assert code == 1
    assert err.count("one model alone gives this reply") == 1
    assert out.count("Hello.") == 3


def test_after_going_on_or_undo_the_last_reply_is_explained(run: Run) -> None:
    run("chat", "--session", "a", stdin=lines("Hi", "Bye"))
    code, out, _ = run("chat", "--session", "a", stdin=lines("/explain", "/undo", "/explain"))
    assert code == 0
    assert "See you." in out
    assert "Hello." in out
    assert texts("a") == ["Hi", "Hello."]


def test_what_was_drawn_is_drawn_again_after_going_on(run: Run, models: list[FakeModel]) -> None:
    models[:] = random_trio(0.0).models  # type: ignore[assignment]
    how = ("chat", "--session", "a", "--max-tokens", "20", "--top-k", "0", "--min-p", "0")
    out = run(*how, "--temperature", "1.5", stdin=lines("Hi"))[1]
    assert len(out) > 5
    _, explained, err = run("chat", "--session", "a", stdin=lines("/explain"))
    assert "otherwise" not in err
    assert "once more" in err
    again = run("chat", "--session", "a", stdin=lines("/set seed 5", "/regen", "/explain"))
    assert "otherwise" not in again[2]
    assert explained


@pytest.mark.parametrize(
    "kept",
    [{}, {"sampling": 5}, {"sampling": {"seed": "x"}}, {"sampling": {"logit_bias": {"a": 1}}}],
)
def test_settings_of_nobody_are_explained_without(run: Run, kept: dict[str, Any]) -> None:
    with Keeper("fake", {}, print) as keeper:
        keeper.say("Hi", kept)
        keeper.answer("Hello.", "stop", {"usage": {"completion": []}})
        keeper.save("a")
    code, out, _ = run("chat", "--session", "a", stdin=lines("/explain"))
    assert code == 0
    assert "Hello." in out


def test_a_reply_that_was_cut_is_explained_as_far_as_it_came(run: Run) -> None:
    code, out, err = explained(run, "/set max-tokens 3", "Hi", "/set max-tokens 99", "/explain")
    assert code == 0
    assert "Hello" not in out
    assert "otherwise" not in err


# Grammars


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "yes.gbnf").write_text('root ::= "yes" | "no"')
    schema: dict[str, Any] = {"type": "object", "properties": {"a": {"enum": [1]}}}
    schema |= {"required": ["a"], "additionalProperties": False}
    (tmp_path / "a.json").write_text(json.dumps(schema))
    (tmp_path / "broken").write_text("root ::= (")
    return tmp_path


def test_replies_keep_to_a_grammar_or_a_schema(run: Run, files: Path) -> None:
    asked = ["Hi", f"/set json-schema {files / 'a.json'}", "/set grammar", "Bye"]
    asked += ["/set grammar off", "/set json-schema", "Bye"]
    code, out, err = run("chat", "--grammar", str(files / "yes.gbnf"), stdin=lines(*asked))
    assert code == 0
    first, *middle, last = out.splitlines()
    assert first in ("yes", "no")
    assert json.loads("".join(middle)) == {"a": 1}
    assert last == "See you."
    assert "grammar is none" in err
    assert "json-schema is none" in err


def test_what_cannot_be_kept_to_is_said(run: Run, files: Path, sessions: list[FakeSession]) -> None:
    assert run("chat", "--grammar", str(files / "broken"), stdin=lines("Hi"))[0] != 0
    both = ("--grammar", str(files / "yes.gbnf"), "--json-schema", str(files / "a.json"))
    code, _, err = run("chat", *both, stdin=lines("Hi"))
    assert code != 0
    assert "both say what replies keep to" in err
    assert sessions == []
    asked = [f"/set grammar {files / 'broken'}", f"/set json-schema {files}", "Hi"]
    code, out, err = run("chat", stdin=lines(*asked))
    assert (code, out) == (1, "Hello.\n")
    assert len(err.splitlines()) == 2
