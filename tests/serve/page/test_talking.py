"""The server's page in a real Chromium: a conversation, by mouse and by the keyboard alone."""

from __future__ import annotations

import pytest

from tests.helpers.browsing import ENTER, ESCAPE, RIGHT, SHIFT, TAB, UP
from tests.helpers.page_replies import MONGOLIA, PERU, REPLIES, USUAL, contents
from tests.helpers.page_server import PageServer
from tests.helpers.talking_page import TalkingPage

pytestmark = pytest.mark.slow


def test_a_conversation_by_mouse(page: TalkingPage, server: PageServer) -> None:
    page.open()
    assert page.text("h1") == page.run("return document.title") == "fake"
    page.click(MONGOLIA)
    page.wait()
    page.until(lambda: page.texts(".asked") == [MONGOLIA])
    page.wait()
    assert page.text(".text") == USUAL.text
    path, body = server.asked[0]
    assert path == "/v1/edgeproxy/explain"
    assert body == {
        "model": "fake",
        "messages": [{"role": "user", "content": MONGOLIA}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,
    }
    assert "31.5 tokens/s · 50% of drafts accepted" in page.text(".figures")
    assert page.text("#used") == f"{40 + len(USUAL.tokens)} of 1024"
    page.type(PERU)
    page.click("Send")
    page.until(lambda: len(page.texts(".text")) == 2)
    page.wait()
    assert contents(server) == [MONGOLIA, USUAL.text, PERU]
    assert page.text(".reply.last .text") == "Lima is. It lies low."
    page.click("New conversation")
    assert page.texts(".asked") == []
    page.click_on(".questions button")
    page.until(lambda: len(server.asked) == 3)
    page.wait()
    assert contents(server) == [MONGOLIA]
    assert not page.is_shown(".branch")  # another conversation is no branch of this one


def test_a_conversation_by_the_keyboard_alone(page: TalkingPage, server: PageServer) -> None:
    page.open()
    to(page, "#draft")
    page.browser.press(f"And of{SHIFT}{ENTER}{SHIFT}Peru?")
    assert page.run("return document.getElementById('draft').value") == "And of\nPeru?"
    server.replies["And of\nPeru?"] = REPLIES[PERU]
    page.browser.press(ENTER)
    page.until(lambda: page.is_shown(".token"))
    page.wait()
    assert page.has_focus("#draft")
    assert page.run("return document.activeElement.value") == ""
    page.run("document.activeElement.blur()")
    to(page, ".token")
    page.browser.press(RIGHT)
    assert page.is_shown(".panel")
    assert page.has_focus(".token.current")
    to(page, "input[type=range]", back=True)
    page.browser.press(*[RIGHT] * 4)
    to(page, ".again")
    assert page.text(".again") == "Answer again with 1.2"
    page.browser.press(ENTER)
    page.until(lambda: len(server.asked) == 2)
    page.wait()
    assert server.asked[1][1]["alpha"] == 1.2
    assert "branch 2 of 2" in page.text(".reply .branch")


def to(page: TalkingPage, selector: str, back: bool = False) -> None:
    """Go on with Tab until the focus is on such an element."""
    for _ in range(40):
        if page.has_focus(selector):
            return
        page.browser.press(SHIFT + TAB if back else TAB)
    raise AssertionError(f"the keyboard does not lead to {selector}")


@pytest.mark.parametrize("width", [360, 1600])
def test_side_by_side(page: TalkingPage, server: PageServer, width: int) -> None:
    page.open(width)
    page.ask(MONGOLIA)
    page.click("Side by side")
    page.until(lambda: len(server.asked) == 4)
    page.wait()
    models = [body["model"] for _, body in server.asked[1:]]
    assert models == ["fake:base", "fake:expert", "fake"]
    assert {path for path, _ in server.asked[1:3]} == {"/v1/chat/completions"}
    assert all(body["messages"][-1]["content"] == MONGOLIA for _, body in server.asked)
    assert page.texts(".side .part > h2") == ["base", "expert", "together, alpha 1"]
    assert [text.strip() for text in page.texts(".side .body")[:2]] == [
        "I do not know.",
        "Ulaanbaatar.",
    ]
    for figures in page.texts(".side .figures"):
        assert " tokens in " in figures
        assert " tokens/s" in figures
    shown = page.run(
        "return [...document.querySelectorAll('.side .part')].map((p) => p.checkVisibility())"
    )
    assert shown == ([True] * 3 if width == 1600 else [False, False, True])
    if width == 360:
        page.click_on("[role=tab]", 0)
        assert page.is_shown(".part.chosen .body")
        page.browser.press(RIGHT)
        assert page.texts(".part.chosen > h2") == ["expert"]
        assert page.has_focus("[role=tab][aria-selected=true]")
    page.ask(PERU)
    assert contents(server) == [MONGOLIA, USUAL.text, PERU]


def test_the_slider_answers_again_and_both_replies_stay(
    page: TalkingPage, server: PageServer
) -> None:
    page.open()
    page.ask(MONGOLIA)
    page.run(
        "const slider = document.querySelector('.slider input'); slider.value = 0.6;"
        "slider.dispatchEvent(new Event('input'));"
    )
    page.click("Answer again with 0.6")
    page.until(lambda: len(server.asked) == 2)
    page.wait()
    assert server.asked[1][1]["alpha"] == 0.6
    assert contents(server) == [MONGOLIA]
    assert "branch 2 of 2" in page.text(".reply .branch")
    page.click("‹")
    assert "branch 1 of 2" in page.text(".reply .branch")
    page.ask(PERU)
    page.click_on(".reply .branch button", 1)
    assert page.texts(".asked") == [MONGOLIA]  # what was asked behind the other reply is there


def test_an_edited_message_is_a_branch(page: TalkingPage, server: PageServer) -> None:
    page.open()
    page.ask(MONGOLIA)
    page.browser.press(UP)
    assert page.run("return document.getElementById('draft').value") == MONGOLIA
    assert "begins a branch" in page.text("#notice")
    page.browser.press(ESCAPE)
    assert page.run("return document.getElementById('draft').value") == page.text("#notice") == ""
    page.browser.press(UP)
    page.run("document.getElementById('draft').value = ''")
    page.ask(PERU)
    assert contents(server) == [PERU]
    assert page.texts(".asked") == [PERU]
    assert "This is a branch" in page.text("#notice")
    page.click_on(".question .branch button", 0)
    assert page.texts(".asked") == [MONGOLIA]
    assert page.text(".text") == USUAL.text
    page.click("New conversation")
    assert page.texts(".earlier button") == [MONGOLIA]


def test_nothing_typed_is_lost(page: TalkingPage) -> None:
    page.open()
    page.ask(MONGOLIA)
    page.type("half a question")
    page.reload()
    assert page.texts(".asked") == [MONGOLIA]
    assert page.text(".body").strip() == USUAL.text
    assert "answer again to see them" in page.text(".figures")
    assert page.run("return document.getElementById('draft').value") == "half a question"
    page.run("sessionStorage.clear(); addEventListener('pagehide', () => sessionStorage.clear())")
    page.reload()  # as in another tab
    assert page.run("return document.getElementById('draft').value") == "half a question"
    page.click_on(".earlier button")
    assert page.texts(".asked") == [MONGOLIA]
    page.click_on("#more summary")
    page.click("Forget all conversations")
    page.browser.driver.switch_to.alert.dismiss()
    assert page.texts(".asked") == [MONGOLIA]
    page.click("Forget all conversations")
    page.browser.driver.switch_to.alert.accept()
    page.reload()
    assert not page.is_shown(".earlier")
    assert page.run("return document.getElementById('draft').value") == "half a question"


def test_an_edit_that_is_left_loses_neither_text(page: TalkingPage) -> None:
    page.open()
    page.ask(MONGOLIA)
    page.type("half a question")
    page.click("Edit")
    page.type(" Tell me")
    page.browser.press(ESCAPE)
    kept = page.run("return document.getElementById('draft').value")
    assert kept == f"half a question\n\n{MONGOLIA} Tell me"
