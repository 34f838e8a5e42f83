"""A server in this process that predicts with a `Model`, in one of the protocols of servers.

serving = Serving(FakeModel(), "llama-server")
with fake_server(serving.answer) as server:
    ...  # speak to server.url
assert serving.prompts == [[1, 2], [1, 2, 3]]
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgeproxy.core.model import Model
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.remembering import Remembering
from tests.helpers.fake_server import Reply, Request

Kind = Literal["llama-server", "vllm", "openai"]

MODEL = "a-model"
LOWEST = float(np.finfo(np.float32).min)
"""What llama-server says of a token without probability."""


class Serving:
    """Answers requests as a server of this `kind` does; `model` and the limits may be changed.

    `most` is how many log-probabilities of a row it gives, None any number; `takes_bias` says
    whether it adds a bias; `key` is the one that it wants. `loading` lets it say 503.
    """

    def __init__(
        self,
        model: Model,
        kind: Kind = "llama-server",
        *,
        most: int | None = None,
        takes_bias: bool = True,
        several: bool = True,
        key: str | None = None,
        tokenizer: Vocab | None = None,
        slots: Any = None,
    ) -> None:
        self.kind = kind
        self.most = most
        self.takes_bias = takes_bias
        self.several = several
        self.key = key
        self.slots = slots
        self.loading = False
        self.tokenizer = tokenizer or model.vocab
        self.prompts: list[list[int]] = []
        """Each prompt that it was to predict what comes after."""
        self.bodies: list[Any] = []
        """What came with each POST."""
        self._lock = threading.Lock()
        self.serve(model)

    def serve(self, model: Model) -> None:
        """Predict with this model from now on."""
        self.model = model
        self._memory = Remembering(model)
        self._rows: dict[tuple[int, ...], NDArray[np.float64]] = {}

    @property
    def vocab(self) -> Vocab:
        return self.model.vocab

    def answer(self, request: Request) -> object:
        """What a `FakeServer` answers."""
        with self._lock:
            if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
                said = f"wrong key {request.headers.get('authorization')}"
                return Reply(401, {"error": {"message": said}})
            if self.loading:
                return Reply(503, {"error": {"message": "Loading model"}})
            body = json.loads(request.body) if request.body else None
            if body is not None:
                self.bodies.append(body)
            return self._answer(request.method, request.path, body)

    def _answer(self, method: str, path: str, body: Any) -> object:
        answers = self._LLAMA if self.kind == "llama-server" else self._OPENAI
        name = answers.get((method, path))
        if name is None or (path == "/tokenize" and self.kind == "openai"):
            return Reply(404, {"error": {"message": "Not Found"}})
        return getattr(self, name)(body)

    # llama-server

    _LLAMA: Mapping[tuple[str, str], str] = {
        ("GET", "/props"): "_props",
        ("GET", "/health"): "_health",
        ("POST", "/tokenize"): "_tokenize",
        ("POST", "/completion"): "_completion",
    }

    def _props(self, _: Any) -> object:
        return {
            "default_generation_settings": {"n_ctx": self.model.n_ctx},
            "build_info": "b1-fake",
            "model_path": "/models/fake.gguf",
            **({} if self.slots is None else {"total_slots": self.slots}),
        }

    def _health(self, _: Any) -> object:
        return {"status": "ok"}

    def _tokenize(self, body: Any) -> object:
        text = body["content"] if self.kind == "llama-server" else body["prompt"]
        return {"tokens": self.tokenizer.encode(text, first=True)}

    def _completion(self, body: Any) -> object:
        prompt = body["prompt"]
        if prompt and isinstance(prompt[0], list):
            return [self._complete(each, n, body) for n, each in enumerate(prompt)]
        return self._complete(prompt, 0, body)

    def _complete(self, prompt: list[int], index: int, body: Any) -> dict[str, Any]:
        row = self._row(prompt)
        bias = dict(body.get("logit_bias", ()))
        token = self._draw(row, bias, body)
        text = self.vocab.piece(token)
        answer: dict[str, Any] = {
            "index": index,
            "content": text.decode(errors="replace"),
            "tokens": [token],
            "id_slot": 3,
            "tokens_evaluated": len(prompt),
            "timings": {"prompt_n": 1},
        }
        k = body.get("n_probs", 0)
        if k and not _is_cut(text):
            answer["completion_probabilities"] = [
                self._told(token, row)
                | {"top_logprobs": [self._told(t, row) for t in best(row, k)]}
            ]
        return answer

    def _told(self, token: int, row: NDArray[np.float64]) -> dict[str, Any]:
        data = self.vocab.tokens[token]
        # Of a token that is no text it says the spelling, which is none of the reply's.
        return {
            "id": token,
            "token": data.decode(errors="replace"),
            "bytes": list(data),
            "logprob": max(float(row[token]), LOWEST),
        }

    # OpenAI's

    _OPENAI: Mapping[tuple[str, str], str] = {
        ("GET", "/v1/models"): "_models",
        ("POST", "/v1/completions"): "_completions",
        ("POST", "/tokenize"): "_tokenize",
    }

    def _models(self, _: Any) -> object:
        found: dict[str, Any] = {"id": MODEL, "object": "model", "owned_by": "someone"}
        if self.kind == "vllm":
            found |= {"owned_by": "vllm", "max_model_len": self.model.n_ctx}
        return {"object": "list", "data": [found]}

    def _completions(self, body: Any) -> object:
        if body.get("model") != MODEL:
            return Reply(404, {"error": {"message": "no such model"}})
        prompt = body["prompt"]
        prompts = prompt if isinstance(prompt[0], list) else [prompt]
        if len(prompts) > 1 and not self.several:
            return Reply(400, {"error": {"message": "one prompt at a time"}})
        k = body.get("logprobs")
        if k is not None and self.most is not None and k > self.most > 0:
            said = f"Requested logprobs of {k}, which is greater than max allowed: {self.most}"
            return Reply(400, {"error": {"message": said}})
        return {
            "id": "cmpl-1",
            "choices": [self._choice(each, n, k, body) for n, each in enumerate(prompts)],
            "usage": {"prompt_tokens": sum(map(len, prompts)), "completion_tokens": len(prompts)},
        }

    def _choice(self, prompt: list[int], index: int, k: int | None, body: Any) -> dict[str, Any]:
        row = self._row(prompt)
        bias = {int(t): value for t, value in body.get("logit_bias", {}).items()}
        if any(abs(value) > 100 for value in bias.values()):
            raise AssertionError("a bias above what this protocol allows")
        token = self._draw(row, bias if self.takes_bias else {}, body)
        by_id = self.kind == "vllm" and body.get("return_tokens_as_token_ids")
        ends = token in self.vocab.end_of_generation
        choice: dict[str, Any] = {
            "index": index,
            "text": "" if ends else self._name(token),
            "finish_reason": "stop" if ends else "length",
            "logprobs": None,
        }
        if k is not None and self.most != 0:
            names = self._by_id if by_id else self._name
            told = {names(t): max(float(row[t]), LOWEST) for t in reversed(best(row, k))}
            choice["logprobs"] = {
                "tokens": [names(token)],
                "token_logprobs": [float(row[token])],
                "top_logprobs": [told],
                "text_offset": [0],
            }
        if self.kind == "vllm" and body.get("return_token_ids"):
            choice["token_ids"] = [token]
        return choice

    def _by_id(self, token: int) -> str:
        return f"token_id:{token}"

    def _name(self, token: int) -> str:
        return self.vocab.tokens[token].decode(errors="replace")

    # both

    def _row(self, prompt: Sequence[int]) -> NDArray[np.float64]:
        """log p of each token after `prompt`, shape (n_vocab,)."""
        self.prompts.append(list(prompt))
        key = tuple(prompt)
        if key not in self._rows:
            row = self._memory.eval(self._memory.resume(prompt))[-1].astype(np.float64)
            row -= row.max()
            self._rows[key] = row - np.log(np.exp(row).sum())
        return self._rows[key]

    def _draw(self, row: NDArray[np.float64], bias: Mapping[int, float], body: Any) -> int:
        row = row.copy()
        for token, value in bias.items():
            row[token] += value
        if body["temperature"] == 0:
            return int(row.argmax())
        row /= body["temperature"]
        chances = np.exp(row - row.max())
        return int(
            np.random.default_rng(body.get("seed")).choice(len(row), p=chances / chances.sum())
        )


def best(row: NDArray[np.float64], k: int) -> list[int]:
    """The `k` likeliest tokens, the likeliest first."""
    return [int(token) for token in np.argsort(-row, kind="stable")[:k]]


def _is_cut(text: bytes) -> bool:
    """Whether `text` ends in the middle of a character."""
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return False
