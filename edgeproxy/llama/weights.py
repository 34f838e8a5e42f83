"""A model file's weights and vocabulary in memory, to be shared by any number of contexts.

May touch: the model file, read-only.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from edgeproxy.core.cancel import Cancel
from edgeproxy.core.vocab import Kind, Vocab, from_header
from edgeproxy.errors import Cancelled, ModelFileError, UsageError
from edgeproxy.gguf import Header, ModelFile, open_model
from edgeproxy.llama.library import build, drain_logs, failure, lib, set_fields
from edgeproxy.llama.loaded import Loaded
from edgeproxy.llama.stream import HAS_STREAMS, stream_of
from edgeproxy.llama.tokenizer import tokenizer

Progress = Callable[[float], None]
"""Called with the share of a file that has been loaded, 0 to 1."""

_MMAP, _READ = 1, 0
_MMAP_ALIGNMENT = 32
_MAX_CONTEXT = 1 << 20

# llama.cpp rearranges most quantised weights for the processor, in memory of its own; a mapped file
# would be held besides. These it uses as they lie.
_IN_PLACE = {"f32", "f16", "bf16"}
if platform.machine().lower() in ("x86_64", "amd64"):
    _IN_PLACE.add("q8_0")


class Unloaded:
    """A model file that is open and validated, and its vocabulary; no weights are in memory yet.

    With `embeds` it may be an embedding model, which cannot write. Raises `ModelFileError` for a
    file that is not a sound model. Close it, or hand it to `Weights`, which does.
    """

    def __init__(self, path: str | Path, *, vocab_only: bool = False, embeds: bool = False) -> None:
        self.file = open_model(path, vocab_only=vocab_only, embeds=embeds)
        try:
            header = self.file.header
            self.vocab = from_header(header)
            self.n_merges = len(header.metadata.get("tokenizer.ggml.merges", ()))
            # Let go before llama.cpp makes its own of them.
            self.file.header = self.header = header.without_tokenizer_lists()
        except BaseException:
            self.file.close()
            raise

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self.file.close()


class Context(Protocol):
    """What weights know of a context over them."""

    kv_bytes: int

    def close(self) -> None:
        """Give the memory back."""


class Weights:
    """The weights of one GGUF file, validated and then loaded from the same open file.

    `progress` may raise: loading then stops and the exception goes on to the caller; setting
    `cancel` stops it with `Cancelled`. Raises `ModelFileError` for a file that is not a sound
    model, `EngineError` when llama.cpp refuses it. Close when done, or use as a context manager:
    contexts that are still open are closed first. Without that the memory is given back when the
    last reference goes, of the vocabulary too, whose tokenizer needs it.

    With `mmap` the file is mapped, and shared with other processes, without it read; by default it
    is mapped where llama.cpp uses the weights as they lie in the file, so that they are held once.

    A file that was opened as `Unloaded` already is taken as it is, and closed.

    With `vocab_only` the file needs no weights and none are read: there is `vocab` with its
    tokenizer, and everything that takes a model raises `UsageError`.
    """

    def __init__(
        self,
        path: str | Path | Unloaded,
        *,
        progress: Progress | None = None,
        cancel: Cancel | None = None,
        mmap: bool | None = None,
        vocab_only: bool = False,
    ) -> None:
        found = path if isinstance(path, Unloaded) else Unloaded(path, vocab_only=vocab_only)
        self.path = found.header.path
        self.header = found.header
        self._vocab_only = vocab_only
        self._contexts: weakref.WeakSet[Context] = weakref.WeakSet()
        self._adapter_bytes = 0
        with found.file as file:
            if mmap is None:
                mmap = is_mapped(self.header)
            self.loaded = Loaded(self.path, _load(file, progress, cancel, mmap, vocab_only))
            """llama.cpp's part of it."""
            try:
                file.check_unchanged()
                self._vocab = self._complete(found.vocab)
            except BaseException:
                self.close()
                raise

    def _complete(self, vocab: Vocab) -> Vocab:
        """Add what only llama.cpp knows: the tokenizer and every end-of-generation token."""
        pointer = self.loaded.vocab_pointer
        if lib.llama_vocab_n_tokens(pointer) != len(vocab):
            raise ModelFileError(self.path, "llama.cpp reads another number of tokens from it")
        bos, eos = lib.llama_vocab_bos(pointer), lib.llama_vocab_eos(pointer)
        known = {name: token for name, token in (("bos", bos), ("eos", eos)) if token >= 0}
        model = self.header.metadata["tokenizer.ggml.model"]
        # A token of any kind may be an end: llama.cpp goes by how it is spelled.
        endings = (t for t in vocab.spelled_specially if lib.llama_vocab_is_eog(pointer, t))
        return dataclasses.replace(
            vocab,
            bos=known.get("bos"),
            add_bos=bool(lib.llama_vocab_get_add_bos(pointer)),
            named={**vocab.named, **known},
            end_of_generation=vocab.end_of_generation.union(endings),
            tokenize=tokenizer(self.loaded, adds_space=model != "gpt2"),
            fingerprint=self._fingerprint(vocab),
        )

    def _fingerprint(self, vocab: Vocab) -> str:
        """The vocabulary's, with what llama.cpp makes of it: by its build, and of special tokens.

        It goes by names in the file's other keys whether a special token swallows spaces.
        """
        ordinary = (Kind.NORMAL, Kind.BYTE, Kind.UNUSED)
        pointer = self.vocab_pointer
        attributes = [
            lib.llama_vocab_get_attr(pointer, token)
            for token, kind in enumerate(vocab.kinds)
            if kind not in ordinary
        ]
        return hashlib.sha256(f"{vocab.fingerprint} {build()} {attributes}".encode()).hexdigest()

    @property
    def vocab(self) -> Vocab:
        """The vocabulary with its tokenizer; encoding needs the weights to stay open."""
        return self._vocab

    @property
    def pointer(self) -> Any:
        """As `Loaded.pointer`. Raises `UsageError` too where only the vocabulary was loaded."""
        if self._vocab_only:
            raise UsageError(
                f"{self.path}: only its vocabulary was loaded; load it without vocab_only"
            )
        return self.loaded.pointer

    @property
    def vocab_pointer(self) -> Any:
        """As `Loaded.vocab_pointer`."""
        return self.loaded.vocab_pointer

    @property
    def n_ctx_train(self) -> int:
        """The context length that the model was trained with, in tokens."""
        return int(lib.llama_model_n_ctx_train(self.pointer))

    def context_length(self, asked: int | None) -> int:
        """As the function of this name, for this model."""
        return context_length(self.n_ctx_train, asked)

    @property
    def n_params(self) -> int:
        """The number of parameters."""
        return int(lib.llama_model_n_params(self.pointer))

    @property
    def n_bytes(self) -> int:
        """What the weights take of memory, and the adapters that were loaded for them."""
        own = sum(tensor.size for tensor in self.header.tensors)
        return own + self._adapter_bytes

    @property
    def kv_bytes(self) -> int:
        """What the KV caches of all open contexts take of memory."""
        return sum(context.kv_bytes for context in self._contexts)

    @property
    def can_rewind(self) -> bool:
        """Whether a part of the text can be forgotten; recurrent models cannot."""
        pointer = self.pointer
        return not (lib.llama_model_is_recurrent(pointer) or lib.llama_model_is_hybrid(pointer))

    def register(self, context: Context) -> None:
        """Remember a context, to close it before the weights."""
        self._contexts.add(context)

    def hold(self, n_bytes: int) -> None:
        """Count an adapter's bytes: llama.cpp frees it with the weights."""
        self._adapter_bytes += n_bytes

    def close(self) -> None:
        """Give the memory back, the adapters' too. Contexts are closed first.

        A second call does nothing.
        """
        for context in list(self._contexts):
            context.close()
        self.loaded.close()

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def context_length(trained: int, asked: int | None) -> int:
    """`asked` tokens; without it `trained`, at most 4,096. Raises `UsageError`."""
    if asked is None:
        return min(trained, 4096)
    if not 1 <= asked <= _MAX_CONTEXT:
        raise UsageError(f"the context must be 1 to {_MAX_CONTEXT:,} tokens, not {asked}")
    return asked


def is_mapped(header: Header) -> bool:
    """Whether the weights are used as they lie in the file, and need not be read."""
    return all(tensor.type.name in _IN_PLACE for tensor in header.tensors)


def _load(
    file: ModelFile,
    progress: Progress | None,
    cancel: Cancel | None,
    mmap: bool,
    vocab_only: bool,
) -> Any:
    raised: list[BaseException] = []

    def report(share: float, _data: object) -> bool:
        try:
            if progress is not None:
                progress(share)
            return not (cancel is not None and cancel.is_set())
        except BaseException as error:  # noqa: BLE001 - carried across C and raised below
            raised.append(error)
            return False

    callback = lib.llama_progress_callback(report)
    # llama.cpp maps an open file only where the weights begin at its own alignment.
    mmap = mmap and file.header.data_offset % _MMAP_ALIGNMENT == 0
    params = set_fields(
        lib.llama_model_default_params(),
        n_gpu_layers=0,
        load_mode=_MMAP if mmap else _READ,
        progress_callback=callback,
        vocab_only=vocab_only,
    )
    if HAS_STREAMS:
        with stream_of(file) as stream:
            pointer = lib.llama_model_load_from_file_ptr(stream, params)
    else:
        pointer = lib.llama_model_load_from_file(os.fsencode(file.header.path), params)
    if raised:
        if pointer:
            lib.llama_model_free(pointer)
        try:
            raise raised[0]
        finally:
            raised.clear()  # it refers to this frame, which refers to it
    if not pointer:
        if cancel is not None and cancel.is_set():
            drain_logs()
            raise Cancelled(f"{file.header.path}: loading was cancelled")
        raise failure(f"{file.header.path}: llama.cpp cannot load this model")
    drain_logs()
    return pointer
