"""A manifest, or three files -> a session: weights in memory, a trio, and whoever answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from edgeproxy.align import MAX_PATHS, Cost, Match, ProjectedModel, align, doubts, match
from edgeproxy.core.threads import Crew, Threads, default_threads
from edgeproxy.decode.drafted import Draft, Drafter
from edgeproxy.decode.fuse import check_alpha, check_plausibility
from edgeproxy.decode.pieces import Piece
from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.trio import RoleTokens, Trio
from edgeproxy.errors import UsageError, VocabularyError
from edgeproxy.llama import KvType, LlamaModel, Weights, check_kv_type
from edgeproxy.prompts.formats import Format, Message, make_format
from edgeproxy.prompts.renderer import Renderer
from edgeproxy.session.conversation import (
    DEFAULT_MAX_TOKENS,
    Conversation,
    Speaker,
    solo_speaker,
    trio_speaker,
)
from edgeproxy.session.memory_free import free_memory
from edgeproxy.session.memory_plan import Part, Plan, adapter_bytes
from edgeproxy.session.model_files import Held, Progress
from edgeproxy.session.prompt_cache import Cached, cache_prompt, opening
from edgeproxy.trios.find import Recipe, Role, choose_recipe

SOLO_ROLES = ("base", "expert", "anti_expert", "tuned")


def load(
    trio: str | Path | Recipe | None = None,
    *,
    base: str | Path | None = None,
    expert: str | Path | None = None,
    anti_expert: str | Path | None = None,
    expert_lora: str | Path | None = None,
    prompts: Mapping[str, str] | None = None,
    alpha: float | None = None,
    plausibility: float | None = None,
    n_ctx: int | None = None,
    n_threads: int | None = None,
    kv_type: KvType = "f16",
    strict: bool = False,
    draft: Draft = "auto",
    force: bool = False,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Session:
    """Load a trio by name, by the path of its manifest, or from three GGUF files.

    With `trio` and a file, the file takes that role's place. `expert_lora` is a LoRA adapter: the
    expert is then the anti-expert's weights, held once, with what it changes of them. `prompts`
    names prompt formats for some roles, such as {"expert": "chatml"} (see `FORMATS`). `alpha` and
    `plausibility` default to the manifest's; `n_ctx` (tokens) to what the models were trained with,
    at most 4,096; `n_threads` to what is fastest while it runs (see `threads`). `cancel` stops the
    loading too, with `Cancelled`.

    `kv_type` "q8_0" halves what a long context takes of memory, nearly without a loss.

    `draft` says what drafts several tokens at once (see `Drafter`); it changes the speed alone.

    The pair may have a vocabulary of its own. What it then cannot say is in `Session.doubts`; with
    `strict` it is a `VocabularyError`.

    Raises `UsageError`, `ManifestError`, `ModelFileError`, `VocabularyError`, `OutOfMemoryError` or
    `EngineError`, each saying what to do; nothing stays in memory then.
    """
    recipe = choose_recipe(trio, base, expert, anti_expert, expert_lora, prompts)
    # Checked before seconds are spent on the weights.
    if alpha is not None:
        recipe = replace(recipe, alpha=check_alpha(alpha))
    if plausibility is not None:
        recipe = replace(recipe, plausibility=check_plausibility(plausibility))
    return Session(
        recipe,
        n_ctx=n_ctx,
        n_threads=n_threads,
        kv_type=kv_type,
        strict=strict,
        draft=draft,
        force=force,
        progress=progress,
        cancel=cancel,
    )


class Session:
    """A loaded trio that answers. Use it as a context manager, or `close` it.

    One reply at a time; only `cancel` may be called from other threads and signal handlers.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        n_ctx: int | None = None,
        n_threads: int | None = None,
        kv_type: KvType = "f16",
        strict: bool = False,
        draft: Draft = "auto",
        force: bool = False,
        progress: Progress | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self.recipe = recipe
        self._cancel = cancel or threading.Event()
        self._n_ctx = n_ctx
        self._n_threads = n_threads
        check_kv_type(kv_type)
        self._kv_type = kv_type
        self._held = Held(progress, self._cancel)
        self._solo: dict[str, Speaker[Sequence[int]]] = {}
        try:
            parts = {name: Part.of(self._held.check(r)) for name, r in recipe.roles.items()}
            adapters = adapter_bytes(recipe.roles.values())
            plan = Plan(parts, n_ctx, kv_type, draft != "off", adapters)
            self.memory = plan.estimate()
            """What the trio takes of memory."""
            if not force:
                plan.check(free_memory())
            for name, role in recipe.roles.items():
                self._held.try_format(name, role)
            base, expert, anti_expert = (
                self._held.weights(role, part) for role, part in recipe.roles.items()
            )
            matches = match(base.vocab, expert.vocab), match(base.vocab, anti_expert.vocab)
            self.matches: Mapping[str, Match] = MappingProxyType(
                dict(zip(("expert", "anti_expert"), matches, strict=True))
            )
            self.doubts = doubts(base.vocab, matches)
            if strict and self.doubts:
                raise VocabularyError(self.doubts[0])
            pair_params = max(expert.n_params, anti_expert.n_params)
            self.crew = Crew(base.n_params, pair_params, n_threads)
            branches = MAX_PATHS if any(m.case == "different" for m in matches) else 0
            aligned = align(
                self._context("expert", recipe.expert, self.crew.pair, branches),
                self._context("anti_expert", recipe.anti_expert, self.crew.pair, branches),
                base.vocab,
                matches,
            )
            self.trio = Trio(
                self._context("base", recipe.base, self.crew.base),
                aligned.expert,
                aligned.anti_expert,
                recipe.alpha,
                recipe.plausibility,
                self.crew.beside,
            )
            self.drafter = Drafter(self.trio, draft)
            self.speaker: Speaker[RoleTokens] = trio_speaker(
                self.trio,
                (
                    _format(recipe.base, base, self._held.renderer),
                    _format(recipe.expert, expert, self._held.renderer),
                    _format(recipe.anti_expert, anti_expert, self._held.renderer),
                ),
                (base.vocab, expert.vocab, anti_expert.vocab),
                aligned.endings,
                base,
                self._cancel,
                self.drafter,
            )
        except BaseException:
            self._held.close()
            raise

    def _context(
        self, name: str, role: Role, n_threads: int | Threads, n_branches: int = 0
    ) -> LlamaModel:
        return LlamaModel(
            self._held.weights(name, role),
            n_ctx=self._n_ctx,
            n_threads=n_threads,
            kv_type=self._kv_type,
            n_branches=n_branches,
            adapter=self._held.adapter(name, role),
            cancel=self._cancel,
        )

    @property
    def alpha(self) -> float:
        """The weight of the pair's opinion; may be set between replies."""
        return self.trio.alpha

    @alpha.setter
    def alpha(self, value: float) -> None:
        self.trio.alpha = value

    @property
    def plausibility(self) -> float:
        """The mask's beta, 0 is off; may be set between replies."""
        return self.trio.plausibility

    @plausibility.setter
    def plausibility(self, value: float) -> None:
        self.trio.plausibility = value

    def chat(
        self,
        messages: str | Sequence[Message],
        *,
        sampling: Sampling | None = None,
        max_tokens: int = DEFAULT_MAX_TOKENS,
        stops: Sequence[str] = (),
    ) -> Iterator[Piece]:
        """Answer one message, or the last of a whole conversation, piece by piece.

        What the models have already read of the same conversation is not read again. `sampling`
        defaults to the manifest's temperature. Raises `PromptError` and `ContextFullError` when
        the first piece is asked for.
        """
        if isinstance(messages, str):
            messages = [Message("user", messages)]
        return self.speaker.reply(messages, sampling or self.sampling, max_tokens, stops)

    @property
    def cost(self) -> Cost | None:
        """What reading the last reply has cost a pair with a tokenizer of its own; else None."""
        expert = self.trio.expert
        return expert.cost if isinstance(expert, ProjectedModel) else None

    @property
    def sampling(self) -> Sampling:
        """The settings that the manifest asks for."""
        return Sampling(temperature=self.recipe.temperature)

    def conversation(self, system: str | None = None) -> Conversation:
        """A conversation that remembers its turns."""
        return Conversation(self.speaker, system)

    def cache_prompt(
        self, system: str, path: str | Path, progress: Progress | None = None
    ) -> Cached:
        """Have a system message read before the first question: from the file at `path`, if it can.

        Where the file is not there yet, or was made for another message or another trio, the
        message is read and kept there for the next time (see `prompt_cache`). `progress` gets what
        is under way and the share done. Raises `UsageError` for a file that is something else, and
        as a reply does.
        """
        self._cancel.clear()
        prompt = opening(self.speaker.encode, [Message("system", system)])
        return cache_prompt(Path(path), self.trio, prompt, progress)

    def solo(self, role: str) -> Speaker[Sequence[int]]:
        """One model of the trio answering alone: "base", "expert", "anti_expert" or "tuned".

        It gets a context of its own over the same weights. Raises `UsageError` for another role,
        or for "tuned" where the trio has none.
        """
        if role not in self._solo:
            part = getattr(self.recipe, role) if role in SOLO_ROLES else None
            if part is None:
                raise UsageError(f"the trio {self.recipe.name!r} has no model {role!r}")
            weights = self._held.weights(role, part)
            n_threads = self._n_threads or default_threads(weights.n_params)
            model = self._context(role, part, n_threads)
            layout = _format(part, weights, self._held.renderer)
            self._solo[role] = solo_speaker(model, layout, weights, self._cancel)
        return self._solo[role]

    def cancel(self) -> None:
        """Stop the reply under way within a token, also while its prompt is read."""
        self._cancel.set()

    def close(self) -> None:
        """Give all memory back. A second call does nothing."""
        self.trio.let_go()
        self._held.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _format(role: Role, weights: Weights, renderer: Renderer) -> Format:
    return make_format(role.prompt, weights.vocab, str(role.path), renderer)
