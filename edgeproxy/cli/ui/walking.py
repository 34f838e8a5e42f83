"""A walk through an explained reply with the arrow keys.

May touch: the terminal, through prompt_toolkit.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgeproxy.cli.ui.explained import table_of
from edgeproxy.cli.ui.input import is_interactive
from edgeproxy.cli.ui.output import clean, clean_message
from edgeproxy.errors import UsageError
from edgeproxy.explain.form import Explanation
from edgeproxy.explain.words import spoken

if TYPE_CHECKING:
    from prompt_toolkit.formatted_text import StyleAndTextTuples

COLOURS = ("", "bg:#d7d7ff", "bg:#afd7ff", "bg:#87afff", "bg:#5f87ff")
BLACK = "fg:#000000"
LEAST_LINES = 4
"""Of the reply, however low the terminal is."""
KEYS = "left, right: token by token   up, down: where the pair changed it   home, end   q: leave"


def check_walk() -> None:
    """Raise `UsageError` where nobody can walk: without a terminal, or without prompt_toolkit."""
    if not is_interactive() or os.environ.get("TERM") == "dumb":
        raise UsageError("--walk needs a terminal with arrow keys; --table prints all tokens")
    try:
        import prompt_toolkit  # noqa: F401 - whether it is here
    except ImportError:
        raise UsageError(
            "--walk needs prompt_toolkit: pip install 'edgeproxy[chat]', or use --table"
        ) from None


class Walk:
    """Where in a reply one is, and what is shown there."""

    def __init__(self, explanation: Explanation) -> None:
        self._explanation = explanation
        self._tokens = explanation.tokens
        self.place = max(range(len(self._tokens)), key=lambda n: self._tokens[n].moved, default=0)
        """The token that is shown: at first the one that moved farthest."""

    def go(self, by: int) -> None:
        """So many tokens on, or back, as far as there are some."""
        self.place = max(0, min(self.place + by, len(self._tokens) - 1))

    def go_to_changed(self, by: int) -> None:
        """To the next token that the pair changed, or with -1 the one before; if there is one."""
        place = self.place + by
        while 0 <= place < len(self._tokens):
            if self._tokens[place].changed:
                self.place = place
                return
            place += by

    def text(self) -> StyleAndTextTuples:
        """The reply, with where one is in it."""
        parts: StyleAndTextTuples = []
        for place, token in enumerate(self._tokens):
            styles = [COLOURS[token.level], BLACK if token.level else ""]
            if token.changed:
                styles.append("underline")
            text = clean(token.text)
            if place == self.place:
                parts.append(("[SetCursorPosition]", ""))
                styles.append("reverse bold")
                # What has no width must be seen when one stands on it.
                text = text if text.strip() else spoken(self._explanation.words[token.id]) + text
            elif token.special:
                text = spoken(self._explanation.words[token.id])
            parts.append((" ".join(filter(None, styles)), text))
        return parts

    def panel(self, width: int) -> str:
        """What each model said there."""
        lines = table_of(self._explanation, self.place, width)
        return "\n".join(
            "".join(c if c == " " else clean_message(c) for c in line) for line in lines
        )


def walk(explanation: Explanation) -> None:
    """Let a person walk through the reply until they leave; see `check_walk`.

    Returns at once where nothing was said.
    """
    from prompt_toolkit.application import Application
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.layout import Dimension, HSplit, Layout, Window
    from prompt_toolkit.layout.controls import FormattedTextControl
    from prompt_toolkit.output.color_depth import ColorDepth

    if not explanation.tokens:
        return
    state = Walk(explanation)
    keys = KeyBindings()
    moves: dict[str, Callable[[], None]] = {
        "right": lambda: state.go(1),
        "left": lambda: state.go(-1),
        "down": lambda: state.go_to_changed(1),
        "up": lambda: state.go_to_changed(-1),
        "home": lambda: state.go(-len(explanation.tokens)),
        "end": lambda: state.go(len(explanation.tokens)),
    }
    for key, move in moves.items():
        keys.add(key)(lambda _event, move=move: move())
    for key in ("q", "escape", "c-c", "c-d"):
        keys.add(key, eager=True)(lambda event: event.app.exit())

    def panel() -> str:
        return state.panel(shutil.get_terminal_size().columns)

    said = " ".join(explanation.summary.said)
    layout = HSplit(
        [
            Window(
                FormattedTextControl(state.text, focusable=True),
                height=Dimension(min=LEAST_LINES),
                wrap_lines=True,
            ),
            Window(height=1, char="─"),
            Window(FormattedTextControl(panel), dont_extend_height=True),
            Window(FormattedTextControl(said), dont_extend_height=True, wrap_lines=True),
            Window(FormattedTextControl(KEYS), height=1, style="reverse"),
        ]
    )
    depth = ColorDepth.DEPTH_1_BIT if os.environ.get("NO_COLOR") else None
    application: Application[Any] = Application(
        Layout(layout), key_bindings=keys, full_screen=True, color_depth=depth
    )
    # An escape is heard at once: no key that is bound begins with one and another key.
    application.ttimeoutlen = 0.05
    application.run()
    sys.stdout.flush()
