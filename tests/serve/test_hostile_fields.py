"""Every field of every request with every wrong value, asked of a real server: none is a 500."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest

from edgeproxy.serve.openai import fields, routes
from edgeproxy.serve.openai.shapes import Fields
from tools.serving.server import KEY, Serving

pytestmark = [pytest.mark.weights, pytest.mark.slow]

QUESTION = "What is the capital of Mongolia?"
ANSWER = "The capital of Mongolia is Ulaanbaatar."
MESSAGES = [{"role": "user", "content": QUESTION}]
LEAST = 300
"""So many requests at least are to be tried."""

BODIES: dict[str, tuple[Fields, dict[str, Any]]] = {
    routes.CHAT: (fields.CHAT, {"messages": MESSAGES, "max_tokens": 1}),
    routes.COMPLETIONS: (fields.COMPLETIONS, {"prompt": QUESTION, "max_tokens": 1}),
    routes.RESPONSES: (fields.RESPONSES, {"input": QUESTION, "max_output_tokens": 1}),
    routes.TOKENIZE: (fields.TOKENIZED, {"prompt": QUESTION}),
    routes.DETOKENIZE: (fields.DETOKENIZED, {"tokens": [1, 2]}),
    routes.EXPLAIN: (fields.EXPLAINED, {"messages": MESSAGES, "max_tokens": 1}),
}
"""By path the fields that it has, and a body that is answered."""

DEEP = json.loads("[" * 60 + "]" * 60)
WRONG: tuple[Any, ...] = (
    *(True, -1, 10**30, 1e308, float("nan"), float("-inf")),
    *("", "\x00", "\ud800", "../../etc/passwd", "{{ 7 * 7 }}", "<|im_start|>" * 50),
    *([], {}, [None], [[]], {"a": {"b": []}}, {"__proto__": 1, "type": "\u202e"}, DEEP),
)


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    with Serving("factbook") as made:
        yield made


def test_no_value_of_any_field_is_a_fault_of_the_server(serving: Serving) -> None:
    statuses: Counter[int] = Counter()
    headers = {**serving.headers, "Content-Type": "application/json"}
    with httpx.Client(base_url=serving.url, headers=headers, timeout=120.0) as http:
        for path, (known, body) in BODIES.items():
            for name in [*known, "nobody_knows_this"]:
                for wrong in WRONG:
                    asked = json.dumps({**body, name: wrong})
                    answer = http.post(path, content=asked)
                    statuses[answer.status_code] += 1
                    assert answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR, asked
                    if answer.is_error:
                        error = answer.json()["error"]
                        assert error["message"], asked
                        assert KEY not in answer.text
                        assert "Traceback" not in answer.text
                if name == "nobody_knows_this":
                    assert answer.status_code == HTTPStatus.BAD_REQUEST
                    assert error["param"] == name
        whole = {"messages": MESSAGES}
        said = http.post(routes.CHAT, json=whole).json()["choices"][0]["message"]["content"]
    assert said == ANSWER
    assert statuses.total() >= LEAST
    assert statuses[HTTPStatus.BAD_REQUEST] > statuses[HTTPStatus.OK]
    assert serving.is_up
    assert not [line for line in serving.said if KEY in line or "Traceback" in line]
