"""The numbers that matter to a person, for `--stats`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeproxy.core.memory_free import peak_memory

if TYPE_CHECKING:
    from edgeproxy.align import Cost
    from edgeproxy.decode.steering import Alone, Steering
    from edgeproxy.session.session import Session
    from edgeproxy.session.turn import Turn


def stats_line(session: Session, turn: Turn, load_seconds: float, more: Sequence[str] = ()) -> str:
    """Tokens, tokens a second, time to the first one, load time, `more`, memory, the pair."""
    stats = turn.stats
    parts = [f"{stats.tokens} tokens"]
    if stats.tokens_per_second is not None:
        parts.append(f"{stats.tokens_per_second:.1f} tokens/s")
    if stats.tokens:
        parts.append(f"first token after {stats.first_seconds:.2f} s")
    parts += [f"loaded in {load_seconds:.2f} s", *more, *peak_in_words()]
    if session.alone or session.steering.alone == "expert":
        return ", ".join([*parts, steering_in_words(session.steering), *of_server(session, turn)])
    parts += [pair_in_words(session, [stats.pair]), drafts_in_words(session, turn)]
    parts.append(threads_in_words(session))
    return ", ".join(parts + of_server(session, turn))


def of_server(session: Session, turn: Turn) -> list[str]:
    """What is to be said of a base on a server; nothing of one that is here."""
    model, spent = session.speaker.remote, turn.stats.spent
    if model is None or spent is None:
        return []
    from edgeproxy.cli.ui import serving
    from edgeproxy.decode.biased import BiasedTrio

    said: list[str | None] = [serving.server_in_words(model)]
    if session.alone is None and isinstance(session.trio, BiasedTrio):
        said.append(serving.sent_in_words(session.trio.sent))
    elif session.alone is None and model.is_partial:
        said.append(serving.coverage_in_words(session.trio.coverage))
    said.append(serving.spent_in_words(spent, turn.stats.tokens))
    return [words for words in said if words is not None]


ALONE: Mapping[Alone, str] = MappingProxyType(
    {"expert": "the expert alone (base weight 0)", "base": "the base alone (alpha 0)"}
)


def steering_in_words(steering: Steering) -> str:
    """Who answers alone; else the alpha, and which weights are not as in the paper."""
    if steering.alone:
        return ALONE[steering.alone]
    parts = [f"alpha {steering.alpha:g}"]
    if steering.base_weight != 1.0:
        parts.append(f"base weight {steering.base_weight:g}")
    if steering.expert_ends:
        parts.append("the expert ends replies")
    return ", ".join(parts)


def drafts_in_words(session: Session, turn: Turn) -> str:
    """What drafting did in a reply: tokens a cycle, and how many drafted ones were drawn."""
    done = turn.stats.drafted
    if not session.trio.can_rewind:
        return f"drafts: off ({_forgetful(session)}: read from the start each time, never drafted)"
    if session.drafter.mode == "off" or done is None:
        return "drafts: off"
    words = f"drafts: {session.drafter.mode}, {done.drafted} tokens"
    if turn.stats.acceptance is None or not done.cycles:
        return words
    return (
        f"{words}, {turn.stats.acceptance:.0%} of them accepted, "
        f"{done.tokens / done.cycles:.1f} tokens a cycle"
    )


def _forgetful(session: Session) -> str:
    """The roles whose models forget all or nothing."""
    roles = zip(session.recipe.roles, session.trio.models, strict=True)
    return ", ".join(name.replace("_", "-") for name, model in roles if not model.can_rewind)


def threads_in_words(session: Session) -> str:
    """How many threads base and pair had last, and whether the pair evaluated at once."""
    crew = session.crew
    words = f"threads: {crew.base.choice.best} for the base, {crew.pair.choice.best} for the pair"
    return words + (", both at once" if crew.beside is not None and crew.beside.choice.best else "")


def spent_by(session: Session) -> list[str]:
    """What a session has asked of a server; nothing where all models are here."""
    if session.spent is None:
        return []
    from edgeproxy.cli.ui.serving import spent_in_words

    return [spent_in_words(session.spent, 0)]


_CASES = ("same", "padded", "permuted", "different")


def pair_in_words(session: Session, costs: Iterable[Cost | None]) -> str:
    """How the pair's vocabulary is related to the base's, and what replies of these `costs` took.

    An evaluation is one token read by the expert; the ideal reads each reply's text once.
    """
    case = max((found.case for found in session.matches.values()), key=_CASES.index)
    known = [cost for cost in costs if cost is not None]
    tokens, evaluated, ideal = map(sum, zip((0, 0, 0), *known, strict=True))
    words = f"pair: {case} vocabulary"
    if not tokens or not ideal:
        return words
    return (
        f"{words}, read {evaluated / tokens:.2f} tokens a token "
        f"(ideal {ideal / tokens:.2f}, {evaluated / ideal:.2f}x)"
    )


def peak_in_words() -> list[str]:
    """The most memory this process has held, where the system tells."""
    peak = peak_memory()
    return [] if peak is None else [f"peak memory {peak / 1e6:.0f} MB"]
