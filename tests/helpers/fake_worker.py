"""A worker whose trio is a fake that answers from a table, and does what a prompt asks for.

    python -m tests.helpers.fake_worker

What follows "do " in a prompt is one of `MISDEEDS`: most of them end the process, some in the ways
in which llama.cpp does.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.threads import Crew
from edgeproxy.decode.drafted import Drafter
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import EngineError, ModelFileError
from edgeproxy.prompts.formats import FORMATS
from edgeproxy.session.memory_plan import Estimate
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import SoloSpeaker, TrioSpeaker
from edgeproxy.trios.find import Recipe, Role
from edgeproxy.worker.calls import PATIENCE, Patience
from edgeproxy.worker.isolated import IsolatedSession
from edgeproxy.worker.keeper import Keeper
from tests.helpers.fakes import LIKELY, FakeModel, fake_vocab, saying, script

PLAIN = FORMATS["plain"]
REPLIES = {"Hello\n": "Hi, how are you?", "Bye\n": "See you soon."}
ENDLESS = b"Long\n"
"""A prompt that ends so is answered with letters x, without an end."""


def llama() -> Any:
    """llama.cpp itself, to be used wrongly."""
    import llama_cpp

    return llama_cpp.llama_cpp


def hold_the_interpreter() -> None:
    """Never come back, and let no other thread of Python's work."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def print_much() -> None:
    """Write to the streams of a worker, of which one goes to the host as messages."""
    for _ in range(2000):
        print("this is no message", flush=True)
        os.write(1, b"nor is this\n")
        print("and this a complaint", file=sys.stderr)


def close_streams() -> None:
    """Go on without any way to answer."""
    os.closerange(3, 100)
    time.sleep(1000)


def end_by(name: str) -> None:
    """Send this process a signal that ends it; any of its threads may be the one to take it."""
    os.kill(os.getpid(), getattr(signal, name))
    time.sleep(1000)


MISDEEDS: dict[str, Callable[[], object]] = {
    **{
        name: lambda name=name: end_by(name)  # type: ignore[misc]
        for name in ("SIGSEGV", "SIGABRT", "SIGKILL", "SIGBUS", "SIGFPE", "SIGILL", "SIGTERM")
        if hasattr(signal, name)
    },
    "abort": lambda: ctypes.CDLL(None).abort(),
    "null": lambda: ctypes.string_at(0),
    "null context": lambda: llama().llama_get_logits(None),
    "null model": lambda: llama().llama_model_get_vocab(None) or llama().llama_n_ctx(None),
    "null path": lambda: llama().llama_model_load_from_file(
        None, llama().llama_model_default_params()
    ),
    "null vocabulary": lambda: llama().llama_vocab_n_tokens(None),
    "bad free": lambda: llama().llama_free(ctypes.c_void_p(16)),
    "exit": lambda: os._exit(7),
    "bug": lambda: {}["no such key"],  # type: ignore[index]
    "sleep": lambda: time.sleep(1000),
    "hold": hold_the_interpreter,
    "print": print_much,
    "close": close_streams,
}


def _raise(error: Exception) -> None:
    raise error


MISDEEDS["engine error"] = lambda: _raise(EngineError("the engine has failed"))
MISDEEDS["file error"] = lambda: _raise(ModelFileError("a.gguf", "it is damaged"))
MISDEEDS["memory"] = lambda: _raise(MemoryError())


def asked_for(history: Sequence[int]) -> str:
    """What a prompt of bytes asks to be done; nothing once a reply has begun."""
    text = bytes(token for token in history if token < 256).decode("latin-1")
    found = re.search(r"do ([\w ]+)\n$", text)
    return found[1] if found else ""


def rows_of(replies: Mapping[str, str], slow: float) -> Callable[[Sequence[int]], Any]:
    """The rows of a model that answers from a table, or does what is asked for."""
    plain = script(replies, fake_vocab())
    endless = np.zeros(len(fake_vocab()), np.float32)
    endless[ord("x")] = LIKELY

    def rows(history: Sequence[int]) -> NDArray[np.float32]:
        what = asked_for(history)
        if what in MISDEEDS:
            MISDEEDS[what]()
        if slow:
            time.sleep(slow)
        if ENDLESS in bytes(token for token in history if token < 256):
            return endless
        return plain(history)

    return rows


def fake_load(
    *,
    progress: Callable[[str, float], None] | None = None,
    cancel: Cancel | None = None,
    misdeed: str = "",
    slow: float = 0.0,
    **_: object,
) -> Session:
    """A session of fakes; `misdeed` is done while it is loaded, `slow` is seconds a token."""
    from pathlib import Path

    if progress is not None:
        progress("base", 0.5)
    if misdeed:
        MISDEEDS[misdeed]()
    base, expert, anti_expert = (FakeModel(rows_of(REPLIES, each)) for each in (slow, 0.0, 0.0))
    trio = Trio(base, expert, anti_expert)
    vocab, role = trio.vocab, Role(Path("none.gguf"))
    speaker = TrioSpeaker(
        trio, (PLAIN,) * 3, (vocab,) * 3, vocab.end_of_generation, drafter=Drafter(trio, "off")
    )
    if cancel is not None:
        speaker.floor.cancel_all = cancel
    return Session(
        Recipe("fake", role, role, role),
        speaker,
        Nothing(),
        lambda _role: SoloSpeaker(saying(REPLIES), PLAIN),
        matches={},
        crew=Crew(1, 1, 1),
        memory=Estimate(1, 2, 3, 4, 5, 6),
        doubts=["a doubt"],
        another=lambda _threads: speaker_of(trio),
    )


def speaker_of(trio: Trio) -> TrioSpeaker:
    """One more that answers as the trio does."""
    other = Trio(saying(REPLIES), saying(REPLIES), saying(REPLIES))
    vocab = trio.vocab
    return TrioSpeaker(other, (PLAIN,) * 3, (vocab,) * 3, vocab.end_of_generation)


class Nothing:
    """What a session closes."""

    def close(self) -> None:
        pass


def fake_command() -> list[str]:
    """What starts this."""
    return [sys.executable, "-m", "tests.helpers.fake_worker"]


def isolated(
    patience: Patience = PATIENCE,
    progress: Callable[[str, float], None] | None = None,
    cancel: Cancel | None = None,
    **options: object,
) -> IsolatedSession:
    """An isolated session over a worker of fakes."""
    from edgeproxy.core.cancel import Flag

    cancel = cancel or Flag()
    keeper = Keeper(options, progress, command=fake_command, patience=patience)
    try:
        return IsolatedSession(keeper, keeper.load(cancel), cancel)
    except BaseException:
        keeper.close()
        raise


if __name__ == "__main__":
    from edgeproxy.worker.child import main

    main(fake_load)
