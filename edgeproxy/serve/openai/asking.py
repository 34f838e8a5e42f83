"""What all requests have in common -> a `Wanted`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import PromptError, UsageError
from edgeproxy.explain import RECORD
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.prompts.formats import Message, RoleName
from edgeproxy.serve.openai.closing import closed
from edgeproxy.serve.openai.fields import MOST_CHARACTERS, SAMPLING
from edgeproxy.serve.openai.models import answers_of
from edgeproxy.serve.protocol import Known, RefusedError
from edgeproxy.serve.wanted import Wanted

AS_IT_IS = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
"""The distribution as it is: what users of OpenAI's protocol expect unless they ask for more."""

SEEDS_HERE = 2**32 - 1
"""So many seeds there are; others are taken modulo this."""

_STEERED = ("alpha", "base_weight", "plausibility")
_ALL_SAID = ("frequency_penalty", "presence_penalty")

Given = Mapping[str, Any]
"""The fields of a request that were given, checked by themselves."""


def wanted(
    given: Given,
    known: Known,
    who: str,
    messages: Sequence[Message],
    *,
    max_tokens: int | None,
    format_of: Given | None = None,
    format_name: str = "response_format",
    is_raw: bool = False,
    best: int | None = None,
    best_name: str = "top_logprobs",
    explains: bool = False,
    tokens: Sequence[int] = (),
    echoes: bool = False,
    called: str = "",
) -> Wanted:
    """The reply that a request asks for.

    `format_of` is its format for answers, called `format_name`; `best` how many of each token's
    likeliest rivals are told, and `best_name` the field that says so; None where log-probabilities
    are not told. `tokens` are gone on with in place of `messages`; with `echoes` the answer begins
    with the prompt. `called` is `Wanted.id`. Raises `RefusedError`.
    """
    answers = answers_of(given.get("model"), known)
    for name in _STEERED:
        if name in given and answers != "trio":
            raise RefusedError(f"{name} is for the trio, not for one model alone", name)
    docs_to = given.get("docs_to")
    if docs_to not in (None, "nobody") and not known.has_documents:
        raise RefusedError("docs_to: this server was started without documents", "docs_to")
    weight = given.get("base_weight")
    _check_steering(given)
    tells = answers == "trio" and known.can_record and weight != 0.0
    scores = echoes and (best is not None or max_tokens == 0)
    if scores and answers == "trio" and weight == 0.0:
        what = f"echo: with base_weight 0 the expert alone answers; ask {known.name}:expert for it"
        raise RefusedError(what, "base_weight", "unsupported_value")
    if (explains or (best and not scores)) and not tells:
        raise _untold(best_name if best else None, answers, weight)
    record = max(0 if best is None else max(best, 1), RECORD if explains else 0)
    return Wanted(
        messages=tuple(messages),
        is_raw=is_raw,
        answers=answers,
        # Another vocabulary than the trio's is not known here; whoever has it looks.
        sampling=sampling_of(given, known if answers == "trio" else replace(known, vocab=None)),
        max_tokens=None if max_tokens is None else min(max_tokens, known.most_tokens),
        stops=_stops(given.get("stop")),
        alpha=given.get("alpha"),
        base_weight=weight,
        plausibility=given.get("plausibility"),
        docs_to=docs_to,
        grammar=_grammar(given, format_of, format_name),
        record=record if tells and not scores else 0,
        tokens=tuple(tokens),
        echo=(best or 0) if scores else None,
        id=called,
        who=who,
    )


def _untold(name: str | None, answers: str, weight: float | None) -> RefusedError:
    """The error for what three models are to say where they do not; `name` is who asks for it."""
    if name is None and answers != "trio":
        name = "model"
    if name is None and weight == 0.0:
        name = "base_weight"
    what = "what each model says is not told where one answers alone, or a server draws the tokens"
    what = what if name is None else f"{name}: {what}"
    return RefusedError(what, name, "unsupported_value")


def _check_steering(given: Given) -> None:
    """Refuse weights that do not go together; those of the manifest are the engine's business."""
    if "alpha" in given and "base_weight" in given:
        try:
            Steering(given["alpha"], given["base_weight"])
        except UsageError as error:
            raise RefusedError(str(error), "base_weight", "invalid_value") from None


def sampling_of(given: Given, known: Known) -> Sampling | None:
    """How tokens are drawn; None where the request says nothing of that, and the manifest does.

    Raises `RefusedError` for a biased token that there is not.
    """
    changes = {name: given[name] for name in SAMPLING if name in given}
    if not changes:
        return None
    if "seed" in changes:
        changes["seed"] %= SEEDS_HERE
    vocab = known.vocab
    for token in changes.get("logit_bias", {}):
        if vocab is not None and token >= len(vocab):
            what = f"logit_bias names token {token}, and there are {len(vocab):,}"
            raise RefusedError(what, "logit_bias", "invalid_value")
    if any(name in changes for name in _ALL_SAID) and "repeat_last_n" not in changes:
        changes["repeat_last_n"] = min(known.n_ctx, 1_000_000)
    return replace(AS_IT_IS if "temperature" in changes else known.sampling, **changes)


def _stops(stop: str | list[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _grammar(given: Given, format_of: Given | None, name: str) -> Grammar | None:
    kind = format_of["type"] if format_of is not None else "text"
    text = given.get("grammar")
    try:
        if text is not None:
            if kind != "text":
                raise RefusedError(f"grammar does not go with {name} {kind}", "grammar")
            name = "grammar"
            return Grammar.grammar(text, name)
        if kind == "json_object":
            return Grammar.json_schema({"type": "object"}, name)
        if kind == "json_schema" and format_of is not None:
            inside = format_of.get("json_schema", format_of)
            return Grammar.json_schema(closed(inside["schema"]), name)
    except RefusedError:
        raise
    except UsageError as error:
        raise RefusedError(str(error), name, "invalid_value") from None
    return None


def message_of(role: str, content: str | list[Any], where: str) -> Message:
    """A message of a conversation; parts of its content are joined by line breaks.

    Raises `RefusedError` for a question without words.
    """
    if role == "developer":
        role = "system"
    if not isinstance(content, str):
        content = "\n".join(part["text"] for part in content)
    try:
        return Message(cast(RoleName, role), content)
    except PromptError as error:
        path = f"{where}.content" if where.endswith("]") else where
        raise RefusedError(f"{path}: {error}", path, "invalid_value") from None


def check_length(messages: Sequence[Message], where: str) -> None:
    """Refuse a conversation that has more characters than any is read of."""
    length = sum(len(message.content) for message in messages)
    if length > MOST_CHARACTERS:
        what = f"{where} has {length:,} characters; at most {MOST_CHARACTERS:,} are taken"
        raise RefusedError(what, where, "string_above_max_length")


def check_stream_options(given: Given) -> None:
    """Refuse what is for streams alone where there is none."""
    if "stream_options" in given and not given.get("stream"):
        what = "stream_options is for streams: give stream true too, or leave it out"
        raise RefusedError(what, "stream_options", "invalid_value")
    if given.get("return_progress") and not given.get("stream"):
        what = "return_progress is for streams: give stream true too, or leave it out"
        raise RefusedError(what, "return_progress", "invalid_value")
