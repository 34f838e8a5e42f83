"""What a client asks for, whatever the protocol that it speaks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgeproxy.decode.sample import Sampling
from edgeproxy.grammar.grammar import Grammar
from edgeproxy.prompts.formats import Message
from edgeproxy.trios.manifest import Readers

Answers = Literal["trio", "base", "expert", "anti_expert"]
"""Who answers: the three models together, or one of them alone."""


@dataclass(frozen=True)
class Wanted:
    """A reply that somebody wants.

    - `messages`: the conversation that is answered; with `is_raw` one message, whose text is gone
      on with as it stands, by no prompt format, or none, and `tokens` are gone on with.
    - `answers`: who answers.
    - `sampling`: how tokens are drawn; None is as the trio's manifest says.
    - `max_tokens`: None is what the context has room for, within the engine's own limit.
    - `stops`: texts that end the reply and are left out of it.
    - `alpha`, `base_weight`, `plausibility`: None leaves the trio's; they are for the trio alone.
    - `docs_to`: who reads the documents that the engine was loaded with; None leaves the default.
    - `grammar`: what the reply keeps to.
    - `echo`: it is told how likely the tokens are that are gone on with, and those of the reply,
      with so many of the likeliest at each place (see `Turn.echo`); `max_tokens` may be 0 then.
    - `record`: so many of each model's best tokens are kept for each token (see `Turn.steps`).
    - `id`: what the reply is called, for `Engine.cancel`; "" is one that nobody can name.
    - `who`: whom requests are counted for, so that none of many clients waits for another's heap.
    """

    messages: tuple[Message, ...]
    is_raw: bool = False
    answers: Answers = "trio"
    sampling: Sampling | None = None
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    alpha: float | None = None
    base_weight: float | None = None
    plausibility: float | None = None
    docs_to: Readers | None = None
    grammar: Grammar | None = None
    record: int = 0
    tokens: tuple[int, ...] = ()
    echo: int | None = None
    id: str = field(default="", compare=False)
    who: str = ""

    @property
    def draws(self) -> Answers:
        """Whose tokens the reply has: of a trio whose base has no say, the expert's own."""
        return "expert" if self.answers == "trio" and self.base_weight == 0.0 else self.answers
