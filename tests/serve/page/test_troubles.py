"""The server's page in a real Chromium: replies that are stopped, break off, wait, are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.helpers.browsing import ENTER, ESCAPE
from tests.helpers.page_replies import (
    ALONE,
    BASE,
    BROKEN,
    BUSY,
    HELD,
    ILL,
    MONGOLIA,
    PERU,
    READ,
    REPLIES,
    USUAL,
    WORDS,
    contents,
)
from tests.helpers.page_server import PageServer, Reply
from tests.helpers.talking_page import TalkingPage

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("by", ["Escape", "the button"])
def test_a_stopped_reply_keeps_what_came_and_what_was_typed(
    page: TalkingPage, server: PageServer, by: str
) -> None:
    page.open()
    page.type(HELD + ENTER)
    page.until(lambda: page.text(".body") == "The capital is" if page.is_shown(".body") else False)
    page.type(PERU + ENTER)
    assert "Escape stops it" in page.text("#notice")
    if by == "Escape":
        page.browser.press(ESCAPE)
    else:
        page.click("Stop")
    page.wait()
    assert server.cancelled == ["reply-1"]
    assert page.texts(".text .token") == list(WORDS[:3])  # with what each model said
    assert page.text(".text") == "The capital is"
    assert "stopped" in page.text(".figures")
    assert not page.is_shown(".failed")
    assert page.run("return document.getElementById('draft').value") == PERU
    page.type(ENTER)
    page.until(lambda: len(server.asked) == 2)
    assert contents(server) == [HELD, "The capital is", PERU]


@pytest.mark.parametrize("is_pressed_twice", [False, True])
def test_a_reply_that_the_server_does_not_end_is_left(
    page: TalkingPage, server: PageServer, is_pressed_twice: bool
) -> None:
    server.cancels = False
    page.open()
    page.type(HELD + ENTER)
    page.until(lambda: page.text(".body") == "The capital is" if page.is_shown(".body") else False)
    page.click("Stop")
    if is_pressed_twice:
        page.click("Stop")
    page.wait()
    assert server.left.wait(30)  # the server hears that nobody listens any more
    assert page.text(".body").strip() == "The capital is"
    assert "stopped" in page.text(".figures")
    assert not page.is_shown(".failed")


def test_stop_ends_all_that_was_to_be_side_by_side(page: TalkingPage, server: PageServer) -> None:
    server.replies[MONGOLIA] = replace(REPLIES[MONGOLIA], alone=ALONE)
    page.open()
    page.ask(MONGOLIA)
    server.replies[MONGOLIA] = replace(REPLIES[MONGOLIA], held_after=1)
    page.click("Side by side")
    page.until(lambda: len(server.asked) == 2)
    page.until(lambda: page.texts(".side .body")[0].strip() == BASE[0].strip())
    page.click("Stop")
    page.wait()
    assert len(server.asked) == 2
    assert page.texts(".side .body")[0].strip() == BASE[0].strip()


def test_a_page_that_is_closed_while_it_is_answered_says_so(
    page: TalkingPage, server: PageServer
) -> None:
    page.open()
    page.type(HELD + ENTER)
    page.until(lambda: page.is_shown(".body") and page.text(".body") == "The capital is")
    page.reload()
    assert page.text(".body").strip() == "The capital is"
    assert "Ask again to have all of it" in page.text(".failed")
    server.go_on.set()
    page.click("Ask again")
    page.until(lambda: page.is_shown(".token"))
    assert page.text(".text") == USUAL.text


def test_a_connection_that_breaks_says_so_and_is_asked_again(
    page: TalkingPage, server: PageServer
) -> None:
    page.open()
    page.ask(BROKEN)
    page.until(lambda: page.is_shown(".failed"))
    assert page.text(".body").strip() == "The capital is"
    assert "connection to the server broke" in page.text(".failed")
    server.replies[BROKEN] = Reply(USUAL)
    page.click("Ask again")
    page.until(lambda: page.is_shown(".token"))
    assert page.text(".text") == USUAL.text


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (BUSY, "16 requests wait; ask again in 3 seconds."),
        (ILL, "the worker was killed by SIGKILL"),
    ],
)
def test_an_error_stands_where_the_reply_would(
    page: TalkingPage, server: PageServer, question: str, said: str
) -> None:
    page.tolerated = ["429"]
    page.open()
    page.ask(question)
    page.until(lambda: page.is_shown(".reply.last .failed"))
    assert said in page.text(".failed")
    assert page.run("return document.querySelector('.failed').getAttribute('role')") == "alert"
    page.ask(PERU)
    # A question without an answer is not part of what goes on.
    assert contents(server) == ([question, USUAL.text, PERU] if question == ILL else [PERU])


def test_a_server_that_has_gone_is_told_from_one_that_refuses(
    page: TalkingPage, server: PageServer
) -> None:
    page.tolerated = ["ERR_CONNECTION", "ERR_EMPTY"]
    page.open()
    server.shutdown()
    server.server_close()
    page.type(MONGOLIA + ENTER)
    page.until(lambda: page.is_shown(".failed"))
    assert "cannot be reached" in page.text(".failed")
    assert page.texts(".asked") == [MONGOLIA]


def test_the_key_leaves_the_address_and_goes_with_every_request(
    page: TalkingPage, server: PageServer
) -> None:
    server.key = "s3cret-Key_1"
    page.open(fragment="#key=s3cret-Key_1")
    assert page.run("return location.href") == server.address
    page.ask(MONGOLIA)
    assert set(server.keys) == {"Bearer s3cret-Key_1"}
    page.reload()
    assert page.texts(".asked") == [MONGOLIA]
    assert page.run("return JSON.stringify(localStorage)").count("s3cret") == 0


def test_without_the_key_a_form_asks_for_it(page: TalkingPage, server: PageServer) -> None:
    page.tolerated = ["401"]
    server.key = "s3cret"
    page.browser.look()
    page.browser.visit(server.address)
    page.until(lambda: page.is_shown("#key-form"))
    assert page.text("#key-why").startswith("The server asks for its key. It stands behind ")
    assert page.has_focus("#key")
    page.browser.press(f"wr\u00f6ng{ENTER}")
    page.until(lambda: len(server.keys) == 4)  # the page asks for two things when it begins
    page.until(lambda: page.is_shown("#key-form") and page.has_focus("#key"))
    assert page.text("#key-why").startswith("This key is wrong. ")
    page.browser.press(f"s3cret{ENTER}")
    page.until(lambda: page.is_shown("#empty p"))
    assert not page.is_shown("#key-form")


def test_what_a_reply_waits_for_is_told(page: TalkingPage, server: PageServer) -> None:
    page.open()
    held = server.replies[READ]
    page.type(READ)
    told = (("2 before you", None), ("Loading base", 0.5), ("120 of 480 tokens", 0.25))
    for n, (said, share) in enumerate(told, 1):
        server.replies[READ] = replace(held, before=held.before[:n])
        page.click("Answer again" if n > 1 else "Send")
        page.until(lambda: page.is_shown(".wait") and said in page.text(".wait"))  # noqa: B023
        if share is not None:
            assert page.run("return document.querySelector('progress').value") == share
        if n < len(told):
            page.browser.press(ESCAPE)
            page.wait()
    server.go_on.set()
    page.wait()
    assert page.texts(".documents li") == [
        "asia.txt, page 3, Mongolia, Capital, “Ulaanbaatar”, which does not say “Nepal”"
    ]


def test_a_reply_that_was_cut_off_says_so_and_settings_are_sent(
    page: TalkingPage, server: PageServer
) -> None:
    server.replies[MONGOLIA] = Reply(USUAL, finish="length")
    page.open()
    page.click_on("#settings summary")
    for name, value in (("system", "Be brief."), ("strength", "0"), ("temperature", "0.5")):
        page.browser.driver.find_element("id", name).send_keys(value)
    for name, value in (("max-tokens", "8"), ("seed", "7")):
        page.browser.driver.find_element("id", name).send_keys(value)
    page.ask(MONGOLIA)
    assert "cut off" in page.text(".failed")
    path, body = server.asked[0]
    assert path == "/v1/chat/completions"  # with alpha 0 there is nothing to explain
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert [body[name] for name in ("alpha", "temperature", "max_tokens", "seed")] == [0, 0.5, 8, 7]
    page.reload()
    assert page.run("return document.getElementById('system').value") == "Be brief."
