"""/explain: what each model said for every token of the last reply.

May touch: the page that it is told to write.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeproxy.cli.ui.explained import write_explained
from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.output import StatusLine, say
from edgeproxy.cli.ui.page_written import check_page, write_page
from edgeproxy.cli.ui.walking import check_walk, walk
from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import UsageError
from edgeproxy.explain import RECORD
from edgeproxy.explain import explain as explained

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk
    from edgeproxy.decode.steering import Steering
    from edgeproxy.session.turn import Turn

TABLE, WALK = "table", "walk"


def explain(talk: Talk, value: str) -> None:
    """/explain [table|walk|FILE.html]; the conversation stays as it is."""
    page = None
    if value == WALK:
        check_walk("/explain walk", "/explain table")
    elif value not in ("", TABLE):
        page = Path(value.strip("'\"")).expanduser()
        if page.suffix.lower() not in (".html", ".htm"):
            raise UsageError(
                f"/explain takes table, walk, or the name of a page such as reply.html, not "
                f"{value!r}"
            )
        check_page(page)
    turn = _recorded(talk)
    explanation = explained(turn, talk.session)
    if page is not None:
        write_page(page, explanation)
    elif value == WALK:
        walk(explanation)
    else:
        write_explained(explanation, table=value == TABLE)


def _recorded(talk: Talk) -> Turn:
    """The last reply, recorded: given once more where it was not. Raises `UsageError`."""
    session = talk.session
    last = talk.turn if talk.turn is not None and talk.turn.usage.completion else None
    _check(talk, last.asked.steering if last is not None else talk.steering)
    if last is not None and last.asked.record:
        return last
    speaker, record = session.trio_speaker, min(RECORD, talk.n_vocab)
    if last is not None:
        asked = last.asked
        turn = speaker.reply(
            list(asked.messages),
            asked.sampling,
            max(last.usage.completion, 1),  # and no longer than it came
            asked.stops,
            steering=asked.steering,
            docs_to=asked.readers if session.reading is not None else None,
            grammar=asked.grammar,
            record=record,
        )
    else:
        before = talk.conversation.before(len(talk.conversation.questions))
        messages = talk.conversation.messages[: len(before) + 1]
        how = {"sampling": talk.drawn(), **talk.how(), **_as_kept(talk), "record": record}
        turn = speaker.reply(messages, **how)
    say(
        "(the reply was not recorded, so it is given once more; /set record on records each one)",
        dim=True,
    )
    _read(talk, turn)
    wanted = last.text if last is not None else talk.conversation.messages[-1].content
    if turn.text != wanted and turn.finish_reason != "cancelled":
        say("(it came out otherwise this time, and that is explained)", dim=True)
    return turn


def _as_kept(talk: Talk) -> dict[str, Any]:
    """How the last reply was made, and how long it is, where it is one that was kept."""
    said = talk.keeping.last_kept(talk.conversation)
    kept = said.settings if said is not None else {}
    usage = said.stats.get("usage") if said is not None else None
    how: dict[str, Any] = {}
    with suppress(
        UsageError, TypeError, ValueError, KeyError, AttributeError
    ):  # of a newer edgeproxy, or of nobody's
        bias = {int(token): much for token, much in kept["sampling"]["logit_bias"].items()}
        how["sampling"] = Sampling(**{**kept["sampling"], "logit_bias": bias})
    if isinstance(usage, Mapping) and type(usage.get("completion")) is int:
        how["max_tokens"] = max(usage["completion"], 1)
    return how


def _check(talk: Talk, steering: Steering | None) -> None:
    """Raise `UsageError` where there is nothing to explain."""
    if not talk.conversation.questions:
        raise UsageError("/explain is about the last reply, and there is none yet")
    talk.session.trio_speaker  # noqa: B018 - raises where only one model was loaded
    if steering is None or not steering.alpha or not steering.base_weight:
        raise UsageError(
            "one model alone gives this reply, so that nothing is moved which could be explained; "
            "/proxy on, /alpha 1 and /base 1 let the pair steer, and /regen answers again"
        )


def _read(talk: Talk, turn: Turn) -> None:
    """The reply to its end, or to where Ctrl-C stops it, with a line that tells how far it is."""
    status = StatusLine()
    with talk.hush(), on_interrupt(turn.cancel):
        try:
            for _ in turn:
                status.show(f"{turn.usage.completion:,} tokens (Ctrl-C stops)")
        finally:
            status.clear()
