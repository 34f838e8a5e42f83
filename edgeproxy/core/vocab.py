"""A vocabulary: token ids, the bytes they stand for, and which of them are special.

Vocabularies are compared by these bytes and kinds alone: sizes, names and metadata lie. Byte-level
BPE spells a byte as a printable character (`Ġ` is a space), SentencePiece spells a space as `▁` and
a lone byte as `<0xNN>`; here all of them are plain bytes.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

from edgeproxy.errors import ModelFileError, PromptError
from edgeproxy.gguf import Header


class Kind(IntEnum):
    """What a token is for; the values are those of `tokenizer.ggml.token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


Tokenize = Callable[[str, bool, bool], list[int]]
"""(text, whether it opens the prompt, whether special tokens are recognised) -> token ids."""


def _cannot_tokenize(text: str, first: bool, special: bool) -> list[int]:
    raise PromptError("this vocabulary was read without its tokenizer; load the model to encode")


@dataclass(frozen=True, eq=False)
class Vocab:
    """Token bytes and kinds by id, the special ids, and the tokenizer where there is one.

    `end_of_generation`: whatever ends a reply, of any kind. `named` has the special tokens that the
    file names, as Hugging Face calls them: "bos", "eos", "unk", "pad", "sep", "cls", "mask".
    """

    tokens: tuple[bytes, ...]
    kinds: tuple[int, ...]
    bos: int | None = None
    end_of_generation: frozenset[int] = frozenset()
    add_bos: bool = False
    chat_template: str | None = None
    named: Mapping[str, int] = field(default_factory=dict)
    tokenize: Tokenize = _cannot_tokenize
    fingerprint: str = ""
    """Names all that `tokens`, `kinds` and `tokenize` follow from; "" where that is not known."""

    def __len__(self) -> int:
        return len(self.tokens)

    def encode(self, text: str, *, first: bool = False, special: bool = False) -> list[int]:
        """Token ids of `text`.

        `first` says that nothing stands before it (SentencePiece then adds its leading space).
        Only with `special` does the spelling of a special token become that token: use it for a
        template's own text, never for what a user typed. Raises `PromptError` for text that is not
        valid Unicode or too large.
        """
        if special:
            return self.tokenize(text, first, True)
        ids: list[int] = []
        for part in self._split_reserved(text):
            ids += self.tokenize(part, first and not ids, False)
        return ids

    def piece(self, token: int) -> bytes:
        """The bytes that `token` adds to a reply: none for control and unused tokens."""
        if self.kinds[token] in (Kind.CONTROL, Kind.UNUSED, Kind.UNKNOWN):
            return b""
        return self.tokens[token]

    @cached_property
    def texts(self) -> tuple[bytes, ...]:
        """The bytes that each token is in running text: none for special and unused ones.

        Unlike `piece`, a turn marker that a file calls user-defined is no text either, nor is a
        token that ends the generation.
        """
        kinds = (Kind.CONTROL, Kind.UNUSED, Kind.UNKNOWN)
        silent = {token for token in self._unusual if self.kinds[token] in kinds}
        silent |= {self._specials[text.encode()] for text in self._reserved}
        words = list(self.tokens)
        for token in silent | self.end_of_generation:
            words[token] = b""
        return tuple(words)

    @cached_property
    def _unusual(self) -> list[int]:
        """The tokens that are not just text: a few of 150,000."""
        normal = int(Kind.NORMAL)  # as a plain number it is compared ten times as fast
        return [token for token, kind in enumerate(self.kinds) if kind != normal]

    def special(self, text: str) -> int | None:
        """The id of the special token spelled `text`, if there is one."""
        return self._specials.get(text.encode())

    @cached_property
    def spelled_specially(self) -> tuple[int, ...]:
        """The tokens that are special, or are spelled as if they were: `<...>` or `[...]`."""
        ends = (b">", b"]")
        spelled = {token for token, text in enumerate(self.tokens) if text.endswith(ends)}
        return tuple(sorted(spelled.union(self._specials.values())))

    @cached_property
    def _specials(self) -> dict[bytes, int]:
        kinds = (Kind.CONTROL, Kind.USER_DEFINED, Kind.UNKNOWN)
        return {self.tokens[i]: i for i in self._unusual if self.kinds[i] in kinds}

    @cached_property
    def _reserved(self) -> tuple[str, ...]:
        """Spellings that llama.cpp turns into turn markers even when asked not to."""
        return tuple(
            text.decode()
            for text, token in self._specials.items()
            if self.kinds[token] == Kind.USER_DEFINED
            and (token in self.end_of_generation or (text[:2] == b"<|" and text[-2:] == b"|>"))
        )

    def _split_reserved(self, text: str) -> list[str]:
        """`text` in parts, cut inside each reserved spelling so that none is recognised."""
        parts = [text]
        for marker in self._reserved:
            parts = [piece for part in parts for piece in _cut_inside(part, marker)]
        return parts


def _cut_inside(text: str, marker: str) -> list[str]:
    """`text` cut after the first character of each `marker` in it; the parts join to `text`."""
    parts, start = [], 0
    while (at := text.find(marker, start)) >= 0:
        parts.append(text[start : at + 1])
        start = at + 1
    return [*parts, text[start:]]


_NAMES = {
    "bos": "bos",
    "eos": "eos",
    "unk": "unknown",
    "pad": "padding",
    "sep": "seperator",  # as GGUF spells it
    "cls": "cls",
    "mask": "mask",
}
"""What Hugging Face calls a special token -> what a GGUF calls it."""


def from_header(header: Header) -> Vocab:
    """The vocabulary that a GGUF header describes, without a tokenizer.

    Raises `ModelFileError` for a token that its own tokenizer model cannot spell.
    """
    metadata = header.metadata
    words = metadata["tokenizer.ggml.tokens"]
    kinds = metadata.get("tokenizer.ggml.token_type") or (Kind.NORMAL,) * len(words)
    spell = _byte_level if metadata["tokenizer.ggml.model"] == "gpt2" else _sentencepiece
    try:
        tokens = tuple(map(spell, words, kinds))
    except (KeyError, ValueError) as error:
        raise ModelFileError(header.path, f"a token cannot be spelled in bytes ({error})") from None
    keys = {name: f"tokenizer.ggml.{key}_token_id" for name, key in _NAMES.items()}
    named = {name: metadata[key] for name, key in keys.items() if key in metadata}
    return Vocab(
        tokens=tokens,
        kinds=tuple(kinds),
        bos=named.get("bos"),
        end_of_generation=frozenset(
            metadata[key]
            for key in ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
            if key in metadata
        ),
        add_bos=bool(metadata.get("tokenizer.ggml.add_bos_token", False)),
        chat_template=metadata.get("tokenizer.chat_template"),
        named=named,
        fingerprint=_fingerprint(header),
    )


# What is put around a text: how the text itself is cut does not depend on it, and the files of a
# tuned and an untuned model often differ in it.
_AROUND = ("bos_token_id", "eos_token_id", "padding_token_id", "add_bos_token", "add_eos_token")


def _fingerprint(header: Header) -> str:
    """The sha256 of all that a header says of its tokenizer, but for what is put around a text."""
    prefix = "tokenizer.ggml."
    digest = hashlib.sha256(str(header.metadata.get("general.architecture")).encode())
    for key, value in sorted(header.metadata.items()):
        if not key.startswith(prefix) or key.removeprefix(prefix) in _AROUND:
            continue
        items = value if isinstance(value, tuple) else (value,)
        kind = type(items[0]) if items else None
        digest.update(f"\0{key} {kind} {len(items)} ".encode())
        if kind is str:
            digest.update("\0".join(items).encode())  # no token and no merge has this character
        else:
            digest.update(array("d" if kind is float else "q", items).tobytes())
    return digest.hexdigest()


def _byte_of_character() -> dict[str, int]:
    """GPT-2's printable spelling of the 256 bytes: those that print stand for themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    table.update({chr(256 + n): byte for n, byte in enumerate(others)})
    return table


_BYTE_OF = _byte_of_character()
# Latin-1 maps the printable bytes to themselves, so one translate does a whole token.
_TO_LATIN_1 = {ord(character): byte for character, byte in _BYTE_OF.items()}


def _byte_level(word: str, kind: int) -> bytes:
    if kind in (Kind.NORMAL, Kind.UNUSED):
        try:
            return word.translate(_TO_LATIN_1).encode("latin-1")
        except UnicodeEncodeError:
            return word.encode()
    return word.encode()


def _sentencepiece(word: str, kind: int) -> bytes:
    if kind == Kind.BYTE:
        return bytes([int(word[3:5], 16)])
    return word.replace("\u2581", " ").encode() if kind == Kind.NORMAL else word.encode()
