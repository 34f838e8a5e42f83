"""The tokens that a reply tells are named by the vocabulary of whoever draws them."""

from __future__ import annotations

from functools import partial
from typing import Any

import httpx
import pytest

from edgeproxy.serve.engine import SharedEngine
from edgeproxy.serve.http.app import make_app
from edgeproxy.serve.http.guards import Guards
from edgeproxy.serve.http.wiring import parts_of
from edgeproxy.serve.openai import routes
from edgeproxy.session.load import load
from edgeproxy.trios.find import find_recipe
from tests.helpers.engine_bench import run
from tests.helpers.http_fakes import KEY, WITH_KEY

ASKED = {
    "messages": [{"role": "user", "content": "What is the capital of Chad?"}],
    "max_tokens": 12,
    "temperature": 0,
    "logprobs": True,
}


@pytest.mark.weights
@pytest.mark.parametrize("base_weight", [1.0, 0.0])
def test_the_experts_own_where_the_base_has_no_say(base_weight: float) -> None:
    """The expert of this trio has another tokenizer than its base."""

    recipe = find_recipe("factbook-phi")
    isolated: Any = partial(load, recipe, isolate=True)

    async def work() -> None:
        engine = SharedEngine(isolated, recipe)
        transport = httpx.ASGITransport(make_app(parts_of(engine), Guards(KEY)))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers=WITH_KEY, timeout=60
        ) as client:
            answer = await client.post(routes.CHAT, json={**ASKED, "base_weight": base_weight})
        assert answer.status_code == 200, answer.text
        (choice,) = answer.json()["choices"]
        told = [each["token"] for each in choice["logprobs"]["content"]]
        assert "".join(told) == choice["message"]["content"]
        assert len(told) > 5
        await engine.close(0.0)

    run(work)
