"""The server's own OpenAPI document, 3.1, made of the tables that its readers use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeproxy.explain import FORM
from edgeproxy.serve.kept import bodies
from edgeproxy.serve.openai import fields, routes
from edgeproxy.serve.openai.kinds import Schema
from edgeproxy.serve.openai.shapes import Fields, Object

OPENAPI = "3.1.0"
_JSON, _EVENTS, _PROMETHEUS = "application/json", "text/event-stream", "text/plain"

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_HEAD: Schema = {"type": ["integer", "null"]}
_NULLABLE_TEXT: Schema = {"type": ["string", "null"]}

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": _NULLABLE_TEXT,
                "code": _NULLABLE_TEXT,
            },
        }
    },
}

_REQUESTS: dict[str, tuple[str, Fields]] = {
    routes.CHAT: ("Chat", fields.CHAT),
    routes.COMPLETIONS: ("Completion", fields.COMPLETIONS),
    routes.RESPONSES: ("Response", fields.RESPONSES),
    routes.EXPLAIN: ("Explain", fields.EXPLAINED),
    routes.COUNT_CHAT: ("ChatCount", fields.CHAT),
    routes.COUNT_RESPONSES: ("ResponseCount", fields.RESPONSES_COUNTED),
}
"""The name of each body's schema, and its fields."""

_QUESTION = "What is the capital of Mongolia?"
_ASKED = {"messages": [{"role": "user", "content": _QUESTION}]}
_INPUT = {"input": _QUESTION}
_EXAMPLES: dict[str, dict[str, Any]] = {
    routes.CHAT: _ASKED,
    routes.COMPLETIONS: {"prompt": "The capital of", "max_tokens": 8},
    routes.RESPONSES: _INPUT,
    routes.EXPLAIN: _ASKED,
    routes.COUNT_CHAT: _ASKED,
    routes.COUNT_RESPONSES: _INPUT,
}

_SAID = {
    routes.CHAT: "Answer a conversation.",
    routes.COMPLETIONS: "Go on with a text.",
    routes.RESPONSES: "Answer a conversation; nothing of it is kept.",
    routes.EXPLAIN: "Answer a conversation, and tell what each model said for every token.",
    routes.COUNT_CHAT: "How many tokens a chat's prompt has.",
    routes.COUNT_RESPONSES: "How many tokens a response's prompt has.",
}

_STATUSES = {
    "400": "The request asks for what is impossible or not supported; `param` names its field.",
    "401": "The key is missing or wrong.",
    "404": "There is no such model, reply or session.",
    "413": "The body is too large.",
    "415": "The body is no JSON by its content type.",
    "429": "Too many requests wait; Retry-After says when to ask again.",
    "500": "The server failed.",
    "502": "A server that holds the base failed.",
    "503": "The server closes, or has no room for its models now.",
    "default": "The request cannot be answered.",
}


def document(version: str, names: Sequence[str] = ()) -> dict[str, Any]:
    """The document, for a server of edgeproxy's `version`; `names` are the models that it has."""
    posts = {path: {"post": _post(path)} for path in _REQUESTS}
    tables = {
        **dict(_REQUESTS.values()),
        "Cancel": fields.CANCEL,
        "SaveSession": bodies.SAVE,
        "Tokenize": fields.TOKENIZED,
        "Detokenize": fields.DETOKENIZED,
    }
    requests = {
        f"{name}Request": _of_models(Object(table).schema(), names)
        for name, table in tables.items()
    }
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "edgeproxy",
            "version": version,
            "description": "OpenAI's protocol over a trio of local models. Fields that carry "
            "x-edgeproxy are its own; what is not listed is refused with 400 and its name.",
        },
        "security": [{"key": []}],
        "paths": {
            **posts,
            **_calls(),
            routes.EMBEDDINGS: {"post": _embeddings()},
            **_gets(names),
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {**requests, **_answers(), "Error": _ERROR},
        },
    }


def _of_models(schema: Schema, names: Sequence[str]) -> Schema:
    """The schema of a body, which can name these models alone, if it names one."""
    properties = schema["properties"]
    if not names or "model" not in properties:
        return schema
    model = {"enum": [*names, None], "description": properties["model"]["description"]}
    return {**schema, "properties": {**properties, "model": model}}


def _post(path: str) -> dict[str, Any]:
    name, _ = _REQUESTS[path]
    content: dict[str, Any] = {_JSON: {"schema": _ref(_answer_of(path))}}
    if path in routes.READERS:
        content[_EVENTS] = {}  # a schema would be that of each event, and no event says its kind
    return {
        "operationId": name[0].lower() + name[1:],
        "summary": _SAID[path],
        "requestBody": {
            "required": True,
            "content": {
                _JSON: {"schema": _ref(f"{name}Request"), "example": _EXAMPLES[path]},
            },
        },
        "responses": {"200": {"description": "The answer.", "content": content}, **_errors()},
    }


def _answer_of(path: str) -> str:
    return "Counted" if path in routes.COUNTERS else _REQUESTS[path][0]


def _calls() -> dict[str, Any]:
    """What is answered at once: replies that are cancelled, tokens, sessions that are kept."""
    one = [{"name": "id", "in": "path", "required": True, "schema": _TEXT}]
    kept = "; 404 unless the server was started with --keep-sessions."
    listed = _get("listSessions", f"The latest sessions{kept}", _ref("Sessions"), "404")
    tree = _get("session", f"A session{kept}", _ref("Session"), "404", parameters=one)
    removed = _get("removeSession", f"Remove a session{kept}", _GONE, "404", parameters=one)
    saved = _call("saveSession", f"Keep messages of a session{kept}", "SaveSession", _ref("Saved"))
    cancelled = _call("cancel", "End a reply with what was said until now.", "Cancel", _GONE)
    cut = _call("tokenize", "The tokens of a text.", "Tokenize", _TOKENS)
    joined = _call("detokenize", "The text of tokens.", "Detokenize", _object(prompt=_TEXT))
    about = _get("tokenizer", "What the tokenizer names its special tokens.", _TOKENIZER, "503")
    return {
        routes.TOKENIZE: {"post": cut},
        routes.DETOKENIZE: {"post": joined},
        routes.TOKENIZER: {"get": about},
        routes.CANCEL: {"post": cancelled},
        routes.SESSIONS: {"get": listed, "post": saved},
        routes.SESSION: {"get": tree, "delete": removed},
    }


def _call(name: str, said: str, request: str, schema: Schema) -> dict[str, Any]:
    content = {_JSON: {"schema": _ref(f"{request}Request")}}
    return {
        "operationId": name,
        "summary": said,
        "requestBody": {"required": True, "content": content},
        "responses": {**_ok(_JSON, schema), **_errors()},
    }


def _embeddings() -> dict[str, Any]:
    return {
        "operationId": "embeddings",
        "summary": "Not supported: the server has no model for embeddings.",
        "requestBody": {"content": {_JSON: {"schema": {"type": "object"}}}},
        "responses": {"501": _error("Not supported."), **_errors("401", "413", "415", "default")},
    }


def _gets(names: Sequence[str]) -> dict[str, Any]:
    named: Schema = {"enum": list(names)} if names else _TEXT
    name = {"name": "id", "in": "path", "required": True, "schema": named}
    one = _get("model", "A model.", _ref("Model"), "404", parameters=[name])
    health = _get("health", "Whether requests are answered.", {"type": "object"}, security=[])
    del health["responses"]["401"]
    health["responses"]["503"] = {"description": "The models are loaded, or cannot be."}
    metrics = _get("metrics", "Figures for Prometheus.", _TEXT)
    metrics["responses"] |= _ok(_PROMETHEUS, _TEXT)
    return {
        routes.MODELS: {"get": _get("models", "Who can answer.", _ref("Models"))},
        routes.MODEL: {"get": one},
        routes.ABOUT: {"get": _get("about", "What the page says of the trio.", _ABOUT)},
        routes.HEALTH: {"get": health},
        routes.METRICS: {"get": metrics},
        routes.OPENAPI: {"get": _get("openapi", "This document.", {"type": "object"})},
    }


def _get(name: str, said: str, schema: Schema, *errors: str, **more: Any) -> dict[str, Any]:
    responses = {**_ok(_JSON, schema), **_errors("401", *errors, "default")}
    return {"operationId": name, "summary": said, **more, "responses": responses}


def _ok(kind: str, schema: Schema) -> dict[str, Any]:
    return {"200": {"description": "The answer.", "content": {kind: {"schema": schema}}}}


def _errors(*statuses: str) -> dict[str, Any]:
    return {status: _error(_STATUSES[status]) for status in statuses or _STATUSES}


def _error(said: str) -> dict[str, Any]:
    return {"description": said, "content": {_JSON: {"schema": _ref("Error")}}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


_GONE = _object(id=_TEXT, object=_TEXT)
"""What is answered where something was ended or removed."""


_ABOUT = _object(
    trio=_TEXT,
    sentence=_TEXT,
    questions={"type": "array", "items": _TEXT},
    docs=_NULLABLE_TEXT,
    keeps_sessions={"type": "boolean"},
    alpha={"type": "number"},
    temperature={"type": "number"},
    explains={"type": "boolean"},
)
_TOKENS = _object(tokens={"type": "array", "items": _COUNT}, count=_COUNT, max_model_len=_COUNT)
_TOKENIZER = _object(
    tokenizer_class=_TEXT,
    bos_token=_NULLABLE_TEXT,
    eos_token=_NULLABLE_TEXT,
    chat_template={"type": "null"},
)


def _answers() -> dict[str, Schema]:
    listed: Schema = {"type": "array"}
    figures: Schema = {"type": "object"}
    born = {"id": _TEXT, "created": _COUNT, "model": _TEXT}
    chosen = {"choices": listed, "usage": figures, "edgeproxy": figures}
    model = _object(
        id=_TEXT,
        object={"const": "model"},
        created=_COUNT,
        owned_by=_TEXT,
        context_length=_COUNT,
        edgeproxy=figures,
    )
    return {
        "Chat": _object(object={"const": "chat.completion"}, **born, **chosen),
        "Completion": _object(object={"const": "text_completion"}, **born, **chosen),
        "Response": _object(
            object={"const": "response"},
            id=_TEXT,
            created_at=_COUNT,
            status=_TEXT,
            model=_TEXT,
            output=listed,
            usage=figures,
            edgeproxy=figures,
        ),
        "Explain": _object(form={"const": FORM}, version=_COUNT, text=_TEXT, tokens=listed),
        "Counted": _object(object={"const": "response.input_tokens"}, input_tokens=_COUNT),
        "Sessions": _object(object={"const": "list"}, data=listed, total=_COUNT),
        "Session": _object(id=_TEXT, title=_TEXT, trio=_TEXT, head=_HEAD, messages=listed),
        "Saved": _object(id=_TEXT, object=_TEXT, messages={"type": "array", "items": _COUNT}),
        "Model": model,
        "Models": _object(object={"const": "list"}, data={"type": "array", "items": _ref("Model")}),
    }
