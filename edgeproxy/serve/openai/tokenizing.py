"""`/tokenize`, `/detokenize` and `/tokenizer_info`: texts and tokens' ids, as vLLM has them.

They are for clients that must know where in a prompt's tokens an answer begins, such as
lm-evaluation-harness. The ids are those of whoever `model` names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from edgeproxy.core.vocab import Vocab
from edgeproxy.serve.openai import fields
from edgeproxy.serve.openai.models import answers_of
from edgeproxy.serve.openai.shapes import Object
from edgeproxy.serve.protocol import Known, RefusedError
from edgeproxy.serve.wanted import Answers

_NAMED = ("bos", "eos", "unk", "pad")


class Tokenizes(Protocol):
    """What these need of an engine."""

    def known(self) -> Known: ...  # noqa: D102 - as SharedEngine's

    async def vocab(self, answers: Answers = "trio") -> Vocab: ...  # noqa: D102

    async def tokenize(self, text: str, answers: Answers = "trio") -> list[int]: ...  # noqa: D102


async def tokenize(engine: Tokenizes, body: Mapping[str, Any]) -> dict[str, Any]:
    """The tokens of a text. Raises `RefusedError`, and as `Engine.count` does.

    Without `add_special_tokens` they are those that an echo of the text tells.
    """
    given = Object(fields.TOKENIZED).read(body)
    known = engine.known()
    answers = answers_of(given.get("model"), known)
    text, vocab = given["prompt"], await engine.vocab(answers)
    special = {spelled: token for _, token, spelled in _specials(vocab)}
    if text in special:
        tokens = [special[text]]
    else:
        tokens = await engine.tokenize(text, answers)
        if given.get("add_special_tokens", True) and vocab.add_bos and vocab.bos is not None:
            tokens = [vocab.bos, *tokens]
    return {"tokens": tokens, "count": len(tokens), "max_model_len": known.n_ctx}


async def detokenize(engine: Tokenizes, body: Mapping[str, Any]) -> dict[str, Any]:
    """The text of tokens; a special one has none. Raises as `tokenize` does."""
    given = Object(fields.DETOKENIZED).read(body)
    vocab = await engine.vocab(answers_of(given.get("model"), engine.known()))
    tokens: list[int] = given["tokens"]
    for place, token in enumerate(tokens):
        if token >= len(vocab):
            where = f"tokens[{place}]"
            what = f"{where} is {token}, and there are {len(vocab):,} tokens"
            raise RefusedError(what, where, "invalid_value")
    return {"prompt": text_of(tokens, vocab)}


async def about(engine: Tokenizes) -> dict[str, Any]:
    """What the trio's tokenizer is called, and its special tokens; null where it has none."""
    vocab = await engine.vocab()
    names = {f"{name}_token": spelled for name, _, spelled in _specials(vocab)}
    return {
        "tokenizer_class": "edgeproxy",
        **{f"{name}_token": names.get(f"{name}_token") for name in _NAMED},
        "add_bos_token": vocab.add_bos and vocab.bos is not None,
        "chat_template": None,  # turns are laid out by /v1/chat/completions
    }


def text_of(tokens: Sequence[int], vocab: Vocab) -> str:
    """The text that tokens are; what is no UTF-8 of it becomes U+FFFD."""
    return b"".join(map(vocab.piece, tokens)).decode("utf-8", "replace")


def _specials(vocab: Vocab) -> list[tuple[str, int, str]]:
    """The special tokens that the file names: what they are called, their ids, their spellings."""
    named = {**({} if vocab.bos is None else {"bos": vocab.bos}), **vocab.named}
    return [
        (name, named[name], vocab.tokens[named[name]].decode("utf-8", "replace"))
        for name in _NAMED
        if 0 <= named.get(name, -1) < len(vocab)
    ]
