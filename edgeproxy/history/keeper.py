"""What a chat calls: its conversation is kept as it goes, and a failing disk never stops it.

    with Keeper("factbook", {"base": sha256, ...}, tell=say) as keeper:
        keeper.begin(system)                      # or keeper.resume("notes"), keeper.resume()
        keeper.say(text, {"steering": session.steering, "sampling": sampling})
        ...                                       # the models reply
        keeper.answer(turn.text, turn.finish_reason, {"usage": turn.usage, "stats": turn.stats})

The contract:

- **Say before, answer after.** `say` comes before the reply begins, `answer` once it has ended or
  was cut short (`finish_reason` "cancelled", "length", "context"). A reply that said nothing and
  left the conversation as it was is `unsaid`. A kill loses at most the reply in progress.
- **It walks beside `Conversation.messages`.** After each turn `keeper.count` is their number, the
  system message included, where the chat has dropped none of them to make room. `again`, `undo` and
  `back_to` are what `/regen`, `/undo` and `/edit` do here; the chat does the same to its
  conversation, or `become` looks itself what has changed. Nothing is ever overwritten: what is left
  stays in the session as a branch.
- **Nothing here raises for the sake of a disk**, but where a person asked for something by name:
  `resume`, `check_name` and `save` raise `HistoryError` and `UsageError`, which are to be told.
  Otherwise `tell` is called with one sentence when keeping fails, and with another one if it works
  again; each later turn tries again, and what could not be written meanwhile is written then.
- **`on=False`** (`--no-save`) writes nothing and tells nothing, until `save`.
- `answer` belongs where an exception passes too (`finally`): what was said is kept then.
- One thread at a time calls it. `history` is there for `/sessions`: it raises `HistoryError`.

May touch: the history's file, and those that SQLite keeps beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeproxy.errors import HistoryError, RemovedError, UsageError
from edgeproxy.history.database import WAIT
from edgeproxy.history.history import History, Saved
from edgeproxy.history.naming import check_name
from edgeproxy.history.records import Content, Loaded, Said, SessionInfo

_WAIT_AGAIN = 0.2
"""Seconds to wait for others who write, once waiting for long was in vain."""


@dataclass(eq=False)
class _Step:
    """A message of this conversation, kept or not yet: then `id` is None."""

    said: Said
    parent: _Step | None
    id: int | None = None


class Keeper:
    """Keeps the conversations of one chat; see above for when to call what.

    `trio` and `models`, the sha256 by role, are those that the conversations are with. `tell` gets
    a sentence for a person. `path` is another file than this user's history.
    """

    def __init__(
        self,
        trio: str,
        models: Mapping[str, str],
        tell: Callable[[str], None],
        *,
        path: Path | None = None,
        on: bool = True,
    ) -> None:
        self._trio = trio
        self._models = models
        self._tell = tell
        self._path = path
        self._on = on
        self._history: History | None = None
        self._failing = False
        self._forget()

    def _forget(self) -> None:
        self._saved: Saved | None = None
        self._name: str | None = None
        self._all: list[_Step] = []
        self._branch: list[_Step] = []
        self._head: _Step | None = None  # as the file has it
        self._is_removed = False

    @property
    def history(self) -> History:
        """All sessions. Raises `HistoryError` where there can be none."""
        if self._history is None:
            self._history = History(self._path)
        return self._history

    @property
    def is_on(self) -> bool:
        """Whether conversations are to be kept."""
        return self._on

    @property
    def is_saving(self) -> bool:
        """Whether all of the conversation that can be kept is: on, not failing, not removed."""
        return self._on and not self._failing and not self._is_removed

    @property
    def id(self) -> str | None:
        """The session's id; None before its first message is kept."""
        return self._saved.id if self._saved is not None else None

    @property
    def name(self) -> str | None:
        """What the session is called; None where nobody has named it."""
        return self._name

    @property
    def count(self) -> int:
        """How many messages the conversation has, in the branch in use."""
        return len(self._branch)

    def begin(self, system: str | None = None, name: str | None = None) -> None:
        """A new conversation, as at the start, at `/reset` and at `/system`; raises nothing.

        It becomes a session with its first message. `name` is one that `check_name` gave.
        """
        self._last_try()
        self._forget()
        self._name = name
        if system:
            self._append(Said("system", system))

    def resume(self, wanted: str | None = None) -> Loaded:
        """Go on with a session: that with this name or id, or the latest one of this trio.

        The messages of what is returned become the conversation's. What of it has no reply, after a
        kill, is `Loaded.unanswered`: it is not part of the conversation, and can be said again.
        Raises `HistoryError` where there is none, or several could be meant; then nothing changes.
        """
        history = self.history
        found = history.latest(self._trio) if wanted is None else history.find(wanted)
        if found is None:
            raise HistoryError(
                f"there is no earlier conversation with {self._trio}; edgeproxy sessions ls tells "
                "of those with others"
            )
        loaded = history.load(found.id)
        self._last_try()
        self._forget()
        self._name = loaded.session.name
        self._saved = history.resume(loaded.session)
        for entry in loaded.answered:
            self._append(entry.said).id = entry.id
        self._head = self._branch[-1] if self._branch else None
        for entry in loaded.entries[len(loaded.answered) :]:  # found again where it is said again
            self._step(entry.said, self._head).id = entry.id
        return loaded

    def find(self, name: str) -> SessionInfo | None:
        """The session of just this name or id; None where there is none. Raises `HistoryError`.

        For `--session NAME`, which resumes it if it is there and begins it otherwise.
        """
        return self.history.named(name)

    def check_name(self, name: str) -> str:
        """`name` as a new session may be called. Raises `UsageError` as `History.begin` does.

        Raises `HistoryError` where there can be no history.
        """
        history = self.history
        history.begin(self._trio, self._models, name)
        return check_name(name)

    def say(self, text: str, settings: Content | None = None) -> None:
        """A person's message, before its reply begins.

        `settings` are what the reply is made with: whatever `records.plain` makes JSON of.
        """
        self.unsaid()
        self._append(Said("user", text, self._named(settings)))
        self._keep()

    def answer(
        self,
        text: str,
        finish_reason: str | None = None,
        stats: Content | None = None,
        settings: Content | None = None,
    ) -> None:
        """The reply to the last message, once it has ended; `finish_reason` is the turn's.

        Its settings are the message's, where none are given. Without a message before it, as where
        the chat took that back already, nothing happens.
        """
        asked = self._branch[-1].said if self._branch else None
        if asked is None or asked.role != "user":
            return
        used = asked.settings if settings is None else self._named(settings)
        self._append(Said("assistant", text, used, finish_reason, stats or {}))
        self._keep()

    def unsaid(self) -> None:
        """There was no reply to the last message: the conversation is as it was before it.

        Does nothing where the last message has its reply.
        """
        if self._branch and self._branch[-1].said.role == "user":
            self.back_to(self.count - 1)

    def again(self) -> str | None:
        """The last message is to be answered once more; its text, or None where there is none.

        Its reply until now becomes a branch. The next call is `answer`, or `unsaid`.
        """
        at = self._last_question()
        if at is None:
            return None
        self.back_to(at + 1)
        return self._branch[at].said.text

    def undo(self, turns: int = 1) -> str | None:
        """Take back the last `turns` messages of a person's with their replies.

        The text of the earliest of them, to be edited; None where there are fewer, and then nothing
        changes. Counted from the end, so that it holds where old turns were dropped to make room.
        """
        asked = [n for n, step in enumerate(self._branch) if step.said.role == "user"]
        if not 0 < turns <= len(asked):
            return None
        at = asked[-turns]
        text = self._branch[at].said.text
        self.back_to(at)
        return text

    def back_to(self, count: int) -> None:
        """Go on from the first `count` messages; what came behind them becomes a branch."""
        del self._branch[max(0, count) :]
        self._keep(begins=False)

    def become(self, conversation: Sequence[Said]) -> None:
        """The conversation is now this one, whatever it was before.

        Of its messages those that are kept already, also in a branch that was left, are found again
        by their role and text; the others are kept as they are given. Where all was taken back, the
        session stays as it was until something else is said.
        """
        at: _Step | None = None
        branch: list[_Step] = []
        for said in conversation:
            at = self._found(at, said, len(branch)) or self._step(said, at)
            branch.append(at)
        self._branch = branch
        if any(step.said.role == "user" for step in branch):
            self._keep()

    def _found(self, parent: _Step | None, said: Said, place: int) -> _Step | None:
        """The message after `parent` that is as `said`: of the branch in use, or the latest one."""
        here = self._branch[place : place + 1]
        for step in (*here, *reversed(self._all)):
            is_same = step.said.role == said.role and step.said.text == said.text
            if step.parent is parent and is_same:
                return step
        return None

    def touch(self) -> None:
        """This session is gone on with: of all it is the one that was changed last."""
        self._head = None
        self._keep(begins=False)

    def use(self, trio: str, models: Mapping[str, str]) -> None:
        """Another trio answers from now on, as after `/trio`; settings name it from then on."""
        self._trio, self._models = trio, models

    def save(self, name: str | None = None) -> SessionInfo | None:
        """Keep this conversation under `name`, or under none; also where keeping was off.

        What this is called is changed where it is kept already. The session; None where nothing has
        been said yet: it is kept then, under that name. Raises `UsageError` for a name that cannot
        be one or is another session's, and `HistoryError` where it cannot be kept.
        """
        if name is not None:
            name = check_name(name)
        if self.id is not None and not self._is_removed:
            if name is not None:
                self.history.rename(self.id, name)
        else:
            if name is not None:
                self.history.begin(self._trio, self._models, name)
            self._start_over()
        self._on = True
        self._name = name or self._name
        if self._saved is not None:
            self._saved.name = self._name
        if not any(step.said.role == "user" for step in self._branch):
            return None
        self._write()
        self._works()
        assert self.id is not None
        return self.history.find(self.id)

    def close(self) -> None:
        """Try once more to write what could not be, and close the file. Raises nothing."""
        self._last_try()
        if self._history is not None:
            self._history.close()

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, said: Said) -> _Step:
        step = self._step(said, self._branch[-1] if self._branch else None)
        self._branch.append(step)
        return step

    def _step(self, said: Said, parent: _Step | None) -> _Step:
        settings = self._named(said.settings) if said.role != "system" else said.settings
        step = _Step(replace(said, settings=settings), parent)
        self._all.append(step)
        return step

    def _named(self, settings: Content | None) -> Content:
        """`settings`, with the trio where it is another one than the session's."""
        begun_with = self._saved.trio if self._saved is not None else self._trio
        own = {} if begun_with == self._trio else {"trio": self._trio, "models": self._models}
        return {**(settings or {}), **own}

    def _last_question(self) -> int | None:
        for at in reversed(range(self.count)):
            if self._branch[at].said.role == "user":
                return at
        return None

    def _unwritten(self) -> list[_Step]:
        return [step for step in self._all if step.id is None]

    def _last_try(self) -> None:
        """Write what could not be written until now, before it is forgotten."""
        if any(step.said.role == "user" for step in self._unwritten()):
            self._keep()

    def _start_over(self) -> None:
        """Whatever was written is to be written again, as another session."""
        self._saved, self._head, self._is_removed = None, None, False
        for step in self._all:
            step.id = None

    def _keep(self, *, begins: bool = True) -> None:
        """Write what is not written yet, if that can be done; without `begins` no new session."""
        if not self._on or self._is_removed or (self.id is None and not begins):
            return
        try:
            self._write()
        except RemovedError:
            self._is_removed = True
            self._tell(
                "this session was removed meanwhile, so the conversation is no longer being saved; "
                "/save NAME saves all of it"
            )
        except HistoryError as error:
            self._fails(error)
        else:
            self._works()

    def _fails(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            self._tell(f"this conversation is not being saved: {error}")
        if self._history is not None:
            self._history.wait = _WAIT_AGAIN

    def _works(self) -> None:
        if self._failing:
            self._failing = False
            self._tell("the conversation is being saved again, with what came meanwhile")
        if self._history is not None:
            self._history.wait = WAIT

    def _write(self) -> None:
        if self._saved is None:
            self._saved = self.history.begin(self._trio, self._models)
            self._saved.name = self._name
        waiting = self._unwritten()
        while waiting:
            row = [waiting.pop(0)]
            while waiting and waiting[0].parent is row[-1]:
                row.append(waiting.pop(0))
            for step, number in zip(row, self._add(self._saved, row), strict=True):
                step.id = number
            self._head = row[-1]
        tip = self._branch[-1] if self._branch else None
        if tip is not self._head:
            self._saved.point(tip.id if tip else None)
            self._head = tip

    def _add(self, saved: Saved, row: list[_Step]) -> list[int]:
        """The ids of these steps, now kept; a session whose name was taken meanwhile has none."""
        said, parent = [step.said for step in row], row[0].parent
        after = parent.id if parent is not None else None
        try:
            return saved.add(said, after)
        except UsageError:
            self._tell(f"the name {self._name!r} was taken meanwhile; /save NAME gives another one")
        saved.name = self._name = None
        return saved.add(said, after)
