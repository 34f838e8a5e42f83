"""The parts of the server, of an engine: OpenAI's protocol, the page, and the engine's figures."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from edgeproxy import __version__
from edgeproxy.serve.engine import SharedEngine
from edgeproxy.serve.http.app import Health, Parts
from edgeproxy.serve.http.calls import Call
from edgeproxy.serve.http.figures import Figure, figure, figure_by
from edgeproxy.serve.kept.sessions import Sessions, not_kept
from edgeproxy.serve.openai import (
    cancelling,
    counting,
    document,
    errors,
    models,
    routes,
    tokenizing,
)
from edgeproxy.serve.page.about import about
from edgeproxy.serve.page.files import page_files
from edgeproxy.serve.told import memory_of


def parts_of(engine: SharedEngine, sessions: Sessions | None = None) -> Parts:
    """What a server with this engine is made of; `sessions` keeps conversations of the page."""
    began = int(time.time())
    return Parts(
        engine=engine,
        known=engine.known,
        readers=routes.READERS,
        answer=errors.answer,
        models=lambda what: models.listed(what, began, memory_of(engine)),
        model=lambda name, what: models.one(name, what, began, memory_of(engine)),
        health=lambda: Health(engine.state.word, engine.state.share),
        document=lambda: document.document(__version__, list(models.names_of(engine.known()))),
        about=lambda: about(
            engine.recipe, explains=engine.known().can_record, keeps_sessions=sessions is not None
        ),
        counters=routes.COUNTERS,
        counted=counting.counted,
        figures=lambda: figures_of(engine),
        refused={routes.EMBEDDINGS: errors.no_embeddings},
        files=page_files(),
        calls={
            routes.CANCEL: {"POST": lambda body, _: cancelling.cancel(engine, body)},
            routes.TOKENIZE: {"POST": lambda body, _: tokenizing.tokenize(engine, body)},
            routes.DETOKENIZE: {"POST": lambda body, _: tokenizing.detokenize(engine, body)},
            routes.TOKENIZER: {"GET": lambda _, __: tokenizing.about(engine)},
            **_kept(sessions),
        },
    )


def _kept(sessions: Sessions | None) -> Mapping[str, Mapping[str, Call]]:
    """The paths of what is kept, which say so where nothing is."""
    if sessions is None:
        return {
            routes.SESSIONS: dict.fromkeys(("GET", "POST"), lambda _, __: not_kept()),
            routes.SESSION: dict.fromkeys(("GET", "DELETE"), lambda _, __: not_kept()),
        }
    return {
        routes.SESSIONS: {
            "GET": lambda _, __: sessions.listed(),
            "POST": lambda body, _: sessions.save(body),
        },
        routes.SESSION: {
            "GET": lambda _, name: sessions.one(name),
            "DELETE": lambda _, name: sessions.remove(name),
        },
    }


def sessions_of(engine: SharedEngine) -> Sessions:
    """What keeps conversations in this user's history, with the trio of an engine."""
    return Sessions(lambda: (engine.keeping.last or engine).recipe)


def figures_of(engine: SharedEngine) -> Iterator[Figure]:
    """What an engine has counted, for Prometheus."""
    counts, keeping = engine.counts, engine.keeping
    yield figure_by(
        "requests_total", "Requests by what became of them.", "counter", "outcome", counts.requests
    )
    grows: dict[str, tuple[str, float]] = {
        "prompt_tokens_read": ("Tokens of prompts that were read.", counts.read),
        "prompt_tokens_kept": ("Tokens of prompts that had been read before.", counts.kept),
        "reply_tokens": ("Tokens of replies.", counts.said),
        "draft_tokens": ("Tokens that were drafted.", counts.drafted),
        "draft_tokens_accepted": ("Drafted tokens that were drawn.", counts.accepted),
        "waiting_seconds": ("Seconds that requests waited for the models.", counts.waiting_seconds),
        "answering_seconds": ("Seconds that requests had the models.", counts.answering_seconds),
        "first_token_seconds": ("Seconds from there to first tokens.", counts.first_seconds),
        "loads": ("Loadings of the models.", keeping.loads),
        "load_failures": ("Loadings that failed.", keeping.failures),
        "load_seconds": ("Seconds that loading took.", keeping.load_seconds),
        "unloads": ("How often idle models were unloaded.", keeping.unloads),
        "model_processes": ("Processes that the models have had.", engine.starts),
    }
    for name, (said, value) in grows.items():
        yield figure(f"{name}_total", said, "counter", value)
    is_ready = engine.state.word == "ready"
    now: dict[str, tuple[str, float]] = {
        "requests_waiting": ("Requests that wait for their turn.", engine.waiting),
        "requests_answering": ("Requests that have the models.", engine.is_busy),
        "models_loaded": ("1 while the models are loaded.", is_ready),
        "memory_bytes": ("Memory of the loaded models, as estimated.", _held(engine, is_ready)),
    }
    for name, (said, value) in now.items():
        yield figure(name, said, "gauge", value)


def _held(engine: SharedEngine, is_ready: bool) -> int:
    return (memory_of(engine) or 0) if is_ready else 0
