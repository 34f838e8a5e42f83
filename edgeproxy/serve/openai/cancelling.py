"""`/v1/edgeproxy/cancel`: a reply that is under way or waits is ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeproxy.serve.events import Engine
from edgeproxy.serve.openai import fields
from edgeproxy.serve.openai.shapes import Object
from edgeproxy.serve.protocol import RefusedError

NOT_FOUND = 404


async def cancel(engine: Engine, body: Mapping[str, Any]) -> dict[str, Any]:
    """End the reply that a request names, and what is answered then. Raises `RefusedError`."""
    name: str = Object(fields.CANCEL).read(body)["id"]
    if not engine.cancel(name):
        what = "no reply of this id is under way here; it may have ended"
        raise RefusedError(what, "id", "reply_not_found", NOT_FOUND)
    return {"id": name, "object": "edgeproxy.cancelled", "cancelled": True}
