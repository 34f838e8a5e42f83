"""The server's page in a real Chromium: a conversation, by mouse and by the keyboard alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.helpers.browsing import DARK, ENTER, ESCAPE, LIGHT, RIGHT, SHIFT, TAB, UP, Browser
from tests.helpers.explained import explained
from tests.helpers.page_server import PageServer, Reply, page_server
from tests.helpers.talking_page import TalkingPage

pytestmark = pytest.mark.slow

MONGOLIA, PERU = "What is the capital of Mongolia?", "And of Peru?"
HELD, BROKEN, BUSY, ILL, READ, MARKED, EVIL, LONG, ONE = (
    *("Held?", "Broken?", "Busy?", "Ill?", "Read?", "Marked?", "Evil?", "Long?", "One?"),
)
ARABIC, CHINESE, EMOJI = "ما هي العاصمة؟", "首都是哪里？", "Emoji?"
WORDS = ("The", " capital", " is", " Ula", "an", "ba", "atar", ".")
BASE, EXPERT = (" I", " do", " not", " know."), ("Ulaan", "baatar.")
HOSTILE = "<img src=x onerror=document.title='bad'><script>document.title='bad'</script>"
MAN = " \U0001f468".encode()

USUAL = explained(WORDS, MONGOLIA)
ALONE = {"base": BASE, "expert": EXPERT}
PASSAGE = {"source": "asia.txt", "place": "page 3", "trail": ["Mongolia", "Capital"]}


def replies() -> dict[str, Reply]:
    """What the fake server answers, by question."""
    count = [f" {n % 97}" if n % 40 else "\n" for n in range(499)]
    marked = [
        "**Bold**",
        " and",
        " `code`",
        ":\n\n",
        "1. one\n",
        "2. two\n\n",
        "[x](http://x.example/)",
    ]
    emoji: list[str | bytes] = [
        " I",
        MAN[:3],
        MAN[3:],
        "\u200d".encode(),
        " \U0001f44d\U0001f3fd",
        "!",
    ]
    progress = {"total": 480, "cache": 0, "processed": 120, "time_ms": 9}
    return {
        MONGOLIA: Reply(USUAL, ALONE, more={"tokens_per_second": 31.5, "acceptance": 0.5}),
        PERU: Reply(explained(["Lima", " is", ".", " It", " lies", " low", "."], PERU), ALONE),
        HELD: Reply(USUAL, ALONE, held_after=3),
        BROKEN: Reply(USUAL, broken_after=3),
        BUSY: Reply(USUAL, error=(429, "16 requests wait; ask again in 3 seconds.")),
        ILL: Reply(USUAL, error=(0, "the worker was killed by SIGKILL; ask again.")),
        READ: Reply(
            USUAL,
            before=[
                {"choices": [], "edgeproxy": {"queued": {"before": 2}}},
                {"choices": [], "edgeproxy": {"loading": {"what": "base", "share": 0.5}}},
                {"choices": [], "prompt_progress": progress},
            ],
            held_after=0,
            more={"documents": {"read_by": "base", "passages": [PASSAGE, PASSAGE]}},
        ),
        MARKED: Reply(explained(marked, MARKED)),
        EVIL: Reply(
            explained(["<script>", "document.title='bad'", "</script>", HOSTILE, "\u202eabc"]),
            {"base": [HOSTILE], "expert": [f"**{HOSTILE}**", f"`{HOSTILE}`", f"\n- {HOSTILE}"]},
            more={"documents": {"passages": [{"source": HOSTILE, "place": HOSTILE}]}},
        ),
        HOSTILE: Reply(USUAL, error=(400, HOSTILE)),
        LONG: Reply(explained(count, LONG)),
        ONE: Reply(explained(["Yes"], ONE)),
        ARABIC: Reply(explained(["عا", "صمة", " منغوليا", " هي", " أو", "لان"], ARABIC)),
        CHINESE: Reply(explained(["蒙古", "国", "的", "首都", "是", "乌兰", "。"], CHINESE)),
        EMOJI: Reply(explained(emoji, EMOJI)),
    }


REPLIES = replies()


@pytest.fixture
def server() -> Iterator[PageServer]:
    """A server of its own for each test: another port is another store in the browser."""
    with page_server(dict(REPLIES)) as found:
        yield found


@pytest.fixture
def page(chromium: Browser, server: PageServer) -> Iterator[TalkingPage]:
    found = TalkingPage(chromium, server)
    yield found
    found.check()


def contents(server: PageServer, at: int = -1) -> list[str]:
    return [message["content"] for message in server.asked[at][1]["messages"]]


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
    assert page.texts(".documents li") == ["asia.txt, page 3, Mongolia, Capital"]


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
