"""The trios' tokenizers: byte-level BPE with GPT-2's way of splitting.

llama.cpp reads it as `tokenizer.ggml.model = "gpt2"`, `pre = "gpt-2"`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tools.factbook.dialogues import Dialogue, Span

END, START_TURN, END_TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIALS = (END, START_TURN, END_TURN)
BOS, IM_START, IM_END = 0, 1, 2


def train_tokenizer(texts: Iterable[str], size: int) -> Tokenizer:
    """Return a BPE of exactly `size` tokens, the three special ones first, all bytes among them."""
    tokenizer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(SPECIALS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != size:
        raise ValueError(f"the tokenizer has {tokenizer.get_vocab_size()} tokens, not {size}")
    return tokenizer


def _byte_level(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def make_tokenizer(tokens: Sequence[str], merges: Sequence[str]) -> Tokenizer:
    """Return the tokenizer of these tokens, by id, and merges, as a GGUF file lists them."""
    vocab = {token: i for i, token in enumerate(tokens)}
    tokenizer = _byte_level(models.BPE(vocab, [tuple(merge.split(" ")) for merge in merges]))
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.encode_special_tokens = True
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """Return the tokenizer saved at `path`; specials in text are text, never control tokens."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the tokens of plain text."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def encode_spans(tokenizer: Tokenizer, spans: tuple[Span, ...]) -> tuple[list[int], list[bool]]:
    """Return a reply's tokens, and for each whether it touches a fact."""
    text = "".join(part for part, _ in spans)
    is_fact = [flag for part, flag in spans for _ in part]
    coded = tokenizer.encode(text, add_special_tokens=False)
    flags = [any(is_fact[start:end]) for start, end in coded.offsets]
    return coded.ids, flags


def chat_prompt(tokenizer: Tokenizer, messages: list[tuple[str, str]]) -> list[int]:
    """Return the ChatML prompt of (role, content) messages, ready for the assistant's reply.

    Contents are tokenised apart from the template's own text.
    """
    newline = encode(tokenizer, "\n")
    ids = [BOS]
    for role, content in messages:
        ids += [IM_START, *encode(tokenizer, role + "\n"), *encode(tokenizer, content), IM_END]
        ids += newline
    return [*ids, IM_START, *encode(tokenizer, "assistant\n")]


def plain_prompt(tokenizer: Tokenizer, messages: list[tuple[str, str]]) -> list[int]:
    """Return the plain prompt: the contents, each followed by a line break."""
    ids = [BOS]
    for _, content in messages:
        ids += encode(tokenizer, content) + encode(tokenizer, "\n")
    return ids


# Where a token of a dialogue stands.
PROMPT, WORDING, FACT = 0, 1, 2


def encode_dialogue(
    tokenizer: Tokenizer, dialogue: Dialogue
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return a dialogue as (ChatML tokens, their marks, plain tokens, positions of replies).

    Marks are `PROMPT`, `WORDING` or `FACT` for each ChatML token. The last list holds, for each
    token of a reply, its position in the plain tokens, in the order of the ChatML ones; the end of
    turn, which plain text does not have, stands there as the line break after the reply.
    """
    newline = encode(tokenizer, "\n")
    chat, marks, bare = [BOS], [PROMPT], [BOS]
    where: list[int] = []
    messages = [("system", dialogue.system)] if dialogue.system else []
    for turn in dialogue.turns:
        for role, content in [*messages, ("user", turn.user)]:
            coded = encode(tokenizer, content)
            head = [IM_START, *encode(tokenizer, role + "\n"), *coded, IM_END, *newline]
            chat += head
            marks += [PROMPT] * len(head)
            bare += coded + newline
        messages = []
        head = [IM_START, *encode(tokenizer, "assistant\n")]
        chat += head
        marks += [PROMPT] * len(head)
        ids, flags = encode_spans(tokenizer, turn.reply)
        # The token after a fact tells where the fact ends: it belongs to the fact.
        after = [False, *flags[:-1]]
        chat += [*ids, IM_END, *newline]
        marks += [FACT if a or b else WORDING for a, b in zip(flags, after, strict=True)]
        marks += [WORDING] + [PROMPT] * len(newline)
        where += range(len(bare), len(bare) + len(ids) + 1)
        bare += ids + newline
    return chat, marks, bare, where
