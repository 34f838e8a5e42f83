"""The line below the prompt: the trio, its steering, and what the last reply took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeproxy.cli.ui.output import clean_message
from edgeproxy.cli.ui.stats import steering_in_words

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk

_BETWEEN = " · "


def bottom_line(talk: Talk, width: int) -> str:
    """As many of its parts as fit `width` characters, the most important ones."""
    room, turn = talk.room, talk.turn
    context = f"{room.used:,}/{room.n_ctx:,} tokens"
    if room.is_near or room.may_not_fit:
        context += " (nearly full)"
    parts = [
        (0, clean_message(talk.session.recipe.name)),
        (2, steering_in_words(talk.steering)),
    ]
    if turn is not None:
        stats = turn.stats
        if stats.tokens_per_second is not None:
            parts.append((3, f"{stats.tokens_per_second:.1f} tokens/s"))
        if stats.acceptance is not None:
            parts.append((4, f"{stats.acceptance:.0%} accepted"))
    parts.append((1, context))
    if talk.attached:
        parts.append((1, f"{len(talk.attached)} attached"))
    while len(parts) > 1 and len(_joined(parts)) > width:
        parts.remove(max(parts, key=lambda part: part[0]))
    return _joined(parts)[: max(width, 0)]


def _joined(parts: list[tuple[int, str]]) -> str:
    return " " + _BETWEEN.join(text for _, text in parts)
