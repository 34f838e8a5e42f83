"""The seam for whoever keeps conversations: told whenever one has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.asked import Settings
    from edgeproxy.session.conversation import Conversation
    from edgeproxy.session.session import Session


class Keeper(Protocol):
    """Keeps a chat; `Conversation.restore` goes on with what was kept."""

    def asked(self, conversation: Conversation, text: str) -> None:
        """`text` is about to be answered; `changed` follows, unless the reply comes to nothing."""

    def changed(self, conversation: Conversation, settings: Settings, session: Session) -> None:
        """What was said, what is set, or the trio has changed; called between replies.

        What `Conversation.trim` has dropped is in `Conversation.dropped`.
        """


class NotKept:
    """Keeps nothing."""

    def asked(self, conversation: Conversation, text: str) -> None:
        """As `Keeper.asked`."""

    def changed(self, conversation: Conversation, settings: Settings, session: Session) -> None:
        """As `Keeper.changed`."""
