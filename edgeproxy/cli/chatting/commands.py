"""The commands of a chat: a row each, and what a line that begins with a slash does.

A new one is a function of the chat and of what stands behind it, and its row in `COMMANDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from edgeproxy.cli.chatting import changing, comparing, looking, turning
from edgeproxy.cli.chatting.settings import ON_OFF, SETTINGS
from edgeproxy.cli.ui.output import say
from edgeproxy.decode.steering import Policy
from edgeproxy.errors import UsageError
from edgeproxy.text.near import nearest
from edgeproxy.trios.manifest import Readers

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk

Values = Literal["path", "trio", "setting", "topic"] | Sequence[str]
"""What may stand behind a command: some kind of name, or one of these words."""


class Command(NamedTuple):
    """One command: what it does, with which words behind it; `more` is for `/help` with its name.

    Without `obey` the chat itself does it.
    """

    usage: str
    what: str
    obey: Callable[[Talk, str], None] | None = None
    values: Values = ()
    more: str = ""


def _help(talk: Talk, value: str) -> None:
    if value:
        _explain(talk, value)
        return
    width = max(len(command.usage) for command in COMMANDS.values())
    for command in COMMANDS.values():
        say(f"{command.usage:<{width}}  {command.what}")
    if talk.is_interactive:
        say(_KEYS, dim=True)


_KEYS = (
    'Alt-Enter begins another line, """ a text of many; Tab completes, Ctrl-R searches what was '
    "typed before, Ctrl-O opens $EDITOR, Ctrl-C stops a reply."
)


def _explain(talk: Talk, topic: str) -> None:
    name = topic.removeprefix("/").replace("_", "-")
    command, setting = COMMANDS.get(f"/{name}"), SETTINGS.get(name)
    if command is None and setting is None:
        near = nearest(name, [*(known[1:] for known in COMMANDS), *SETTINGS])
        raise UsageError(f"there is no help about {topic!r}{near}; /help lists the commands")
    if command is not None:
        say(f"{command.usage}: {command.what}")
        if command.more:
            say(command.more)
    if setting is not None:
        values = f" ({', '.join(setting.values)})" if setting.values else ""
        say(f"/set {name} VALUE: {setting.what}{values}; it is {setting.shown(talk)}")


COMMANDS: dict[str, Command] = {
    "/help": Command(
        "/help [TOPIC]", "tell these commands, or more about one or a setting", _help, "topic"
    ),
    "/alpha": Command(
        "/alpha X",
        "set the weight of the pair's opinion; without X, show it",
        changing.alpha,
        more="What is drawn from is base + alpha * (expert - anti-expert): 0 is the base alone, "
        "1 is the paper's, more of it steers harder and says what the base would not.",
    ),
    "/base": Command(
        "/base W",
        "set the weight of what only the base knows: 0 is the expert alone",
        changing.base,
    ),
    "/mask": Command(
        "/mask BETA", "drop tokens that the expert finds implausible, 0 none", changing.mask
    ),
    "/policy": Command(
        "/policy NAME",
        "set how the weights change from step to step",
        changing.policy,
        get_args(Policy),
    ),
    "/proxy": Command("/proxy on|off", "off: the base alone answers", changing.proxy, ON_OFF),
    "/compare": Command(
        "/compare",
        "answer the last message by the base alone, the expert alone and the proxy",
        comparing.compare,
        more="In 100 columns or more they stand side by side. The conversation stays as it is.",
    ),
    "/set": Command(
        "/set NAME VALUE",
        "change a setting; /set lists them, /set NAME default takes one back",
        changing.set_,
        "setting",
    ),
    "/show": Command("/show", "tell the models, the settings and what was said", looking.show),
    "/system": Command(
        "/system TEXT",
        "begin anew with a system message, /system off without",
        changing.system,
        ("off",),
    ),
    "/regen": Command("/regen", "answer the last message once more", turning.regen),
    "/undo": Command(
        "/undo",
        "take back the last message and its reply, an edit or a reset",
        turning.undo,
        more="Each /undo goes back by one change; after /regen or /edit what was there before "
        "comes back.",
    ),
    "/edit": Command(
        "/edit [N] [TEXT]",
        "change an earlier message of yours and go on from there",
        turning.edit,
        more="Without TEXT the message is in the line editor; N is its number in /show, and "
        "without it the last one is meant. /undo goes back to what was said before.",
    ),
    "/file": Command(
        "/file PATH",
        "put a text file into the next message; /file off takes it out",
        turning.file,
        "path",
    ),
    "/docs": Command(
        "/docs [WHO]",
        "tell what was read of documents for the last reply; /docs expert sets who reads",
        changing.docs,
        get_args(Readers),
    ),
    "/cite": Command(
        "/cite",
        "tell which passages the last reply needs: how much less likely it is without each",
        looking.cite,
    ),
    "/stats": Command("/stats", "tell what the last reply took", looking.stats),
    "/trio": Command(
        "/trio NAME",
        "load another trio and go on with the conversation",
        changing.trio,
        "trio",
    ),
    "/reset": Command("/reset", "begin the conversation anew", changing.reset),
    "/quit": Command("/quit", "leave; Ctrl-D does too"),
}
"""Every command by its name, in the order in which they are listed."""


def obey(talk: Talk, line: str) -> bool:
    """Do what `line` says; False when it says to leave.

    Raises `UsageError` for an unknown command or an impossible value, and as what it does.
    """
    name, _, rest = line.strip().partition(" ")
    if name == "/quit":
        return False
    command = COMMANDS.get(name)
    if command is None or command.obey is None:
        raise UsageError(
            f"there is no command {name}{nearest(name, COMMANDS)}; /help lists them "
            "(a space in front sends the line to the models)"
        )
    command.obey(talk, rest.strip())
    return True
