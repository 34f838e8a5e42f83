"""An engine for a host that talks to it over standard input and output, and what it takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from edgeproxy.serve.engine import SharedEngine
from edgeproxy.serve.openai import counting, errors, models, routes
from edgeproxy.serve.stdio import Service

log = logging.getLogger("edgeproxy.serve")

_DO = {
    "chat": routes.CHAT,
    "completions": routes.COMPLETIONS,
    "responses": routes.RESPONSES,
    "explain": routes.EXPLAIN,
}
"""What a host of standard input and output asks for, and the path that is the same over HTTP."""

_FAULT = 500


def memory_of(engine: SharedEngine) -> int | None:
    """Bytes that the models take, as estimated; None before they were loaded."""
    estimate = engine.memory
    return None if estimate is None else estimate.total


def service_of(engine: SharedEngine) -> Service:
    """What a host of standard input and output is served."""
    began = int(time.time())

    def health() -> Mapping[str, Any]:
        return {"status": engine.state.word, "waiting": engine.waiting}

    return Service(
        engine=engine,
        known=engine.known,
        readers={do: routes.READERS[path] for do, path in _DO.items()},
        count_reader=routes.COUNTERS[routes.COUNT_CHAT],
        counted=counting.counted,
        facts={
            "models": lambda: models.listed(engine.known(), began, memory_of(engine)),
            "health": health,
        },
        failed=_failed,
    )


def _failed(error: BaseException) -> tuple[int, Mapping[str, Any]]:
    answered = errors.answer(error)
    if answered.status >= _FAULT:
        log.error("%s: %s", type(error).__name__, error)
    return answered.status, answered.body
