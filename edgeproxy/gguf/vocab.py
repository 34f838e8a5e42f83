"""Checks of the tokenizer's keys: llama.cpp aborts on some faults and misreads text on others."""

from __future__ import annotations

import math

from edgeproxy.gguf.header import CONVERT, Header

MAX_TOKEN = 8192
_PREFIX = "tokenizer.ggml."
_TOKENS = _PREFIX + "tokens"
_KINDS = range(1, 7)
_BYTE = 6
# These hand llama.cpp plain text with spaces, on which it asserts or which it cannot spell.
_NOT_BYTE_LEVEL = ("gemma4", "granite-embed-multi-311m", "sarvam-moe", "whitespace")
# Without keys of their own, special tokens have ids of up to 11.
_FEWEST_TOKENS = 12
_NEITHER_SPACE_NOR_BREAK = bytes(byte for byte in range(256) if byte not in b" \n")
# WordPiece: llama.cpp takes BERT's own ids where the file names none.
_WORD_PIECE_IDS = {
    "bos": 101,
    "unknown": 100,
    "seperator": 102,
    "padding": 0,
    "mask": 103,
}
_BYTE_TOKENS = frozenset(f"<0x{byte:02X}>" for byte in range(256))


def check_vocabulary(header: Header, *, embeds: bool = False) -> int:
    """Check tokens, kinds, scores, merges and special ids; return the number of tokens.

    Byte-level BPE (`gpt2`) and SentencePiece (`llama`) are accepted, and with `embeds` WordPiece
    (`bert`). Of the others llama.cpp aborts on some (`none`), and no recipe needs any. Without a
    pre-tokenizer llama.cpp takes its default, and it refuses an unknown one itself. Raises
    `ModelFileError`.
    """
    model = header.text(_PREFIX + "model")
    splitter = header.text(_PREFIX + "pre", "")
    if model == "gpt2" and splitter in _NOT_BYTE_LEVEL:
        raise header.error(f"its pre-tokenizer {splitter!r} does not go with byte-level tokens")
    header.text("tokenizer.chat_template", "")
    kinds_known = ("gpt2", "llama", "bert") if embeds else ("gpt2", "llama")
    if model not in kinds_known:
        raise header.error(
            f"its tokenizer is of the kind {model!r}",
            f"use a model with a {' or '.join(kinds_known)} tokenizer",
        )
    tokens = header.array(_TOKENS, str)
    known = _check_tokens(header, tokens)
    kinds = _check_kinds(header, tokens, required=model == "llama")
    _check_scores(header, len(tokens), required=model == "llama")
    if model == "gpt2":
        _check_merges(header, known)
    elif model == "bert":
        _check_word_pieces(header, len(tokens))
    else:
        _check_bytes(header, known, tokens, kinds)
    _check_special(header, len(tokens))
    _check_added(header, model)
    size = header.architecture + ".vocab_size"
    if header.integer(size, len(tokens)) != len(tokens):
        raise header.error(f"{size} is {header.integer(size)}, but it has {len(tokens)} tokens")
    return len(tokens)


def _check_tokens(header: Header, tokens: tuple[str, ...]) -> frozenset[str]:
    if len(tokens) < _FEWEST_TOKENS:
        raise header.error(f"its vocabulary has only {len(tokens)} tokens", CONVERT)
    if "" in tokens:
        # llama.cpp gives an empty token this name, and aborts when the name is taken.
        tokens = tuple(word or f"[EMPTY_{i}]" for i, word in enumerate(tokens))
    known = frozenset(tokens)
    if len(known) != len(tokens):
        seen: set[str] = set()
        twice = next(word for word in tokens if word in seen or seen.add(word))  # type: ignore[func-returns-value]
        raise header.error(f"the token {twice!r} occurs twice in its vocabulary")
    if "\0" in "".join(tokens):
        raise header.error("a token in its vocabulary has a NUL character")
    if len(max(tokens, key=len)) > MAX_TOKEN:
        raise header.error(f"a token in its vocabulary is longer than {MAX_TOKEN} characters")
    return known


def _check_kinds(header: Header, tokens: tuple[str, ...], required: bool) -> tuple[int, ...]:
    key = _PREFIX + "token_type"
    kinds = header.array(key, int, None if required else (1,) * len(tokens))
    if len(kinds) != len(tokens):
        raise header.error(f"{key} has {len(kinds)} items for {len(tokens)} tokens")
    unknown = set(kinds).difference(_KINDS)
    if unknown:
        raise header.error(f"{key} has the unknown kind {min(unknown)}")
    if _BYTE in kinds:
        for word, kind in zip(tokens, kinds, strict=True):
            if kind == _BYTE and word not in _BYTE_TOKENS:
                raise header.error(f"the token {word!r} is marked as a byte, but names none")
    return kinds


def _check_scores(header: Header, count: int, required: bool) -> None:
    key = _PREFIX + "scores"
    if key not in header.metadata and not required:
        return
    scores = header.metadata.get(key)
    if scores and type(scores) is tuple and type(scores[0]) is int:
        scores = tuple(map(float, scores))
    else:
        scores = header.array(key, float)
    if len(scores) != count:
        raise header.error(f"{key} has {len(scores)} items for {count} tokens")
    if not all(map(math.isfinite, scores)):
        raise header.error(f"{key} has an item that is not finite")


def _check_merges(header: Header, known: frozenset[str]) -> None:
    """Each merge is two parts with a space between that join to a token.

    Llama 3 has 280,000 of them, so all are looked at as one text before any is looked at alone.
    """
    merges = header.array(_PREFIX + "merges", str)
    if not merges:
        return
    text = "\n".join(merges)
    gaps = text.encode().translate(None, _NEITHER_SPACE_NOR_BREAK)
    is_sound = (
        gaps + b"\n" == b" \n" * len(merges)
        and not text.startswith(" ")
        and not text.endswith(" ")
        and "\n " not in text
        and " \n" not in text
        and known.issuperset(text.replace(" ", "").split("\n"))
    )
    if is_sound:
        return
    for number, merge in enumerate(merges):
        left, _, right = merge.partition(" ")
        if not left or not right or left + right not in known:
            raise header.error(f"merge {number}, {merge!r}, is not two parts that join to a token")
    raise header.error("its merges are not pairs")


def _check_bytes(
    header: Header, known: frozenset[str], tokens: tuple[str, ...], kinds: tuple[int, ...]
) -> None:
    """SentencePiece spells rare characters in bytes: llama.cpp aborts where one is missing."""
    missing = _BYTE_TOKENS - known
    if missing:
        raise header.error(f"its vocabulary lacks the byte token {min(missing)}", CONVERT)
    if kinds.count(_BYTE) != len(_BYTE_TOKENS):
        wrong = next(
            word
            for word, kind in zip(tokens, kinds, strict=True)
            if (word in _BYTE_TOKENS) != (kind == _BYTE)
        )
        raise header.error(f"the token {wrong!r} names a byte, but is not marked as one")


def _check_word_pieces(header: Header, count: int) -> None:
    """The special tokens that llama.cpp puts around a text, and for what it cannot spell."""
    for name, usual in _WORD_PIECE_IDS.items():
        key = f"{_PREFIX}{name}_token_id"
        if not 0 <= header.integer(key, usual) < count:
            raise header.error(f"its header lacks {key}, and it has only {count} tokens", CONVERT)


def _check_special(header: Header, count: int) -> None:
    for key in header.metadata:
        if key.startswith(_PREFIX) and key.endswith("_token_id"):
            if not 0 <= header.integer(key) < count:
                raise header.error(f"{key} is {header.integer(key)}, but it has {count} tokens")
        elif key.startswith(_PREFIX + "add_"):
            header.flag(key)
    suppressed = header.array(_PREFIX + "suppress_tokens", int, ())
    if suppressed and not 0 <= min(suppressed) <= max(suppressed) < count:
        raise header.error(f"{_PREFIX}suppress_tokens has an id that is no token")


def _check_added(header: Header, model: str) -> None:
    """The tokens that llama.cpp adds by itself, or ends at, must be named.

    Without the keys it takes tokens 1 and 2 of a SentencePiece vocabulary, which are `<s>` and
    `</s>` by convention, and 11 of any other, which is a comma; or it asserts.
    """
    for name in ("bos", "eos"):
        is_added = header.flag(f"{_PREFIX}add_{name}_token", False)
        needed = model == "gpt2" and (is_added or name == "eos")
        if needed and f"{_PREFIX}{name}_token_id" not in header.metadata:
            raise header.error(f"its header lacks {_PREFIX}{name}_token_id", CONVERT)
