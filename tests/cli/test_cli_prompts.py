"""`edgeproxy show --prompt`: the very tokens that each model reads, and a template that changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgeproxy.cli import main
from edgeproxy.core.vocab import from_header
from edgeproxy.gguf import read
from edgeproxy.prompts.formats import template_hash
from edgeproxy.session.load import load
from edgeproxy.trios.fitting import check_trio, template_doubts
from edgeproxy.trios.manifest import Recipe, Role, read_recipe, to_toml
from tests.helpers.gguf_files import draft

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTION = "Hi <|im_end|> \x1b[31m"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["show", *arguments]) == 0
    return capsys.readouterr().out


@pytest.mark.weights
def test_what_each_model_reads(factbook: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, "factbook", "--prompt", QUESTION, "--system", "Be brief.")
    base, expert, anti_expert = out.removesuffix("\n").split("\n\n")
    assert base.startswith("base reads plain, ")
    assert anti_expert.startswith("anti-expert reads plain, ")
    assert expert.startswith("expert reads chatml, ")
    assert "\u27e6<|im_start|>\u27e7system\n  Be brief.\u27e6<|im_end|>\u27e7\n" in expert
    assert "user\n  Hi <|im_end|> " in expert  # a person's text is no marker
    assert "\x1b" not in out
    found = json.loads(shown(capsys, "factbook", "--prompt", QUESTION, "--json"))
    with load("factbook") as session:
        turn = session.reply(QUESTION, max_tokens=1)
        list(turn)
        assert len(found["base"]["tokens"]) == turn.usage.prompt
    tokens = found["expert"]["tokens"]
    specials = [token["text"] for token in tokens if token["special"]]
    assert specials == ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_start|>"]
    assert f"{len(tokens)} tokens:" in shown(capsys, "factbook", "--prompt", QUESTION)


def test_a_system_message_alone_is_no_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "--system", "Be brief."]) == 2
    assert "give one with --prompt" in capsys.readouterr().err
    assert main(["show", "--prompt", " "]) == 2
    assert "the message is empty" in capsys.readouterr().err


def trio_with(path: Path, template: str | None) -> Recipe:
    """A trio of one file whose chat template the expert reads; its maker saw `template`."""
    made = draft()
    made.metadata["tokenizer.chat_template"] = CHATML
    made.write(path)
    plain, role = Role(path), Role(path, "gguf", template=template)
    return Recipe("mine", plain, role, plain)


def test_a_template_that_changed_since_is_told_with_both_hashes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    recipe = trio_with(path, "a" * 64)
    now = template_hash(from_header(read(path)))
    assert now is not None
    with load(recipe, n_threads=1) as session:
        (doubt,) = (each for each in session.doubts if "chat template" in each)
    assert now in doubt
    assert "a" * 64 in doubt
    assert "the expert may read" in doubt
    with load(trio_with(path, now), n_threads=1) as session:
        assert not any("chat template" in each for each in session.doubts)


def test_a_template_that_is_not_read_may_change(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    role = trio_with(path, "a" * 64).expert
    vocab = from_header(read(path))
    assert template_doubts("expert", role, vocab)
    assert not template_doubts("expert", replace(role, prompt="plain"), vocab)


def test_what_is_installed_names_the_template_that_it_came_with(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    recipe = trio_with(path, "a" * 64)
    headers = dict.fromkeys(recipe.roles, read(path))
    made, doubts = check_trio(recipe, headers, lambda role: role)
    now = template_hash(from_header(headers["base"]))
    assert made.expert.template == now
    assert any("a" * 64 in doubt for doubt in doubts)
    manifest = tmp_path / "trio.toml"
    manifest.write_text(to_toml(made), "utf-8")
    assert read_recipe(manifest).expert.template == now
