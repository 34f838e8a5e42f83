"""One fresh process says one token and prints where its time went, as JSON: for `startup`.

    python -m tools.measure.first_token TRIO PROMPT STARTED

STARTED is the value of `time.monotonic()` just before this process was started: that clock is the
same for all processes of a machine.
"""

import time

_BEGUN = time.monotonic()

import json  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import Any  # noqa: E402


class Stopwatch:
    """The seconds spent inside the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""

        def timed(*arguments: Any, **named: Any) -> Any:
            started = time.monotonic()
            try:
                return function(*arguments, **named)
            finally:
                self.seconds += time.monotonic() - started

        return timed


def main(trio: str, prompt: str, started: float) -> None:
    """Load, say one token, print the seconds of each part."""
    from edgeproxy import gguf

    validation, reading = Stopwatch(), Stopwatch()
    # Before the engine imports it by name.
    gguf.open_model = validation.around(gguf.open_model)
    from edgeproxy.session import load as loader

    imported = time.monotonic()
    with loader.load(trio) as session:
        loaded = time.monotonic()
        session.trio.eval = reading.around(session.trio.eval)  # type: ignore[method-assign]
        next(iter(session.chat(prompt, max_tokens=1)))
        done = time.monotonic()
    parts = {
        "interpreter": _BEGUN - started,
        "imports": imported - _BEGUN,
        "validation": validation.seconds,
        "load": loaded - imported - validation.seconds,
        "prompt": reading.seconds,
        "first_token": done - loaded - reading.seconds,
        "total": done - started,
    }
    print(json.dumps(parts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
