"""A model file's own chat template as a prompt format.

The template sees the real contents, so that trimming them or cutting out earlier thinking works.
Only the characters that a marker begins or ends with are replaced in them, each by a private-use
twin; a content's methods compare as if it were not (see `jinja`). Whatever a template does with a
content, these twins mark what of the prompt a person or a model wrote: no marker can come of it.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence

from edgeproxy.core.vocab import Vocab
from edgeproxy.errors import PromptError
from edgeproxy.prompts.markers import markers_of
from edgeproxy.prompts.messages import Message, Segment
from edgeproxy.prompts.renderer import Renderer

_Said = tuple[tuple[str, str], ...]
"""The role and the content of each message."""

_PRIVATE_USE = (range(0xE000, 0xF900), range(0xF0000, 0xFFFFE))


class FileTemplate:
    """The chat template of `vocab`, as a `Format`.

    Raises `PromptError` when it fails, or does not show a message that it was given.
    """

    def __init__(self, vocab: Vocab, renderer: Renderer) -> None:
        self._template = vocab.chat_template or ""
        self._renderer = renderer
        self._edges = sorted(markers_of(vocab).edges)
        self._ahead: dict[_Said, tuple[str, Mapping[str, str]]] = {}
        # What a file does not name shows as nothing, as in llama.cpp.
        self._variables = {"bos_token": "", "eos_token": ""} | {
            f"{name}_token": vocab.tokens[token].decode(errors="replace")
            for name, token in vocab.named.items()
        }

    def __call__(self, messages: Sequence[Message]) -> list[Segment]:
        """The segments of a conversation, with the assistant's turn opened at the end."""
        said = tuple((message.role, message.content) for message in messages)
        segments = self._render(said)
        text = "".join(segment.text for segment in segments)
        self._check_shown(said, [n for n, (_, has) in enumerate(said) if has.strip() not in text])
        return segments

    def render_ahead(self, conversations: Iterable[Sequence[Message]]) -> None:
        """Render conversations that it will be called with: many at once take a tenth of the time.

        What was rendered ahead before and not called for is forgotten. Where one of them fails, the
        call says so.
        """
        self._ahead = {}
        asked = [tuple((m.role, m.content) for m in messages) for messages in conversations]
        with contextlib.suppress(PromptError):  # each call finds out for itself
            twins = self._twins(text for said in asked for _, text in said)
            for said, text in zip(asked, self._rendered(asked, twins), strict=True):
                if isinstance(text, str):
                    self._ahead[said] = text, twins

    def _check_shown(self, said: Sequence[tuple[str, str]], missing: Sequence[int]) -> None:
        """Raise `PromptError` where one of the `missing` would not be shown if it were a word.

        A template may show a content otherwise than it is: in capitals, or without its thinking.
        """
        if not missing:
            return
        words = {n: secrets.token_hex(8) for n in missing}
        asked = [(role, words.get(n, content)) for n, (role, content) in enumerate(said)]
        text = "".join(segment.text for segment in self._render(asked)).casefold()
        for n, word in words.items():
            if word not in text:
                raise PromptError(
                    f"the model's chat template does not take the {said[n][0]} message here; "
                    "choose a prompt format by name"
                )

    def after_assistant(self) -> str:
        """What the template writes after what an assistant said. Raises `PromptError`."""
        word = secrets.token_hex(8)
        segments = self._render([("user", "Hello"), ("assistant", word)], opened=False)
        text = "".join(segment.text for segment in segments)
        return text.rpartition(word)[2] if word in text else ""

    def _render(self, said: Sequence[tuple[str, str]], opened: bool = True) -> list[Segment]:
        known = self._ahead.pop(tuple(said), None) if opened else None
        if known is not None:
            return _segments(*known)
        twins = self._twins(text for _, text in said)
        (found,) = self._rendered([said], twins, opened)
        if isinstance(found, PromptError):
            raise found
        return _segments(found, twins)

    def _rendered(
        self,
        conversations: Sequence[Sequence[tuple[str, str]]],
        twins: Mapping[str, str],
        opened: bool = True,
    ) -> list[str | PromptError]:
        """The texts of conversations, with twins in them."""
        table = str.maketrans(dict(twins))
        return self._renderer.render_all(
            self._template,
            [[(role, text.translate(table)) for role, text in said] for said in conversations],
            self._variables,
            twins,
            add_generation_prompt=opened,
        )

    def _twins(self, contents: Iterable[str]) -> Mapping[str, str]:
        """A character for each of the edges, none of which is used already."""
        used = set(self._template).union(*contents, *self._variables.values())
        free = (chr(code) for code in itertools.chain(*_PRIVATE_USE) if chr(code) not in used)
        twins = dict(zip(self._edges, free, strict=False))
        if len(twins) < len(self._edges):
            raise PromptError("the messages hold every private-use character; send ordinary text")
        return twins


def _segments(text: str, twins: Mapping[str, str]) -> list[Segment]:
    """A rendered text in parts; those made of twins alone are nobody's markers."""
    if not twins:
        return [Segment(text, True)]
    characters = str.maketrans({twin: character for character, twin in twins.items()})
    parts = re.split(f"([{''.join(twins.values())}]+)", text)
    return [Segment(part.translate(characters), n % 2 == 0) for n, part in enumerate(parts) if part]
