"""A reply that was recorded -> what each model said for every token of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from itertools import chain

from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.compared import Known
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.text import Utf8
from edgeproxy.errors import UsageError
from edgeproxy.explain.form import (
    ROLES,
    Explained,
    Explanation,
    Far,
    Guess,
    Model,
    Settings,
    Word,
)
from edgeproxy.explain.own_words import own_words, word_of
from edgeproxy.explain.verdict import summary_of
from edgeproxy.session.session import Session
from edgeproxy.session.turn import Opinion, Step, Turn

RECORD = 10
"""So many of each row's best tokens are kept for a reply that is to be explained."""


_SAME = 1e-9
"""Nats between tokens that are as likely as each other."""


def explain(turn: Turn, session: Session) -> Explanation:
    """What each model of `session` said for every token of its reply `turn`, as far as it came.

    The turn must have been asked to `record` some of each row's best tokens, `RECORD` by default.
    Nothing is evaluated. How a pair with a tokenizer of its own spells the reply is told only where
    its models are in this process. Raises `UsageError` for a reply that was not recorded, or that
    one model gave alone.
    """
    if session.alone is not None:
        session.trio_speaker  # noqa: B018 - says what is missing
    asked, vocab = turn.asked, session.vocab
    if not asked.record or asked.steering is None:
        raise UsageError(
            f"the reply was not recorded, so it cannot be explained: ask again with record={RECORD}"
        )
    steering = asked.steering
    tokens = tuple(_explained(turn.steps, session, steering))
    named = {each for token in tokens for each in _named(token)}
    # The mask is off where a grammar says what may come.
    plausibility = 0.0 if asked.grammar else steering.plausibility
    return Explanation(
        trio=session.recipe.name,
        models=_models(session),
        messages=tuple(asdict(message) for message in asked.messages),
        text=turn.text,
        finish_reason=turn.finish_reason,
        settings=Settings(
            steering.alpha,
            steering.base_weight,
            plausibility,
            steering.expert_ends,
            {each.name: getattr(asked.sampling, each.name) for each in fields(asked.sampling)},
        ),
        summary=summary_of(tokens),
        words={token: word_of(vocab, token) for token in sorted(named)},
        endings=tuple(sorted(session.speaker.endings)),
        tokens=tokens,
    )


def _models(session: Session) -> dict[str, Model]:
    cases = {name: found.case for name, found in session.matches.items()}
    return {
        name: Model(
            name=role.file_name,
            sha256=role.sha256,
            prompt=role.prompt,
            vocabulary="same" if name == "base" else cases.get(name, "same"),
            on_server=role.endpoint is not None,
            adapters={lora.name: lora.scale for lora in role.loras} or None,
        )
        for name, role in session.recipe.roles.items()
    }


def _explained(steps: Iterable[Step], session: Session, steering: Steering) -> Iterator[Explained]:
    vocab = session.vocab
    spelling = {
        name: spells
        for name, model in session.pair.items()
        if (spells := own_words(vocab, model)) is not None
    }
    endings = session.speaker.endings
    utf8 = Utf8()
    for step in steps:
        ends = step.token in endings
        text = utf8.flush() if ends else utf8.push(vocab.piece(step.token))
        spelled = {name: spells.push(step.token) for name, spells in spelling.items()}
        yield _token(step, steering, text, vocab, spelled or None, ends)


def _token(
    step: Step,
    steering: Steering,
    text: str,
    vocab: Vocab,
    spelled: dict[str, tuple[Word, ...]] | None,
    ends: bool,
) -> Explained:
    compared, token = step.compared, step.token
    opinions: dict[str, Opinion] = {name: getattr(step, name) for name in ROLES}
    of_token = next(known for known in compared.known if known.token == token)
    return Explained(
        id=token,
        text=text,
        bytes=vocab.tokens[token].hex(),
        special=word_of(vocab, token).special,
        drafted=step.drafted,
        moved=compared.moved,
        kl=compared.kl,
        changed=compared.changed,
        brought=_is_brought(opinions),
        offset=_offset(step, of_token, steering, ends),
        guessed=compared.is_partial,
        logprobs={name: opinion.chosen.logprob for name, opinion in opinions.items()},
        best={name: tuple(map(Guess._make, said.best)) for name, said in opinions.items()},
        known=compared.known,
        log_rest=compared.log_rest,
        base_rest=compared.base_rest,
        far=Far(*compared.far),
        end_odds=compared.end_odds,
        spelled=spelled,
    )


def _is_brought(opinions: Mapping[str, Opinion]) -> bool:
    """Whether the fused row would say the token drawn, and none of the three alone."""
    *alone, fused = (opinions[name] for name in ROLES)
    return _would_say(fused) and not any(map(_would_say, alone))


def _would_say(opinion: Opinion) -> bool:
    """Whether the token drawn is the likeliest of a row, or as likely as that."""
    return opinion.chosen.logprob >= opinion.best[0].logprob - _SAME


def _offset(step: Step, known: Known, steering: Steering, ends: bool) -> float:
    """What the base's log-probability became, less what it was, before the sum is made 1 again.

    Of an end that the expert alone decides on, after that.
    """
    alpha, weight = steering.alpha, steering.base_weight
    if ends and step.compared.end_odds is not None:
        return step.fused.chosen.logprob - step.base.chosen.logprob
    return alpha * (known.expert - weight * known.anti_expert) + (weight - 1.0) * known.base


def _named(token: Explained) -> Iterable[int]:
    best = (guess.id for guesses in token.best.values() for guess in guesses)
    return chain([token.id], best, (known.token for known in token.known))
