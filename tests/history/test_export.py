"""A session as JSON and as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeproxy.history.export import json_bytes, markdown, tree_as_json, when
from edgeproxy.history.history import History
from edgeproxy.history.records import LAST_TIME, Said
from tests.history.test_history import HOSTILE_TEXTS, MODELS, talk


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path / "sessions.sqlite") as made:
        yield made


def test_json_has_the_whole_tree(history: History) -> None:
    saved = history.begin("factbook", MODELS, "letters")
    ids = saved.add([Said("user", "one", {"alpha": 1.0}), Said("assistant", "1")], None)
    ids += saved.add([Said("assistant", "one more", {}, "cancelled", {"tokens": 3})], ids[0])
    assert saved.id
    content = json.loads(json_bytes(tree_as_json(*history.tree(saved.id))))
    assert (content["format"], content["version"]) == ("edgeproxy session", 1)
    assert (content["name"], content["trio"], content["models"]) == ("letters", "factbook", MODELS)
    assert content["head"] == ids[2]
    assert [(m["id"], m["parent"], m["text"]) for m in content["messages"]] == [
        (ids[0], None, "one"),
        (ids[1], ids[0], "1"),
        (ids[2], ids[0], "one more"),
    ]
    assert content["messages"][0]["settings"] == {"alpha": 1.0}
    assert content["messages"][2]["finish_reason"] == "cancelled"
    assert content["messages"][2]["stats"] == {"tokens": 3}


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
def test_any_text_is_the_same_in_json(history: History, text: str) -> None:
    saved = talk(history, "x", text)
    assert saved.id
    data = json_bytes(tree_as_json(*history.tree(saved.id)))
    assert json.loads(data.decode("utf-8"))["messages"][1]["text"] == text


def test_markdown_is_the_conversation(history: History) -> None:
    saved = history.begin("factbook", MODELS, "letters")
    said = [
        Said("system", "Be brief.", created=0),
        Said("user", "Write code."),
        Said("assistant", "```py\nprint(1)", finish_reason="length"),
        Said("user", "Thanks"),
    ]
    ids = saved.add(said, None)
    saved.add([Said("user", "More")], ids[2])
    assert saved.id
    assert markdown(history.load(saved.id)).splitlines() == [
        "# letters",
        "",
        "factbook, 1970-01-01, edgeproxy 0.1.0",
        "",
        "## System",
        "",
        "Be brief.",
        "",
        "## User",
        "",
        "Write code.",
        "",
        "## Assistant",
        "",
        "```py",
        "print(1)",
        "```",
        "",
        "*(cut off at the limit of tokens)*",
        "",
        "## User",
        "",
        "More",
    ]


@pytest.mark.parametrize(
    ("text", "closed"),
    [
        ("```\na\n```", "```\na\n```"),
        ("````\n```\n", "````\n```\n````"),
        ("~~~ py\n```", "~~~ py\n```\n~~~"),
        ("```\n``` not an end", "```\n``` not an end\n```"),
        ("    ```", "    ```"),
        ("a ``` b", "a ``` b"),
    ],
)
def test_a_code_block_ends_with_its_message(history: History, text: str, closed: str) -> None:
    saved = talk(history, "x", text)
    assert saved.id
    assert markdown(history.load(saved.id)).endswith(f"## Assistant\n\n{closed}\n")


def test_times_are_in_utc() -> None:
    assert when(0) == "1970-01-01T00:00:00.000Z"
    assert when(1_772_357_400_120) == "2026-03-01T09:30:00.120Z"
    assert when(LAST_TIME) == "9999-12-31T23:59:59.999Z"
