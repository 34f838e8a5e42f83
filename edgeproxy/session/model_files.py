"""What of a trio's files is in memory: each file's weights, and each adapter, once.

May touch: the model files and an index of documents, read-only, and the child process that renders
chat templates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.heap import give_back
from edgeproxy.core.vocab import Vocab
from edgeproxy.llama import Adapter, Embedder, Unloaded, Weights
from edgeproxy.prompts.formats import try_format
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.session.reading import Reading
from edgeproxy.session.servers import connected
from edgeproxy.trios.find import Lora, Role
from edgeproxy.trios.manifest import Documents
from edgeproxy.trios.missing import check_here

if TYPE_CHECKING:
    from edgeproxy.documents.passage_finder import PassageFinder
    from edgeproxy.remote.model import RemoteModel

Progress = Callable[[str, float], None]
"""Called with a role's name and the share of its file that has been loaded, 0 to 1.

Or, at the end, with `align.ALIGNING` and the share of that.
"""


class _Key(NamedTuple):
    """A file, and whether its vocabulary alone is loaded."""

    path: Path
    vocab_only: bool


def _key(role: Role) -> _Key:
    return _Key(role.path, role.vocab_only)


class ModelFiles:
    """Loads what is asked for the first time; `progress` and `cancel` as for `Weights`."""

    def __init__(self, progress: Progress | None, cancel: Cancel) -> None:
        self.progress = progress
        self._cancel = cancel
        self._unloaded: dict[_Key, Unloaded] = {}
        self._weights: dict[_Key, Weights] = {}
        self._adapters: dict[tuple[Path, Lora], Adapter] = {}
        self._remote: list[RemoteModel] = []
        self._passages: PassageFinder | None = None
        self._reading: Reading | None = None
        self.renderer = Renderer()

    def check(self, role: Role) -> Unloaded:
        """The file of `role`, opened and validated, to be loaded later. Raises `ModelFileError`.

        Of a model on a server the file is a tokenizer, and no weights are looked for in it.
        """
        key = _key(role)
        if key not in self._unloaded:
            check_here(role, *role.applied)
            self._unloaded[key] = Unloaded(role.path, vocab_only=key.vocab_only)
        return self._unloaded[key]

    def try_format(self, name: str, role: Role) -> None:
        """Lay out conversations for the role called `name`, before its weights are read.

        What the format ends a turn with then ends a reply of the model. Raises as `try_format`.
        """
        file = self.check(role)
        by_name = f"--prompt {name.replace('_', '-')}=chatml"
        tried = try_format(role.prompt, file.vocab, str(role.path), self.renderer, by_name)
        endings = file.vocab.end_of_generation | tried.endings
        file.vocab = replace(file.vocab, end_of_generation=endings)

    def held(self, role: Role) -> Weights | None:
        """The weights of `role` where they are in memory already."""
        return self._weights.get(_key(role))

    def weights(self, name: str, role: Role) -> Weights:
        """The weights of the role called `name`; two roles that name one file share them."""
        key = _key(role)
        if key not in self._weights:
            report = self.progress
            self._weights[key] = Weights(
                self._unloaded.pop(key, role.path),
                progress=None if report is None else lambda share: report(name, share),
                cancel=self._cancel,
                vocab_only=key.vocab_only,
            )
        return self._weights[key]

    def connect(self, role: Role, n_ctx: int | None, cancel: Cancel) -> RemoteModel:
        """The model of `role`, which is on a server, in a context of at most `n_ctx` tokens.

        Raises `RemoteError`, and `UsageError` for a key that is not there.
        """
        like = self._remote[0] if self._remote else None
        model = connected(role, self.weights("base", role).vocab, n_ctx, cancel, like)
        self._remote.append(model)
        return model

    def adapters(self, name: str, role: Role) -> list[Adapter]:
        """What is added to the weights of the role called `name`: adapters that change anything."""
        weights = self.weights(name, role) if role.applied else None
        found = []
        for lora in role.applied:
            assert weights is not None
            key = role.path, lora
            if key not in self._adapters:
                self._adapters[key] = Adapter(weights, lora.path, lora.scale)
            found.append(self._adapters[key])
        return found

    def reading(self, asked: Documents, vocab: Vocab) -> Reading:
        """What finds passages in the index that `asked` names; opened once, for all who ask.

        `vocab` is that by whose tokens passages are counted, the first one's that asked. Raises
        `DocumentError` for an index that is not there or cannot be read.
        """
        if self._reading is None:
            from edgeproxy.documents.passage_finder import PassageFinder  # few need it, and SQLite

            self._passages = PassageFinder(
                asked, lambda text: len(vocab.encode(text)), Embedder, self._cancel
            )
            self._reading = Reading(self._passages, asked.to, asked.system)
        return self._reading

    @staticmethod
    def embedding_bytes(asked: Documents | None) -> int:
        """What the embedding model takes by which `asked` is searched; 0 without one.

        Raises `DocumentError` for an index that is not there or cannot be read.
        """
        if asked is None:
            return 0
        from edgeproxy.documents.named import find
        from edgeproxy.documents.vectors import model_of

        model = model_of(find(asked.index))
        return 0 if model is None else model.size

    def close(self) -> None:
        """Give all of it back. A second call does nothing."""
        self.renderer.close()
        if self._passages is not None:
            self._passages.close()
        for model in self._remote:
            model.close()
        self._remote.clear()
        self._adapters.clear()
        for held in (self._unloaded, self._weights):
            for file in held.values():
                file.close()
            held.clear()
        give_back()
