"""`edgeproxy show`: how a pair fits its base's vocabulary."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.command_line import Run
from tests.helpers.gguf_files import draft


@pytest.fixture
def drafted(tmp_path: Path) -> Callable[..., Path]:
    """Writes a trio of small files; the expert's tokens, and the anti-expert's, are changed."""

    def write(*changes: Callable[[dict[str, Any]], object]) -> Path:
        lines = ['name = "drafted"']
        for role, change in zip(("base", "expert", "anti_expert"), (len, *changes), strict=True):
            made = draft("llama")
            change(made.metadata)
            for name in ("token_embd.weight", "output.weight"):
                made.tensors[name] = ((32, len(made.metadata["tokenizer.ggml.tokens"])), 0)
            made.write(tmp_path / f"{role}.gguf")
            lines += [f"[{role}]", f'file = "{role}.gguf"']
        path = tmp_path / "trio.toml"
        path.write_text("\n".join(lines))
        return path

    return write


def longer(metadata: dict[str, Any]) -> None:
    metadata["tokenizer.ggml.tokens"].append("<unused>")
    metadata["tokenizer.ggml.token_type"].append(5)


def reversed_words(metadata: dict[str, Any]) -> None:
    metadata["tokenizer.ggml.tokens"][3:] = metadata["tokenizer.ggml.tokens"][:2:-1]


def without_a_byte(metadata: dict[str, Any]) -> None:
    metadata["tokenizer.ggml.tokens"][100] = "different"


@pytest.mark.parametrize(
    ("changes", "alignments", "lines"),
    [
        (
            (len, longer),
            [("same", 268, 0), ("padded", 268, 0)],
            [
                "expert fits        same: the base's own vocabulary; a row costs nothing more",
                "anti-expert fits   padded: the first 268 of the base's 268 tokens; "
                "a row costs a slice more",
            ],
        ),
        (
            (reversed_words, without_a_byte),
            [("permuted", 268, 0), ("different", 264, 1)],
            [
                "expert fits        permuted: 268 of the base's 268 tokens, under other ids; "
                "a row costs a gather more",
                "anti-expert fits   different: 264 of the base's 265 tokens of text are one token "
                "of its own; a row costs a projection through bytes and some reading again",
                "anti-expert lacks  1 of the base's 265 tokens of text: there it has no say",
            ],
        ),
    ],
)
def test_show_names_the_case_and_what_it_costs(
    run: Run,
    drafted: Callable[..., Path],
    changes: tuple[Callable[[dict[str, Any]], object], ...],
    alignments: list[tuple[str, int, int]],
    lines: list[str],
) -> None:
    path = str(drafted(*changes))
    code, out, err = run("show", path)
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if " fits " in line or " lacks " in line] == lines
    found = json.loads(run("show", path, "--json")[1])["alignment"]
    assert list(found) == ["expert", "anti_expert"]
    for alignment, (case, shared, unspelled) in zip(found.values(), alignments, strict=True):
        assert alignment == {
            "case": case,
            "shared": shared,
            "unspelled": unspelled,
            "tokens": 268,
            "text_tokens": 265,
        }
