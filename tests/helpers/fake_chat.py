"""Runs `edgeproxy ARGUMENTS` over models that are tables, for tests that need a terminal.

    python -m tests.helpers.fake_chat ARGUMENTS...

What they say, how slowly and in how large a context is in `EDGEPROXY_FAKE`, in JSON: "replies" by
the line that they follow, "seconds" a token, "batch_seconds" for each 64 tokens of a prompt, and
"n_ctx". A trio called "damaged" cannot be loaded.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from edgeproxy.cli import main as edgeproxy
from edgeproxy.core.cancel import Cancel
from edgeproxy.core.model import Logits
from edgeproxy.errors import ContextFullError, ModelFileError
from edgeproxy.session import load as loader
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import FakeModel, Rows, script

VARIABLE = "EDGEPROXY_FAKE"
BATCH = 64


class SlowModel(FakeModel):
    """A table that takes its time, and tells of each batch of a prompt."""

    n_params = 1

    def __init__(self, rows: Rows, n_ctx: int, seconds: float, batch_seconds: float) -> None:
        super().__init__(rows, n_ctx=n_ctx)
        self.seconds = seconds
        self.batch_seconds = batch_seconds
        self.heard: Any = None

    def eval(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        before = self.n_past
        if before + len(tokens) > self.n_ctx:
            raise ContextFullError(f"the context of {self.n_ctx} tokens is full")
        try:
            starts = range(0, len(tokens) if len(tokens) > BATCH else 1, BATCH)
            for start in starts:
                is_last = start == starts[-1]
                end = len(tokens) if is_last else start + BATCH
                time.sleep(self.batch_seconds if len(tokens) > BATCH else self.seconds)
                found = super().eval(tokens[start:end], min(rows, end - start))
                if self.heard is not None and len(tokens) > 1:
                    self.heard(end - start)
        except BaseException:
            self.rewind(self.n_past - before)
            raise
        return found


def main() -> int:
    """Do as the arguments say; the exit code is edgeproxy's."""
    asked = json.loads(os.environ.get(VARIABLE, "{}"))
    replies = {f"{line}\n": reply for line, reply in asked.get("replies", {}).items()}

    def load(trio: object, *, cancel: Cancel, **how: Any) -> FakeSession:
        if trio == "damaged":
            raise ModelFileError("base.gguf", "it is damaged; get the file again")
        base = FakeModel()
        rows = script(replies, base.vocab)
        n_ctx, seconds = asked.get("n_ctx", 4096), asked.get("seconds", 0.0)
        slow = SlowModel(rows, n_ctx, seconds, asked.get("batch_seconds", 0.0))
        models = [slow, *(FakeModel(rows, n_ctx=n_ctx) for _ in range(2))]
        session = FakeSession(models, trio=trio, **how)
        slow.heard = session.speaker.floor.heard
        return session

    loader.load = load  # type: ignore[assignment]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return edgeproxy(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
