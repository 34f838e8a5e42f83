"""A system message read once: from a file where that holds it, else read and kept there.

What is kept is what every conversation with that message begins with, by role, and the three states
after reading it (see `statefile`).

May touch: the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeproxy.align.transcript import common
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import EngineError, UsageError
from edgeproxy.files import reason
from edgeproxy.prompts.formats import Message
from edgeproxy.session.prompt_cache.statefile import Progress, Unfit, load, save

_PIECE = 256  # as many tokens as a context evaluates at once


@dataclass(frozen=True)
class Cached:
    """What became of a prompt cache: the base's tokens, how many of them the file spared.

    `doubt` is a sentence for a person where the file did not fit, or could not be written.
    """

    tokens: int
    spared: int
    doubt: str | None = None


def opening(
    encode: Callable[[Sequence[Message]], RoleTokens], messages: Sequence[Message]
) -> RoleTokens:
    """The tokens that every conversation beginning with `messages` begins with, by role.

    `encode` makes a conversation's prompt (see `Speaker`). Raises `PromptError` as it does, and
    `UsageError` where a role's prompt format puts the user's message first.
    """
    one, other = (encode([*messages, Message("user", text)]) for text in ("0", "x"))
    found = RoleTokens(*(list(a[: common(a, b)]) for a, b in zip(one, other, strict=True)))
    for role, tokens in zip(RoleTokens._fields, found, strict=True):
        if not tokens:
            raise UsageError(
                f"the {role.replace('_', '-')}'s prompts have no common beginning to be kept"
            )
    return found


def cache_prompt(
    path: Path, trio: Trio, prompt: RoleTokens, progress: Progress | None = None
) -> Cached:
    """Have the trio hold `prompt`: from the file at `path`, or by reading it and keeping it there.

    A file that does not fit this trio, holds another prompt or is damaged is replaced, and what it
    shares with `prompt` is not read again. Raises `UsageError` as `check_path` does, and as
    `Trio.eval` does when the prompt cannot be read.
    """
    progress = progress or (lambda _what, _share: None)
    origins = [dict(model.origin()) for model in trio.saving]
    why, held = "", None
    try:
        held = load(path, trio, origins, progress)
    except Unfit as error:
        why = str(error)
    total = len(prompt.base)
    if held == prompt:
        return Cached(total, total)
    if held is not None:
        why = "it holds another system message"
    rest = trio.resume(prompt)
    spared = total - len(rest.base) if held is not None else 0
    _read(trio, rest, progress)
    try:
        save(path, trio, origins, prompt, progress)
    except (OSError, EngineError) as error:
        why += (", and " if why else "") + f"it could not be written ({reason(error)})"
        return Cached(total, spared, f"{path}: {why}; the next start reads the message again")
    return Cached(total, spared, f"{path}: {why}; it was made anew" if why else None)


def _read(trio: Trio, rest: RoleTokens, progress: Progress) -> None:
    longest, shortest = max(map(len, rest)), min(map(len, rest))
    pieces = min(-(-longest // _PIECE), shortest)
    for n in range(pieces):
        progress("reading the system message", n / pieces)
        cuts = [(len(part) * n // pieces, len(part) * (n + 1) // pieces) for part in rest]
        trio.eval(RoleTokens(*(p[a:b] for p, (a, b) in zip(rest, cuts, strict=True))))
