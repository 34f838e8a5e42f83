"""Which path is read by what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from edgeproxy.serve.openai.chat import read_chat, read_explain
from edgeproxy.serve.openai.completions import read_completion
from edgeproxy.serve.openai.counting import read_chat_count, read_response_count
from edgeproxy.serve.openai.responses import read_response
from edgeproxy.serve.protocol import Known, Read
from edgeproxy.serve.wanted import Wanted

CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
EXPLAIN, EMBEDDINGS = "/v1/edgeproxy/explain", "/v1/embeddings"
COUNT_CHAT, COUNT_RESPONSES = f"{CHAT}/input_tokens", f"{RESPONSES}/input_tokens"
CANCEL = "/v1/edgeproxy/cancel"
ABOUT = "/v1/edgeproxy/about"
SESSIONS, SESSION = "/v1/edgeproxy/sessions", "/v1/edgeproxy/sessions/{id}"
MODELS, MODEL = "/v1/models", "/v1/models/{id}"
TOKENIZE, DETOKENIZE, TOKENIZER = "/tokenize", "/detokenize", "/tokenizer_info"
HEALTH, METRICS, OPENAPI = "/health", "/metrics", "/openapi.json"

ReadCount = Callable[[Mapping[str, Any], Known, str], Wanted]
"""Reads a body whose tokens are to be counted; see `protocol.Read`."""

READERS: Mapping[str, Read] = MappingProxyType(
    {
        CHAT: read_chat,
        COMPLETIONS: read_completion,
        RESPONSES: read_response,
        EXPLAIN: read_explain,
    }
)
"""The paths of POST that a reply answers."""

COUNTERS: Mapping[str, ReadCount] = MappingProxyType(
    {COUNT_CHAT: read_chat_count, COUNT_RESPONSES: read_response_count}
)
"""The paths of POST that `counting.counted` answers, with what `Engine.count` counts."""
