"""What a chat keeps of its conversations, by itself, as they go on.

May touch: the history's file, and those of what models have read of long conversations.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.cli.ui.output import StatusLine, say
from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled, HistoryError
from edgeproxy.history import models
from edgeproxy.history.keeper import Keeper
from edgeproxy.history.records import Content, Loaded, Said
from edgeproxy.history.states import FOLDER, States
from edgeproxy.prompts.formats import Message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeproxy.session.conversation import Conversation
    from edgeproxy.session.session import Session
    from edgeproxy.session.turn import Turn

DROPPED = "dropped"
"""The setting that says how many messages behind the system message no model reads any more."""


class _Left(NamedTuple):
    """A conversation that another one was begun after: its messages, and its session."""

    messages: list[Message]
    id: str | None
    name: str | None


class Keeping:
    """Tells a `Keeper` what becomes of a chat's conversation.

    It looks itself what has changed: a reply, another one in its place, an edit, an undo. Nothing
    here raises for the sake of a disk, but `resume`.
    """

    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper
        self._settings: Content = {}
        self._left: list[_Left] = []
        self._read: Sequence[Message] | None = None
        self._resumed: tuple[Sequence[Message], Said] | None = None

    def __enter__(self) -> Keeping:
        return self

    def __exit__(self, *_: object) -> None:
        self.keeper.close()

    def begin(self, conversation: Conversation, name: str | None = None) -> None:
        """A new session, as a chat begins."""
        self.keeper.begin(conversation.system, name)

    def begin_anew(self, left: list[Message], conversation: Conversation) -> None:
        """Another session in place of the one with the messages `left`, to which undo goes back."""
        keeper = self.keeper
        self._left.append(_Left(left, keeper.id, keeper.name))
        is_used = any(message.role == "user" for message in left)
        keeper.begin(conversation.system, None if is_used else keeper.name)

    def resume(self, conversation: Conversation, wanted: str | None = None) -> Loaded:
        """Go on with a session, as `Keeper.resume`. Raises `HistoryError`: then nothing changes."""
        loaded = self.keeper.resume(wanted)
        self._left.clear()
        messages = loaded.messages
        start = 1 if messages and messages[0].role == "system" else 0
        end = start + _dropped(loaded.settings)
        if not (end < len(messages) and messages[end].role == "user"):
            end = start
        conversation.restore([*messages[:start], *messages[end:]], messages[start:end])
        answered = loaded.answered
        self._resumed = (conversation.messages, answered[-1].said) if answered else None
        return loaded

    def last_kept(self, conversation: Conversation) -> Said | None:
        """The last reply as it was kept, while a conversation is as it was when it went on."""
        if self._resumed is None or conversation.messages is not self._resumed[0]:
            return None
        return self._resumed[1]

    def asked(
        self,
        conversation: Conversation,
        before: Sequence[Message],
        text: str,
        settings: dict[str, Any],
    ) -> None:
        """`text`, after the messages `before`, is about to be answered with these settings."""
        self._settings = {**settings, DROPPED: len(conversation.dropped)}
        start = 1 if conversation.system is not None else 0
        whole = [*before[:start], *conversation.dropped, *before[start:]]
        if conversation.whole[: len(whole) + 1] == [*whole, Message("user", text)]:
            return  # it is kept, and its reply is the one in use until another has come
        said = [Said(message.role, message.content) for message in whole]
        self.keeper.become([*said, Said("user", text, self._settings)])

    def answered(self, conversation: Conversation, turn: Turn) -> None:
        """The reply has ended, was stopped, or came to nothing: then what was asked is unsaid."""
        said = [Said(message.role, message.content) for message in conversation.whole]
        if said and said[-1].role == "assistant" and said[-1].text == turn.text:
            said[-1] = replace(
                said[-1],
                settings=self._settings,
                finish_reason=turn.finish_reason or "cancelled",
                stats={"usage": turn.usage, "stats": turn.stats},
            )
        self.keeper.become(said)

    def changed(self, conversation: Conversation) -> None:
        """Something was taken back, or dropped."""
        if self._left and conversation.messages is self._left[-1].messages:
            self._go_back(self._left.pop())
        self.keeper.become([Said(m.role, m.content) for m in conversation.whole])

    def _go_back(self, left: _Left) -> None:
        """To a session that was left for another one; to a new one where it is none any more."""
        try:
            if left.id is not None:
                self.keeper.resume(left.id)
                self.keeper.touch()
                return
        except HistoryError:  # the disk fails, or somebody has removed it
            left = left._replace(name=None)
        self.keeper.begin(None, left.name)

    def use(self, session: Session) -> None:
        """Another trio answers from now on."""
        self.keeper.use(session.recipe.name, hashes(session))
        self._read = None

    def how_to_go_on(self) -> str | None:
        """The option of `edgeproxy chat` that goes on with this one; None where nothing is kept."""
        keeper = self.keeper
        if keeper.id is None or not keeper.is_saving:
            return None
        if keeper.name:
            return f"--session {shlex.quote(keeper.name)}"
        with suppress(HistoryError):
            latest = keeper.history.latest()
            if latest is not None and latest.id == keeper.id:
                return "--continue"
        return f"--session {keeper.id}"

    # What the models have read

    def put_back(self, session: Session, conversation: Conversation) -> int:
        """Have the models hold what is kept of their reading; how many tokens. See `States`."""
        states, status = self._states(), StatusLine()
        if states is None or self.keeper.id is None:
            return 0
        try:
            # Half of it would be nothing: Ctrl-C is heard once it is there.
            with on_interrupt(lambda: None):
                tokens = states.put_back(
                    session,
                    self.keeper.id,
                    lambda _, share: status.show(f"taking up what was read {share:.0%}"),
                )
        finally:
            status.clear()
        if tokens:
            self._read = conversation.messages
        return tokens

    def keep_read(self, session: Session, conversation: Conversation) -> None:
        """Keep what the models have read of a long conversation; Ctrl-C leaves that."""
        if not self.keeper.is_saving or self._read is conversation.messages:
            return
        states, status, stop = self._states(), StatusLine(), Flag()
        if states is None or self.keeper.id is None:
            return

        def progress(_: str, share: float) -> None:
            if stop.is_set():
                raise Cancelled("interrupted")
            status.show(f"keeping what was read {share:.0%} (Ctrl-C leaves it)")

        try:
            with on_interrupt(stop.set):
                states.keep(session, self.keeper.id, conversation.messages, progress)
        finally:
            status.clear()
        self._read = conversation.messages

    def _states(self) -> States | None:
        try:
            return States(self.keeper.history.path.parent / FOLDER)
        except HistoryError:
            return None


def _dropped(settings: Content) -> int:
    """How many messages the models did not read any more, as a session says."""
    found = settings.get(DROPPED)
    return found if type(found) is int and found > 0 else 0


def hashes(session: Session) -> dict[str, str]:
    """The sha256 of a session's models by role, of those that say theirs."""
    return models.hashes(session.recipe)


def keeping_of(session: Session, is_kept: bool) -> Keeping:
    """What keeps conversations with a trio; unless `is_kept`, only those that are asked for."""
    return Keeping(Keeper(session.recipe.name, hashes(session), say, on=is_kept))
