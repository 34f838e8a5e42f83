"""`edgeproxy serve` over an engine of a few lines: `python -m tests.helpers.serve_child ARGUMENTS`.

The environment variable FAKE says how it goes: loading "fails" or "hangs", or it "stays" at the
end; else well.
"""

from __future__ import annotations

import os
import sys

from edgeproxy.cli import main, serve
from edgeproxy.cli.ui.server_running import Closes
from edgeproxy.errors import ModelFileError
from edgeproxy.serve.http.app import Parts
from tests.helpers.http_fakes import FakeEngine, parts_of


def _fail() -> None:
    raise ModelFileError("base.gguf", "it is damaged")


def make_served(_make: object, _keeps_sessions: bool) -> tuple[Closes, Parts]:
    """In the place of `serve.make_served`."""
    engine = FakeEngine()
    engine.doubts = ("the pair cannot say all",)
    how = os.environ.get("FAKE")
    if how == "fails":
        engine.load = _fail
    elif how == "hangs":
        engine.load_seconds = 1000.0
    elif how == "stays":
        engine.close_seconds = 1000.0
    return engine, parts_of(engine)


if __name__ == "__main__":
    serve.make_served = make_served
    sys.exit(main(["serve", *sys.argv[1:]]))
