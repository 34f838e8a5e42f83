"""An explained reply in a terminal: colours, marks, tables, and the walk."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import edgeproxy.explain
from edgeproxy.cli import main
from edgeproxy.cli.ui.explained import coloured, marked, table_of, write_explained
from edgeproxy.cli.ui.walking import Walk, check_walk
from edgeproxy.cli.ui.widths import fitted, width_of
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import UsageError
from edgeproxy.explain import Explanation
from edgeproxy.explain.form import Word
from edgeproxy.explain.words import percent, sentence, spoken
from tests.helpers.explained import explained

WORDS = ["The", " capital", " of", " Mong", "olia", "\n\n", " is", " 乌兰巴托", " \x1b[31m", "."]
QUESTION = "What is the capital of Mongolia?"


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return explained(WORDS)


def plain_text(explanation: Explanation) -> str:
    return "".join(text for _, text in marked(explanation))


def test_without_colours_what_changed_is_marked(explanation: Explanation) -> None:
    token = next(token for token in explanation.tokens if token.changed)
    other = spoken(explanation.words[token.best["base"][0].id], in_text=True)
    text = plain_text(explanation)
    assert f"[{token.text.strip() or spoken(explanation.words[token.id])}|{other}]" in text
    assert text.count("|") == explanation.summary.changed
    assert text.endswith("⟨end⟩")


def test_colours_are_five_steps_and_lines_end_without_one(explanation: Explanation) -> None:
    parts = list(coloured(explanation))
    assert "".join(text for _, text in parts if text != "⟨end⟩") == explanation.text
    assert all(style == "" for style, text in parts if "\n" in text)
    underlined = [text for style, text in parts if style.split(";")[-1] == "4" and text]
    changed = [token.text for token in explanation.tokens if token.changed]
    assert underlined == [text.strip("\n") for text in changed if text.strip("\n")]


class Terminal:
    """Standard output as a terminal that keeps what is written."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), (None, None)])
def test_a_terminal_gets_no_control_of_a_models_and_colours_where_wanted(
    explanation: Explanation,
    variable: str | None,
    value: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if variable and value:
        monkeypatch.setenv(variable, value)
    write_explained(explanation, table=True)
    assert "\x1b[31m" not in terminal.text
    assert ("\x1b[" in terminal.text) == (variable is None)
    reply = terminal.text.partition("The pair changed")[0]
    assert ("|" in reply) == (variable is not None)


@pytest.mark.parametrize("width", [30, 40, 80, 200])
def test_a_table_is_never_wider_than_the_terminal(explanation: Explanation, width: int) -> None:
    for place in range(len(explanation.tokens)):
        lines = table_of(explanation, place, width)
        assert max(map(width_of, lines)) <= width
        text = "\n".join(lines)
        for title in ("base", "expert", "anti-expert", "together"):
            assert title in text


def test_a_table_says_what_the_base_would_have_said(explanation: Explanation) -> None:
    place = next(n for n, token in enumerate(explanation.tokens) if token.changed)
    lines = table_of(explanation, place, 120)
    assert lines[0].startswith(f"{place + 1}. ")
    assert "changed" in lines[0]
    assert lines[1] == sentence(explanation, explanation.tokens[place])
    assert lines[2].split() == ["base", "expert", "anti-expert", "together"]
    assert sum(line.count(">") for line in lines[3:8]) >= 2


def test_what_the_mask_left_out_is_told() -> None:
    for plausibility, is_told in ((0.2, True), (0.0, False)):
        masked = explained(WORDS, steering=Steering(plausibility=plausibility))
        for token in masked.tokens:
            base = token.best["base"][0].id
            is_left_out = len(token.best["fused"]) < 10 and base not in {
                guess.id for guess in token.best["fused"]
            }
            assert ("The mask left" in sentence(masked, token)) == (is_told and is_left_out)
        assert any("The mask" in sentence(masked, token) for token in masked.tokens) == is_told


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (Word(" the"), "␣the"),
        (Word("\n\n"), "↵↵"),
        (Word("<|im_end|>", True), "⟨im_end⟩"),
        (Word("", True), "⟨empty⟩"),
        (Word("\ufffd", False, "e282"), "‹e2 82›"),
        (Word("a\u202eb"), "a‹U+202e›b"),
        (Word("\x1b[2J"), "‹U+001b›[2J"),
    ],
)
def test_a_token_is_spoken_of(word: Word, said: str) -> None:
    assert spoken(word) == said


def test_percent_keeps_what_matters() -> None:
    shares = [0.0, -0.0001, -0.9, -3.0, -6.0, -9.0]
    assert list(map(percent, shares)) == ["100%", "100%", "41%", "5.0%", "0.2%", "<0.1%"]


def test_wide_characters_take_two_columns() -> None:
    assert width_of("乌é́") == 3
    assert fitted("乌兰巴托", 5) == "乌兰…"
    assert fitted("ab", 4) == "ab  "


# The walk


def test_arrows_walk_through_a_reply(explanation: Explanation) -> None:
    walk = Walk(explanation)
    moved = [token.moved for token in explanation.tokens]
    assert walk.place == moved.index(max(moved))
    walk.go(-100)
    assert walk.place == 0
    walk.go(1)
    assert walk.place == 1
    changed = [n for n, token in enumerate(explanation.tokens) if token.changed]
    walk.go(-100)
    for place in changed:
        walk.go_to_changed(1)
        assert walk.place == place
    walk.go_to_changed(1)
    assert walk.place == changed[-1]
    walk.go_to_changed(-1)
    assert walk.place == changed[-2]
    text = "".join(part[1] for part in walk.text())
    assert "\x1b" not in text
    assert "\x1b" not in walk.panel(80)


def test_a_walk_needs_a_terminal() -> None:
    with pytest.raises(UsageError, match="--table"):
        check_walk()


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_walk_needs_prompt_toolkit_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeproxy.cli.ui.walking.is_interactive", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    check_walk()
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    with pytest.raises(UsageError, match=r"edgeproxy\[chat\]"):
        check_walk()


@pytest.mark.parametrize("key", ["q", "\x1b", "\x03"])
def test_a_walk_is_left_by_its_keys(explanation: Explanation, key: str) -> None:
    from prompt_toolkit.application import create_app_session
    from prompt_toolkit.input import create_pipe_input
    from prompt_toolkit.output import DummyOutput

    from edgeproxy.cli.ui.walking import walk

    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        pipe.send_text("\x1b[C\x1b[B\x1b[D\x1b[A" + key)
        walk(explanation)


# The verb


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["explain", *arguments])
    found = capsys.readouterr()
    return code, found.out, found.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Hello", "--alpha", "0"], "the base answers alone"),
        (["Hello", "--base-weight", "0"], "the expert answers alone"),
        (["Hello", "--json", "--table"], "do not go together"),
        (["Hello", "--table", "--walk"], "do not go together"),
        (["Hello", "--walk"], "needs a terminal"),
        (
            ["Hello", "--html", "{folder}/none/page.html"],
            "y: {folder}/none/page.html: there is no folder {folder}/none to",
        ),
        (["Hello", "--html", "{folder}"], "is a directory"),
        (["Hello", "--html", "{folder}/notes.txt"], "is no page"),
        (["Hello", "--best", "4"], "--best"),
        (["Hello", "--temperature", "-1"], "temperature"),
    ],
)
def test_what_cannot_be_done_is_refused_before_models_are_loaded(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "notes.txt").write_text("my notes")
    monkeypatch.setattr("edgeproxy.cli.explain.opened", lambda models: pytest.fail("loaded"))
    code, out, err = run(capsys, *(word.format(folder=tmp_path) for word in arguments))
    assert (code, out) == (2, "")
    assert said.format(folder=tmp_path) in err
    assert err.count("\n") == 1
    assert (tmp_path / "notes.txt").read_text() == "my notes"


@pytest.mark.weights
def test_the_verb_shows_prints_and_writes(
    factbook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "reply.html"
    code, out, err = run(capsys, QUESTION, "--html", str(page))
    assert code == 0
    assert "Ulaanbaatar" in out
    assert "tokens (" in out
    assert f"wrote {page}" in err
    first = page.read_bytes()
    code, out, _ = run(capsys, QUESTION, "--json", "--html", str(page))  # a page takes its place
    found: dict[str, Any] = json.loads(out)
    assert code == 0
    schema = Path(edgeproxy.explain.__file__).with_name("schema.json")
    jsonschema.validate(found, json.loads(schema.read_text("utf-8")))
    assert found["text"] == "The capital of Mongolia is Ulaanbaatar."
    assert len(page.read_bytes()) == pytest.approx(len(first), abs=100)  # another seed is told
    assert [path.name for path in tmp_path.iterdir()] == ["reply.html"]


@pytest.mark.weights
def test_a_manifest_that_leaves_the_say_to_one_model_is_refused(
    factbook: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = tmp_path / "trio.toml"
    lines = factbook.read_text("utf-8")
    assert "alpha" in lines
    for name in ("base", "expert", "anti-expert", "lora"):
        source = factbook.parent / f"{name}.gguf"
        if source.is_file():
            (tmp_path / source.name).symlink_to(source)
    manifest.write_text(re.sub(r"(?m)^alpha *=.*$", "alpha = 0.0", lines), "utf-8")
    code, out, err = run(capsys, "Hello", "--trio", str(manifest))
    assert (code, out) == (2, "")
    assert "needs all three models" in err
