"""The page's files, and what it says of a trio: without a browser."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace

import pytest

from edgeproxy.decode.steering import Steering
from edgeproxy.serve.page.about import GENERAL, about
from edgeproxy.serve.page.files import PAGE, POLICY, page_files
from edgeproxy.trios.find import shipped_recipe

MOST_BYTES = 95_000
MOST_SENT = 35_000
"""With what a browser and a server compress it by."""

NAMES = [
    *("api.js", "explain/dom.js", "explain/fuse.js", "explain/panel.js", "explain/reply.js"),
    *("explain/strip.js", "explain/style.css", "explain/words.js", "main.js", "markdown.js"),
    *("page.html", "replies.js", "save.js", "sessions.js", "store.js", "style.css"),
]


def test_all_files_that_the_page_asks_for_are_there() -> None:
    files = page_files()
    assert list(files) == NAMES
    html = files[PAGE][1].decode()
    asked = set(re.findall(r'(?:href|src)="(?!data:)page/([^"]+)"', html))
    assert {"main.js", "style.css", "explain/style.css"} == asked
    for name, (kind, data) in files.items():
        assert kind.endswith("; charset=utf-8")
        folder = name.rpartition("/")[0]
        for imported in re.findall(r'^import .*?"\./([^"]+)";$', data.decode(), re.MULTILINE):
            asked.add(f"{folder}/{imported}".lstrip("/"))
    assert asked == set(NAMES) - {PAGE}


def test_the_page_is_small() -> None:
    whole = b"".join(data for _, data in page_files().values())
    assert len(whole) <= MOST_BYTES
    assert len(gzip.compress(whole)) <= MOST_SENT


def test_nothing_becomes_markup_and_nobody_else_is_asked() -> None:
    for name, (_, data) in page_files().items():
        source = data.decode()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", source)
        assert not re.search(r"XMLHttp|WebSocket|EventSource|@import|url\(", source), name
        assert source.count("fetch(") == (name == "api.js")
        addresses = set(re.findall(r"https?://[\w./-]+", source))
        assert addresses <= {"http://www.w3.org/2000/svg"}
    html = page_files()[PAGE][1].decode()
    assert not re.search(r"<style|\bstyle=|\bon\w+=|<script(?! type=\"module\" src=)", html)


def test_nothing_moves_but_where_that_is_liked() -> None:
    assert not re.search(rb"transition|animation|@keyframes", page_files()["style.css"][1])


def test_the_policy_allows_this_server_alone() -> None:
    parts = dict(part.split(" ", 1) for part in POLICY.split("; "))
    assert parts == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "connect-src": "'self'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }


def test_a_trio_is_told_about() -> None:
    recipe = shipped_recipe("factbook")
    told = about(recipe)
    assert told["trio"] == recipe.name
    assert recipe.description in told["sentence"]
    assert any("Mongolia" in question for question in told["questions"])
    assert told["alpha"] == recipe.steering.alpha
    assert told["explains"] is True
    assert told["docs"] is None


@pytest.mark.parametrize(
    ("name", "description", "word"),
    [
        ("qwen2.5-coder-14b", "", "Python"),
        ("mine", "For arithmetic.", "train"),
        ("mine", "", "sky"),
    ],
)
def test_questions_suit_the_trio(name: str, description: str, word: str) -> None:
    recipe = replace(shipped_recipe("factbook"), name=name, description=description)
    told = about(recipe)["questions"]
    assert len(told) == 3
    assert any(word in question for question in told)


def test_others_may_say_more() -> None:
    alone = replace(shipped_recipe("factbook"), steering=Steering(0.0))
    assert about(alone)["explains"] is False
    assert about(shipped_recipe("factbook"), explains=False)["explains"] is False
    told = about(alone, questions=["Who?"], docs="/docs")
    assert (told["questions"], told["docs"]) == (["Who?"], "/docs")
    assert about(replace(alone, name="x", description=""))["questions"] == list(GENERAL)
