"""A base on a server against the same base here, counted: with servers in this process."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeproxy
from edgeproxy.errors import UsageError
from edgeproxy.trios.manifest import Recipe, Role, to_toml
from tests.helpers.near import NEAR, rows_of
from tests.helpers.served_trios import Files, served_file, write_trio
from tools.servers.compare import Tried, apart, as_text, choose, compare, read_all, ways


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return write_trio(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def trio(files: Files) -> str:
    path = files["base"].parent / "trio.toml"
    base, expert, anti_expert = (Role(path, prompt="plain") for path in files.values())
    path.write_text(to_toml(Recipe("tiny", base, expert, anti_expert)))
    return str(path)


def test_each_way_is_compared_with_the_base_here(files: Files, trio: str, tmp_path: Path) -> None:
    asked = tmp_path / "questions.jsonl"
    asked.write_text(
        "".join(f'{{"question": "What is {n}?", "answer": "a{n}"}}\n' for n in range(3))
    )
    questions = read_all(asked, 2)
    assert [question.text for question in questions] == ["What is 0?", "What is 1?"]
    told: list[str] = []
    with served_file(files["base"]) as served:
        tried = compare(trio, questions, ways(served.url, {}), told.append)
    found: dict[str, Any] = {each["way"]: each for each in tried}
    assert list(found) == list(ways("", {}))
    assert {each["questions"] for each in tried} == {2}
    for way in ("here", "here, without drafts", "rows", "rows, a request a token", "bias"):
        assert found[way]["same"] == 2, way
    assert found["here"]["requests"] == 0
    one_each = found["rows, a request a token"]
    assert one_each["requests"] == one_each["tokens"] == found["here"]["tokens"] > 2
    assert found["bias"]["requests"] == found["bias"]["tokens"]
    assert found["bias"]["bytes_received"] < one_each["bytes_received"] / 10
    assert {len(each["parted"]) + each["same"] for each in tried} == {2}
    assert [way for way, each in found.items() if each["coverage"] is not None] == [
        "rows, the 200 best",
        "rows, the 200 best, a request a token",
        "top-k, 20",
    ]
    assert told[0] == "here: 0 of 2"
    text = as_text(tried)
    assert "| here | 100.0% |  |" in text
    row = (
        r"\| top-k, 20 \| \d+\.\d% \| [^|]* \| \d+\.\d% \| [\d.]+ \| [\d.]+ \| [\d.]+ \| [\d.]+% \|"
    )
    assert re.search(row, text)


def test_ways_are_chosen_by_name() -> None:
    known = ways("http://127.0.0.1:8080", {})
    assert list(choose(known, "bias; rows")) == ["here", "bias", "rows"]
    single = "here, without drafts"
    assert list(choose(known, f"{single};bias ")) == [single, "bias"]
    with pytest.raises(UsageError, match="no way 'tea', but these: here; "):
        choose(known, "bias; tea")


def test_it_is_told_how_near_the_tokens_are_in_which_replies_part(trio: str) -> None:
    with edgeproxy.load(trio, draft="off") as session:
        row = rows_of(session, "Hi")([7])
        order = np.argsort(row)[::-1]
        best, second = int(order[0]), int(order[1])
        wanted = pytest.approx(float(row[best] - row[second]), abs=NEAR)
        assert apart(session, "Hi", [7, best, 3], [7, second, 4]) == wanted
        assert apart(session, "Hi", [7, second], [7, best]) == wanted
        end = max(float(row[each]) for each in session.trio.vocab.end_of_generation)
        ended = pytest.approx(abs(end - float(row[9])), abs=NEAR)
        assert apart(session, "Hi", [7], [7, 9]) == ended
        assert apart(session, "Hi", [7, 9], [7]) == ended
        with pytest.raises(ValueError, match="same"):
            apart(session, "Hi", [7, 9], [7, 9])


def test_the_table_tells_by_how_much_texts_part() -> None:
    tried = Tried("bias", same=1, tokens=2, seconds=1.0, parted=[0.25, 0.5, 0.125])
    text = as_text([{**asdict(tried), "questions": 4}])
    assert "| bias | 25.0% | 0.25 nats, 0.50 at most |" in text
