"""The page's file: small, whole, and free of markup that a model could have written."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html import unescape
from pathlib import Path

import pytest

import edgeproxy.explain
from edgeproxy.explain import as_json, page_of
from edgeproxy.explain.page_file import FOLDER, joined_script
from tests.helpers.explained import explained

MOST_WITHOUT_DATA = 60_000
MOST_OF_500_TOKENS = 3_000_000
HOSTILE = ["</script>", "<script>", "<!--", "]]>", "&lt;", "{{style}}", "\u2028", '"', "\\"]


def parts(page: str) -> tuple[str, str, str]:
    """Style, script and data of a page, as a browser cuts them."""
    found = re.search(
        r"<style>(.*?)</style>.*"
        r'<script type="application/json" id="data">(.*?)</script>\n'
        r'<script type="module">(.*?)</script>',
        page,
        re.DOTALL,
    )
    assert found
    return found[1], found[3], found[2]


def test_data_comes_back_whatever_is_in_it() -> None:
    explanation = explained(HOSTILE, question="</script><b>{{data}}</b>")
    page = page_of(explanation)
    data = parts(page)[2]
    assert json.loads(data) == json.loads(json.dumps(as_json(explanation)))
    assert not set("<>&") & set(data)


def test_the_policy_allows_this_style_and_this_script_alone() -> None:
    page = page_of(explained(["Yes"]))
    style, script, _ = parts(page)
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)
    assert policy
    allowed = dict(part.split(" ", 1) for part in unescape(policy[1]).split("; "))
    for name, text in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert allowed[name] == f"'sha256-{digest}'"
    assert allowed["default-src"] == "'none'"
    assert set(allowed) == {
        *("default-src", "style-src", "script-src", "img-src", "base-uri", "form-action")
    }
    assert policy.start() < page.index("<style>")  # it holds for what follows it


def test_it_is_small_without_its_data() -> None:
    page = page_of(explained(["Yes"]))
    assert len(page.encode()) - len(parts(page)[2].encode()) <= MOST_WITHOUT_DATA


@pytest.mark.slow
def test_a_reply_of_500_tokens_is_not_large() -> None:
    page = page_of(explained([f" {n % 97}" for n in range(499)]))
    assert len(page.encode()) < MOST_OF_500_TOKENS


def test_the_modules_are_joined_whole() -> None:
    script = joined_script()
    assert not re.search(r"^\s*(import|export)\b", script, re.MULTILINE)
    files = {path.name for path in FOLDER.glob("*.js")}
    for path in FOLDER.glob("*.js"):
        for line in path.read_text("utf-8").splitlines():
            bare = line.removeprefix("export ")
            if bare.startswith(("function ", "const ")):
                assert bare in script, path.name
    names = re.findall(r"^(?:const|let|function|class) (\w+)", script, re.MULTILINE)
    assert len(names) == len(set(names)), "two modules use one name"
    assert {"fuse.js", "reply.js", "main.js"} <= files


def test_nothing_of_a_models_becomes_markup_and_nothing_is_fetched() -> None:
    for path in FOLDER.iterdir():
        source = path.read_text("utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", source)
        assert not re.search(r"fetch\(|XMLHttp|WebSocket|EventSource|@import|url\(", source)
        addresses = set(re.findall(r"https?://[\w./-]+", source))
        assert addresses <= {"http://www.w3.org/2000/svg"}  # a name that nobody asks for


def test_the_schema_and_the_page_go_with_the_package() -> None:
    package = Path(edgeproxy.explain.__file__).parent
    project = (package.parents[1] / "pyproject.toml").read_text("utf-8")
    wheel = project.partition("[tool.hatch.build.targets.wheel]")[2]
    assert re.search(r'only-include = \[\s*"edgeproxy",', wheel)
    assert (package / "schema.json").is_file()
    assert {path.suffix for path in FOLDER.iterdir()} == {".js", ".css", ".html"}
