"""The commands of `edgeproxy chat`: what a line that begins with a slash does."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from edgeproxy.cli.ui.output import say
from edgeproxy.cli.ui.sources import readers_in_words, say_left_out, say_read
from edgeproxy.errors import UsageError

if TYPE_CHECKING:
    from edgeproxy.decode.steering import Change
    from edgeproxy.session.conversation import Conversation
    from edgeproxy.session.session import Session
    from edgeproxy.session.turn import Turn
    from edgeproxy.trios.manifest import Readers

COMMANDS = {
    "/help": "tell these commands",
    "/alpha": "/alpha X sets the weight of the pair's opinion, /alpha shows it",
    "/base": "/base W sets the weight of what only the base knows: 0 is the expert alone",
    "/mask": "/mask BETA drops tokens that the expert finds implausible, 0 none",
    "/policy": "/policy NAME sets how the weights change from step to step",
    "/docs": "tell what was read of documents for the last reply; /docs expert sets who reads",
    "/cite": "tell which passages the last reply needs: how much less likely it is without each",
    "/system": "/system TEXT begins anew with a system message, /system off without",
    "/reset": "begin the conversation anew",
    "/quit": "leave; Ctrl-D does too",
}


class Slash:
    """Obeys the commands of one chat. `system` is the system message in force, or None."""

    def __init__(self, session: Session, conversation: Conversation, system: str | None) -> None:
        self._session = session
        self._conversation = conversation
        self.system = system
        self.turn: Turn | None = None
        """The last reply."""

    def obey(self, line: str) -> bool:
        """Do what `line` says; False when it says to leave.

        Raises `UsageError` for an unknown command or an impossible value.
        """
        name, _, rest = line.strip().partition(" ")
        value = rest.strip()
        match name:
            case "/help":
                for command, what in COMMANDS.items():
                    say(f"{command:<8} {what}")
            case "/alpha":
                self._steer("alpha", _number(name, value))
            case "/base":
                self._steer("base_weight", _number(name, value))
            case "/mask":
                self._steer("plausibility", _number(name, value))
            case "/policy":
                self._steer("policy", value or None)
            case "/docs":
                self._docs(value)
            case "/cite":
                self._cite()
            case "/system":
                self._system(value)
            case "/reset":
                self._conversation.reset(self.system)
                say("the conversation begins anew", dim=True)
            case "/quit":
                return False
            case _:
                raise UsageError(
                    f"there is no command {name}; there are {', '.join(COMMANDS)} "
                    "(a space in front sends the line to the models)"
                )
        return True

    def _steer(self, key: str, value: float | str | None) -> None:
        """Change one field of the steering, or none, and tell what it is now."""
        session = self._session
        session.steering = session.steering.changed(cast("Change", {key: value}))
        now = getattr(session.steering, key)
        shown = now if isinstance(now, str) else f"{now:g}"
        say(f"{key.replace('_', ' ')} is {shown}", dim=True)

    def _docs(self, value: str) -> None:
        reading = self._session.reading
        if reading is None:
            raise UsageError(
                "there are no documents here; begin with --docs NAME, an index that edgeproxy "
                "index made"
            )
        if value:
            reading.readers = cast("Readers", value)
            say(f"{readers_in_words(reading.readers)} the documents", dim=True)
        else:
            say_read(
                self.turn.read if self.turn else None, self._session.speaker.remote is not None
            )

    def _cite(self) -> None:
        if self.turn is None:
            raise UsageError("/cite is about the last reply, and there is none yet")
        if not say_left_out(self.turn):
            say("the last reply is about as likely without any document", dim=True)

    def _system(self, value: str) -> None:
        if not value:
            say(f"the system message is: {self.system}" if self.system else "no system message")
            return
        self.system = None if value == "off" else value
        self._conversation.reset(self.system)
        say("the conversation begins anew", dim=True)


def _number(command: str, value: str) -> float | None:
    """The number behind `command`, or None. Raises `UsageError`."""
    if not value:
        return None
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"{command} takes a number such as 1 or 0.5, not {value!r}") from None
