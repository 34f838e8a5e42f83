"""Text to token ids, guarded: strict UTF-8, a bounded size, a stack for the worst text."""

from __future__ import annotations

import ctypes
import os
import queue
import threading
from collections.abc import Callable

from edgeproxy.core import stacks
from edgeproxy.core.utf8 import check_unicode
from edgeproxy.core.vocab import Tokenize
from edgeproxy.errors import EngineError, PromptError
from edgeproxy.llama.library import lib
from edgeproxy.llama.loaded import Loaded

MAX_BYTES = 400_000
"""The longest text tokenised in one piece: what a 256 MB stack was measured to hold."""

# Several pre-tokenizers recurse once a character in std::regex: 1,271 equal characters overflow
# a 512 KB stack, 25,874 one of 8 MB.
_SMALL_BYTES = 256
_STACK_BYTES = 256 << 20
# Up to so many bytes a kept thread does it, which takes a tenth of the time of starting one: its
# stack holds more of a text's bytes than the large one does.
_MEDIUM_BYTES = 16_384
_KEPT_STACK_BYTES = 16 << 20
_NAME, _DOING = "edgeproxy-tokenize", "tokenises text"
_turn = threading.Lock()
_kept: _Worker | None = None

Work = Callable[[], list[int]]


def _after_fork() -> None:
    """The thread that may have held the lock is not in the child, nor is the kept one."""
    global _turn, _kept
    _turn, _kept = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def tokenizer(model: Loaded, *, adds_space: bool) -> Tokenize:
    """The tokenizer of `model`, as `Vocab.encode` calls it.

    With `adds_space` the tokenizer puts a space before every text that it is given; inside a
    prompt that space would be invented, so it is tokenised after a newline and that cut off.
    """

    def tokenize(text: str, first: bool, special: bool) -> list[int]:
        if not text:
            return []
        if adds_space and not first:
            lead = _on_big_stack(model, "\n", special)
            ids = _on_big_stack(model, "\n" + text, special)
            if ids[: len(lead)] == lead:
                return ids[len(lead) :]
        return _on_big_stack(model, text, special)

    return tokenize


def _on_big_stack(model: Loaded, text: str, special: bool) -> list[int]:
    data = check_unicode(text, "the text")
    if len(data) > MAX_BYTES:
        raise PromptError(
            f"the text has {len(data):,} bytes; at most {MAX_BYTES:,} can be read at once, "
            "so send a part of it"
        )
    if len(data) <= _SMALL_BYTES:
        return _tokenize(model, data, special)
    if len(data) <= _MEDIUM_BYTES:
        return _run_on_kept_stack(lambda: _tokenize(model, data, special))
    return _run_on_big_stack(lambda: _tokenize(model, data, special))


def _tokenize(model: Loaded, data: bytes, special: bool) -> list[int]:
    vocab = model.vocab_pointer
    capacity = len(data) + 8
    for _ in range(2):
        buffer = (ctypes.c_int32 * capacity)()
        count = lib.llama_tokenize(vocab, data, len(data), buffer, capacity, False, special)
        if count >= 0:
            return buffer[:count]
        if count == -(2**31):
            break
        capacity = -count
    raise EngineError("llama.cpp could not tokenise the text")


class _Worker:
    """A thread that does one piece of work after another, on a stack for middling texts."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._found: queue.SimpleQueue[list[int] | Exception] = queue.SimpleQueue()
        stacks.start(self._serve, _KEPT_STACK_BYTES, _NAME, _DOING)

    def do(self, work: Work) -> list[int]:
        """What `work` gives, or raises. One caller at a time."""
        self._work.put(work)
        try:
            found = self._found.get()
        except BaseException:
            self._found.get()  # Ctrl-C: its late answer must not be the next one's
            raise
        if isinstance(found, Exception):
            try:
                raise found
            finally:
                del found  # it refers to this frame, which would keep the model
        return found

    def _serve(self) -> None:
        while True:
            # Nothing of the work is held while an answer is read or the next is waited for.
            self._found.put(_found_by(self._work))


def _found_by(queued: queue.SimpleQueue[Work]) -> list[int] | Exception:
    work = queued.get()
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
        return error.with_traceback(None)  # it refers to the model


def _run_on_kept_stack(work: Work) -> list[int]:
    global _kept
    with _turn:
        if _kept is None:
            _kept = _Worker()
        return _kept.do(work)


def _run_on_big_stack(work: Work) -> list[int]:
    return stacks.on_stack(work, _STACK_BYTES, _NAME, _DOING)
