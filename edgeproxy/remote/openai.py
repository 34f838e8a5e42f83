"""OpenAI's /v1/completions, as vLLM, llama-cpp-python's server and others speak it.

Where prompts may be token ids. vLLM names tokens by id when it is asked to; other servers name them
by their text, and a text that several tokens have says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import RemoteError, RemoteRefusedError
from edgeproxy.remote.predicts import BiasBy, Drawn, Draws, Known, Offer
from edgeproxy.remote.rows import known_tokens, member
from edgeproxy.remote.speaking import Http, Speaking
from edgeproxy.remote.spent import Spent

COMPLETIONS = "/v1/completions"
MOST_BIASED, LARGEST_BIAS = 300, 100.0
"""OpenAI's limits of a bias; other servers that speak its protocol may have larger ones."""

_NEUTRAL = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""vLLM's own defaults are those of the model's generation_config.json."""

_NAMED_BY_ID = re.compile(r"token_id:(\d{1,9})")


class OpenAI(Speaking):
    """A server that takes token ids at /v1/completions. `vocab` is its model's vocabulary."""

    def __init__(self, http: Http, vocab: Vocab, offer: Offer, spent: Spent | None = None) -> None:
        super().__init__(http, vocab, offer, spent)
        self._is_vllm = offer.software.startswith("vLLM")

    def rows(
        self, tokens: Sequence[int], count: int, k: int, cancel: Cancel | None = None
    ) -> list[Known]:
        """As `Predicts.rows`: a prompt for each row, all in one request where that is possible."""
        prompts = [list(tokens[:n]) for n in range(len(tokens) - count + 1, len(tokens) + 1)]
        if count > 1 and not self.offer.rows_at_once:
            return [self._rows([prompt], k, cancel)[0] for prompt in prompts]
        return self._rows(prompts, k, cancel)

    def _rows(self, prompts: Sequence[Sequence[int]], k: int, cancel: Cancel | None) -> list[Known]:
        body = self._asking(prompts, Draws()) | {"logprobs": k}
        choices = self._choices(body, len(prompts), cancel)
        return [self._row(choice) for choice in choices]

    def look_up(
        self, tokens: Sequence[int], token: int, cancel: Cancel | None = None
    ) -> float | None:
        """As `Predicts.look_up`: a vLLM that is made to draw a token says what it thinks of it."""
        if not self.offer.tells_any_token:
            return None
        drawn = self.draw(tokens, {token: LARGEST_BIAS}, Draws(), cancel)
        return drawn.logprob if drawn.token == token else None

    def draw(
        self, tokens: Sequence[int], bias: BiasBy, draws: Draws, cancel: Cancel | None = None
    ) -> Drawn:
        """As `Predicts.draw`."""
        body = self._asking([tokens], draws)
        body["logit_bias"] = {str(token): value for token, value in bias.items()}
        if self._is_vllm:
            body["logprobs"] = 0  # the drawn token's id and its own, from before the bias
        [choice] = self._choices(body, 1, cancel)
        return self._drawn(choice)

    def _asking(self, prompts: Sequence[Sequence[int]], draws: Draws) -> dict[str, Any]:
        body: dict[str, Any] = {
            "prompt": [list(prompt) for prompt in prompts] if len(prompts) > 1 else [*prompts[0]],
            "max_tokens": 1,
            "temperature": draws.temperature,
        }
        if self.offer.model:
            body["model"] = self.offer.model
        if draws.temperature > 0.0:
            body["top_p"] = draws.top_p
            if draws.seed is not None:
                body["seed"] = (draws.seed + len(prompts[0])) % (2**31 - 1)
        if self._is_vllm:
            # Not return_token_ids, which also sends each prompt back.
            body |= {"return_tokens_as_token_ids": True, **_NEUTRAL}
            if draws.temperature > 0.0:
                body |= {"top_k": draws.top_k, "min_p": draws.min_p}
        return body

    def _choices(self, body: dict[str, Any], count: int, cancel: Cancel | None) -> list[Any]:
        answer = self._post(COMPLETIONS, body, cancel)
        choices = member(answer, "choices", list, self.who)
        if len(choices) != count:
            raise RemoteError(self.who, f"it gave {len(choices)} answers to {count} prompts")
        usage = answer.get("usage")
        if isinstance(usage, dict):
            cached = usage.get("prompt_tokens_details")
            cached = cached.get("cached_tokens") if isinstance(cached, dict) else 0
            read, drawn = usage.get("prompt_tokens"), usage.get("completion_tokens")
            self.spent.add(*(n if isinstance(n, int) else 0 for n in (read, cached, drawn)))
        return sorted(choices, key=lambda choice: member(choice, "index", int, self.who))

    def _row(self, choice: Any) -> Known:
        logprobs = member(choice, "logprobs", dict, self.who)
        rows = member(logprobs, "top_logprobs", list, self.who)
        if len(rows) != 1 or not isinstance(rows[0], dict):
            raise RemoteError(self.who, f"it was asked for one row and gave {len(rows)}")
        told = {self._token(name): value for name, value in rows[0].items()}
        told.pop(None, None)
        if rows[0] and not told:
            raise RemoteError(
                self.who,
                "it says tokens by their text, and none of a row's likeliest is the only one with "
                "its text: ask for more log-probabilities (--base-logprobs)",
            )
        return known_tokens(list(told), list(told.values()), self.who)

    def _drawn(self, choice: Any) -> Drawn:
        logprobs = choice.get("logprobs") if isinstance(choice, dict) else None
        value = _only(logprobs, "token_logprobs")
        value = value if isinstance(value, float) else None
        name = _only(logprobs, "tokens")
        if isinstance(name, str) and (found := _NAMED_BY_ID.fullmatch(name)):
            return Drawn(int(found[1]), value)
        text = member(choice, "text", str, self.who)
        if not text and choice.get("finish_reason") == "stop":
            return Drawn(min(self._vocab.end_of_generation, default=-1), value)
        token = self._token(text)
        if token is None:
            raise RemoteError(
                self.who,
                f"it says the text {text[:40]!r} of the token that it drew, and several tokens "
                "have that or none: this way is only for servers that say a token's id",
            )
        return Drawn(token, value)

    def _token(self, name: str) -> int | None:
        """The token that a server calls so; None where that could be several."""
        if found := _NAMED_BY_ID.fullmatch(name):
            return int(found[1])
        return self._by_text.get(name)

    @cached_property
    def _by_text(self) -> Mapping[str, int]:
        """The tokens whose text no other token has, by their text; special ones by their name.

        Without these no reply would end: what ends one is no text.
        """
        found: dict[str, int] = {}
        twice: set[str] = set()
        for token, (data, name) in enumerate(
            zip(self._vocab.texts, self._vocab.tokens, strict=True)
        ):
            text = (data or name).decode(errors="replace")
            if not text or "\ufffd" in text:
                continue
            if text in found:
                twice.add(text)
            found[text] = token
        return {text: token for text, token in found.items() if text not in twice}


def _only(value: Any, name: str) -> Any:
    """The one item of the list that an object has under `name`; None where there is none."""
    items = value.get(name) if isinstance(value, dict) else None
    return items[0] if isinstance(items, list) and len(items) == 1 else None


def find(http: Http, model: str, cancel: Cancel | None = None) -> tuple[str, str, int | None]:
    """What a server that speaks OpenAI's protocol is: its software, its model, its context.

    The context counts the tokens that a prompt may have: one less than the server says, as it
    refuses a prompt that leaves no room for a token.

    `model` is the one that a person named, "" for the only one that it serves. Raises
    `RemoteError`, and `RemoteRefusedError` where it does not serve that model.
    """
    listed = member(http.get("/v1/models", cancel), "data", list, str(http.address))
    models = {m["id"]: m for m in listed if isinstance(m, dict) and isinstance(m.get("id"), str)}
    if not model and len(models) == 1:
        [model] = models
    if model not in models:
        names = ", ".join(sorted(models)[:20]) or "none"
        what = f"it does not serve the model {model!r}" if model else "it serves several models"
        raise RemoteRefusedError(
            str(http.address), f"{what}: name one of these with --base-model: {names}"
        )
    found = models[model]
    length = found.get("max_model_len")
    is_vllm = found.get("owned_by") == "vllm"
    software = "vLLM" if is_vllm else "a server that speaks OpenAI's protocol"
    return software, model, length - 1 if isinstance(length, int) and length > 2 else None
