"""llama.cpp's server: its own /completion takes token ids and gives as much of a row as is asked.

It tells nothing of a prompt's own tokens, so several rows are asked for as several prompts in one
request, each a token longer; what they have in common is in its prefix cache.

A row is told only with a token that was drawn, and not where that token ends in half a character.
So where rows are wanted the token that it draws is decided by a bias: what it tells of the row is
what the model said, before any bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import (
    RemoteBusyError,
    RemoteError,
    RemoteRefusedError,
    RemoteUnreachableError,
)
from edgeproxy.remote.predicts import BiasBy, Drawn, Draws, Known, Offer
from edgeproxy.remote.rows import check_bytes, known_tokens, member, token_id
from edgeproxy.remote.speaking import Http, Speaking

_DECIDES = 1e6
"""A bias that decides which token is drawn."""

_PLAIN = {"n_predict": 1, "cache_prompt": True, "return_tokens": True, "stream": False}
_GREEDY: dict[str, Any] = {"temperature": 0.0, "samplers": ["temperature"]}
"""The likeliest token, whatever samplers the server was started with. Without any it draws."""


class LlamaServer(Speaking):
    """A llama-server, spoken to in its own protocol. `vocab` is that of the model it serves."""

    _slot: int | None = None
    """The slot that has read the text so far."""

    @classmethod
    def find(cls, http: Http, cancel: Cancel | None = None) -> Offer | None:
        """What a llama-server at `http` offers; None where there is none. Raises `RemoteError`."""
        try:
            props = http.get("/props", cancel=cancel)
        except (RemoteBusyError, RemoteRefusedError, RemoteUnreachableError):
            raise
        except RemoteError:
            return None  # a web page, or anything else that is not llama-server's
        if not isinstance(props, dict) or "default_generation_settings" not in props:
            return None
        settings = member(props, "default_generation_settings", dict, "the server")
        n_ctx = member(settings, "n_ctx", int, "the server")
        slots = props.get("total_slots")
        build, model = props.get("build_info"), props.get("model_alias") or props.get("model_path")
        return Offer(
            software=f"llama-server {build}" if isinstance(build, str) else "llama-server",
            model=model if isinstance(model, str) else "",
            n_ctx=n_ctx - 1,  # it refuses a prompt that leaves no room for a token
            most_logprobs=None,
            rows_at_once=True,
            takes_bias=True,
            tells_any_token=True,
            slots=slots if type(slots) is int and slots > 0 else None,
        )

    def rows(
        self, tokens: Sequence[int], count: int, k: int, cancel: Cancel | None = None
    ) -> list[Known]:
        """As `Predicts.rows`."""
        prompts = [list(tokens[:n]) for n in range(len(tokens) - count + 1, len(tokens) + 1)]
        body = {"prompt": prompts if count > 1 else prompts[0], "n_probs": k, **_PLAIN, **_GREEDY}
        body["logit_bias"] = [[self._plain_token, _DECIDES]]
        if count > 1 and self._slot is not None:
            # All in one slot, or each slot would read the whole text.
            body["id_slot"] = self._slot
        answers = self._post("/completion", body, cancel)
        several = answers if isinstance(answers, list) else [answers]
        if len(several) != count:
            raise RemoteError(self.who, f"it gave {len(several)} answers to {count} prompts")
        several = sorted(several, key=lambda answer: member(answer, "index", int, self.who))
        return [self._row(answer) for answer in several]

    def _row(self, answer: Any) -> Known:
        self._count(answer)
        best = member(self._drawn(answer), "top_logprobs", list, self.who)
        if not all(isinstance(each, dict) for each in best):
            raise RemoteError(self.who, "it told of a token without its log-probability")
        known = known_tokens(
            [each.get("id") for each in best], [each.get("logprob") for each in best], self.who
        )
        said = ((each["id"], self._bytes(each["bytes"])) for each in best if each.get("bytes"))
        check_bytes(said, self._vocab, self.who)
        return known

    def look_up(
        self, tokens: Sequence[int], token: int, cancel: Cancel | None = None
    ) -> float | None:
        """As `Predicts.look_up`: it is made to draw the token, and says its own log-probability."""
        body = {"prompt": list(tokens), "n_probs": 1, **_PLAIN, **_GREEDY}
        body["logit_bias"] = [[token, _DECIDES]]
        answer = self._post("/completion", body, cancel)
        self._count(answer)
        if "completion_probabilities" not in answer:
            return None  # half a character
        drawn = self._drawn(answer)
        if member(drawn, "id", int, self.who) != token:
            raise RemoteError(self.who, f"it was made to draw token {token} and drew another")
        return member(drawn, "logprob", float, self.who)

    def _bytes(self, value: Any) -> bytes:
        try:
            if isinstance(value, list):
                return bytes(value)
        except (TypeError, ValueError):
            pass
        raise RemoteError(self.who, "it said of a token's bytes what are none")

    def draw(
        self, tokens: Sequence[int], bias: BiasBy, draws: Draws, cancel: Cancel | None = None
    ) -> Drawn:
        """As `Predicts.draw`."""
        body = {
            "prompt": list(tokens),
            "n_probs": 1,
            "logit_bias": [[token, value] for token, value in bias.items()],
            **_PLAIN,
            **(_GREEDY if draws.temperature == 0.0 else _sampling(draws, len(tokens))),
        }
        answer = self._post("/completion", body, cancel)
        self._count(answer)
        if "completion_probabilities" in answer:
            drawn = self._drawn(answer)
            logprob = drawn.get("logprob")
            return Drawn(
                token_id(drawn.get("id"), self.who), logprob if isinstance(logprob, float) else None
            )
        tokens = member(answer, "tokens", list, self.who)
        if len(tokens) != 1:
            raise RemoteError(self.who, f"it was asked for one token and gave {len(tokens)}")
        return Drawn(token_id(tokens[0], self.who))

    @cached_property
    def _plain_token(self) -> int:
        """A token of plain text, which ends no reply and no character in its middle."""
        texts = self._vocab.texts
        return next((token for token, text in enumerate(texts) if text and text.isascii()), 0)

    def _drawn(self, answer: Any) -> dict[str, Any]:
        told = member(answer, "completion_probabilities", list, self.who)
        if len(told) != 1 or not isinstance(told[0], dict):
            raise RemoteError(self.who, f"it was asked for one token and told of {len(told)}")
        return told[0]

    def _count(self, answer: Any) -> None:
        read = member(answer, "tokens_evaluated", int, self.who)
        slot = answer.get("id_slot")
        self._slot = slot if isinstance(slot, int) and not isinstance(slot, bool) else None
        timings = answer.get("timings")
        new = timings.get("prompt_n") if isinstance(timings, dict) else None
        self.spent.add(read, read - new if isinstance(new, int) and new <= read else 0, 1)


def _sampling(draws: Draws, place: int) -> dict[str, Any]:
    """The settings of a draw; with a seed each place has one of its own."""
    found: dict[str, Any] = {
        "samplers": ["top_k", "top_p", "min_p", "temperature"],
        "temperature": draws.temperature,
        "top_k": draws.top_k,
        "top_p": draws.top_p,
        "min_p": draws.min_p,
    }
    if draws.seed is not None:
        found["seed"] = (draws.seed + place) % (2**32 - 1)
    return found
