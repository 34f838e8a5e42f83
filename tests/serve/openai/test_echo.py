"""Completions that begin with their prompt: what is sent, by the client's types too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from openai.types import Completion

from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.pieces import Piece
from edgeproxy.decode.scoring import Likely, TokenScore
from edgeproxy.errors import UsageError
from edgeproxy.serve.events import Echo, Event, Said
from edgeproxy.serve.openai.chat import read_chat
from edgeproxy.serve.openai.completions import read_completion
from edgeproxy.serve.openai.tokenizing import about, detokenize, text_of, tokenize
from edgeproxy.serve.openai.tokens import IMPOSSIBLE
from edgeproxy.serve.protocol import Known, RefusedError, Request
from edgeproxy.serve.wanted import Answers
from tests.helpers.openai_events import (
    END,
    KNOWN,
    VOCAB,
    ended,
    plain_steps,
    streamed,
    whole,
)

PROMPT = "é Lima."
NONE = float("-inf")


def asked(**more: Any) -> Request:
    return read_completion({"prompt": PROMPT, "echo": True, **more}, KNOWN, "me")


def score(token: int, logprob: float | None, *best: tuple[int, float]) -> TokenScore:
    rivals = tuple(Likely(each, VOCAB.piece(each), value) for each, value in best)
    return TokenScore(token, VOCAB.piece(token), logprob, rivals)


ECHO = Echo(
    (
        score(1, None),
        score(2, -0.5, (2, -0.5)),
        score(0, NONE, (4, -0.25)),
        score(3, -1.5, (END, -0.75)),
    )
)


def nothing_more() -> list[Event]:
    return [ECHO, Said(Piece("", None, None, "length")), ended("length")]


def one_more() -> list[Event]:
    """The model ends the reply at once."""
    said = Said(Piece("", END, -0.5, "stop"), score=score(END, -0.5, (END, -0.5)))
    return [ECHO, said, ended("stop")]


OF_PROMPT: dict[str, list[Any]] = {
    "tokens": ["�", "�", " Lima", "."],
    "token_logprobs": [None, -0.5, IMPOSSIBLE, -1.5],
    "top_logprobs": [
        None,
        {"�": -0.5},
        {" Paris": -0.25, " Lima": IMPOSSIBLE},
        {"<|end|>": -0.75, ".": -1.5},
    ],
    "text_offset": [0, 0, 1, 6],
}


def test_a_prompt_alone() -> None:
    answer = whole(asked(logprobs=1, max_tokens=0), nothing_more())
    assert answer["choices"] == [
        {"index": 0, "text": PROMPT, "logprobs": OF_PROMPT, "finish_reason": "length"}
    ]


def test_without_rivals() -> None:
    answer = whole(asked(logprobs=0, max_tokens=0), nothing_more())
    assert answer["choices"][0]["logprobs"] == OF_PROMPT | {"top_logprobs": None}


def test_the_token_that_ends_a_reply_is_told() -> None:
    """Clients that ask for one token more than the prompt leave the last one out."""
    answer = whole(asked(logprobs=1, max_tokens=1), one_more())
    (choice,) = answer["choices"]
    assert (choice["text"], choice["finish_reason"]) == (PROMPT, "stop")
    last = {"tokens": "<|end|>", "token_logprobs": -0.5, "top_logprobs": {"<|end|>": -0.5}}
    more = {**last, "text_offset": len(PROMPT)}
    assert choice["logprobs"] == {name: [*OF_PROMPT[name], more[name]] for name in OF_PROMPT}


def test_a_reply_stands_behind_its_prompt() -> None:
    said = [Said(Piece(" Paris", 4, -0.25), score=score(4, -0.25, (4, -0.25), (0, -2.0)))]
    events: list[Event] = [
        ECHO,
        *said,
        Said(Piece(".", 3, -1.0, "length"), score=score(3, -1.0)),
        ended(),
    ]
    (choice,) = whole(asked(logprobs=2), events)["choices"]
    assert choice["text"] == f"{PROMPT} Paris."
    logprobs = choice["logprobs"]
    assert logprobs["tokens"][-2:] == [" Paris", "."]
    assert logprobs["text_offset"][-2:] == [7, 13]
    assert logprobs["top_logprobs"][-2:] == [{" Paris": -0.25, " Lima": -2.0}, {".": -1.0}]
    for start, token in zip(logprobs["text_offset"][2:], logprobs["tokens"][2:], strict=True):
        assert choice["text"][start:].startswith(token)


def test_without_log_probabilities_the_prompt_is_put_before_any_reply() -> None:
    (choice,) = whole(asked(), plain_steps())["choices"]
    assert (choice["text"], choice["logprobs"]) == (f"{PROMPT} Limaé.", None)
    (choice,) = whole(asked(max_tokens=0), nothing_more())["choices"]
    assert (choice["text"], choice["logprobs"]) == (PROMPT, None)


def choices(request: Request, events: Sequence[Event]) -> list[dict[str, Any]]:
    *sent, done = streamed(request, events)
    assert done.data == "[DONE]"
    return [each.data["choices"][0] for each in sent if isinstance(each.data, dict)]


def test_a_stream_begins_with_the_prompt() -> None:
    first, last, end = choices(asked(logprobs=1, stream=True), one_more())
    assert (first["text"], first["logprobs"], first["finish_reason"]) == (PROMPT, OF_PROMPT, None)
    assert (last["text"], last["logprobs"]["text_offset"]) == ("", [len(PROMPT)])
    assert (end["text"], end["finish_reason"]) == ("", "stop")


def test_a_stream_without_log_probabilities() -> None:
    found = choices(asked(stream=True), plain_steps())
    assert [each["text"] for each in found] == [PROMPT, " Lima", "é", ".", ""]
    assert all(each["logprobs"] is None for each in found)


def test_ids_are_told_as_the_text_that_they_are() -> None:
    ids = [1, 2, 0, 3]
    request = asked(prompt=[ids], logprobs=1, max_tokens=0)
    assert whole(request, nothing_more())["choices"][0]["text"] == PROMPT
    assert whole(asked(prompt=ids), plain_steps())["choices"][0]["text"] == f"{PROMPT} Limaé."
    half = whole(asked(prompt=[0, 1]), plain_steps())["choices"][0]["text"]
    assert half == " Lima� Limaé."


def test_a_space_that_a_tokenizer_adds_is_not_in_the_text() -> None:
    echo = Echo((TokenScore(0, b"Lima", None), score(3, -1.5)))
    request = asked(prompt="Lima.", logprobs=0, max_tokens=0)
    (choice,) = whole(request, [echo, *nothing_more()[1:]])["choices"]
    assert choice["logprobs"]["tokens"] == ["Lima", "."]
    assert choice["logprobs"]["text_offset"] == [0, 4]


@pytest.mark.parametrize("more", [{"logprobs": 1}, {"logprobs": 0}, {}])
def test_the_real_clients_types_take_it(more: dict[str, Any]) -> None:
    answer = whole(asked(**more), one_more())
    if more:  # OpenAI sends null there, and its client's types say that it does not
        told = answer["choices"][0]["logprobs"]
        told["token_logprobs"][0] = 0.0
        told["top_logprobs"] = told["top_logprobs"] and [{}, *told["top_logprobs"][1:]]
    found = Completion.model_validate(answer)
    assert found.choices[0].text == PROMPT
    logprobs = found.choices[0].logprobs
    assert (logprobs is not None) == bool(more)


def test_a_chat_has_no_echo() -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    with pytest.raises(RefusedError) as caught:
        read_chat({**body, "echo": True}, KNOWN, "me")
    assert caught.value.param == "echo"


# Texts and ids


class FakeEngine:
    """Cuts a text into its characters, by their places in a vocabulary."""

    def __init__(self, vocab: Vocab) -> None:
        self._vocab = vocab
        self.asked: list[str] = []

    def known(self) -> Known:
        return KNOWN

    async def vocab(self, answers: Answers = "trio") -> Vocab:
        self.asked.append(answers)
        return self._vocab

    async def tokenize(self, text: str, answers: Answers = "trio") -> list[int]:
        self.asked.append(answers)
        return [self._vocab.tokens.index(each.encode()) for each in text]


LETTERS = Vocab(
    tokens=(*(each.encode() for each in "abcé"), b"<s>", b"</s>"),
    kinds=(1, 1, 1, 1, 3, 3),
    bos=4,
    end_of_generation=frozenset((5,)),
    add_bos=True,
    named={"bos": 4, "eos": 5},
)


def cut(vocab: Vocab = LETTERS, **body: Any) -> dict[str, Any]:
    return asyncio.run(tokenize(FakeEngine(vocab), body))


def test_tokens_of_a_text() -> None:
    found = cut(prompt="abé", add_special_tokens=False)
    assert found == {"tokens": [0, 1, 3], "count": 3, "max_model_len": 1024}
    assert cut(prompt="abé")["tokens"] == [4, 0, 1, 3]
    assert cut(replace(LETTERS, add_bos=False), prompt="abé")["tokens"] == [0, 1, 3]


def test_the_name_of_a_special_token_alone_is_that_token() -> None:
    assert cut(prompt="</s>", add_special_tokens=False)["tokens"] == [5]
    assert cut(prompt="<s>")["tokens"] == [4]


def test_the_text_of_tokens() -> None:
    found = asyncio.run(detokenize(FakeEngine(LETTERS), {"tokens": [4, 0, 3, 5]}))
    assert found == {"prompt": "aé"}
    assert text_of([], LETTERS) == ""
    assert text_of([1], VOCAB) == "�"


def test_what_the_tokenizer_is() -> None:
    found = asyncio.run(about(FakeEngine(LETTERS)))
    assert (found["bos_token"], found["eos_token"], found["add_bos_token"]) == ("<s>", "</s>", True)
    bare = asyncio.run(about(FakeEngine(replace(LETTERS, bos=None, named={"eos": 99}))))
    assert (bare["bos_token"], bare["eos_token"], bare["add_bos_token"]) == (None, None, False)


def test_a_model_by_its_name() -> None:
    engine = FakeEngine(LETTERS)
    asyncio.run(tokenize(engine, {"prompt": "a", "model": "factbook:base"}))
    assert engine.asked == ["base", "base"]


@pytest.mark.parametrize(
    ("call", "body", "param"),
    [
        (tokenize, {}, "prompt"),
        (tokenize, {"prompt": ""}, "prompt"),
        (tokenize, {"prompt": ["a"]}, "prompt"),
        (tokenize, {"prompt": "a\0"}, "prompt"),
        (tokenize, {"prompt": "a", "model": "gpt-4o"}, "model"),
        (tokenize, {"prompt": "a", "add_special_tokens": 1}, "add_special_tokens"),
        (tokenize, {"prompt": "a", "return_token_strs": True}, "return_token_strs"),
        (tokenize, {"messages": []}, "messages"),
        (detokenize, {"tokens": [6]}, "tokens[0]"),
        (detokenize, {"tokens": [0, -1]}, "tokens[1]"),
        (detokenize, {"tokens": ["a"]}, "tokens[0]"),
        (detokenize, {"tokens": "a"}, "tokens"),
        (detokenize, {"tokens": [10**30]}, "tokens[0]"),
    ],
)
def test_what_is_refused(call: Any, body: dict[str, Any], param: str) -> None:
    with pytest.raises(UsageError) as caught:
        asyncio.run(call(FakeEngine(LETTERS), body))
    assert isinstance(caught.value, RefusedError)
    assert caught.value.param == param
