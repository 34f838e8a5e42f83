"""What the protocols share: the connection, what was found out about the server, what it cost."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.vocab import Vocab
from edgeproxy.remote.predicts import Offer
from edgeproxy.remote.spent import Spent
from edgeproxy.remote.traffic import Traffic


class Http(Protocol):
    """What a protocol needs of a `transport.Server`."""

    @property
    def address(self) -> object:
        """Where it is, for a person."""

    @property
    def traffic(self) -> Traffic:
        """What went to and fro so far."""

    def get(self, path: str, cancel: Cancel | None = None) -> Any:
        """The JSON at `path`."""

    def post(
        self, path: str, payload: object, cancel: Cancel | None = None, safe: bool = True
    ) -> Any:
        """The JSON that answers `payload`."""

    def close(self) -> None:
        """Let go of the connections."""


Same = TypeVar("Same", bound="Speaking")


class Speaking:
    """A server that is spoken to over `http`, and that serves a model with this vocabulary."""

    def __init__(self, http: Http, vocab: Vocab, offer: Offer, spent: Spent | None = None) -> None:
        self.offer = offer
        self.spent = Spent() if spent is None else spent
        """What asking it has cost so far."""
        self._http = http
        self._vocab = vocab

    @property
    def who(self) -> str:
        """The server's address."""
        return str(self._http.address)

    def beside(self: Same, http: Http) -> Same:
        """The same server, asked over `http`, whose cost is counted apart; nothing is sent."""
        spent = Spent(price_in=self.spent.price_in, price_out=self.spent.price_out)
        return type(self)(http, self._vocab, self.offer, spent)

    def _post(self, path: str, body: dict[str, Any], cancel: Cancel | None) -> Any:
        before = self._http.traffic
        try:
            # Nothing is changed at a server by asking twice: it draws each time anew.
            return self._http.post(path, body, cancel)
        finally:
            self.spent.count(self._http.traffic.since(before))

    def close(self) -> None:
        """As `Predicts.close`."""
        self._http.close()
