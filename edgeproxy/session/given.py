"""The text that a reply goes on with, as the tokens of whoever draws the reply.

Its tokens are the base's, or those of one model alone. The pair reads them as it reads a reply's,
whatever its tokenizer, after its own beginning-of-text token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.decode.pieces import FinishReason
from edgeproxy.decode.scoring import TokenScore, rows_before, score_of
from edgeproxy.decode.stepwise import Evaluates, Prompt
from edgeproxy.errors import Cancelled, ContextFullError, PromptError
from edgeproxy.prompts.formats import Message, as_it_stands, encode
from edgeproxy.session.turn import Asked, Recorder


def tokens_of(asked: Asked, vocab: Vocab) -> Sequence[int]:
    """The tokens that are gone on with where ids were given, or they are to be told; else none.

    Raises `PromptError` for ids that cannot be read.
    """
    if asked.tokens:
        check_tokens(asked.tokens, vocab)
        return asked.tokens
    return () if asked.echo is None else text_tokens(asked.messages, vocab)


def check_room(length: int, n_ctx: int, max_tokens: int) -> None:
    """Raise `ContextFullError` for a text that is too long, before any of it is read.

    Its last token is read only where a reply follows.
    """
    if length > n_ctx + (max_tokens == 0):
        raise ContextFullError(
            f"{length:,} tokens do not fit the context of {n_ctx:,}; send less text, or load with "
            "a larger context"
        )


def note(
    asked: Asked,
    tokens: Sequence[int],
    rest: Prompt,
    model: Evaluates[Prompt],
    vocab: Vocab,
    record: Recorder,
    cancel: Cancel,
) -> FinishReason | None:
    """Note how likely each of a text's `tokens` is; why the turn ends there, None where it goes on.

    Of the text's beginning `rest` is still to be read. All but its last token are read. Raises as
    `rows_before`, but for `Cancelled`.
    """
    data = data_of(tokens, vocab, asked.messages)
    record.echo.append(TokenScore(tokens[0], data[0], None))
    rows = rows_before(rest, tokens[1:], model, cancel)
    try:
        for part, (token, row) in zip(data[1:], rows, strict=True):
            record.echo.append(score_of(token, part, row, vocab, asked.echo or 0))
    except Cancelled:
        return "cancelled"
    return "length" if asked.max_tokens == 0 else None


def text_tokens(messages: Sequence[Message], vocab: Vocab) -> list[int]:
    """The tokens of a text as it stands, without the one for its beginning.

    Raises `PromptError` for what no token spells.
    """
    tokens = encode(as_it_stands(messages), vocab)
    return tokens[len(_beginning(vocab)) :]


def check_tokens(tokens: Sequence[int], vocab: Vocab) -> None:
    """Raise `PromptError` for a token that there is not, or a special one that is not the first."""
    for place, token in enumerate(tokens):
        if not 0 <= token < len(vocab):
            raise PromptError(
                f"token {token} of the prompt, at place {place}, is none: there are {len(vocab):,}"
            )
        if place and _is_special(token, vocab):
            name = vocab.tokens[token].decode("utf-8", "replace")
            raise PromptError(
                f"token {token} of the prompt, at place {place}, is the special {name}: only the "
                "first token may be one; have a conversation laid out by its messages"
            )


def read_by(tokens: Sequence[int], vocab: Vocab) -> list[int]:
    """What a model reads whose `vocab` these `tokens` are of: its beginning of text, and they.

    A special token that they begin with stands in its place.
    """
    if _is_special(tokens[0], vocab):
        return list(tokens)
    return [*_beginning(vocab), *tokens]


def read_by_other(
    tokens: Sequence[int], vocab: Vocab, own: Vocab, reads: Callable[[int], bool]
) -> tuple[list[int], Sequence[int]]:
    """What a model with a vocabulary of its `own` reads: own tokens, and then those of `tokens`.

    Where it `reads` nothing for the first of these, as for a special one, its own beginning or end
    of a text stands before them. Raises `PromptError` where it has neither.
    """
    has_text = bool(vocab.texts[tokens[0]])
    if has_text and reads(tokens[0]):
        return _beginning(own), tokens
    opening = [own.bos] if own.bos is not None else sorted(own.end_of_generation)[:1]
    if not opening:
        raise PromptError(
            f"token {tokens[0]}, which the prompt begins with, is nothing that the smaller models "
            "can read; begin with another one"
        )
    return opening, tokens if has_text else tokens[1:]


def data_of(tokens: Sequence[int], vocab: Vocab, messages: Sequence[Message]) -> list[bytes]:
    """The bytes of a text that each of its tokens is.

    The space that a tokenizer puts before a text, of `messages`, is none of its bytes.
    """
    data = list(map(vocab.piece, tokens))
    text = "".join(message.content for message in messages).encode("utf-8")
    if messages and b"".join(data) == b" " + text:
        data[0] = data[0][1:]
    return data


def _beginning(vocab: Vocab) -> list[int]:
    return [vocab.bos] if vocab.add_bos and vocab.bos is not None else []


def _is_special(token: int, vocab: Vocab) -> bool:
    """Whether it is no text; one that stands for unknown text is some."""
    return not vocab.texts[token] and vocab.kinds[token] != Kind.UNKNOWN
