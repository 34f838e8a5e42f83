"""Who can answer, as OpenAI's protocol lists models: the trio, and each of its models alone."""

from __future__ import annotations

from typing import Any

from edgeproxy.serve.openai.kinds import said
from edgeproxy.serve.protocol import Known, RefusedError
from edgeproxy.serve.wanted import Answers

_ROLES: dict[str, Answers] = {"base": "base", "expert": "expert", "anti_expert": "anti_expert"}

OWNER = "edgeproxy"


def names_of(known: Known) -> dict[str, Answers]:
    """The models by the names that requests call them, the trio first: NAME, NAME:anti-expert."""
    alone = {
        f"{known.name}:{role.replace('_', '-')}": _ROLES[role]
        for role in known.roles
        if role in _ROLES
    }
    return {known.name: "trio", **alone}


def answers_of(name: str | None, known: Known) -> Answers:
    """Who answers for a name, the trio where none is given. Raises `RefusedError`."""
    if name is None:
        return "trio"
    names = names_of(known)
    if name not in names:
        what = f"there is no model {said(name)} here; there are {', '.join(names)}"
        raise RefusedError(what, "model", "model_not_found", 404)
    return names[name]


def listed(known: Known, created: int, memory: int | None = None) -> dict[str, Any]:
    """What `GET /v1/models` answers.

    `created` is when the server began, in seconds since 1970, and `memory` what the loaded models
    take, in bytes; None where nobody knows.
    """
    return {
        "object": "list",
        "data": [_model(name, known, created, memory) for name in names_of(known)],
    }


def one(name: str, known: Known, created: int, memory: int | None = None) -> dict[str, Any]:
    """What `GET /v1/models/{name}` answers; see `listed`. Raises `RefusedError`."""
    answers_of(name, known)
    return _model(name, known, created, memory)


def _model(name: str, known: Known, created: int, memory: int | None) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "context_length": known.n_ctx,
        "edgeproxy": {
            "answers": names_of(known)[name],
            "most_tokens": known.most_tokens,
            "memory_bytes": memory,
            "has_documents": known.has_documents,
            "is_loaded": known.vocab is not None,
        },
    }
