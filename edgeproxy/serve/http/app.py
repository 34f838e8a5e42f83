"""The server as one application: which path is served by what, and what stands before all of it.

`Parts` is what it is made of; `wiring` makes them of an engine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeproxy.serve.events import Engine
from edgeproxy.serve.http.answering import REPLY_ID, Asked, Counted, ReadCount
from edgeproxy.serve.http.asgi import send_bytes, send_json
from edgeproxy.serve.http.body import Bodies, read_json
from edgeproxy.serve.http.calls import Call, Called
from edgeproxy.serve.http.faults import Answer, Faults
from edgeproxy.serve.http.figures import KIND, Figure, Traffic, written
from edgeproxy.serve.http.guards import Guard, Guards, SafeHeaders
from edgeproxy.serve.http.limits import LIMITS, Limits
from edgeproxy.serve.protocol import Known, Read, RefusedError

PAGE = "page.html"
"""Of the page's files the one that stands at `/`."""

_METHODS = ("GET", "POST", "DELETE")
_EXPOSED = ("Retry-After", "X-Request-Id", REPLY_ID)


class Health(NamedTuple):
    """How the models are: a word, and how far loading them is, 0 to 1."""

    word: Literal["asleep", "loading", "ready", "failed", "closing"]
    share: float = 0.0

    @property
    def is_able(self) -> bool:
        """Whether a request would be answered."""
        return self.word in ("ready", "asleep")


@dataclass(frozen=True)
class Parts:
    """What a server is made of.

    - `engine`: who answers; `known` is what readers of requests must know of it, as it is now.
    - `readers`, `counters`: paths of POST, with what reads their bodies; `counted` is what a number
      of tokens is answered as.
    - `answer`: what an error is answered as.
    - `models`, `model`: what is told of all models, and of the one of that name. `about`: of the
      trio, to the page; `document`: the description of the interface.
    - `health`: how the models are, at once. `figures`: what an engine counts.
    - `refused`: paths of POST that are known and not supported, with the error that says so.
    - `calls`: paths of what else is asked for, with what answers it by method.
    - `files`: content type and bytes of the page's files, by their names.
    """

    engine: Engine
    known: Callable[[], Known]
    readers: Mapping[str, Read]
    answer: Answer
    models: Callable[[Known], Any]
    model: Callable[[str, Known], Any]
    health: Callable[[], Health]
    document: Callable[[], Mapping[str, Any]]
    about: Callable[[], Mapping[str, Any]]
    counters: Mapping[str, ReadCount]
    counted: Callable[[int], dict[str, Any]]
    figures: Callable[[], Iterable[Figure]]
    refused: Mapping[str, Callable[[], RefusedError]]
    files: Mapping[str, tuple[str, bytes]]
    calls: Mapping[str, Mapping[str, Call]] = field(default_factory=dict)


def make_app(parts: Parts, allowed: Guards, limits: Limits = LIMITS) -> ASGIApp:
    """The application that serves these parts to whom it is allowed, within the limits."""
    traffic = Traffic()
    routed = _Routed(_routes(parts, traffic, limits), parts.answer)
    app: ASGIApp = Faults(Guard(routed, allowed, limits), parts.answer)
    if allowed.origins:
        app = CORSMiddleware(
            app,
            allow_origins=sorted(allowed.origins),
            allow_methods=_METHODS,
            allow_headers=("*",),  # what a client of OpenAI's sends of its own, it says first
            expose_headers=_EXPOSED,
            allow_private_network=True,
        )
    return _Counts(SafeHeaders(Bodies(app)), traffic)


def _routes(parts: Parts, traffic: Traffic, limits: Limits) -> list[BaseRoute]:
    async def models(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send_json(send, 200, parts.models(parts.known()))

    async def model(scope: Scope, _receive: Receive, send: Send) -> None:
        name: str = scope["path_params"]["name"]
        await send_json(send, 200, parts.model(name, parts.known()))

    async def health(_scope: Scope, _receive: Receive, send: Send) -> None:
        found = parts.health()
        state: dict[str, Any] = {"status": "ok" if found.is_able else found.word}
        state["models"] = found.word
        if found.word == "loading":
            state["share"] = round(found.share, 3)
        again = {} if found.is_able else {"Retry-After": "2"}
        await send_json(send, 200 if found.is_able else 503, state, again)

    async def metrics(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send_bytes(send, 200, KIND, written([*parts.figures(), *traffic.figures()]))

    async def document(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send_json(send, 200, parts.document())

    async def about(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send_json(send, 200, parts.about())

    async def page(scope: Scope, _receive: Receive, send: Send) -> None:
        found = parts.files.get(scope["path_params"].get("name", PAGE))
        if found is None:
            raise _unknown_path()
        kind, data = found
        await send_bytes(send, 200, kind.encode("ascii"), data, {"Cache-Control": "no-cache"})

    gets = {
        "/v1/models": models,
        "/v1/models/{name:path}": model,
        "/v1/edgeproxy/about": about,
        "/health": health,
        "/metrics": metrics,
        "/openapi.json": document,
        "/": page,
        "/page/{name:path}": page,
    }
    shared = (parts.engine, parts.known, limits)
    posts: dict[str, ASGIApp] = {
        path: Asked(*shared, parts.answer, read) for path, read in parts.readers.items()
    }
    posts |= {path: Counted(*shared, read, parts.counted) for path, read in parts.counters.items()}
    posts |= {path: _Refused(why, limits) for path, why in parts.refused.items()}
    return [
        *(Route(path, _Plain(serve), methods=["GET"]) for path, serve in gets.items()),
        *(Route(path, serve, methods=["POST"]) for path, serve in posts.items()),
        *(
            Route(path, Called(calls, limits), methods=list(calls))
            for path, calls in parts.calls.items()
        ),
    ]


class _Routed:
    """Serves each path as its route says, and says what else is asked for as all errors are."""

    def __init__(self, routes: Sequence[BaseRoute], answer: Answer) -> None:
        self._router = Router(routes, redirect_slashes=False)
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            # With an app in the scope the router raises what it would answer in its own words.
            await self._router({**scope, "app": self}, receive, send)
        except HTTPException as error:
            if error.status_code != 405:
                raise _unknown_path() from None
            methods = dict(error.headers or {})
            what = f"this path is not asked by that method, but by {methods.get('Allow')}"
            refused = RefusedError(what, None, "method_not_allowed", 405)
            await send_json(send, 405, self._answer(refused).body, methods)


class _Plain:
    """A function that is served as it is; Starlette would give a function a request."""

    def __init__(self, serve: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._serve = serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._serve(scope, receive, send)


class _Refused:
    """A path that is known and not supported."""

    def __init__(self, why: Callable[[], RefusedError], limits: Limits) -> None:
        self._why = why
        self._limits = limits

    async def __call__(self, _scope: Scope, receive: Receive, _send: Send) -> None:
        await read_json(receive, self._limits)
        raise self._why()


class _Counts:
    """Counts requests and answers."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self._app = app
        self._traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._traffic.answered[str(message["status"])] += 1
            await send(message)

        self._traffic.open += 1
        try:
            await self._app(scope, receive, send_counted)
        finally:
            self._traffic.open -= 1


def _unknown_path() -> RefusedError:
    what = "there is nothing at this path; /openapi.json lists what there is"
    return RefusedError(what, None, "unknown_path", 404)
