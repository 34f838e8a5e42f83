"""An explained reply in a terminal: coloured text, or text with marks; a table a token.

`write_explained` is for whoever has an `Explanation`: the verb explain, and a chat.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING

from edgeproxy.cli.ui.output import Styled, has_colours, say, write, write_lines, write_styled
from edgeproxy.cli.ui.widths import fitted, width_of
from edgeproxy.explain.form import Explained, Explanation
from edgeproxy.explain.words import percent, sentence, spoken

if TYPE_CHECKING:
    from edgeproxy.explain.form import Guess

SHOWN = 5
"""Tokens of each model in a table."""

BACKGROUNDS = ("", "48;5;189;38;5;16", "48;5;153;38;5;16", "48;5;111;38;5;16", "48;5;69;38;5;16")
"""How far a token moved: five steps of one hue, from nothing to a deep blue, with black text."""

UNDERLINED = "4"
DIM = "2"

TITLES = {"base": "base", "expert": "expert", "anti_expert": "anti-expert", "fused": "together"}

WIDEST, NARROWEST = 24, 12
"""Columns that one model's list takes."""

COLOURS_MEAN = (
    "(the deeper the blue, the farther the pair moved the choice; underlined: the base alone would "
    "have said another token)"
)
MARKS_MEAN = "([said|other]: the base alone would have said the other token)"


def write_explained(explanation: Explanation, *, table: bool = False) -> None:
    """Put the reply on standard output, what the pair did to it shown, and what that means.

    With `table` what each model said for each token follows. Raises `BrokenPipeError` as files do.
    """
    colours = has_colours()
    parts = coloured(explanation) if colours else marked(explanation)
    write_styled([*parts, ("", "\n")])
    for said in explanation.summary.said:
        write(said + "\n")
    if explanation.tokens:
        say(COLOURS_MEAN if colours else MARKS_MEAN, dim=True)
    if table:
        width = shutil.get_terminal_size().columns
        for place in range(len(explanation.tokens)):
            write_lines(["", *table_of(explanation, place, width)])


def coloured(explanation: Explanation) -> Iterator[Styled]:
    """The reply as parts of text, each with its colours."""
    for token in explanation.tokens:
        style = style_of(token)
        for line in _text_of(explanation, token).splitlines(keepends=True):
            # A line's end has no colour, which would run on to the edge of the terminal.
            text = line.rstrip("\r\n")
            yield style, text
            yield "", line[len(text) :]


def style_of(token: Explained) -> str:
    """How a token is drawn in a terminal with colours."""
    styles = (BACKGROUNDS[token.level], UNDERLINED if token.changed else "")
    return ";".join(filter(None, styles)) or (DIM if token.special else "")


def marked(explanation: Explanation) -> Iterator[Styled]:
    """The reply as plain text, a token that the pair changed as [said|other]."""
    for token in explanation.tokens:
        text = _text_of(explanation, token)
        if token.changed:
            other = spoken(explanation.words[token.best["base"][0].id], in_text=True)
            bare = text.strip() or spoken(explanation.words[token.id])
            start, _, end = text.partition(bare) if text.strip() else ("", "", text)
            text = f"{start}[{bare}|{other}]{end}"
        yield "", text


def _text_of(explanation: Explanation, token: Explained) -> str:
    """What a token adds to the text; of a special one its name."""
    return spoken(explanation.words[token.id]) if token.special else token.text


def table_of(explanation: Explanation, place: int, width: int) -> list[str]:
    """What each model said for the token at `place`, as lines of at most `width` columns."""
    token = explanation.tokens[place]
    word = spoken(explanation.words[token.id])
    facts = [f"moved {token.moved:.0%}", f"KL {token.kl:.2f} nats", f"logit {token.offset:+.2f}"]
    named = {"changed": token.changed, "drafted": token.drafted, "a guess": token.guessed}
    facts += [name for name, is_so in named.items() if is_so]
    lines = [f"{place + 1}. {word}  {', '.join(facts)}", sentence(explanation, token)]
    across = 4 if width >= 4 * (NARROWEST + 2) else 2
    cell = max(NARROWEST, min(WIDEST, width // across - 2))
    roles = list(TITLES)
    for first in range(0, len(roles), across):
        shown = [_column(explanation, token, role, cell) for role in roles[first : first + across]]
        lines += ["  ".join(row) for row in zip(*shown, strict=True)]
    spelled = token.spelled or {}
    for role, words in spelled.items():
        if role == "expert" or words != spelled.get("expert"):
            who = "pair" if role == "expert" else TITLES[role]
            lines.append(f"the {who} spells the word so far: {' · '.join(map(spoken, words))}")
    return list(chain.from_iterable(_wrapped(line, width) for line in lines))


def _column(explanation: Explanation, token: Explained, role: str, width: int) -> list[str]:
    guesses: list[Guess | None] = [*token.best[role][:SHOWN]]
    cells = [fitted(TITLES[role], width)]
    for guess in guesses + [None] * (SHOWN - len(guesses)):
        if guess is None:
            cells.append(" " * width)
            continue
        share = percent(guess.logprob)
        mark = ">" if guess.id == token.id else " "
        word = fitted(spoken(explanation.words[guess.id]), width - len(share) - 2)
        cells.append(f"{mark}{word} {share}")
    return cells


def _wrapped(line: str, width: int) -> Iterator[str]:
    """`line` in lines of at most `width` columns, cut at spaces where there are some."""
    while width_of(line) > width:
        room = fitted(line, width + 1)[:-1]
        cut = room.rfind(" ") if " " in room.strip() else len(room)
        yield line[:cut]
        line = line[cut:].lstrip(" ")
    yield line
