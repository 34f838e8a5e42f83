"""A manifest, or three files -> a session: files opened, memory checked, the parts put together.

May touch: the model files, the cache of alignments, /proc and /sys/fs/cgroup, all but the cache
read-only; the child process that renders chat templates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edgeproxy.align import MAX_PATHS, Aligned, Matches, align, doubts, match_pair
from edgeproxy.core.cancel import Cancel, Flag
from edgeproxy.core.check import one_of, whole
from edgeproxy.core.memory_free import free_memory
from edgeproxy.core.model import Model
from edgeproxy.core.threads import Crew, Threads
from edgeproxy.core.vocab import Vocab
from edgeproxy.decode.drafted import Draft, Drafter
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import EXPERT_ALONE, Alone, Change, Steering
from edgeproxy.decode.trio import Trio
from edgeproxy.errors import UsageError, VocabularyError
from edgeproxy.llama import KvType, LlamaModel, Weights, check_kv_type
from edgeproxy.prompts.formats import Format, make_format
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.remote.endpoint import NEEDS_TOKENIZER, ServerChange
from edgeproxy.session.alone import AloneSpeaker
from edgeproxy.session.floor import Floor
from edgeproxy.session.memory_plan import Part, Plan, adapter_bytes
from edgeproxy.session.model_files import ModelFiles, Progress
from edgeproxy.session.reading import Reading, chosen_documents
from edgeproxy.session.servers import check_named, doubts_of, trio_over
from edgeproxy.session.session import Session
from edgeproxy.session.speaker import SoloSpeaker, TrioSpeaker
from edgeproxy.trios.find import LoraChoice, Recipe, Role, choose_recipe, on_server
from edgeproxy.trios.fitting import template_doubts
from edgeproxy.trios.manifest import Readers

if TYPE_CHECKING:
    from edgeproxy.session.prompt_cache.shelf import Shelf

_APART = "edgeproxy.worker.isolated"
"""By its name: that room stands on this one, and nobody pays for it who does not ask for it."""

SOLO_ROLES = ("base", "expert", "anti_expert", "tuned")


def load(
    trio: str | Path | Recipe | None = None,
    *,
    base: str | Path | None = None,
    expert: str | Path | None = None,
    anti_expert: str | Path | None = None,
    expert_lora: LoraChoice | None = None,
    prompts: Mapping[str, str] | None = None,
    steering: Steering | None = None,
    alpha: float | None = None,
    base_weight: float | None = None,
    plausibility: float | None = None,
    expert_ends: bool | None = None,
    docs: str | Path | None = None,
    docs_to: Readers | None = None,
    n_ctx: int | None = None,
    n_threads: int | None = None,
    kv_type: KvType = "f16",
    strict: bool = False,
    draft: Draft = "auto",
    solo: Sequence[str] = (),
    shelf: int = 0,
    server: ServerChange | None = None,
    force: bool = False,
    isolate: bool = False,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Session:
    """Load a trio by name, by the path of its manifest, or from three GGUF files.

    With `trio` and a file, the file takes that role's place. `expert_lora` is a LoRA adapter, or
    several with the weight of each (see `Role`): the expert is then the anti-expert's weights, held
    once, with what these change of them; one of weight 0 is left out.

    `prompts` names prompt formats for some roles, such as {"expert": "chatml"} (see `FORMATS`).
    `steering` defaults to the manifest's, and `alpha`, `base_weight`, `plausibility` and
    `expert_ends` change what they name of it (see `Steering`); `n_ctx` (tokens) to what the models
    were trained with, at most 4,096; `n_threads` to what is fastest while it runs (see `threads`).
    While `cancel` is set, loading stops with `Cancelled`, and replies end.

    `docs` is an index of documents, by its name or path, in which passages are found for each
    question, and `docs_to` says which models read them: "nobody", "base", "expert" or "all". Both
    default to the manifest's, and `docs_to` to "base" where that has none.

    `kv_type` "q8_0" halves what a long context takes of memory, nearly without a loss.

    `draft` says what drafts several tokens at once (see `Drafter`): it changes the speed and, bar
    rounding, not the text.

    `solo` names models that will answer alone too (see `Session.solo`): they are loaded with the
    trio, if there is room for all of them.

    `shelf` is how many bytes of memory may hold what was read of other conversations, so that one
    that goes on is not read again (see `prompt_cache.shelf`); where the say is left to one model
    there is none.

    With `server`, or a `url` in the manifest's base, the base is on a server that is asked for its
    predictions (see `Endpoint`, of whose fields `server` gives some), and the base's file is its
    tokenizer: a GGUF of which the vocabulary alone is read.

    Where the steering leaves the say to the expert or the base alone (see `Steering.alone`), that
    model is all that is loaded: it answers in its own vocabulary, and `strict` and `draft` mean
    nothing.

    With `isolate` the models are in a process of their own, so that what ends llama.cpp ends no
    more than that: a `WorkerError`, after which the next call starts another. See
    `worker.isolated` for what such a session cannot do.

    The pair may have a vocabulary of its own. What it then cannot say is in `Session.doubts`; with
    `strict` it is a `VocabularyError`.

    Raises `UsageError`, `ManifestError`, `ModelFileError`, `VocabularyError`, `OutOfMemoryError`,
    `RemoteError` or `EngineError`, each saying what to do; nothing stays in memory then.
    """
    if isolate:
        options = dict(locals())
        del options["isolate"], options["progress"], options["cancel"]
        apart: Session = import_module(_APART).load_isolated(options, progress, cancel)
        return apart
    if trio is None and base is None and (server or {}).get("url"):
        raise UsageError(f"a base on a server needs a tokenizer (--base): {NEEDS_TOKENIZER}")
    recipe = choose_recipe(trio, base, expert, anti_expert, expert_lora, prompts)
    # Checked before seconds are spent on the weights.
    change: Change = {
        "alpha": alpha,
        "base_weight": base_weight,
        "plausibility": plausibility,
        "expert_ends": expert_ends,
    }
    recipe = replace(
        recipe,
        base=on_server(recipe.base, server or {}),
        steering=(steering or recipe.steering).changed(change),
        documents=chosen_documents(recipe.documents, docs, docs_to),
    )
    if recipe.base.endpoint is not None and recipe.steering.alone != "expert":
        check_named(recipe.base.endpoint)
    if n_ctx is not None:
        whole("n_ctx", n_ctx)
    if n_threads is not None:
        whole("n_threads", n_threads)
    whole("shelf", shelf, 0)
    check_kv_type(kv_type)
    one_of("draft", draft, get_args(Draft))
    cancel = cancel or Flag()
    files = ModelFiles(progress, cancel)
    try:
        loading = _Loading(files, recipe, n_ctx, n_threads, kv_type, force, cancel)
        if recipe.steering.alone is not None:
            return loading.alone(recipe.steering.alone, solo)
        return loading.session(strict, draft, solo, shelf)
    except BaseException:
        files.close()
        raise


@dataclass(frozen=True)
class _Loading:
    """A trio's files, and the settings that all contexts over them share."""

    files: ModelFiles
    recipe: Recipe
    n_ctx: int | None
    n_threads: int | None
    kv_type: KvType
    force: bool
    cancel: Cancel

    def session(self, strict: bool, draft: Draft, solo: Sequence[str], shelf: int) -> Session:
        """All of the trio in memory, answering. Raises as `load` does."""
        recipe, files = self.recipe, self.files
        parts = {name: Part.of(files.check(role)) for name, role in recipe.roles.items()}
        # A base on a server takes nothing here, alone neither.
        alone = {
            name: Part.of(files.check(role))
            for name, role in ((name, self._role(name)) for name in solo)
            if role.endpoint is None
        }
        adapters = adapter_bytes([*recipe.roles.values(), *map(self._role, solo)])
        plan = Plan(
            parts,
            self.n_ctx,
            self.kv_type,
            draft != "off",
            adapters,
            elsewhere=self._is_elsewhere,
            embedding=files.embedding_bytes(recipe.documents),
            shelf=shelf,
        )
        memory = plan.estimate()
        if not self.force:
            replace(plan, alone=alone).check(free_memory())
        for name, role in recipe.roles.items():
            files.try_format(name, role)
        base, expert, anti_expert = (
            files.weights(name, role) for name, role in recipe.roles.items()
        )
        matches = match_pair(base.vocab, expert.vocab, anti_expert.vocab)
        lost = doubts(base.vocab, matches)
        if strict and lost:
            raise VocabularyError(lost[0])
        n_pair = max(expert.n_params, anti_expert.n_params)
        crew = Crew(n_pair if self._is_elsewhere else base.n_params, n_pair, self.n_threads)
        session = Session(
            recipe,
            self._trio_speaker(matches, draft, crew, files.progress, shelf),
            files,
            partial(self._solo, crew),
            matches=dict(zip(("expert", "anti_expert"), matches, strict=True)),
            crew=crew,
            memory=memory,
            doubts=[
                *lost,
                *plan.doubts(),
                *doubts_of(recipe.base),
                *template_doubts("base", recipe.base, base.vocab),
                *template_doubts("expert", recipe.expert, expert.vocab),
                *template_doubts("anti_expert", recipe.anti_expert, anti_expert.vocab),
            ],
            another=lambda threads: self._trio_speaker(matches, draft, Crew(0, 0, threads), None),
        )
        for name in solo:
            session.solo(name)
        return session

    def _trio_speaker(
        self,
        matches: Matches,
        draft: Draft,
        crew: Crew,
        progress: Progress | None,
        shelf: int = 0,
    ) -> TrioSpeaker:
        """A speaker over the three, in contexts of its own, in `crew`'s threads."""
        recipe, files = self.recipe, self.files
        base, expert, anti_expert = (
            files.weights(name, role) for name, role in recipe.roles.items()
        )
        branches = MAX_PATHS if any(m.case == "different" for m in matches) else 0
        floor = Floor(self.cancel)
        # Side by side, and beside the alignment: llama.cpp leaves Python's lock while it works.
        with ThreadPoolExecutor(len(recipe.roles)) as pool:
            of_expert, of_anti, of_base = (
                pool.submit(self._model, name, recipe.roles[name], floor, threads, n)
                for name, threads, n in (
                    ("expert", crew.pair, branches),
                    ("anti_expert", crew.pair, branches),
                    ("base", crew.base, 0),
                )
            )
            aligned = align(
                of_expert.result(),
                of_anti.result(),
                base.vocab,
                matches,
                progress,
                self.cancel,
            )
            trio = self._trio(of_base.result(), aligned, crew)
        return TrioSpeaker(
            trio,
            (
                _format(recipe.base, base, files.renderer),
                _format(recipe.expert, expert, files.renderer),
                _format(recipe.anti_expert, anti_expert, files.renderer),
            ),
            (base.vocab, expert.vocab, anti_expert.vocab),
            aligned.endings,
            floor,
            base,
            Drafter(trio, draft),
            self._sampling,
            partial(self._in_place_of_trio, crew, "expert", EXPERT_ALONE),
            self._reading(base.vocab),
            _shelf(shelf),
        )

    @property
    def _is_elsewhere(self) -> bool:
        return self.recipe.base.endpoint is not None

    def _trio(self, base: Any, aligned: Aligned, crew: Crew) -> Trio:
        """The three models as one, in the way that the base takes part."""
        three = base, aligned.expert, aligned.anti_expert, self.recipe.steering, crew.beside
        if not self._is_elsewhere:
            return Trio(*three, endings=aligned.endings)
        return trio_over(*three, aligned.endings)

    def alone(self, role: Alone, solo: Sequence[str]) -> Session:
        """Nothing but this model in memory, answering for the trio. Raises as `load` does."""
        found = self._role(role)
        part = Part.of(self.files.check(found))
        crew = Crew(part.header.n_params, part.header.n_params, self.n_threads)
        plan = Plan(
            {role: part},
            self.n_ctx,
            self.kv_type,
            False,
            adapter_bytes([found]),
            elsewhere=found.vocab_only,
            embedding=self.files.embedding_bytes(self.recipe.documents),
        )
        session = Session(
            self.recipe,
            self._in_place_of_trio(crew, role, self.recipe.steering),
            self.files,
            partial(self._solo, crew),
            matches={},
            crew=crew,
            memory=plan.estimate(),
            doubts=[
                *plan.doubts(),
                *doubts_of(found),
                *template_doubts(role, found, self.files.weights(role, found).vocab),
            ],
            another=lambda threads: self._in_place_of_trio(
                Crew(0, 0, threads), role, self.recipe.steering
            ),
        )
        for name in solo:
            session.solo(name)
        return session

    def _in_place_of_trio(self, crew: Crew, role: Alone, steering: Steering) -> AloneSpeaker:
        """One model, to answer what the trio is asked."""
        return AloneSpeaker(role, steering, *self._one(crew, role))

    def _reading(self, vocab: Vocab) -> Reading | None:
        """What finds passages of documents; `vocab` is that by whose tokens they are counted."""
        asked = self.recipe.documents
        return None if asked is None else self.files.reading(asked, vocab)

    @property
    def _sampling(self) -> Sampling:
        return Sampling(temperature=self.recipe.temperature)

    def _role(self, name: str) -> Role:
        found: Role | None = getattr(self.recipe, name) if name in SOLO_ROLES else None
        if found is None:
            raise UsageError(f"the trio {self.recipe.name!r} has no model {name!r}")
        return found

    def _solo(self, crew: Crew, role: str) -> SoloSpeaker:
        """One model alone. See `Session.solo`."""
        return SoloSpeaker(*self._one(crew, role), role=role)

    def _one(
        self, crew: Crew, role: str
    ) -> tuple[Model, Format, Floor, Weights, Sampling, Reading | None]:
        """What speaks where one model answers alone, in a context of its own."""
        found = self._role(role)
        held = self.files.held(found)
        part = Part(held.header, held.vocab, 0) if held else Part.of(self.files.check(found))
        if not self.force and found.endpoint is None:
            plan = Plan({role: part}, self.n_ctx, self.kv_type)
            more = adapter_bytes([found]) if role not in self.recipe.roles else 0
            plan.check_alone(role, part, held is not None, free_memory(), more)
        if held is None:
            self.files.try_format(role, found)
        weights = self.files.weights(role, found)
        floor = Floor(self.cancel)
        n_params = 0 if found.endpoint else weights.n_params
        model = self._model(role, found, floor, crew.alone(n_params))
        layout = _format(found, weights, self.files.renderer)
        return model, layout, floor, weights, self._sampling, self._reading(weights.vocab)

    def _model(
        self,
        name: str,
        role: Role,
        floor: Floor,
        n_threads: int | Threads,
        n_branches: int = 0,
    ) -> Any:
        """The model of a role: a context of llama.cpp's, or what a server predicts."""
        if role.endpoint is not None:
            return self.files.connect(role, self.n_ctx, floor)
        return LlamaModel(
            self.files.weights(name, role),
            n_ctx=self.n_ctx,
            n_threads=n_threads,
            kv_type=self.kv_type,
            n_branches=n_branches,
            adapters=self.files.adapters(name, role),
            cancel=floor,
            progress=floor.heard,
        )


def _shelf(budget: int) -> Shelf | None:
    if not budget:
        return None
    from edgeproxy.session.prompt_cache.shelf import Shelf  # few need it

    return Shelf(budget)


def _format(role: Role, weights: Weights, renderer: Renderer) -> Format:
    return make_format(role.prompt, weights.vocab, str(role.path), renderer)
