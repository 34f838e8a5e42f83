"""Examples -> tokens, exactly as a session makes a model's prompts and a model's replies come back.

For each reply its tokens are

    the prompt of all messages before it   `prompts.formats.encode`, as a session calls it
    the reply                              tokenised apart from the prompt: a model goes on from the
                                           prompt's last token, whatever that is
    the token that ends it                 what the prompt format ends a turn with; where it has
                                           no token for that, the vocabulary's end of text

so that a model which says them says the reply's very text, and ends. The replies of a conversation
are in one sequence where the prompt of each begins with the one before, its reply and its end.
Elsewhere each has its own: some templates cut thinking out of what was said before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import PromptError, UsageError
from edgeproxy.prompts.formats import Format, encode, make_format, try_format
from edgeproxy.prompts.markers import markers_of
from edgeproxy.prompts.messages import Message
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.prompts.template import FileTemplate
from edgeproxy.tune.tokens import Tokens


class Encoder:
    """The tokens of conversations for a model with this format and vocabulary.

    `ending` is the token that ends each reply.
    """

    def __init__(self, layout: Format, vocab: Vocab, ending: int) -> None:
        self.vocab, self.ending = vocab, ending
        self._layout = layout
        self._markers = markers_of(vocab)

    def prepare(self, conversations: Sequence[Sequence[Message]]) -> None:
        """Render what `tokens` will ask for of these conversations, which is faster at once."""
        if isinstance(self._layout, FileTemplate):
            self._layout.render_ahead(
                messages[:n]
                for messages in conversations
                for n, message in enumerate(messages)
                if message.role == "assistant"
            )

    def tokens(self, messages: Sequence[Message]) -> list[Tokens]:
        """The sequences of a conversation, in which every reply is predicted once.

        Raises `PromptError` where the format does not take the conversation, or the vocabulary
        cannot say a reply.
        """
        sequences: list[tuple[list[int], list[bool]]] = []
        for n, message in enumerate(messages):
            if message.role != "assistant":
                continue
            prompt = self.prompt(messages[:n])
            reply = self.reply(message.content)
            known = sequences.pop() if sequences else ([], [])
            ids, is_reply = known
            if prompt[: len(ids)] != ids:
                sequences.append(known)
                is_reply = []
            is_reply = is_reply + [False] * (len(prompt) - len(is_reply)) + [True] * len(reply)
            sequences.append((prompt + reply, is_reply))
        return [
            Tokens(np.array(ids, dtype=np.int32), np.array(is_reply, dtype=np.bool_))
            for ids, is_reply in sequences
        ]

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """What a session would give the model to answer `messages`. Raises `PromptError`."""
        return encode(self._layout(messages), self.vocab)

    def reply(self, text: str) -> list[int]:
        """The tokens with which a model says `text` and ends. Raises `PromptError`."""
        ids = self._markers.go_on(text, self.vocab)
        said = b"".join(map(self.vocab.piece, ids))
        if said != text.encode() or not self.vocab.end_of_generation.isdisjoint(ids):
            raise PromptError(
                "the model's vocabulary cannot say this reply as it is: it would become "
                f"{_beside(said.decode(errors='replace'), text)}"
            )
        return [*ids, self.ending]


def make_encoder(
    name: str,
    vocab: Vocab,
    whose: str,
    renderer: Renderer,
    by_name: str = "choose a prompt format by name with --prompt",
) -> Encoder:
    """The encoder of the prompt format called `name`, for a vocabulary with its tokenizer.

    The arguments are those of `try_format`, and it raises as that does; also `UsageError` where
    neither the format nor the vocabulary has a token that ends a reply.
    """
    tried = try_format(name, vocab, whose, renderer, by_name)
    # As a session does it: markers depend on what ends a reply.
    endings = vocab.end_of_generation | tried.endings
    vocab = replace(vocab, end_of_generation=endings)
    layout = make_format(name, vocab, whose, renderer)
    return Encoder(layout, vocab, _ending(tried.endings, vocab, whose))


def _ending(endings: frozenset[int], vocab: Vocab, whose: str) -> int:
    if endings:
        return min(endings)  # a format has at most one
    eos = vocab.named.get("eos")
    if eos is not None and eos in vocab.end_of_generation:
        return eos
    if not vocab.end_of_generation:
        raise UsageError(
            f"{whose} has no token that ends a reply, so that none would end; choose a model with "
            "one, or a prompt format that needs one"
        )
    return min(vocab.end_of_generation)


def _beside(said: str, text: str) -> str:
    """What is said, from where it differs."""
    at = next((n for n, (a, b) in enumerate(zip(said, text, strict=False)) if a != b), len(said))
    return f"{said[at : at + 20]!r} instead of {text[at : at + 20]!r}"
