"""The commands of `edgeproxy chat`: what a line that begins with a slash does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeproxy.cli.ui.output import say
from edgeproxy.errors import UsageError

if TYPE_CHECKING:
    from edgeproxy.session.conversation import Conversation
    from edgeproxy.session.session import Session

COMMANDS = {
    "/help": "tell these commands",
    "/alpha": "/alpha X sets the weight of the pair's opinion, /alpha shows it",
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
                self._alpha(value)
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

    def _alpha(self, value: str) -> None:
        if value:
            try:
                self._session.alpha = float(value)
            except UsageError:
                raise
            except ValueError:
                raise UsageError(f"/alpha takes a number such as 1 or 0.5, not {value!r}") from None
        say(f"alpha is {self._session.alpha:g}", dim=True)

    def _system(self, value: str) -> None:
        if not value:
            say(f"the system message is: {self.system}" if self.system else "no system message")
            return
        self.system = None if value == "off" else value
        self._conversation.reset(self.system)
        say("the conversation begins anew", dim=True)
