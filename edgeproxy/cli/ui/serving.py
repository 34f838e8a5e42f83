"""A base on a server, as a person reads of it: what it is, how it takes part, what it cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeproxy.cli.ui.interrupt import on_interrupt
from edgeproxy.units import in_units

if TYPE_CHECKING:
    from edgeproxy.decode.biased import Sent
    from edgeproxy.decode.partial import Coverage
    from edgeproxy.remote.model import RemoteModel
    from edgeproxy.remote.spent import Spent
    from edgeproxy.trios.find import Role


def asked(base: Role) -> dict[str, Any]:
    """What the server of a base can do, as `session.servers.ask` says it; Ctrl-C is heard."""
    from edgeproxy.core.cancel import Flag
    from edgeproxy.session.servers import ask

    cancel = Flag()
    with on_interrupt(cancel.set):
        return ask(base, cancel)


def asked_in_words(found: dict[str, Any]) -> list[str]:
    """What `asked` found, in lines; that prompts go there is said whatever it found."""
    warned = "the conversation is sent there, but for what the pair alone reads"
    if found["problem"]:
        return [f"{found['url']}: {warned}", f"cannot be used now: {found['problem']}"]
    return [
        f"{found['url']}: {found['software']}, {found['model']}, {found['n_ctx']:,} tokens",
        f"takes part by {_way(found['way'], found['logprobs'], found['vocabulary'])}; {warned}",
    ]


def way_in_words(model: RemoteModel) -> str:
    """The way in which a base takes part: "rows, all log-probabilities of each"."""
    return _way(model.way, model.k, len(model.vocab))


def _way(way: str, logprobs: int, vocabulary: int) -> str:
    if way == "bias":
        return "bias, the server adds it and draws"
    if logprobs >= vocabulary:
        return "rows, all log-probabilities of each"
    return f"{way}, {logprobs:,} of {vocabulary:,} log-probabilities of each row"


def server_in_words(model: RemoteModel) -> str:
    """What the server is and how it takes part."""
    offer = model.server.offer
    return f"base: {offer.software} at {model.server.who}, {way_in_words(model)}"


def spent_in_words(spent: Spent, tokens: int) -> str:
    """What a reply of so many tokens has cost: "6 requests (0.46 a token), 212 tokens in ..."."""
    each = f" ({spent.requests / tokens:.2f} a token)" if tokens else ""
    cached = f", {spent.tokens_cached:,} of them cached" if spent.tokens_cached else ""
    requests = "1 request" if spent.requests == 1 else f"{spent.requests:,} requests"
    words = (
        f"{requests}{each}, {spent.tokens_in:,} tokens in{cached}, "
        f"{spent.tokens_out:,} out, {in_units(spent.bytes_sent)} sent, "
        f"{in_units(spent.bytes_received)} received, waited {spent.seconds:.2f} s"
    )
    if spent.retries:
        words += f", {spent.retries:,} sent again"
    return words + (f", cost {spent.money:.4f}" if spent.price_in or spent.price_out else "")


def coverage_in_words(coverage: Coverage) -> str | None:
    """How often the expert's best token was told of; None where rows were never partial."""
    if coverage.share is None:
        return None
    words = f"the expert's best token was among the base's in {coverage.share:.1%} of rows"
    if coverage.widened:
        words += f", more was asked for {_times(coverage.widened)}"
    if coverage.asked:
        tokens = "1 token was" if coverage.asked == 1 else f"{coverage.asked:,} tokens were"
        words += f", {tokens} asked for"
    return words


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count:,} times"


def sent_in_words(sent: Sent) -> str | None:
    """What was sent as a bias; None where nothing was."""
    if not sent.steps:
        return None
    text = f"{sent.tokens / sent.steps:,.0f} tokens biased a step"
    if sent.left_out:
        text += f", {sent.left_out / sent.steps:,.0f} left out as more than are sent"
    if sent.cut:
        text += f", {sent.cut:,} in all cut to the largest bias that the server takes"
    return text
