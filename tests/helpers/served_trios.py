"""Trios whose base is on a server in this process: of tiny files, or of fakes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from edgeproxy.core.model import Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.draft_length import DraftLength
from edgeproxy.decode.drafted import Draft, Drafter
from edgeproxy.decode.steering import Steering
from edgeproxy.llama import LlamaModel, Weights
from edgeproxy.prompts.formats import FORMATS
from edgeproxy.remote.connect import connect
from edgeproxy.remote.endpoint import Endpoint
from edgeproxy.remote.model import RemoteModel
from edgeproxy.remote.transport import Server
from edgeproxy.session.floor import Floor
from edgeproxy.session.load import load
from edgeproxy.session.reading import Reading
from edgeproxy.session.servers import trio_over
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import TrioSpeaker
from tests.helpers.fake_server import FakeServer, fake_server
from tests.helpers.faulty_proxy import FaultyProxy, faulty_proxy
from tests.helpers.gguf_files import MERGES, byte_level_vocabulary, draft
from tests.helpers.serving_models import Kind, Serving
from tests.helpers.small_models import random_weights

ALL = 10_000_000
"""More log-probabilities than there are tokens."""

QUESTION = "Where is it?"
LENGTH = 12
"""Tokens of a reply."""

ROLES = ("base", "expert", "anti_expert")
Files = dict[str, Any]


def write_trio(folder: Path, merges: Sequence[str] = MERGES) -> Files:
    """Three tiny models, each of its own random weights; `merges` are the pair's."""
    paths: Files = {}
    for seed, role in enumerate(ROLES):
        made = draft("llama")
        if role != "base":
            made.metadata |= byte_level_vocabulary(merges)
        random_weights(made, seed)
        paths[role] = made.write(folder / f"{role}.gguf")
    return paths


class Served(NamedTuple):
    """A server, and what it serves."""

    serving: Serving
    server: FakeServer

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def asked(self) -> int:
        """How many predictions it was asked for so far."""
        return len(self.serving.prompts)


@contextmanager
def served_file(path: Path, kind: Kind = "llama-server", **settings: Any) -> Iterator[Served]:
    """The model in a file, on a server."""
    with Weights(path) as weights:
        model = LlamaModel(weights, n_threads=1)
        serving = Serving(model, kind, **settings)
        with fake_server(serving.answer) as server:
            yield Served(serving, server)


def elsewhere(files: Files, served: Served, way: Any = "rows", **settings: Any) -> Session:
    """The same trio with its base on that server, which is asked for all of each row."""
    server: Any = {"url": served.url, "way": way, "logprobs": ALL, **settings.pop("server", {})}
    return load(**{"n_threads": 1, **files, **settings}, server=server)


def text_of(session: Session, question: str = QUESTION, **settings: Any) -> str:
    """What it replies."""
    turn = session.reply(question, **{"max_tokens": LENGTH, **settings})
    return "".join(piece.text for piece in turn)


def tokens_of(session: Session, question: str = QUESTION, **settings: Any) -> list[int | None]:
    """The tokens of what it replies."""
    turn = session.reply(question, **{"max_tokens": LENGTH, **settings})
    return [piece.token for piece in turn]


class Eager(DraftLength):
    """Drafts `length` tokens always, whatever the clock says."""

    def __init__(self, length: int = 4) -> None:
        super().__init__()
        self._always = length

    def length(self, most: int = 1 << 30) -> int:
        return min(self._always, most)

    def is_worth(self, chance: float, drafted: int, length: int) -> bool:
        return True


class Speaking(NamedTuple):
    """A trio of fakes that answers, its base on a server."""

    speaker: TrioSpeaker
    base: RemoteModel
    served: Served
    proxy: FaultyProxy
    http: Server

    def ask(self, question: str, **settings: Any) -> str:
        turn = self.speaker.reply(question, **settings)
        return "".join(piece.text for piece in turn)


@contextmanager
def speaking(
    base: Model,
    expert: Model,
    anti_expert: Model,
    *,
    vocab: Vocab,
    kind: Kind = "llama-server",
    steering: Steering | None = None,
    mode: Draft = "off",
    reading: Reading | None = None,
    faults: int = 0,
    **asked: Any,
) -> Iterator[Speaking]:
    """A trio of fakes; `asked` are settings of the `Endpoint`.

    With `faults`, a seed, there is a `FaultyProxy` before its server, without any faults yet.
    """
    serving = Serving(base, kind)
    with fake_server(serving.answer) as server, faulty_proxy(server.port, faults, 0.0) as proxy:
        floor = Floor()
        if faults:
            http = Server(proxy.url, retries=1, read_timeout=0.5)
        else:
            http = Server(server.url, retries=0, read_timeout=20)
        found = connect(Endpoint(server.url, **asked), http, vocab)
        serving.prompts.clear()
        k = 0 if found.way == "bias" else found.k
        model = RemoteModel(found.server, vocab, 4096, k, found.way, floor)
        trio = trio_over(
            model, expert, anti_expert, steering or Steering(), None, model.vocab.end_of_generation
        )
        plain = FORMATS["plain"]
        speaker = TrioSpeaker(
            trio,
            (plain, plain, plain),
            (vocab, vocab, vocab),
            vocab.end_of_generation,
            floor,
            drafter=Drafter(trio, mode, Eager()),
            reading=reading,
        )
        try:
            yield Speaking(speaker, model, Served(serving, server), proxy, http)
        finally:
            model.close()
