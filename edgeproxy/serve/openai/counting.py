"""How many tokens a prompt has: `/v1/chat/completions/input_tokens`, `/v1/responses/input_tokens`.

A body is as that of the request that it asks about, so that a client can send the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeproxy.serve.openai import fields
from edgeproxy.serve.openai.chat import read_chat
from edgeproxy.serve.openai.responses import read_response
from edgeproxy.serve.protocol import Known
from edgeproxy.serve.wanted import Wanted


def read_chat_count(body: Mapping[str, Any], known: Known, who: str) -> Wanted:
    """What `Engine.count` is to count, of a chat's body. Raises `RefusedError`."""
    return read_chat(body, known, who).wanted


def read_response_count(body: Mapping[str, Any], known: Known, who: str) -> Wanted:
    """What `Engine.count` is to count, of a response's body. Raises `RefusedError`."""
    return read_response(body, known, who, fields.RESPONSES_COUNTED).wanted


def counted(tokens: int) -> dict[str, Any]:
    """The answer: so many tokens. OpenAI has it for responses, llama-server for chats too."""
    return {"object": "response.input_tokens", "input_tokens": tokens}
