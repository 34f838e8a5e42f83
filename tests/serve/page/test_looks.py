"""The server's page in a real Chromium: what stands in it, is saved, read out and printed."""

from __future__ import annotations

import json

import pytest

from tests.helpers.browsing import DARK, ENTER, LIGHT
from tests.helpers.page_replies import (
    ARABIC,
    BUSY,
    CHINESE,
    EMOJI,
    EVIL,
    HOSTILE,
    LONG,
    MARKED,
    MONGOLIA,
    ONE,
    PERU,
    REPLIES,
    USUAL,
)
from tests.helpers.page_server import PageServer
from tests.helpers.talking_page import TalkingPage

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("question", [MONGOLIA, ONE, LONG, ARABIC, CHINESE, EMOJI, EVIL])
def test_every_token_is_there_and_tells_what_each_model_said(
    page: TalkingPage, question: str
) -> None:
    page.open()
    page.ask(question)
    explanation = REPLIES[question].explained
    assert page.text(".text") == explanation.text.replace("\u202e", "‹U+202e›")
    count = len(explanation.tokens)
    for selector in (".token", ".strip i"):
        assert len(page.texts(selector)) == count
    hidden = "return [...document.querySelectorAll('.token')].some((e) => e.offsetHeight < 9)"
    assert not page.run(hidden)  # nor is a line break
    place = next(n for n, token in enumerate(explanation.tokens) if token.text.strip())
    page.click_on(".token", place)
    assert page.is_shown(".panel")
    assert f"Token {place + 1} of {count}" in page.text(".panel h2")
    assert page.texts(".lists h3") == ["base", "expert", "anti-expert", "together"]
    page.click("Colours")
    assert not page.is_shown(".token")
    assert page.is_shown(".body > p")
    page.click("Colours")
    assert page.is_shown(".token")
    page.click("Why these words?")
    assert not page.is_shown(".panel")


def test_nothing_that_comes_from_elsewhere_becomes_markup(
    page: TalkingPage, server: PageServer
) -> None:
    page.tolerated = ["400"]
    server.about |= {"trio": HOSTILE, "sentence": HOSTILE, "docs": "javascript:alert(1)"}
    server.about["questions"] = [HOSTILE, EVIL]
    page.open()
    page.click(EVIL)
    page.until(lambda: page.is_shown(".token"))
    page.wait()
    server.replies[EVIL] = REPLIES[EVIL]
    page.click("Side by side")
    page.until(lambda: len(server.asked) == 4)
    page.wait()
    page.click("Colours")
    page.type(HOSTILE)
    page.browser.press(ENTER)
    page.until(lambda: page.is_shown(".reply.last .failed"))
    assert page.text(".reply.last .failed") == HOSTILE
    assert HOSTILE in page.text(".documents")
    assert page.run("return document.title") == HOSTILE
    assert (
        page.run("return document.querySelectorAll('body :is(img, script, a, iframe)').length") == 0
    )


def test_markdown_is_a_safe_subset(page: TalkingPage) -> None:
    page.open()
    page.ask(MARKED)
    page.click("Colours")
    tags = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
    assert page.run(tags, ".body strong") == ["Bold"]
    assert page.run(tags, ".body code") == ["code"]
    assert page.run(tags, ".body ol li") == ["one", "two"]
    assert page.run(tags, ".body a") == []
    assert page.texts(".body p")[-1] == "[x](http://x.example/)"


def test_a_conversation_is_saved_as_json_and_as_markdown(page: TalkingPage) -> None:
    page.open()
    page.run(
        "window.saved = []; URL.createObjectURL = (blob) => {"
        " blob.text().then((text) => saved.push(text)); return 'data:,'; };"
        "HTMLAnchorElement.prototype.click = function () { saved.push(this.download); };"
    )
    page.ask(MONGOLIA)
    page.click_on("#more summary")
    page.click("Save as JSON")
    page.click("Save as Markdown")
    page.until(lambda: page.run("return saved.length") == 4)
    names: list[str] = []
    texts: list[str] = []
    for each in page.run("return saved"):
        (names if each.startswith("conversation-") else texts).append(each)
    assert [name.rpartition(".")[2] for name in names] == ["json", "md"]
    saved = json.loads(texts[0])
    assert [message["content"] for message in saved["messages"]] == [MONGOLIA, USUAL.text]
    assert texts[1].split("\n\n")[1:] == [
        "**You**",
        MONGOLIA,
        "**fake, alpha 1**",
        USUAL.text + "\n",
    ]


def test_what_is_read_out_are_sentences(page: TalkingPage) -> None:
    page.open()
    page.run(
        "window.heard = []; const place = document.getElementById('spoken');"
        "new MutationObserver(() => heard.push(place.textContent))"
        ".observe(place, {childList: true})"
    )
    page.ask(PERU)
    heard = page.run("return heard")
    assert "".join(heard).strip() == "Lima is. It lies low."
    assert all(each.strip().endswith(".") for each in heard)
    assert len(heard) < len(REPLIES[PERU].explained.tokens)


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@pytest.mark.parametrize("width", [360, 1600])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_window(
    page: TalkingPage, server: PageServer, axe_core: str, width: int, scheme: str
) -> None:
    page.tolerated = ["429"]
    page.open(width, scheme)
    check_looks(page, axe_core, width)
    page.ask(MONGOLIA)
    if not page.is_shown(".panel"):
        page.click("Why these words?")
    check_looks(page, axe_core, width)
    page.click("Side by side")
    page.until(lambda: len(server.asked) == 4)
    page.wait()
    for question in (ARABIC, BUSY):
        page.ask(question)
    page.run("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    check_looks(page, axe_core, width)


def check_looks(page: TalkingPage, axe_core: str, width: int) -> None:
    assert page.browser.violations(axe_core) == []
    assert page.run("return document.documentElement.scrollWidth") <= width
    assert page.run("return document.querySelector('main').scrollWidth") <= width


def test_paper_has_the_conversation_alone(page: TalkingPage) -> None:
    page.open(scheme=DARK)
    page.ask(MONGOLIA)
    page.browser.print_preview()
    assert page.is_shown(".asked")
    assert page.is_shown(".text")
    assert not any(map(page.is_shown, ("footer", "#fresh", ".foot", ".panel", ".strip")))
    assert page.run("return document.body.scrollHeight") >= page.run(
        "return document.querySelector('main').scrollHeight"
    )
