"""A trio whose base is on a server: connecting to it, and the way in which it takes part.

May touch: the network, and only the server that a recipe names; the file of its key, read only.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.model import Model
from edgeproxy.core.threads import Beside
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.bias import check_steering
from edgeproxy.decode.biased import BiasedTrio
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import Cancelled, EdgeproxyError, UsageError
from edgeproxy.llama import Weights, context_length
from edgeproxy.remote.address import parse_address
from edgeproxy.remote.endpoint import Endpoint
from edgeproxy.remote.model import RemoteModel
from edgeproxy.remote.predicts import Draws
from edgeproxy.trios.find import Role

if TYPE_CHECKING:
    from edgeproxy.remote.key import Key
    from edgeproxy.session.turn import Asked


UNTOLD = (
    "a base that draws its own tokens (the way bias) does not say how likely they are; choose the "
    "way rows"
)
"""Why a text cannot be scored."""


def check_named(endpoint: Endpoint) -> Key | None:
    """The key of a server, where it has one; nothing is sent.

    Raises `UsageError` for one that is not there, and for plain HTTP to another machine where that
    was not allowed.
    """
    from edgeproxy.remote.key import read_key

    parse_address(endpoint.url, allow_http=endpoint.allow_http)
    named = endpoint.key_env, endpoint.key_file
    return None if named == (None, None) else read_key(*named)


def doubts_of(role: Role) -> list[str]:
    """What is wrong with where the key of a base on a server is kept. Raises as `check_named`."""
    key = None if role.endpoint is None else check_named(role.endpoint)
    return [key.warning] if key is not None and key.warning else []


def connected(
    role: Role, vocab: Vocab, n_ctx: int | None, cancel: Cancel, like: RemoteModel | None = None
) -> RemoteModel:
    """The model of `role`, whose vocabulary is `vocab`. Raises `RemoteError` and `UsageError`.

    What its server can do is not found out again where there is a model `like` it.
    """
    # HTTP and its protocols, which no model on this machine needs.
    from edgeproxy.remote.connect import beside, connect
    from edgeproxy.remote.transport import Server

    endpoint = role.endpoint
    assert endpoint is not None
    key = check_named(endpoint)
    http = Server(endpoint.root, key, read_timeout=endpoint.timeout, allow_http=endpoint.allow_http)
    if like is not None:
        server = beside(like.server, http)
        return RemoteModel(server, vocab, like.n_ctx, like.k, like.way, cancel)
    found = connect(endpoint, http, vocab, cancel)
    longest = context_length(found.server.offer.n_ctx, n_ctx)
    return RemoteModel(
        found.server,
        vocab,
        min(longest, found.server.offer.n_ctx),
        0 if found.way == "bias" else found.k,
        found.way,
        cancel,
    )


def ask(role: Role, cancel: Cancel) -> dict[str, Any]:
    """What the server of `role` is and can do, as data; in "problem" why that cannot be known.

    The vocabulary is read from the role's file. Raises `Cancelled`.
    """
    assert role.endpoint is not None
    found: dict[str, Any] = {"url": role.endpoint.url, "problem": None}
    try:
        with Weights(role.path, vocab_only=True, cancel=cancel) as weights:
            model = connected(role, weights.vocab, None, cancel)
            model.close()
    except Cancelled:
        raise
    except EdgeproxyError as error:
        return found | {"problem": str(error)}
    offer = asdict(model.server.offer)
    return found | offer | {"way": model.way, "logprobs": model.k, "vocabulary": len(model.vocab)}


def trio_over(
    base: RemoteModel,
    expert: Model,
    anti_expert: Model,
    steering: Steering,
    beside: Beside | None,
    endings: frozenset[int],
) -> Trio:
    """The three as one: fused here, or by the server that is told the pair's bias."""
    if base.way != "bias":
        return Trio(base, expert, anti_expert, steering, beside, elsewhere=True, endings=endings)
    offer = base.server.offer
    return BiasedTrio(
        base,
        expert,
        anti_expert,
        steering,
        beside,
        offer.most_biased,
        offer.largest_bias,
        endings,
    )


def check_asked(base: RemoteModel, asked: Asked) -> None:
    """Raise `UsageError` for what a reply cannot ask of a base that draws its own tokens."""
    if base.way != "bias":
        return
    draws_of(asked.sampling)
    if asked.steering is not None:
        check_steering(asked.steering)
    if asked.grammar is not None:
        raise UsageError(
            "a base that draws its own tokens (the way bias) cannot be held to a JSON schema or a "
            "grammar; choose the way rows"
        )
    if asked.echo is not None:
        raise UsageError(UNTOLD)
    if asked.record:
        raise UsageError(
            "record is of three models' rows, and a base that draws its own tokens (the way bias) "
            "shows none; choose the way rows"
        )


def draws_of(sampling: Sampling) -> Draws:
    """How a server is to draw its tokens. Raises `UsageError` for what no server is asked for."""
    if sampling.penalises:
        raise UsageError(
            "a base that draws its own tokens (the way bias) knows no penalties against "
            "repetition: leave them out, or choose the way rows"
        )
    return Draws(
        sampling.temperature,
        sampling.top_k,
        sampling.top_p,
        sampling.min_p,
        sampling.seed,
        dict(sampling.logit_bias),
    )
