"""The page in a real Chromium: what it shows, by the keyboard alone, for everybody."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.decode.steering import Steering
from edgeproxy.explain import Explanation, page_of
from edgeproxy.explain.words import sentence
from tests.helpers.browsing import DARK, DOWN, END, HOME, LEFT, LIGHT, RIGHT, TAB, UP, Browser
from tests.helpers.explained import explained, trio_of
from tests.helpers.rows import log_softmax

pytestmark = pytest.mark.slow

MAN = " \U0001f468".encode()
REPLIES: dict[str, tuple[Sequence[str | bytes], str]] = {
    "usual": (
        (
            *("The", " capital", " of", " Mong", "olia", " is", " Ula", "an", "ba", "atar"),
            *(".\n\n", "It", " is", " the", " coldest", " one"),
        ),
        "What is the capital of Mongolia?",
    ),
    "one": (["Yes"], "Is it?"),
    "long": ([f" {n % 97}" if n % 40 else "\n" for n in range(499)], "Count."),
    "arabic": (["عا", "صمة", " منغوليا", " هي", " أو", "لان", " باتور"], "ما هي العاصمة؟"),
    "chinese": (["蒙古", "国", "的", "首都", "是", "乌兰", "巴", "托", "。"], "首都是哪里？"),
    "emoji": ([" I", MAN[:3], MAN[3:], "\u200d".encode(), " \U0001f44d\U0001f3fd", "!"], "Emoji"),
    "script": (
        (
            *("<script>", "document.title='bad'", "</script>", "<img", " src=x onerror=alert(1)>"),
            *("<!--", "&amp;", "\u202eabc", "{{data}}"),
        ),
        "<script>document.title='bad'</script></title><b>bold</b>",
    ),
}


class Shown:
    """Pages by name, written once, and opened in the browser."""

    def __init__(self, chromium: Browser, folder: Path) -> None:
        self.browser = chromium
        self._folder = folder
        self._made: dict[str, Explanation] = {}

    def open(self, name: str, width: int = 1280, scheme: str = LIGHT) -> Explanation:
        if name not in self._made:
            self._made[name] = explained(*REPLIES[name])
            (self._folder / f"{name}.html").write_bytes(page_of(self._made[name]).encode())
        self.browser.look(width, scheme=scheme)
        self.browser.open(self._folder / f"{name}.html")
        return self._made[name]

    def slide(self, alpha: float) -> None:
        self.browser.run(
            "const slider = document.getElementById('alpha'); slider.value = arguments[0];"
            "slider.dispatchEvent(new Event('input'));",
            alpha,
        )

    def winners(self) -> list[int]:
        found = self.browser.run(
            "return [...document.querySelectorAll('.token')].map((t) => t.dataset.winner)"
        )
        return [int(token) for token in found]

    def focused(self) -> int:
        """Which token has the focus; -1 where none has."""
        found: int = self.browser.run(
            "return [...document.querySelectorAll('.token')].indexOf(document.activeElement)"
        )
        return found

    def text_of(self, selector: str) -> str:
        found: str = self.browser.run(
            "return document.querySelector(arguments[0]).textContent", selector
        )
        return found


@pytest.fixture(scope="module")
def shown(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return Shown(chromium, tmp_path_factory.mktemp("pages"))


@pytest.mark.parametrize("name", REPLIES)
def test_a_page_says_the_reply_asks_for_nothing_and_complains_of_nothing(
    shown: Shown, name: str
) -> None:
    explanation = shown.open(name)
    assert shown.text_of(".text") == explanation.text.replace("\u202e", "‹U+202e›")
    tokens = "return document.querySelectorAll(arguments[0]).length"
    for selector in (".token", ".strip i"):
        assert shown.browser.run(tokens, selector) == len(explanation.tokens)
    shown.slide(0.5)
    assert shown.browser.said() == []
    asked = [address for address in shown.browser.asked_for() if not address.startswith("data:")]
    assert [address.rpartition("/")[2] for address in asked] == [f"{name}.html"]
    assert shown.browser.run("return document.title") == "A reply, explained"
    assert shown.browser.run(tokens, ".explained :is(script, img, b)") == 0


def test_a_message_on_the_console_would_be_seen(shown: Shown, tmp_path: Path) -> None:
    bad = tmp_path / "bad.html"
    bad.write_text("<script>throw Error('seen')</script><img src='missing.png'>")
    shown.browser.open(bad)
    assert any("seen" in line for line in shown.browser.said())
    assert any("missing.png" in address for address in shown.browser.asked_for())


def test_an_inline_style_or_script_that_came_with_a_model_would_not_run(shown: Shown) -> None:
    shown.open("usual")
    shown.browser.run(
        "const made = document.createElement('script'); made.textContent = 'document.title = 1';"
        "document.body.append(made);"
    )
    assert shown.browser.run("return document.title") == "A reply, explained"
    assert any("Content Security Policy" in line for line in shown.browser.said())


@pytest.mark.parametrize("scheme", [LIGHT, DARK])
@pytest.mark.parametrize("width", [360, 1600])
@pytest.mark.parametrize("name", ["usual", "arabic", "script", "one"])
def test_axe_finds_nothing_serious(
    shown: Shown, axe_core: str, name: str, width: int, scheme: str
) -> None:
    shown.open(name, width, scheme)
    assert shown.browser.violations(axe_core) == []
    shown.slide(0.0)
    shown.browser.run("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    assert shown.browser.violations(axe_core) == []


def test_axe_would_find_something(shown: Shown, axe_core: str) -> None:
    shown.open("usual")
    shown.browser.run("document.querySelector('.slider label').remove()")
    assert any(line.startswith("label") for line in shown.browser.violations(axe_core))


@pytest.mark.parametrize("name", ["usual", "arabic", "emoji"])
def test_every_token_is_reached_by_the_keyboard(shown: Shown, name: str) -> None:
    explanation = shown.open(name)
    for _ in range(20):
        shown.browser.press(TAB)
        if shown.focused() >= 0:
            break
    moved = [token.moved for token in explanation.tokens]
    assert shown.focused() == moved.index(max(moved))
    on, back = (LEFT, RIGHT) if name == "arabic" else (RIGHT, LEFT)
    shown.browser.press(HOME)
    for place, token in enumerate(explanation.tokens):
        assert shown.focused() == place
        assert f"Token {place + 1} of {len(explanation.tokens)}" in shown.text_of(".panel h2")
        assert shown.browser.run("return document.activeElement.dataset.winner") == str(token.id)
        shown.browser.press(on)
    assert shown.focused() == len(explanation.tokens) - 1
    shown.browser.press(back)
    assert shown.focused() == len(explanation.tokens) - 2
    changed = [n for n, token in enumerate(explanation.tokens) if token.changed]
    shown.browser.press(HOME)
    for place in changed:
        shown.browser.press(DOWN)
        assert shown.focused() == place
    for place in reversed(changed[:-1]):
        shown.browser.press(UP)
        assert shown.focused() == place
    shown.browser.press(END, TAB)
    assert shown.focused() == -1


def test_the_panel_says_what_each_model_said(shown: Shown) -> None:
    explanation = shown.open("usual")
    place = next(n for n, token in enumerate(explanation.tokens) if token.changed)
    shown.browser.run("document.querySelectorAll('.strip i')[arguments[0]].click()", place)
    token = explanation.tokens[place]
    said = shown.text_of(".panel .said")
    base, fused = token.best["base"][0], token.best["fused"][0]
    assert said.startswith("The base alone would have said ")
    for guess in (base, fused):
        assert explanation.words[guess.id].text.strip() in said
    for role in ("base", "expert", "anti_expert", "fused"):
        ids = shown.browser.run(
            "return [...document.querySelectorAll(arguments[0])].map((l) => Number(l.dataset.id))",
            f".lists .{role} li",
        )
        best = [guess.id for guess in token.best[role][:5]]
        assert ids == [*best, *([] if token.id in best else [token.id])]
    assert f"{token.offset:+.2f}" in shown.text_of(".panel .sum strong").replace("−", "-")


ALPHAS = (0.0, 0.15, 0.5, 0.85, 1.0, 1.3, 2.0)


def test_the_slider_at_0_says_what_the_base_says_and_at_the_runs_alpha_the_reply(
    shown: Shown,
) -> None:
    for name in ("usual", "chinese", "long"):
        explanation = shown.open(name)
        shown.slide(0.0)
        assert shown.winners() == [token.best["base"][0].id for token in explanation.tokens]
        shown.slide(1.0)
        assert shown.winners() == [token.id for token in explanation.tokens]
        otherwise = "return document.querySelectorAll('.token.otherwise').length"
        assert shown.browser.run(otherwise) == 0
        shown.slide(0.0)
        assert shown.browser.run(otherwise) == explanation.summary.changed
        shown.browser.run("document.querySelector('.slider button').click()")
        assert shown.winners() == [token.id for token in explanation.tokens]


@pytest.mark.parametrize(
    "steering",
    [Steering(), Steering(0.8, plausibility=0.2), Steering(1.2, 0.6), Steering(2.6)],
    ids=str,
)
def test_the_slider_fuses_as_whole_rows_would(
    chromium: Browser, tmp_path: Path, steering: Steering
) -> None:
    """Winners are those of the whole rows; probabilities are never more than theirs, and near."""
    words: list[str | bytes] = [f" {n}" for n in range(40)]
    explanation = explained(words, steering=steering, record=10)
    page = tmp_path / "page.html"
    page.write_bytes(page_of(explanation).encode())
    chromium.look()
    chromium.open(page)
    shown = Shown(chromium, tmp_path)
    rows = _rows_of(words)
    for alpha in ALPHAS:
        shown.slide(alpha)
        said: list[tuple[int, float]] = []
        for place in range(len(rows)):
            said.append(_said_in_panel(chromium, place))
        for place, (base, expert, anti) in enumerate(rows):
            w = steering.base_weight
            fused = w * base + alpha * (expert - w * anti)
            if steering.plausibility and alpha:
                fused[expert < expert.max() + math.log(steering.plausibility)] = -math.inf
            wanted = log_softmax(fused)
            winner, share = said[place]
            assert winner == int(wanted.argmax()), (alpha, place)
            assert share <= math.exp(wanted.max()) + 0.0001
            assert share >= math.exp(wanted.max()) - 0.08
    assert chromium.said() == []


def _rows_of(words: list[str | bytes]) -> list[list[Any]]:
    """The base's, expert's and anti-expert's rows at each place, as log-probabilities."""
    trio = trio_of(words)
    wanted = [trio.vocab.tokens.index(str(word).encode()) for word in words]
    found = []
    for n in range(len(words) + 1):
        read = [0, *wanted[:n]]
        for model in trio.models:
            model.rewind(model.n_past)
        found.append([log_softmax(model.eval(read)[-1]) for model in trio.models])
    return found


def _said_in_panel(chromium: Browser, place: int) -> tuple[int, float]:
    """The token that leads the list of all together, and its share as a bar shows it."""
    token, share = chromium.run(
        "document.querySelectorAll('.strip i')[arguments[0]].click();"
        "const first = document.querySelector('.lists .fused li');"
        "return [first.dataset.id,"
        " first.querySelector('.bar').style.getPropertyValue('--share')]",
        place,
    )
    return int(token), float(share)


@pytest.mark.parametrize("width", [320, 360, 640, 1600])
@pytest.mark.parametrize("name", ["usual", "long", "arabic", "chinese", "script"])
def test_nothing_is_wider_than_the_window(shown: Shown, name: str, width: int) -> None:
    """640 is a window of 1,280 at 200%."""
    shown.open(name, width)
    shown.slide(0.0)
    assert shown.browser.run("return document.documentElement.scrollWidth") <= width


def test_paper_has_the_text_and_footnotes(shown: Shown) -> None:
    explanation = shown.open("usual", scheme=DARK)
    visible: Callable[[str], bool] = lambda selector: bool(  # noqa: E731
        shown.browser.run("return document.querySelector(arguments[0]).checkVisibility()", selector)
    )
    assert visible(".panel")
    assert not visible(".notes")
    shown.browser.print_preview()
    assert visible(".text")
    assert visible(".notes")
    assert not any(map(visible, (".panel", ".strip", ".slider")))
    notes = shown.browser.run(
        "return [...document.querySelectorAll('.notes li')].map((note) => note.textContent)"
    )
    changed = [token for token in explanation.tokens if token.changed]
    assert len(notes) == len(changed)
    for note, token in zip(notes, changed, strict=True):
        assert explanation.words[token.best["base"][0].id].text.strip() in note
    paper = shown.browser.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"


def test_the_page_and_the_terminal_say_the_same(chromium: Browser, tmp_path: Path) -> None:
    words: list[str | bytes] = ["The", " capital", "\n", " <b>", "é".encode()[:1], " is"]
    explanation = explained(words, steering=Steering(plausibility=0.2))
    (tmp_path / "page.html").write_bytes(page_of(explanation).encode())
    chromium.look()
    chromium.open(tmp_path / "page.html")
    for place, token in enumerate(explanation.tokens):
        chromium.run("document.querySelectorAll('.strip i')[arguments[0]].click()", place)
        said = chromium.run("return document.querySelector('.panel .said').textContent")
        assert said == sentence(explanation, token).replace('"', "")
