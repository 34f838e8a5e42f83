"""The page against the real server and a real trio, in Chromium; conversations that it keeps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeproxy.history.history import History
from edgeproxy.history.keeper import Keeper
from tests.helpers.browsing import ENTER, Browser
from tests.helpers.page_server import PageServer
from tests.helpers.talking_page import TalkingPage

pytestmark = [pytest.mark.slow, pytest.mark.weights]

MONGOLIA, CHAD = "What is the capital of Mongolia?", "Which countries border Chad?"
EVIL = "<img src=x onerror=document.title='bad'>"
SETTINGS = ("system", "strength")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the server keeps its history."""
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[dict[str, Any]]:
    """A server of the factbook that keeps sessions; what it said when it was ready."""
    arguments = ["serve", "factbook", "--port", "0", "--json", "--keep-sessions"]
    with subprocess.Popen(
        [sys.executable, "-m", "edgeproxy", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"EDGEPROXY_HOME": str(home)},
    ) as child:
        try:
            assert child.stdout is not None
            yield json.loads(child.stdout.readline())
        finally:
            child.terminate()


@pytest.fixture
def page(chromium: Browser, server: dict[str, Any], home: Path) -> Iterator[TalkingPage]:
    """The page with no conversation, nor any in the history."""
    with history(home) as kept_before:
        for session in kept_before.sessions():
            kept_before.remove(session.id)
    address = f"{server['address']}/"
    named = SimpleNamespace(address=address, about={"trio": "factbook"}, asked=[])
    found = TalkingPage(chromium, cast(PageServer, named))
    found.open(fragment=f"#key={server['key']}")
    if found.is_shown(".asked"):
        found.click("New conversation")
    for name in SETTINGS:
        set_to(found, name, "")
    yield found
    found.check()


OPEN = "document.querySelector('.earlier button').click()"
"""Opens the latest session; the list may be drawn anew meanwhile."""

STOP_SOON = """
  const look = () => {
    const [body] = document.querySelectorAll(".body");
    if (body?.textContent.length > 40) document.getElementById("stop").click();
    else requestAnimationFrame(look);
  };
  look();
"""
"""Stops a reply once some of it is there, faster than a driver could."""


def set_to(page: TalkingPage, name: str, value: str) -> None:
    """Change a setting, as a person does."""
    page.run(
        "const field = document.getElementById(arguments[0]); field.value = arguments[1];"
        "field.dispatchEvent(new Event('change'));",
        name,
        value,
    )


def history(home: Path) -> History:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPROXY_HOME", str(home))
        return History.open()


def ask(page: TalkingPage, text: str) -> None:
    count = len(page.texts(".reply"))
    page.type(text + ENTER)
    page.until(lambda: len(page.texts(".reply")) > count)
    page.wait()


def kept(home: Path, messages: int) -> Any:
    """The session that was changed last, once it has so many messages."""
    with history(home) as found:
        latest = found.latest()
        return latest if latest is not None and latest.messages == messages else None


def test_a_conversation_is_kept_and_goes_on_here_and_in_a_chat(
    page: TalkingPage, home: Path, axe_core: str
) -> None:
    set_to(page, "system", "Be brief.")
    ask(page, MONGOLIA)
    assert "Ulaanbaatar" in page.text(".text")
    page.click_on(".token")
    assert page.texts(".lists h3") == ["base", "expert", "anti-expert", "together"]
    page.until(lambda: kept(home, 2))
    ask(page, CHAD)
    page.until(lambda: kept(home, 4))
    replies = page.texts(".text")
    session = kept(home, 4)
    with history(home) as found:
        loaded = found.load(session.id)
        assert [entry.said.role for entry in loaded.entries] == [
            *("system", "user", "assistant", "user", "assistant")
        ]
        assert [e.said.text for e in loaded.entries if e.said.role == "assistant"] == replies
        assert loaded.settings["steering"] == {"alpha": 1.0}
        assert len(loaded.session.models) == 3
        path = found.path
    page.reload()
    assert page.texts(".asked") == [MONGOLIA, CHAD]
    with Keeper("factbook", {}, print, path=path) as keeper:
        keeper.resume()
        keeper.say(EVIL)
        keeper.answer(f"{EVIL} **{EVIL}**", "stop")
    page.click("New conversation")
    assert page.run("return document.getElementById('system').value") == "Be brief."
    page.until(lambda: page.is_shown(".earlier button"))
    assert page.texts(".earlier button")[0].startswith(MONGOLIA)
    assert page.browser.violations(axe_core) == []
    page.run(OPEN)
    page.until(lambda: len(page.texts(".asked")) == 3)
    assert page.texts(".asked")[2] == EVIL
    assert page.run("return document.title") == "factbook"
    assert page.run("return document.querySelectorAll('main img').length") == 0
    ask(page, "And of Peru?")
    page.until(lambda: kept(home, 8))


def test_another_alpha_side_by_side_and_an_edit_are_branches_that_are_kept(
    page: TalkingPage, home: Path
) -> None:
    ask(page, MONGOLIA)
    page.until(lambda: kept(home, 2))
    page.run(
        "const slider = document.querySelector('.slider input'); slider.value = 0.6;"
        "slider.dispatchEvent(new Event('input'));"
    )
    page.click("Answer again with 0.6")
    page.until(lambda: kept(home, 3))
    page.wait()
    page.click("Side by side")
    page.until(lambda: kept(home, 4))
    page.wait()
    assert page.texts(".side .part > h2") == ["base", "expert", "together, alpha 0.6"]
    words = page.texts(".side .body")
    page.click("New conversation")
    page.until(lambda: page.is_shown(".earlier button"))
    page.run(OPEN)
    page.until(lambda: page.is_shown(".side"))
    assert page.texts(".side .part > h2") == ["base", "expert", "together, alpha 0.6"]
    shown = [" ".join(text.split()) for text in page.texts(".side .body")]
    assert shown[:2] == [" ".join(text.split()) for text in words[:2]]
    assert "branch 3 of 3" in page.text(".reply .branch")


def test_stop_keeps_what_was_said_with_what_each_model_said(page: TalkingPage, home: Path) -> None:
    set_to(page, "strength", "-30")  # far from the expert, so that it goes on for long
    page.run(STOP_SOON)
    page.type(f"{MONGOLIA}{ENTER}")
    page.until(lambda: page.is_shown(".figures"))
    assert "stopped" in page.text(".figures")
    page.until(lambda: kept(home, 2))
    with history(home) as found:
        last = found.load(kept(home, 2).id).entries[-1].said
    assert last.finish_reason == "cancelled"
    assert len(page.texts(".token")) in (
        last.stats["usage"]["completion"],
        last.stats["usage"]["completion"] - 1,
    )
    page.click_on(".token")
    assert page.texts(".lists h3") == ["base", "expert", "anti-expert", "together"]


def test_a_conversation_is_removed_here_and_there(page: TalkingPage, home: Path) -> None:
    ask(page, CHAD)
    page.until(lambda: kept(home, 2))
    session = kept(home, 2)
    page.run("window.confirm = () => true; document.getElementById('more').open = true")
    page.click("Remove this conversation")
    page.until(lambda: page.is_shown(".questions button"))
    with history(home) as found:
        assert found.named(session.id) is None
    assert page.texts(".asked") == []


def test_what_the_browser_alone_has_is_kept_when_it_goes_on(page: TalkingPage, home: Path) -> None:
    nodes = [
        {"id": "a", "role": "user", "text": CHAD, "parent": None},
        {
            "id": "b",
            "role": "assistant",
            "parent": "a",
            "parts": [{"role": "", "title": "factbook", "alpha": 1, "text": "x", "state": "done"}],
        },
    ]
    page.run("localStorage.setItem('edgeproxy.messages', arguments[0])", json.dumps(nodes))
    page.reload()
    page.until(lambda: CHAD in page.texts(".earlier button"))
    assert page.texts("#empty h2") == ["Earlier"]
    page.run(OPEN)
    page.until(lambda: page.texts(".asked") == [CHAD])
    ask(page, MONGOLIA)
    page.until(lambda: kept(home, 4))
    page.reload()
    assert page.texts(".asked") == [CHAD, MONGOLIA]
    page.click("New conversation")
    page.until(lambda: len(page.texts(".earlier button")) == 1)
    assert page.run("return localStorage.getItem('edgeproxy.messages')") == "[]"


def test_a_session_that_was_removed_elsewhere_is_told(page: TalkingPage, home: Path) -> None:
    page.tolerated.append("404")
    ask(page, CHAD)
    page.until(lambda: kept(home, 2))
    with history(home) as found:
        found.remove(kept(home, 2).id)
    ask(page, MONGOLIA)
    page.until(lambda: "may have been removed" in page.text("#notice"))
