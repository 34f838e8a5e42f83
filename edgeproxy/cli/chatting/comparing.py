"""/compare: the last message answered by the base alone, the expert alone, and the proxy.

May touch: standard output.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from edgeproxy.cli.chatting.wrapping import cells_of
from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.output import StatusLine, clean, is_terminal, say, write
from edgeproxy.cli.ui.stats import steering_in_words
from edgeproxy.decode.steering import BASE_ALONE, EXPERT_ALONE
from edgeproxy.errors import UsageError

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk
    from edgeproxy.decode.steering import Steering
    from edgeproxy.session.turn import Turn

_WIDE = 100
"""In so many columns or more the three stand side by side."""
_GAP = 2


def compare(talk: Talk, _value: str) -> None:
    """/compare; the conversation stays as it is. Ctrl-C stops all three."""
    session = talk.session
    session.trio_speaker  # noqa: B018 - raises where only one model was loaded
    messages = talk.conversation.messages
    last = max((n for n, m in enumerate(messages) if m.role == "user"), default=-1)
    if last < 0:
        raise UsageError("/compare answers the last message once more, and there is none yet")
    steerings: list[tuple[str, Steering]] = [
        ("the base alone", BASE_ALONE),
        ("the expert alone", EXPERT_ALONE),
        (f"proxy, {steering_in_words(session.steering)}", session.steering),
    ]
    how = {**talk.how(), "record": 0, "sampling": talk.sampling}
    width = shutil.get_terminal_size().columns
    side_by_side = is_terminal(sys.stdout) and width >= _WIDE
    texts: list[tuple[str, str]] = []
    for name, steering in steerings:
        turn = session.reply(messages[: last + 1], **{**how, "steering": steering})
        if side_by_side:
            with talk.hush():
                presses = _collect(turn, name)
        else:
            write(f"{name}:\n")
            presses = talk.show(turn)
            if not turn.text:
                write("(nothing)\n")
            if name != steerings[-1][0]:
                write("\n")
        texts.append((name, turn.text))
        if presses:
            break
    if side_by_side:
        for line in beside(texts, width):
            write(line + "\n")
    if presses:
        say("(stopped)", dim=True)


def _collect(turn: Turn, name: str) -> int:
    """Read a reply to its end, saying how far it is; how often Ctrl-C was pressed."""
    status = StatusLine()
    with on_interrupt(turn.cancel) as presses:
        try:
            for piece in turn:
                if piece.token is not None:
                    status.show(f"{name}: {turn.usage.completion} tokens (Ctrl-C stops)")
        finally:
            status.clear()
    return presses.count


def beside(texts: list[tuple[str, str]], width: int) -> list[str]:
    """Texts in columns beside each other, each below its name; lines without trailing blanks."""
    each = (width - _GAP * (len(texts) - 1)) // len(texts)
    columns = [
        [*wrapped(name, each), "", *wrapped(clean(text) or "(nothing)", each)]
        for name, text in texts
    ]
    height = max(map(len, columns))
    lines = []
    for n in range(height):
        cells = [column[n] if n < len(column) else "" for column in columns]
        padded = [cell + " " * (each + _GAP - cells_of(cell)) for cell in cells]
        lines.append("".join(padded).rstrip())
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text, none of them wider than `width` columns of a terminal."""
    lines: list[str] = []
    for line in text.expandtabs(4).splitlines() or [""]:
        row = ""
        for word in line.split(" "):
            joined = f"{row} {word}" if row else word
            if cells_of(joined) <= width:
                row = joined
                continue
            if row:
                lines.append(row)
            row = word
            while cells_of(row) > width:
                cut = _cut(row, width)
                lines.append(row[:cut])
                row = row[cut:]
        lines.append(row)
    return lines


def _cut(text: str, width: int) -> int:
    """How many characters of `text` fit, at least one."""
    used = 0
    for n, character in enumerate(text):
        used += cells_of(character)
        if used > width:
            return max(n, 1)
    return len(text)
