"""The protocols over servers in this process: what is asked, what is found out, hostile answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import (
    Cancelled,
    EngineError,
    RemoteBusyError,
    RemoteError,
    RemoteRefusedError,
    UsageError,
)
from edgeproxy.remote.connect import Connected, connect
from edgeproxy.remote.endpoint import Endpoint
from edgeproxy.remote.key import Key
from edgeproxy.remote.predicts import Draws
from edgeproxy.remote.transport import Server
from tests.helpers.fake_server import FakeServer, Reply, Request, fake_server
from tests.helpers.fakes import BOS, END, FakeModel, fake_vocab, noise, shuffled
from tests.helpers.serving_models import MODEL, Kind, Serving

KINDS: tuple[Kind, ...] = ("llama-server", "vllm", "openai")
PROMPT = [104, 105, 10]

each_kind = pytest.mark.parametrize("kind", KINDS)


def lettered(vocab: Vocab) -> Vocab:
    """`vocab` with words of letters alone behind it, which are what a bias is tried with."""
    words = [bytes((97 + n, 98 + n, 99 + n)) for n in range(20)]
    return replace(vocab, tokens=(*vocab.tokens, *words), kinds=(*vocab.kinds, *[1] * len(words)))


LETTERED = lettered(fake_vocab())
N = len(LETTERED)


def serving(kind: Kind, seed: int = 1, **settings: Any) -> Serving:
    model = FakeModel(noise(seed, LETTERED), vocab=LETTERED)
    return Serving(model, kind, **settings)


@contextmanager
def connected(
    served: Serving, key: Key | None = None, vocab: Vocab = LETTERED, **settings: Any
) -> Iterator[tuple[Connected, FakeServer]]:
    if served.kind == "openai":
        settings.setdefault("context", 4096)
    with fake_server(served.answer) as server:
        http = Server(server.url, key, retries=0, read_timeout=5)
        with http:
            yield connect(Endpoint(server.url, **settings), http, vocab), server


def row_at(prompt: list[int], seed: int = 1) -> Any:
    row = noise(seed, LETTERED)(prompt).astype(np.float64)
    return row - row.max() - np.log(np.exp(row - row.max()).sum())


# What is found out


@pytest.mark.parametrize(
    ("kind", "settings", "asked", "found"),
    [
        ("llama-server", {}, {}, ("rows", 200)),
        ("llama-server", {}, {"logprobs": 10**7}, ("rows", N)),
        ("llama-server", {}, {"way": "bias"}, ("bias", 200)),
        ("llama-server", {}, {"way": "top-k", "logprobs": 20}, ("top-k", 20)),
        ("vllm", {"most": 20}, {}, ("top-k", 20)),
        ("vllm", {"most": 20}, {"logprobs": 20}, ("rows", 20)),
        ("vllm", {}, {"logprobs": 10**7}, ("rows", N)),
        ("vllm", {"most": 5}, {"way": "bias"}, ("bias", 5)),
        ("vllm", {"most": 0}, {}, ("bias", 0)),
        ("openai", {"most": 5}, {}, ("top-k", 5)),
        ("openai", {"most": 0}, {}, ("bias", 0)),
        ("openai", {"most": 5, "takes_bias": False}, {}, ("top-k", 5)),
    ],
)
def test_what_a_server_can_do_is_found_out(
    kind: Kind, settings: Any, asked: Any, found: tuple[str, int]
) -> None:
    with connected(serving(kind, **settings), **asked) as (server, _):
        assert (server.way, server.k) == found
        # llama-server wants room for a token.
        assert server.server.offer.n_ctx == (4096 if kind == "openai" else 4095)
        assert server.server.spent.requests == 0  # asking what it can do is no reply's


def test_a_limit_is_taken_from_what_max_says_of_it() -> None:
    """MAX 26.7 gives 7 at most, whatever it is asked for, and leaves a bias out in silence."""
    served = serving("openai", most=7, takes_bias=False)
    answer = served.answer
    asked = []

    def as_max(request: Request) -> object:
        k = request.json.get("logprobs") if request.method == "POST" else 0
        asked.append(k)
        if k is not None and k > 7:
            said = f"`logprobs` must be in [0, 7], was {k}."
            return Reply(400, {"error": {"code": "400", "message": said}})
        return answer(request)

    served.answer = as_max  # type: ignore[method-assign]
    with connected(served) as (found, _):
        assert (found.way, found.k, found.server.offer.takes_bias) == ("top-k", 7, False)
    assert [k for k in asked if k] == [200, 7, 7]


@pytest.mark.parametrize(("told", "is_right"), [(0, 1), (1, 1), (2, 0), (-1, 0), (900, 0)])
def test_a_server_that_reads_other_tokens_than_it_is_sent_is_noticed(
    told: int, is_right: int
) -> None:
    """FastChat makes a text of ids, by a tokenizer that is not the model's, and that is read."""
    served = serving("openai", most=5)
    answer = served.answer

    def counting(request: Request) -> object:
        found: Any = answer(request)
        if isinstance(found, dict) and "usage" in found:
            found["usage"]["prompt_tokens"] += told
        return found

    served.answer = counting  # type: ignore[method-assign]
    if is_right:
        with connected(served) as (found, _):
            assert found.way == "top-k"
        return
    with (
        pytest.raises(RemoteError, match=r"has read .* so its ids are of another tokenizer"),
        connected(served),
    ):
        pass


def test_limits_of_a_bias_are_those_of_the_software() -> None:
    limits = {}
    for kind in KINDS:
        with connected(serving(kind)) as (found, _):
            offer = found.server.offer
            limits[kind] = offer.takes_bias, offer.most_biased, offer.largest_bias
    assert limits == {
        "llama-server": (True, None, None),
        "vllm": (True, None, 100.0),
        "openai": (True, 300, 100.0),
    }


@pytest.mark.parametrize(
    ("settings", "asked", "match"),
    [
        ({"most": 0, "takes_bias": False}, {}, "neither|without one of these no base can"),
        ({"most": 0}, {"way": "rows"}, "gives no log-probabilities; choose another way"),
        ({"takes_bias": False}, {"way": "bias"}, "takes no logit_bias; choose another way"),
        ({}, {"model": "another"}, f"does not serve the model 'another'.*{MODEL}"),
        ({}, {"context": None}, "does not say how many tokens its context has"),
        ({}, {"protocol": "llama-server"}, "nothing at /props|no llama-server"),
    ],
)
def test_what_a_server_cannot_do_is_said(settings: Any, asked: Any, match: str) -> None:
    with (
        pytest.raises((RemoteError, UsageError), match=match),
        connected(serving("openai", **settings), **asked),
    ):
        pass


@pytest.mark.parametrize("kind", ["llama-server", "vllm"])
def test_another_tokenizer_is_noticed_before_anything_is_said(kind: Kind) -> None:
    other, _ = shuffled(LETTERED)
    served = serving(kind, tokenizer=other)
    with pytest.raises(RemoteError, match="other tokens of a text"), connected(served):
        pass


def test_a_server_that_opens_every_text_with_bos_has_the_same_tokenizer() -> None:
    served = serving("llama-server")
    answer = served.answer

    def with_bos(request: Request) -> object:
        found = answer(request)
        if request.path == "/tokenize":
            assert isinstance(found, dict)
            return {"tokens": [BOS, *found["tokens"]]}
        return found

    served.answer = with_bos  # type: ignore[method-assign]
    with connected(served) as (found, _):
        assert found.way == "rows"


@each_kind
def test_a_wrong_key_is_an_error_that_does_not_show_it(kind: Kind) -> None:
    served = serving(kind, key="right-key")
    refused = pytest.raises(RemoteRefusedError, match="refuses the key")
    with refused as failed, connected(served, Key("wrong-secret")):
        pass
    assert "wrong-secret" not in str(failed.value)
    with pytest.raises(RemoteRefusedError, match="wants a key"), connected(served):
        pass
    with connected(served, Key("right-key")) as (found, _):
        assert "right-key" not in repr(found)


@each_kind
def test_a_server_that_still_loads_is_not_one_that_gives_nothing(kind: Kind) -> None:
    served = serving(kind)
    served.loading = True
    with pytest.raises(RemoteBusyError, match="still loads its model"), connected(served):
        pass


@pytest.mark.parametrize("nth", range(1, 5))
def test_one_that_gets_busy_while_it_is_asked_what_it_can_do(nth: int) -> None:
    served, count = serving("openai", most=5), 0
    answer = served.answer

    def busy(request: Request) -> object:
        nonlocal count
        count += request.method == "POST"
        is_busy = count == nth and request.method == "POST"
        return Reply(503) if is_busy else answer(request)

    served.answer = busy  # type: ignore[method-assign]
    with pytest.raises(RemoteBusyError), connected(served):
        pass


def test_an_endpoint_that_is_no_server_of_models() -> None:
    with fake_server(lambda _: {"hello": 1}) as server:
        http = Server(server.url, retries=0)
        with pytest.raises(RemoteError, match="without 'data'"):
            connect(Endpoint(server.url), http, LETTERED)
        with pytest.raises(UsageError, match="closed"):  # nothing stays open
            http.get("/props")


PAGES = [
    Reply(body=b"<!doctype html><title>Hello</title>", headers={"Content-Type": "text/html"}),
    Reply(body=b"ok"),
    Reply(body=b""),
    Reply(body=b"\xff\xfe\x00"),
    Reply(body=b"[" * 100_000),
    Reply(value="a string"),
    Reply(value=[1, 2]),
    Reply(500, body=b"<html>it broke</html>"),
]
"""What stands at /props of servers that are no llama-server."""


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", ["vllm", "openai"])
def test_whatever_stands_at_props_of_another_server(kind: Kind, page: Reply) -> None:
    served = serving(kind, most=20)
    answer = served.answer
    served.answer = lambda request: page if request.path == "/props" else answer(request)  # type: ignore[method-assign]
    with connected(served) as (found, _):
        assert (found.way, found.k) == ("top-k", 20)
    with (
        pytest.raises(RemoteError, match="no llama-server"),
        connected(served, protocol="llama-server"),
    ):
        pass


def test_a_web_page_everywhere_is_no_server_of_models() -> None:
    with fake_server(lambda _: PAGES[0]) as server:
        http = Server(server.url, retries=0)
        with pytest.raises(RemoteError, match=r"/v1/models cannot be read.*no JSON.*web page"):
            connect(Endpoint(server.url), http, LETTERED)


# Rows


@each_kind
@pytest.mark.parametrize("several", [True, False])
def test_rows_are_those_of_the_model(kind: Kind, several: bool) -> None:
    served = serving(kind, several=several or kind == "llama-server")
    with connected(served, logprobs=N) as (found, _):
        served.prompts.clear()
        served.bodies.clear()
        rows = found.server.rows([*PROMPT, 120, 121], 3, N)
        assert served.prompts == [PROMPT, [*PROMPT, 120], [*PROMPT, 120, 121]]
        assert len(served.bodies) == (1 if served.several else 3)
        for prompt, row in zip(served.prompts, rows, strict=True):
            order = np.argsort(row.tokens)
            told, wanted = row.tokens[order], row_at(prompt)
            assert row.logprobs[order] == pytest.approx(wanted[told], abs=1e-4)
            # Those named by text leave out what is no text, and what several are spelled as.
            least = N if kind != "openai" else N - 140
            assert least <= len(told) <= N
        assert found.server.spent.requests == len(served.bodies)
        assert found.server.spent.tokens_in == 3 + 4 + 5


def test_a_drafts_prompts_go_to_the_slot_that_has_read_the_text() -> None:
    served = serving("llama-server")
    with connected(served) as (found, _):
        for text, count in ((PROMPT, 2), (PROMPT, 1), ([*PROMPT, 97], 2)):
            found.server.rows(text, count, 5)
    asked = [body.get("id_slot") for body in served.bodies if "content" not in body]
    assert asked == [None, None, 3]


@each_kind
def test_a_row_of_some_is_of_the_likeliest(kind: Kind) -> None:
    with connected(serving(kind, most=20), logprobs=20) as (found, _):
        [row] = found.server.rows(PROMPT, 1, 5)
        best = np.argsort(-row_at(PROMPT))[:5]
        assert set(row.tokens.tolist()) <= set(best.tolist())
        assert kind == "openai" or len(row.tokens) == 5


def test_llama_server_is_asked_for_what_it_does_not_hide() -> None:
    # It tells nothing of a row where the token drawn ends in half a character.
    half = FakeModel(lambda _: np.eye(N, dtype=np.float32)[0xC3] * 30, vocab=LETTERED)
    served = Serving(half)
    with connected(served) as (found, _):
        [row] = found.server.rows(PROMPT, 1, 3)
        assert row.tokens[0] == 0xC3
        drawn = found.server.draw(PROMPT, {}, Draws())
        assert drawn.token == 0xC3


@each_kind
def test_a_draw_is_of_the_row_with_its_bias(kind: Kind) -> None:
    with connected(serving(kind, most=5)) as (found, _):
        tokens = [*range(97, 123)]
        best = max(tokens, key=lambda token: row_at(PROMPT)[token])
        lifted = dict.fromkeys(tokens, 60.0)
        assert found.server.draw(PROMPT, lifted, Draws()).token == best
        assert found.server.draw(PROMPT, lifted | {100: 100.0}, Draws()).token == 100
        if kind != "openai":  # which has only the text of what was drawn
            assert found.server.draw(PROMPT, {END: 100.0}, Draws()).token == END
            assert found.server.draw(PROMPT, {0xE2: 100.0}, Draws()).token == 0xE2


def test_the_end_of_a_text_is_the_end_of_generation() -> None:
    with connected(serving("openai", most=5)) as (found, _):
        drawn = found.server.draw(PROMPT, {END: 100.0}, Draws()).token
        assert drawn in LETTERED.end_of_generation


def test_a_token_whose_text_others_have_too_is_an_error_that_says_so() -> None:
    said = pytest.raises(RemoteError, match="only for servers that say a token's id")
    with connected(serving("openai", most=5)) as (found, _), said:
        found.server.draw(PROMPT, {0xE2: 100.0}, Draws())


def test_a_row_of_tokens_whose_texts_others_have_too_says_so() -> None:
    half = FakeModel(lambda _: np.eye(N, dtype=np.float32)[0xE2] * 30, vocab=LETTERED)
    said = pytest.raises(RemoteError, match=r"by their text.*--base-logprobs")
    with connected(Serving(half, "openai", most=20), logprobs=20) as (found, _), said:
        found.server.rows(PROMPT, 1, 1)


@each_kind
def test_a_seed_decides_each_place_of_its_own(kind: Kind) -> None:
    served = serving(kind, most=5)
    with connected(served) as (found, _):
        flat = dict.fromkeys(range(97, 123), 90.0)
        drawn = []
        for seed in (1, 1, 2):
            draws = Draws(temperature=5.0, seed=seed)
            texts = ([*PROMPT, *[97] * n] for n in range(8))
            drawn.append([found.server.draw(text, flat, draws).token for text in texts])
        assert drawn[0] == drawn[1] != drawn[2]
        assert len(set(drawn[0])) > 2
        seeds = [body["seed"] for body in served.bodies if "seed" in body]
        assert len(set(seeds[:8])) == 8
        served.bodies.clear()
        found.server.draw(PROMPT, flat, Draws(temperature=1.0, top_k=7, top_p=0.5, min_p=0.1))
        [body] = served.bodies
        assert "seed" not in body
        assert body["top_p"] == 0.5
        assert kind == "openai" or (body["top_k"], body["min_p"]) == (7, 0.1)


@each_kind
def test_a_cancel_ends_a_request(kind: Kind) -> None:
    with connected(serving(kind, most=5)) as (found, server):
        server.answer = lambda _: Reply(delay=30.0)
        cancel = Flag()
        cancel.set()
        with pytest.raises(Cancelled):
            found.server.rows(PROMPT, 1, 5, cancel)


# Hostile answers


def mangled(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """`value`, with `new` in the place that `path` leads to."""
    copy = json.loads(json.dumps(value))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = new
    return copy


def paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if before:
        yield before
    items = value.items() if isinstance(value, dict) else enumerate(value[:3])
    for key, inner in items:
        if isinstance(inner, dict | list):
            yield from paths(inner, (*before, key))
        else:
            yield (*before, key)


JUNK: list[Any] = [
    *(None, True, False, -1, 0, 10**30, -(10**30), 1.5, 1e300, -1e300, "", "token_id:999999999"),
    *("\x1b[31m\ud83d", [], {}, [None], [[]], [True], {"id": True}, [{"id": 10**30}], [300], [-1]),
]


def always(value: object) -> Callable[[Request], object]:
    return lambda _: value


def outcome(ask: Callable[[], object]) -> object:
    """What a server's answer was taken for, or the kind of error that it was."""
    try:
        return ask()
    except EngineError as error:
        return type(error)


@each_kind
@pytest.mark.parametrize("what", ["rows", "draw"])
def test_whatever_stands_in_an_answer_is_a_row_or_a_clear_error(kind: Kind, what: str) -> None:
    with connected(serving(kind, most=5), logprobs=5) as (found, server):

        def ask() -> object:
            if what == "rows":
                return found.server.rows(PROMPT, 1, 5)[0].tokens.dtype
            return type(found.server.draw(PROMPT, {120: 100.0}, Draws()).token)

        assert ask() in (np.dtype(np.int64), int)
        good: Any = server.answer(server.requests[-1])
        outcomes = set()
        for path in paths(good):
            for junk in JUNK:
                bad = mangled(good, path, junk)
                server.answer = always(bad)
                outcomes.add(outcome(ask))
        assert outcomes == {np.dtype(np.int64) if what == "rows" else int, RemoteError}
        assert found.server.spent.tokens_in >= 0


def test_a_server_that_changes_its_model_is_noticed_by_its_bytes() -> None:
    served = serving("llama-server")
    with connected(served) as (found, _):
        found.server.rows(PROMPT, 1, 5)
        other, _ = shuffled(LETTERED, 1)
        served.serve(FakeModel(noise(5, other), vocab=other))
        with pytest.raises(RemoteError, match="another model now"):
            found.server.rows(PROMPT, 1, 5)


@each_kind
def test_answers_that_are_none(kind: Kind) -> None:
    with connected(serving(kind, most=5), logprobs=5) as (found, server):
        values: list[Any] = [None, [], {}, [{}, {}], "text", 5, [None], {"choices": [{}]}]
        for value in values:
            server.answer = always(value)
            with pytest.raises(RemoteError):
                found.server.rows(PROMPT, 1, 5)
            with pytest.raises(RemoteError):
                found.server.draw(PROMPT, {}, Draws())
        server.answer = lambda _: Reply(400, {"error": {"message": "maximum context length is 5"}})
        with pytest.raises(RemoteRefusedError, match="too long"):
            found.server.rows(PROMPT, 1, 5)
