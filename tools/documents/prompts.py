"""Whether a marker reaches a prompt that the prompt's format has not written itself.

May touch: the vocabularies of the models' files, read only; the child that renders templates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from edgeproxy.core.vocab import Kind, Vocab
from edgeproxy.documents.prompting import with_passages
from edgeproxy.llama import Weights
from edgeproxy.prompts.formats import Format, Message, encode, make_format
from edgeproxy.prompts.markers import markers_of
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.trios.find import Recipe

Prompts = Mapping[str, tuple[Format, Vocab]]
"""By role its prompt format and its vocabulary."""


def marker_ids(vocab: Vocab) -> frozenset[int]:
    """The tokens that no text of a document's may become."""
    controls = (id for id, kind in enumerate(vocab.kinds) if kind == Kind.CONTROL)
    return frozenset([*controls, *vocab.end_of_generation, *markers_of(vocab).reserved.values()])


def strays(layout: Format, vocab: Vocab, question: str, passages: Sequence[str]) -> list[str]:
    """The markers that a prompt has with `passages` and has not without them, as they are spelled.

    One that the format writes is counted too: twice as many of it would be a turn more.
    """
    asked, known = [Message("user", question)], marker_ids(vocab)
    alone, read = (
        Counter(token for token in encode(layout(messages), vocab) if token in known)
        for messages in (asked, with_passages(asked, passages))
    )
    return [vocab.tokens[token].decode(errors="replace") for token in (read - alone).elements()]


@contextmanager
def prompts_of(recipe: Recipe) -> Iterator[Prompts]:
    """How each model of a trio is asked; no weights are loaded. Raises as `load` does."""
    with ExitStack() as opened:
        renderer = Renderer()
        opened.callback(renderer.close)
        found: dict[str, tuple[Format, Vocab]] = {}
        for name, role in recipe.roles.items():
            vocab = opened.enter_context(Weights(role.path, vocab_only=True)).vocab
            found[name] = make_format(role.prompt, vocab, str(role.path), renderer), vocab
        yield found
