"""The whole walk: examples -> tokens -> network -> training -> comparison -> adapter and trio.

May touch: the files of examples and models, read-only; the folder; edgeproxy's list of known files.
"""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from edgeproxy import __version__
from edgeproxy.core.memory_free import free_memory
from edgeproxy.core.vocab import Vocab
from edgeproxy.documents.named import find as find_index
from edgeproxy.documents.passage_finder import PassageFinder
from edgeproxy.errors import Cancelled, ModelFileError, TuningError, UsageError
from edgeproxy.files import hash_file, reason
from edgeproxy.gguf import Header, read
from edgeproxy.llama import Embedder, Weights
from edgeproxy.llama import version as llama_version
from edgeproxy.prompts.formats import FORMATS, FROM_FILE, Turns, check_format_name
from edgeproxy.prompts.markers import markers_of
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.trios.known_files import KnownFiles
from edgeproxy.trios.manifest import Documents
from edgeproxy.trios.manifest.recipe import is_index_name
from edgeproxy.trios.store.naming import check_trio
from edgeproxy.tune import words
from edgeproxy.tune.architectures import architecture_of, numbers_of
from edgeproxy.tune.check import Check, Probe, check_adapter, check_untuned, predictions, probes
from edgeproxy.tune.checkpoint import Checkpoint, Origin
from edgeproxy.tune.data import Data, read_data
from edgeproxy.tune.encoding import make_encoder
from edgeproxy.tune.folder import (
    FINISHED,
    Folder,
    ModelFile,
    check_base,
    trio_name,
    trio_of,
    with_tuned,
)
from edgeproxy.tune.lessons import Lessons
from edgeproxy.tune.lora import add_lora, write_adapter
from edgeproxy.tune.memory import Fit, fitting, telling_of_memory
from edgeproxy.tune.network import Network, load_network, looking
from edgeproxy.tune.progress import Trained
from edgeproxy.tune.request import Request, Stop, Tuned, Watch
from edgeproxy.tune.settings import Dtype, Settings
from edgeproxy.tune.speed import TORCH_DTYPES, fastest_dtype, fastest_threads, using_threads
from edgeproxy.tune.train import train

MOST_TOKENS = 4096
"""Longer examples are left out: a session's context is no longer either, unless it is asked for."""

_FORMAT_OF_MARKERS = "chatml"


def tune(request: Request, watch: Watch | None = None, stop: Stop | None = None) -> Tuned:
    """Tune a model as `request` says.

    `stop` may be pressed from any thread or signal handler: the first time, training ends, and the
    best so far is compared with llama.cpp and written; otherwise `Cancelled` is raised. Where the
    folder has the result of the very same tuning already, only a trio that is missing is written.

    Raises `UsageError` for what was asked for or is in the examples, `ModelFileError`,
    `OutOfMemoryError`, and `TuningError` where training came to nothing, the disk refuses, or the
    adapter does not do in llama.cpp what was trained: then there is no adapter, and the
    checkpoint is kept.
    """
    walk = _Walk(request, watch or Watch(), stop or Stop())
    try:
        with telling_of_memory():
            return walk.walk()
    finally:
        walk.folder.tidy()


class _Walk:
    """One call of `tune`."""

    def __init__(self, request: Request, watch: Watch, stop: Stop) -> None:
        self._asked, self._watch, self._stop = request, watch, stop
        self.folder = Folder(request.folder, "tuned" if request.is_direct else "expert")

    def walk(self) -> Tuned:
        """From the files to the adapter and the trio."""
        asked, folder = self._asked, self.folder
        self._check_options()
        header = read(asked.model)
        architecture_of(header)
        folder.make(asked.resume)
        self._find_models()
        trained_with = header.integer(f"{header.architecture}.context_length")
        n_ctx = min(trained_with, asked.n_ctx or MOST_TOKENS)
        data, prompt = self._read_examples(n_ctx)
        settings = Settings.fitting(data.n_training, numbers_of(header).width, **asked.settings)
        run = self._run(prompt, n_ctx, settings)
        record = folder.finished(run, asked.resume)
        if record is not None:
            return self._finish(record, prompt, is_new=False)
        self._watch.noted("model", words.of_model(header, prompt))
        self._watch.noted("settings", words.of_settings(settings))
        self._check_checkpoint(settings, data)
        fit, dtype = self._fit(header, settings, data)
        network = self._load(dtype, fit, n_ctx)
        tries = probes(data.held_out) or probes(data.training)
        if not tries:
            raise TuningError("none of the examples has a reply to learn from; look at the file")
        trained = self._train(network, data, fit.settings, tries)
        check = self._check(network, trained, tries)
        record = {
            **self._origins(header),
            "run": run,
            "data": _of_data(data),
            "result": _of_result(trained),
            "check": asdict(check),
        }
        record = folder.keep(record, is_finished=trained.ending in FINISHED)
        return self._finish(record, prompt, is_new=True)

    def _check_options(self) -> None:
        """Raise `UsageError` or `StoreError` for what no file has to be read to refuse."""
        asked = self._asked
        Settings.fitting(1, 1, **asked.settings)
        if asked.prompt is not None:
            check_format_name(asked.prompt)
        if asked.name is not None:
            check_trio(asked.name)
        if asked.docs is not None:
            if not is_index_name(asked.docs):
                raise UsageError(
                    f"{asked.docs}: the trio names the documents by the name of their index, and "
                    "this is a path; make an index with a name: edgeproxy index FOLDER -o NAME"
                )
            find_index(asked.docs)

    def _find_models(self) -> None:
        """Hash the model files, and note where they lie, so that a trio can name them."""
        asked = self._asked
        self._base: ModelFile | None = None
        in_trio = asked.base is not None or (asked.is_direct and self.folder.manifest.exists())
        self._model = self._hashed(asked.model, noting=in_trio)
        if asked.is_direct:
            check_base(self.folder, self._model)
        elif asked.base is not None:
            read(asked.base)
            self._base = self._hashed(asked.base, noting=True)

    def _hashed(self, path: Path, noting: bool) -> ModelFile:
        def progress(_: object, done: int, size: int) -> None:
            self._look()
            self._watch.doing(f"hashing {path.name} {done / max(size, 1):.0%}")

        try:
            size = path.stat().st_size
            if noting:
                return ModelFile(path.resolve(), size, KnownFiles().add(path, progress))
            return ModelFile(
                path.resolve(), size, hash_file(path, lambda done: progress(None, done, size))
            )
        except OSError as error:
            raise ModelFileError(path, f"it cannot be read ({reason(error)})") from None

    def _read_examples(self, n_ctx: int) -> tuple[Data, str]:
        """The examples as tokens, and the name of the prompt format that they are laid out in."""
        asked = self._asked
        begun: dict[Path, float] = {}

        def progress(path: Path, share: float) -> None:
            spent = time.monotonic() - begun.setdefault(path, time.monotonic())
            self._watch.doing(words.of_reading(path, share, spent))

        with ExitStack() as stack:
            vocab = stack.enter_context(Weights(asked.model, vocab_only=True)).vocab
            renderer = stack.enter_context(Renderer())
            lessons = None
            if (documents := self._documents) is not None:
                find = PassageFinder(documents, lambda text: len(vocab.encode(text)), Embedder)
                stack.callback(find.close)
                lessons = Lessons(find, documents.count, asked.settings.get("seed") or 0)
            prompt = asked.prompt or usual_format(vocab)
            encoder = make_encoder(prompt, vocab, str(asked.model), renderer)
            data = read_data(
                asked.examples,
                encoder,
                max_tokens=n_ctx,
                validation=asked.validation,
                seed=asked.settings.get("seed") or 0,
                columns=asked.columns,
                skip_bad=asked.skip_bad,
                lesson=lessons,
                progress=progress,
                cancel=self._stop,
            )
        for found in (data.found, data.validation):
            for line in found.wrong if found else ():
                self._watch.noted("left out", line)
        for line in words.of_data(data, n_ctx):
            self._watch.noted("examples", line)
        if lessons is not None:
            self._watch.noted("documents", words.of_lessons(lessons.told))
        return data, prompt

    @property
    def _documents(self) -> Documents | None:
        """What passages for the examples are found in; the tuned model alone is to read them."""
        docs = self._asked.docs
        return None if docs is None else Documents(docs, to="expert")

    def _run(self, prompt: str, n_ctx: int, settings: Settings) -> Mapping[str, Any]:
        """All that decides the result."""
        asked = self._asked
        files = {"examples": asked.examples, "validation": asked.validation}
        return {
            "model": self._model.sha256,
            "prompt": prompt,
            **{name: hash_file(path) if path else None for name, path in files.items()},
            "columns": list(asked.columns) if asked.columns else None,
            "max_tokens": n_ctx,
            **({"docs": asked.docs} if asked.docs is not None else {}),
            **settings.deciding(),
        }

    def _check_checkpoint(self, settings: Settings, data: Data) -> None:
        """Raise `TuningError` where the files have changed since what is to be gone on with."""
        path = self.folder.checkpoint
        if self._asked.resume and path.exists():
            origin = Origin.of(self._model.sha256, data.training, data.held_out, settings)
            Checkpoint.read(path).check_origin(path, origin)

    def _fit(self, header: Header, settings: Settings, data: Data) -> tuple[Fit, Dtype]:
        """How it fits the memory, and the dtype that is fastest here, or was when it was begun."""
        folder = self.folder
        if self._asked.resume and folder.checkpoint.exists():
            dtype = Checkpoint.read(folder.checkpoint).way.dtype
        elif settings.dtype is not None:
            dtype = settings.dtype
        else:
            self._watch.doing("finding out what is fastest")
            inner = max(t.shape[1] for t in header.tensors if "ffn_up" in t.name)
            dtype = fastest_dtype(numbers_of(header).width, inner, settings.threads)
        lengths = [s.lengths.max() for s in (data.training, data.held_out) if len(s)]
        free = free_memory()
        fit = fitting(header, settings, dtype, int(max(lengths)), free, is_forced=self._asked.force)
        self._watch.noted("memory", words.of_memory(fit, free.bytes if free else None))
        return fit, dtype

    def _load(self, dtype: Dtype, fit: Fit, n_ctx: int) -> Network:
        def progress(share: float) -> None:
            self._watch.doing(f"loading {self._asked.model.name} {share:.0%}")

        network = load_network(
            self._asked.model, TORCH_DTYPES[dtype], progress, self._stop, n_ctx=n_ctx
        )
        network.checkpointing = fit.checkpointing
        settings = fit.settings
        add_lora(network, settings.rank, settings.alpha, settings.seed)
        return network

    def _train(
        self, network: Network, data: Data, settings: Settings, tries: Sequence[Probe]
    ) -> Trained:
        """Train, once PyTorch's model is seen to be llama.cpp's. Raises `Cancelled` too."""
        folder, watch = self.folder, self._watch
        watch.doing("comparing with llama.cpp before training")
        # On a busy machine two threads may take many times as long as one.
        given = [settings.threads] if settings.threads else []
        with looking(network, self._look):
            threads = fastest_threads(lambda: predictions(network, tries[0]), given).threads
            with using_threads(threads):
                check_untuned(network, self._asked.model, tries, self._stop)
        watch.doing("finding out how many threads are fastest")
        trained = train(
            network,
            data.training,
            data.held_out,
            settings,
            model=self._model.sha256,
            checkpoint=folder.checkpoint,
            resume=self._asked.resume and folder.checkpoint.exists(),
            heard=watch.heard,
            is_stopping=self._stop.is_set,
        )
        self._take_stock(trained)
        return trained

    def _check(self, network: Network, trained: Trained, tries: Sequence[Probe]) -> Check:
        """Write the adapter beside its place, and compare it with the network."""
        folder = self.folder
        with folder.telling():
            write_adapter(folder.unchecked, network, name=f"{self._asked.model.stem}, tuned")
        with looking(network, self._look), using_threads(trained.threads):
            check = check_adapter(
                network, self._asked.model, folder.unchecked, tries, self._watch.doing, self._stop
            )
        self._watch.noted("check", words.of_check(check))
        return check

    def _look(self) -> None:
        if self._stop.is_set():
            raise Cancelled("interrupted")

    def _take_stock(self, trained: Trained) -> None:
        """After training: whether there is something to write. Raises `Cancelled` otherwise."""
        self._watch.noted("trained", words.of_trained(trained))
        if trained.ending == "stopped":
            if trained.steps == 0 or self._stop.presses > 1:
                raise Cancelled("interrupted")
            self._stop.obeyed()
        if trained.best_loss is not None and trained.best_loss >= (trained.first_loss or 0.0):
            self._watch.noted(
                "warning",
                "the held-out examples were told better before: learn more slowly, with "
                "a lower --rate, or give more examples",
            )

    def _origins(self, header: Header) -> dict[str, Any]:
        """What it was made of, and with what."""
        asked = self._asked
        return {
            "edgeproxy": __version__,
            "torch": str(torch.__version__),
            "gguf": version("gguf"),
            "llama_cpp_python": llama_version(),
            "python": platform.python_version(),
            "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "model": {
                "file": asked.model.name,
                "size": self._model.size,
                "sha256": self._model.sha256,
                "architecture": header.architecture,
                "parameters": header.n_params,
            },
        }

    def _finish(self, record: Mapping[str, Any], prompt: str, is_new: bool) -> Tuned:
        """Write the trio around the adapter that is there."""
        asked, folder = self._asked, self.folder
        recipe = None
        if asked.is_direct:
            recipe = with_tuned(folder, self._model, prompt)
        elif self._base is not None:
            recipe = trio_of(
                folder,
                asked.name or trio_name(folder.path),
                f"{asked.model.name} tuned on {asked.examples.name} steers {self._base.path.name}",
                (self._base, self._model),
                prompt,
            )
        if recipe is not None:
            documents = self._documents
            if documents is not None and not asked.is_direct:
                recipe = replace(recipe, documents=documents)
            folder.write_trio(recipe)
        manifest = folder.manifest if folder.manifest.exists() else None
        return Tuned(folder.path, folder.adapter, manifest, record, is_new)


def usual_format(vocab: Vocab) -> str:
    """The template in the model's file, else chatml where the vocabulary has it, else plain."""
    if vocab.chat_template:
        return FROM_FILE
    chatml = FORMATS[_FORMAT_OF_MARKERS]
    assert isinstance(chatml, Turns)
    markers = markers_of(vocab)
    if all(markers.leading(marker) is not None for marker in chatml.needs):
        return _FORMAT_OF_MARKERS
    return "plain"


def _of_result(trained: Trained) -> dict[str, Any]:
    found = asdict(trained)
    return found | {"loss": trained.loss if math.isfinite(trained.loss) else None}


def _of_data(data: Data) -> dict[str, Any]:
    return {
        "file": data.found.path.name,
        "validation": data.validation.path.name if data.validation else None,
        "layout": data.found.layout,
        "kept": data.found.n_kept,
        "wrong": data.found.n_wrong,
        "duplicates": data.found.n_duplicates,
        "too_long": data.found.n_too_long,
        "training": data.n_training,
        "held_out": data.n_held_out,
        "tokens": data.training.n_tokens,
        "reply_tokens": data.training.n_reply_tokens,
    }
