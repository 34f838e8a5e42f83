"""A base on a server against the same base here, counted: with servers in this process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.trios.manifest import Recipe, Role, to_toml
from tests.helpers.served_trios import Files, served_file, write_trio
from tools.servers.compare import as_text, compare, read_all, ways


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_trio(tmp_path_factory.mktemp("served"))


def test_each_way_is_compared_with_the_base_here(files: Files, tmp_path: Path) -> None:
    folder = files["base"].parent
    trio = folder / "trio.toml"
    base, expert, anti_expert = (Role(path, prompt="plain") for path in files.values())
    trio.write_text(to_toml(Recipe("tiny", base, expert, anti_expert)))
    asked = tmp_path / "questions.jsonl"
    asked.write_text(
        "".join(f'{{"question": "What is {n}?", "answer": "a{n}"}}\n' for n in range(3))
    )
    questions = read_all(asked, 2)
    assert [question.text for question in questions] == ["What is 0?", "What is 1?"]
    told: list[str] = []
    with served_file(files["base"]) as served:
        tried = compare(str(trio), questions, ways(served.url, {}), told.append)
    found: dict[str, Any] = {each["way"]: each for each in tried}
    assert list(found) == list(ways("", {}))
    assert {each["questions"] for each in tried} == {2}
    for way in ("here", "rows", "rows, a request a token", "bias"):
        assert found[way]["same"] == 2, way
    assert found["here"]["requests"] == 0
    one_each = found["rows, a request a token"]
    assert one_each["requests"] == one_each["tokens"] == found["here"]["tokens"] > 2
    assert found["bias"]["requests"] == found["bias"]["tokens"]
    assert found["bias"]["bytes_received"] < one_each["bytes_received"] / 10
    assert [way for way, each in found.items() if each["coverage"] is not None] == [
        "rows, the 200 best",
        "rows, the 200 best, a request a token",
        "top-k, 20",
    ]
    assert told[0] == "here: 0 of 2"
    text = as_text(tried)
    assert "| here | 100.0% |" in text
    row = r"\| top-k, 20 \| \d+\.\d% \| \d+\.\d% \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+% \|"
    assert re.search(row, text)
