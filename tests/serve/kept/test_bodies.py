"""Requests to keep messages: what is kept of them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproxy.serve.kept.bodies import MOST_MESSAGES, read_save
from edgeproxy.serve.protocol import RefusedError

USER = {"role": "user", "text": "Hi"}
REPLY = {"role": "assistant", "text": "Yes?"}
SYSTEM = {"role": "system", "text": "Be brief."}
BAD = "\ud800"


def test_a_reply_is_kept_as_a_chat_keeps_it() -> None:
    took = {
        "prompt_tokens": 40,
        "completion_tokens": 3,
        "seconds": 0.5,
        "first_token_seconds": 0.1,
        "acceptance": 0.25,
        "documents": [{"source": "a.txt", "place": None, "trail": ["b"]}],
    }
    reply = {
        **REPLY,
        "finish_reason": "cancelled",
        "settings": {"alpha": 1.5, "seed": 7, "temperature": 0.5, "max_tokens": 9},
        "stats": took,
        "beside": [{"role": "base", "text": "No.", "stats": {"seconds": 1}}],
    }
    save = read_save({"id": "k7x2m", "parent": 3, "messages": [USER, reply]})
    assert (save.session, save.parent) == ("k7x2m", 3)
    user, said = save.said
    assert (user.role, user.text, user.settings, user.stats) == ("user", "Hi", {}, {})
    assert said.finish_reason == "cancelled"
    assert said.settings == {
        "steering": {"alpha": 1.5},
        "sampling": {"temperature": 0.5, "seed": 7},
        "asked": ["seed", "temperature"],
        "max_tokens": 9,
    }
    assert said.stats == {
        "usage": {"prompt": 40, "kept": 0, "completion": 3},
        "stats": {"tokens": 3, "first_seconds": 0.1, "seconds": 0.5},
        "acceptance": 0.25,
        "documents": [{"source": "a.txt", "trail": ["b"]}],
        "beside": [
            {
                "role": "base",
                "text": "No.",
                "stats": {"stats": {"tokens": 0, "first_seconds": 0.0, "seconds": 1.0}},
            }
        ],
    }


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": "Hi"}, "messages"),
        ({"messages": []}, "messages"),
        ({"id": "k7x2m", "messages": []}, "messages"),
        ({"parent": 3, "messages": [USER]}, "id"),
        ({"messages": [REPLY]}, "messages[0].role"),
        ({"messages": [USER, USER]}, "messages[1].role"),
        ({"messages": [USER, REPLY, REPLY]}, "messages[2].role"),
        ({"messages": [USER, SYSTEM]}, "messages[1].role"),
        ({"messages": [SYSTEM, REPLY]}, "messages[1].role"),
        ({"messages": [SYSTEM]}, "messages"),
        ({"messages": [USER, REPLY | {"text": ""}]}, "messages[1].text"),
        ({"messages": [USER], "more": 1}, "more"),
        ({"messages": [USER], "id": "../x"}, "id"),
        ({"messages": [USER], "id": "x" * 33}, "id"),
        ({"messages": [USER], "id": 5}, "id"),
        ({"id": "x", "parent": 0, "messages": [USER]}, "parent"),
        ({"id": "x", "parent": 2**63, "messages": [USER]}, "parent"),
        ({"id": "x", "parent": True, "messages": [USER]}, "parent"),
        ({"messages": [USER] * (MOST_MESSAGES + 1)}, "messages"),
        ({"messages": [USER | {"text": BAD}]}, "messages[0].text"),
        ({"messages": [USER | {"text": "a\x00b"}]}, "messages[0].text"),
        ({"messages": [USER | {"text": " \n"}]}, "messages[0].text"),
        ({"messages": [USER | {"text": None}]}, "messages[0].text"),
        ({"messages": [USER | {"role": "tool"}]}, "messages[0].role"),
        ({"messages": [USER | {"created": 1}]}, "messages[0].created"),
        ({"messages": [USER | {"stats": {}}]}, "messages[0].stats"),
        ({"messages": [USER | {"settings": {"alpha": 1}}]}, "messages[0].settings"),
        ({"messages": [USER, REPLY | {"finish_reason": "x"}]}, "messages[1].finish_reason"),
        ({"messages": [USER, REPLY | {"settings": {"alpha": 1e9}}]}, "messages[1].settings.alpha"),
        ({"messages": [USER, REPLY | {"stats": {"x": 1}}]}, "messages[1].stats.x"),
        ({"messages": [USER, REPLY | {"stats": {"seconds": -1}}]}, "messages[1].stats.seconds"),
        ({"messages": [USER, REPLY | {"beside": [{}]}]}, "messages[1].beside[0].role"),
        ({"messages": [USER, REPLY | {"beside": [{}] * 5}]}, "messages[1].beside"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_field(body: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as caught:
        read_save(body)
    assert caught.value.param == param
    assert caught.value.status == 400
    str(caught.value).encode()
