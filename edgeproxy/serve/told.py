"""What an engine is, as those are told who ask it: readers of requests, clients, a host."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from edgeproxy.decode.sample import Sampling
from edgeproxy.serve.engine import SharedEngine
from edgeproxy.serve.openai import counting, errors, models, routes
from edgeproxy.serve.protocol import Known
from edgeproxy.serve.stdio import Service

log = logging.getLogger("edgeproxy.serve")

ROLES = ("base", "expert", "anti_expert")
"""Who may answer alone."""

_DO = {
    "chat": routes.CHAT,
    "completions": routes.COMPLETIONS,
    "responses": routes.RESPONSES,
    "explain": routes.EXPLAIN,
}
"""What a host of standard input and output asks for, and the path that is the same over HTTP."""

_FAULT = 500


def known_of(engine: SharedEngine) -> Known:
    """What readers of requests must know of an engine, as it is now."""
    told, recipe, session = engine.about, engine.recipe, engine.keeping.last
    alone = recipe.steering.alone
    if session is not None:
        sampling = session.sampling
    elif recipe.temperature is not None:
        sampling = Sampling(temperature=recipe.temperature)
    else:
        sampling = Sampling()
    return Known(
        name=told.name,
        roles=tuple(r for r in ROLES if r in told.roles) if alone is None else (alone,),
        n_ctx=told.n_ctx,
        most_tokens=engine.settings.most_tokens,
        has_documents=told.has_documents,
        vocab=engine.known_vocab,
        sampling=sampling,
        can_record=alone is None and recipe.base.endpoint is None,
    )


def memory_of(engine: SharedEngine) -> int | None:
    """Bytes that the models take, as estimated; None before they were loaded."""
    estimate = engine.about.memory
    return None if estimate is None else estimate.total


def service_of(engine: SharedEngine) -> Service:
    """What a host of standard input and output is served."""
    began = int(time.time())

    def health() -> Mapping[str, Any]:
        return {"status": engine.state.word, "waiting": engine.waiting}

    return Service(
        engine=engine,
        known=partial(known_of, engine),
        readers={do: routes.READERS[path] for do, path in _DO.items()},
        count_reader=routes.COUNTERS[routes.COUNT_CHAT],
        counted=counting.counted,
        facts={
            "models": lambda: models.listed(known_of(engine), began, memory_of(engine)),
            "health": health,
        },
        failed=_failed,
    )


def _failed(error: BaseException) -> tuple[int, Mapping[str, Any]]:
    answered = errors.answer(error)
    if answered.status >= _FAULT:
        log.error("%s: %s", type(error).__name__, error)
    return answered.status, answered.body
