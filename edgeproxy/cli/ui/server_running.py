"""A server from its start to its end: the models are loaded, it says that it is ready, it ends.

May touch: the handlers of SIGINT and SIGTERM, standard output, the process itself at a second
Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgeproxy.cli.ui.key_chosen import Key
from edgeproxy.cli.ui.output import StatusLine, say, write, write_json
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import Cancelled, ClosingError
from edgeproxy.serve.http.app import Parts, make_app
from edgeproxy.serve.http.guards import Guards
from edgeproxy.serve.http.limits import Limits
from edgeproxy.serve.http.listening import Listening, is_loopback
from edgeproxy.serve.http.parent import when_parent_ends
from edgeproxy.serve.http.running import Running

_LOOK_SECONDS = 0.05
_INTERRUPTED = 130


class State(Protocol):
    """How the models are."""

    @property
    def what(self) -> str:
        """What is under way while they are loaded."""

    @property
    def share(self) -> float:
        """How much of that is done, 0 to 1."""


class Closes(Protocol):
    """Of an engine what its start and its end need."""

    @property
    def state(self) -> State:
        """How the models are."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """What of them may not work as wished."""

    def start(self) -> None:
        """Begin to load the models, if they are to be loaded at the start."""

    async def vocab(self) -> Vocab:
        """Loads the models. Raises as loading does, and `ClosingError`."""

    async def close(self, grace: float) -> None:
        """End it."""


@dataclass(frozen=True)
class Plan:
    """How a server is run: where, for whom, and what it does when it begins and ends.

    `has_parent` is what `looks_for_parent` gave where it is to end with its parent.
    """

    listening: Listening
    allowed: Guards
    limits: Limits
    key: Key
    is_lazy: bool = False
    has_parent: Callable[[], bool] | None = None
    as_json: bool = False


async def run_server(make: Callable[[], tuple[Closes, Parts]], plan: Plan) -> None:
    """Serve what `make` makes, in the loop, to the end.

    Raises what loading the models raises, and `Cancelled` where Ctrl-C ended it.
    """
    engine, parts = make()
    running = Running(make_app(parts, plan.allowed, plan.limits), engine.close, plan.limits)
    with _on_signals(running.stop, plan.listening) as told:
        if plan.has_parent is not None:
            when_parent_ends(running.stop, plan.has_parent)
        serving = asyncio.ensure_future(running.run_on(plan.listening.socket))
        serving.add_done_callback(lambda _: running.stop())
        try:
            # Told to end while the models are loaded, it ends in good order.
            with contextlib.suppress(ClosingError):
                await _begin(engine, parts, running, plan)
        finally:
            await serving
    if told.is_interrupted:
        raise Cancelled("interrupted")


async def _begin(engine: Closes, parts: Parts, running: Running, plan: Plan) -> None:
    """Say that it is ready once it is. Raises as `Engine.vocab` does; then the server is to end."""
    try:
        while not running.started and not running.should_exit:
            await asyncio.sleep(_LOOK_SECONDS)
        if not plan.is_lazy:
            engine.start()
            await _loaded(engine, running)
        if not running.should_exit:
            _tell(parts.known().name, engine.doubts, plan)
    except BaseException:
        running.stop()
        raise


async def _loaded(engine: Closes, running: Running) -> None:
    status = StatusLine()
    loading = asyncio.ensure_future(engine.vocab())
    try:
        while not loading.done() and not running.should_exit:
            status.show(f"loading {engine.state.what} {engine.state.share:.0%}")
            await asyncio.wait({loading}, timeout=_LOOK_SECONDS)
        if loading.done():
            loading.result()
    finally:
        status.clear()
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)


def _tell(trio: str, doubts: Sequence[str], plan: Plan) -> None:
    for doubt in doubts:
        say(f"warning: {doubt}")
    where, key = plan.listening, plan.key
    if where.host is not None and not is_loopback(where.host):
        say(
            f"warning: other machines reach {where.host}, and what goes there and back is not "
            "encrypted, the key included: put a server with TLS before it, or listen at 127.0.0.1"
        )
    if plan.as_json:
        write_json(ready_line(trio, where, key))
        return
    if where.path is not None:
        write(f"{trio} answers at {where.path}\n")
        if key.is_minted:
            write(f"the key, until it ends: {key.value}\n")
        return
    fragment = f"#key={key.value}" if key.is_minted else ""
    write(f"{trio} answers at {where.address}/v1\nthe page: {where.address}/{fragment}\n")


def ready_line(trio: str, where: Listening, key: Key) -> dict[str, Any]:
    """What --json prints. The key is told where it was made for this start, and to nobody else."""
    return {
        "address": where.address,
        "port": where.port,
        "socket": None if where.path is None else str(where.path),
        "key": key.value if key.is_minted else None,
        "needs_key": key.value is not None,
        "pid": os.getpid(),
        "trio": trio,
    }


class _Told:
    is_interrupted = False


@contextlib.contextmanager
def _on_signals(stop: Callable[[], None], listening: Listening) -> Iterator[_Told]:
    """SIGINT and SIGTERM end the server; a second Ctrl-C ends the process at once.

    Where the process was told to ignore Ctrl-C, as behind `nohup`, that holds.
    """
    told = _Told()

    def heard(number: int, _frame: object) -> None:
        if number == signal.SIGINT:
            if told.is_interrupted:
                listening.remove()
                os._exit(_INTERRUPTED)
            told.is_interrupted = True
        stop()

    names = ("SIGINT", "SIGTERM", "SIGBREAK")
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    heeded = [n for n in numbers if before[n] not in (signal.SIG_IGN, None)]
    for number in heeded:
        signal.signal(number, heard)
    try:
        yield told
    finally:
        for number in heeded:
            signal.signal(number, before[number])
