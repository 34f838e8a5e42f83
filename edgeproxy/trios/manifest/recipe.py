"""What a trio is made of, as frozen dataclasses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgeproxy.decode.steering import PAPER, Steering
from edgeproxy.errors import UsageError
from edgeproxy.prompts.formats import check_format_name
from edgeproxy.trios.manifest.fitted import Fitted

MANIFEST = "trio.toml"
ROLES = ("base", "expert", "anti_expert")


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
    """A LoRA adapter: its file, as a `Role` has one, and how much of it is added to the weights."""

    path: Path
    scale: float = 1.0
    size: int | None = None
    sha256: str | None = None
    file: str | None = None
    source: Source | None = None
    licence: str = ""
    approximate_size: int | None = None

    @property
    def name(self) -> str:
        """The file's name as a person knows it."""
        return self.file or self.path.name


@dataclass(frozen=True)
class Role:
    """One model of a trio: its file, how it reads a conversation, and what the file must be.

    `file` is what a person calls it, where its path does not say that. `size` is in bytes and
    exact; `approximate_size` is what is known where it is not. `architecture`, `vocabulary` (tokens
    in the file) and `blocks` are what the file's header has to say. An expert with `lora` is that
    change of the anti-expert's weights, and the rest is said of the anti-expert's file.
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
    lora: Lora | None = None

    @property
    def name(self) -> str:
        """The file's name as a person knows it."""
        return self.file or self.path.name

    def with_lora(self, lora: Lora, prompt: str) -> Role:
        """The expert that is this model with an adapter."""
        return replace(self, lora=lora, prompt=prompt)


@dataclass(frozen=True)
class Recipe:
    """What a trio is made of. `tuned` is the base tuned directly, kept only for measuring.

    `verified` says whether somebody has pulled these very files and let them answer, `fitted` on
    what its steering was found.
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

    @property
    def roles(self) -> Mapping[str, Role]:
        """The three that answer together, by their manifest names."""
        return {"base": self.base, "expert": self.expert, "anti_expert": self.anti_expert}

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
    def files(self) -> Mapping[str, Role | Lora]:
        """Each role's own file: an adapter where it is one, and `tuned` where there is that."""
        own = {name: role.lora or role for name, role in self.roles.items()}
        return {**own, "tuned": self.tuned} if self.tuned else own
