"""What a trio is made of, as frozen dataclasses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from edgeproxy.decode.steering import PAPER, Steering
from edgeproxy.errors import UsageError
from edgeproxy.prompts.formats import check_format_name
from edgeproxy.remote.endpoint import Endpoint
from edgeproxy.trios.manifest.fitted import Fitted

MANIFEST = "trio.toml"
ROLES = ("base", "expert", "anti_expert")
Readers = Literal["nobody", "base", "expert", "all"]
"""Which models read passages of documents."""
READERS: tuple[Readers, ...] = get_args(Readers)
ADAPTER_NAME = r"[^\x00-\x1f\x7f-\x9f]{1,64}"
"""What a person may call an adapter: characters of any language, none of them a control."""
INDEX_NAME = r"[A-Za-z0-9_][\w.-]{0,63}(?<!\.sqlite)"
"""What a person may call an index of documents."""


def is_adapter_name(text: str) -> bool:
    """Whether an adapter may be called `text`."""
    return bool(re.fullmatch(ADAPTER_NAME, text))


def is_index_name(text: str) -> bool:
    """Whether an index of documents may be called `text`; a path is no name."""
    return bool(re.fullmatch(INDEX_NAME, text, re.ASCII))


@dataclass(frozen=True)
class Source:
    """Where on a hub a file is: a repository, a commit (40 hexadecimal digits), a path in it."""

    repo: str
    revision: str
    file: str


@dataclass(frozen=True)
class Footprint:
    """About how many bytes of memory a trio needs with a context of so many tokens."""

    bytes: int
    context: int


@dataclass(frozen=True)
class Lora:
    """A LoRA adapter: its file, as a `Role` has one, and how much of it is added to the weights.

    `scale` is its weight: 1 as it was trained, 0 left out. `name` is what a person calls it: the
    file's name without its suffix, where nobody says.
    """

    path: Path
    scale: float = 1.0
    size: int | None = None
    sha256: str | None = None
    file: str | None = None
    source: Source | None = None
    licence: str = ""
    approximate_size: int | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.usual_name)

    @property
    def file_name(self) -> str:
        """The file's name as a person knows it."""
        return self.file or self.path.name

    @property
    def usual_name(self) -> str:
        """Its name where nobody says another."""
        return Path(self.file_name).stem


@dataclass(frozen=True)
class Role:
    """One model of a trio: its file, how it reads a conversation, and what the file must be.

    `file` is what a person calls it, where its path does not say that. `size` is in bytes and
    exact; `approximate_size` is what is known where it is not. `architecture`, `vocabulary` (tokens
    in the file) and `blocks` are what the file's header has to say. `template` is the sha256 of the
    chat template that the file had when the trio was made.

    With an `endpoint` the model is on a server, and the file is its tokenizer: a GGUF of which the
    vocabulary alone is read.

    With `loras` the model is that change of the weights in its file, which is another role's: the
    anti-expert's for an expert, the base's for a tuned base. Each matrix W of the file becomes

        W + sum_i scale_i * alpha_i / rank_i * B_i A_i

    with the alpha, rank and matrices of adapter i: task arithmetic (Ilharco et al. 2022,
    arXiv 2212.04089) with LoRA adapters as the task vectors.
    """

    path: Path
    prompt: str = "plain"
    size: int | None = None
    sha256: str | None = None
    file: str | None = None
    source: Source | None = None
    licence: str = ""
    approximate_size: int | None = None
    architecture: str | None = None
    vocabulary: int | None = None
    blocks: int | None = None
    template: str | None = None
    loras: tuple[Lora, ...] = ()
    endpoint: Endpoint | None = None

    @property
    def vocab_only(self) -> bool:
        """Whether its file is only asked for a vocabulary, as that of a model on a server is."""
        return self.endpoint is not None

    @property
    def file_name(self) -> str:
        """The file's name as a person knows it."""
        return self.file or self.path.name

    @property
    def applied(self) -> tuple[Lora, ...]:
        """The adapters that change anything: one whose scale is 0 is as if it were not there."""
        return tuple(lora for lora in self.loras if lora.scale)

    @property
    def own_files(self) -> tuple[Role | Lora, ...]:
        """The files that are this role's and no other's: its adapters where it has some."""
        return self.loras or (self,)

    @property
    def files(self) -> tuple[Role | Lora, ...]:
        """All files that make it: the weights, then the adapters."""
        return (self, *self.loras)

    def with_loras(self, loras: Iterable[Lora], prompt: str) -> Role:
        """The model that is this one with these adapters.

        Raises `UsageError` where two of them have one name.
        """
        chosen = tuple(loras)
        names = [lora.name for lora in chosen]
        for name in names:
            if names.count(name) > 1:
                raise UsageError(f"two adapters are called {name!r}; give them different names")
        return replace(self, loras=chosen, prompt=prompt)


@dataclass(frozen=True)
class Documents:
    """Documents that replies read: an index, by its name, and which models read what is found.

    `to` is one of `READERS`, `count` the most passages for a question, `tokens` the most that they
    have together. The models in `system` read it in the system message, others before the
    question.
    """

    index: str
    to: Readers = "base"
    count: int = 3
    tokens: int = 400
    system: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """What a trio is made of. `tuned` is the base tuned directly, kept only for measuring.

    `verified` says whether somebody has pulled these very files and let them answer, `fitted` on
    what its steering was found, `documents` what replies read. `folder` is the trio's own, with its
    `trio.toml`, where there is one; recipes may differ in it and be equal.
    """

    name: str
    base: Role
    expert: Role
    anti_expert: Role
    tuned: Role | None = None
    description: str = ""
    licence: str = ""
    steering: Steering = PAPER
    temperature: float = 0.0
    verified: bool = False
    memory: Footprint | None = None
    fitted: Fitted | None = None
    documents: Documents | None = None
    folder: Path | None = field(default=None, compare=False)

    @property
    def roles(self) -> Mapping[str, Role]:
        """The three that answer together, by their manifest names."""
        return {"base": self.base, "expert": self.expert, "anti_expert": self.anti_expert}

    @property
    def loaded(self) -> Mapping[str, Role]:
        """Those of them that answering takes: one where the steering leaves the say to it alone."""
        alone = self.steering.alone
        return self.roles if alone is None else {alone: self.roles[alone]}

    def with_roles(self, roles: Mapping[str, Role]) -> Recipe:
        """This recipe with these models in the place of its own, by their manifest names."""
        three = {**self.roles, **roles}
        return replace(
            self,
            base=three["base"],
            expert=three["expert"],
            anti_expert=three["anti_expert"],
            tuned=roles.get("tuned", self.tuned),
        )

    def with_prompts(self, prompts: Mapping[str, str]) -> Recipe:
        """This recipe, some of whose models, by their manifest names, have other prompt formats.

        Raises `UsageError` for a model that it has not, and for a format that there is not.
        """
        models = {**self.roles, "tuned": self.tuned} if self.tuned else self.roles
        for name in prompts.keys() - models.keys():
            raise UsageError(
                f"the trio {self.name!r} has no model {name!r} to choose a prompt format for; "
                f"it has {', '.join(models)}"
            )
        return self.with_roles(
            {
                name: replace(models[name], prompt=check_format_name(prompt))
                for name, prompt in prompts.items()
            }
        )

    @property
    def files(self) -> list[tuple[str, Role | Lora]]:
        """Each role's own files, with its name: `tuned`'s too where there is that."""
        models = {**self.roles, "tuned": self.tuned} if self.tuned else self.roles
        return [(name, file) for name, role in models.items() for file in role.own_files]

    @property
    def tuned_is_here(self) -> bool:
        """Whether there is a tuned model, and all its files are."""
        return self.tuned is not None and all(file.path.exists() for file in self.tuned.files)

    @property
    def needed(self) -> list[Role | Lora]:
        """The files without which it cannot answer: the tuned model is for measuring only."""
        return [file for role in self.roles.values() for file in role.own_files]
