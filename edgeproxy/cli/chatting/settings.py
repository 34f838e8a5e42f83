"""What `/set` changes: how replies are drawn, steered and shown, each by its name.

A value is checked by what it is for: a `Sampling`, a `Steering`, a `Drafter`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, cast, get_args

from edgeproxy.core.check import one_of, whole
from edgeproxy.decode.drafted import Draft
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Policy
from edgeproxy.errors import UsageError
from edgeproxy.session.overflow import Overflow

if TYPE_CHECKING:
    from edgeproxy.cli.chatting.talk import Talk
    from edgeproxy.decode.steering import Change

ON_OFF = ("on", "off")
DEFAULT = "default"
"""The value that takes a setting back to what it was at the start."""


class Setting(NamedTuple):
    """One setting: what it does, its value as a person reads it, and how a text changes it."""

    what: str
    shown: Callable[[Talk], str]
    put: Callable[[Talk, str], None]
    values: Sequence[str] = ()


def shown_value(value: object) -> str:
    """A value as a person reads it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def number(name: str, value: str) -> float:
    """The number that `value` says. Raises `UsageError` naming `name`."""
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"{name} takes a number such as 1 or 0.5, not {value!r}") from None


def whole_number(name: str, value: str) -> int:
    """The whole number that `value` says. Raises `UsageError` naming `name`."""
    try:
        return int(value.replace(",", ""))
    except ValueError:
        raise UsageError(f"{name} takes a whole number such as 40, not {value!r}") from None


def switch(name: str, value: str) -> bool:
    """Whether `value` says on. Raises `UsageError` where it says neither."""
    if value not in ON_OFF:
        raise UsageError(f"{name} takes on or off, not {value!r}")
    return value == "on"


def steer(talk: Talk, key: str, value: float | str | None) -> None:
    """Change one field of the steering. Raises `UsageError` for an impossible value."""
    session = talk.session
    session.steering = session.steering.changed(cast("Change", {key: value}))


def _sampled(key: str, what: str) -> Setting:
    name = key.replace("_", "-")
    is_whole = "int" in str(Sampling.__dataclass_fields__[key].type)

    def put(talk: Talk, value: str) -> None:
        changed = dict(talk.settings.sampling)
        if value == DEFAULT or (key == "seed" and value in ("off", "none")):
            changed.pop(key, None)
        else:
            changed[key] = whole_number(name, value) if is_whole else number(name, value)
        replace(talk.session.sampling, **changed)  # raises for an impossible one
        talk.settings.sampling = changed

    def shown(talk: Talk) -> str:
        value = getattr(talk.sampling, key)
        return "drawn for each reply" if value is None else shown_value(value)

    return Setting(what, shown, put)


def _put_bias(talk: Talk, value: str) -> None:
    changed = dict(talk.settings.sampling)
    bias: dict[int, float] = {}
    for each in () if value in ("off", DEFAULT) else value.split():
        token, sign, much = each.partition("=")
        if not sign:
            raise UsageError(f"logit-bias takes TOKEN=BIAS ..., such as 15=-2, not {each!r}")
        bias[whole_number("a token of logit-bias", token)] = number("logit-bias", much)
    changed["logit_bias"] = bias
    n_vocab = talk.n_vocab
    beyond = [token for token in bias if not 0 <= token < n_vocab]
    if beyond:
        raise UsageError(f"logit-bias names token {beyond[0]}, but there are {n_vocab:,}")
    replace(talk.session.sampling, **changed)
    talk.settings.sampling = changed


def _shown_bias(talk: Talk) -> str:
    return " ".join(f"{k}={v:g}" for k, v in talk.sampling.logit_bias.items()) or "none"


def _steered(key: str, what: str, values: Sequence[str] = ()) -> Setting:
    name = key.replace("_", "-")

    def put(talk: Talk, value: str) -> None:
        if value == DEFAULT:
            steer(talk, key, getattr(talk.session.recipe.steering, key))
        else:
            steer(talk, key, value if values else number(name, value))

    return Setting(what, lambda t: shown_value(getattr(t.session.steering, key)), put, values)


def _put_max_tokens(talk: Talk, value: str) -> None:
    given = whole_number("max-tokens", value)
    talk.settings.max_tokens = whole("max-tokens", given, 1)


def _put_stops(talk: Talk, value: str) -> None:
    try:
        given = () if value in ("off", DEFAULT) else tuple(shlex.split(value))
    except ValueError:
        raise UsageError(f"stops: a quotation mark is not closed in {value}") from None
    talk.settings.stops = tuple(text.replace("\\n", "\n").replace("\\t", "\t") for text in given)


def _put_overflow(talk: Talk, value: str) -> None:
    one_of("overflow", value, get_args(Overflow))
    talk.settings.overflow = cast(Overflow, value)


def _put_markdown(talk: Talk, value: str) -> None:
    talk.settings.is_rendered = switch("markdown", value)


def _put_wrap(talk: Talk, value: str) -> None:
    talk.settings.wraps = switch("wrap", value)


def _put_draft(talk: Talk, value: str) -> None:
    talk.session.drafter.mode = cast(Draft, value)


def _shown_draft(talk: Talk) -> str:
    return "off" if talk.session.alone else talk.session.drafter.mode


SETTINGS: dict[str, Setting] = {
    "alpha": _steered("alpha", "weight of the pair's opinion: 0 is the base alone, 1 the paper"),
    "base-weight": _steered(
        "base_weight", "weight of what only the base knows: 0 is the expert alone, 1 the paper"
    ),
    "plausibility": _steered(
        "plausibility", "drop tokens that the expert gives less than so many times its best; 0 off"
    ),
    "policy": _steered("policy", "how the weights change from step to step", get_args(Policy)),
    "temperature": _sampled("temperature", "0 takes the most probable token, more draws wilder"),
    "top-k": _sampled("top_k", "draw among so many of the best; 0 is off"),
    "top-p": _sampled("top_p", "draw among the best that sum to so much; 1 is off"),
    "min-p": _sampled("min_p", "drop what has less than so much of the best's share; 0 is off"),
    "repeat-penalty": _sampled("repeat_penalty", "above 1, repeat less"),
    "frequency-penalty": _sampled("frequency_penalty", "above 0, the less the more often said"),
    "presence-penalty": _sampled("presence_penalty", "above 0, less of what was said at all"),
    "repeat-last-n": _sampled("repeat_last_n", "how many of the last tokens these look at"),
    "dry-multiplier": _sampled("dry_multiplier", "DRY penalty against repeated phrases; 0 is off"),
    "dry-base": _sampled("dry_base", "how fast DRY grows with the length of a phrase"),
    "dry-allowed-length": _sampled("dry_allowed_length", "phrases up to so long are free of DRY"),
    "dry-last-n": _sampled("dry_last_n", "how many of the last tokens DRY looks at"),
    "logit-bias": Setting("TOKEN=BIAS ... is added to these logits; off", _shown_bias, _put_bias),
    "seed": _sampled("seed", "seed of the draw; off draws one for each reply"),
    "max-tokens": Setting(
        "the longest reply", lambda t: shown_value(t.settings.max_tokens), _put_max_tokens
    ),
    "stops": Setting(
        'texts that end a reply, such as "###" "\\n\\n"; off',
        lambda t: " ".join(map(repr, t.settings.stops)) or "none",
        _put_stops,
    ),
    "draft": Setting("what drafts tokens", _shown_draft, _put_draft, get_args(Draft)),
    "overflow": Setting(
        "a message that does not fit: an error, or the oldest turns are dropped",
        lambda t: t.settings.overflow,
        _put_overflow,
        get_args(Overflow),
    ),
    "markdown": Setting(
        "show markdown as styled text",
        lambda t: shown_value(t.settings.is_rendered),
        _put_markdown,
        ON_OFF,
    ),
    "wrap": Setting(
        "break the lines of styled text between words, which puts line ends into what is copied",
        lambda t: shown_value(t.settings.wraps),
        _put_wrap,
        ON_OFF,
    ),
}
"""Every setting by its name, in the order in which they are listed."""
