"""What is measured for the README's table: a row is a task, a small model and a base."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeproxy.errors import UsageError
from tools.models.real import PARCELS, is_here

SMOLLM2, QWEN_SMALL = "smollm2-135m", "qwen2.5-coder-0.5b"
QWEN, GEMMA = "qwen2.5-coder-1.5b", "gemma3-270m"
"""Models by their names in `tools.models.real`."""


@dataclass(frozen=True)
class Row:
    """A line of the table.

    - `small`, `base`: the models, by their names in `tools.models.real`.
    - `trio_of`: the row whose adapter is taken instead of tuning one.
    - `is_direct`: the base itself is tuned, into a copy of the trio of `trio_of`.
    - `minutes`: the most that training may take; None leaves it to edgeproxy.
    - `fit_minutes`: the most that the answers of `fit` may take; None sets no limit.
    - `ctx`: the context in tokens of `fit` and `eval`, for questions and replies of this task.
    """

    name: str
    task: str
    small: str
    base: str
    trio_of: str | None = None
    is_direct: bool = False
    minutes: int | None = None
    fit_minutes: int | None = None
    ctx: int = 512

    @property
    def title(self) -> str:
        """The task and the models, as a person reads them."""
        base = PARCELS[self.base].title
        if self.is_direct:
            return f"{self.task}: {base}"
        return f"{self.task}: {PARCELS[self.small].title} under {base}"

    @property
    def steps(self) -> tuple[str, ...]:
        """What is done for it, in order."""
        return ("tune", "eval") if self.is_direct else ("tune", "fit", "eval")


ROWS = {
    row.name: row
    for row in (
        Row("facts-smollm2", "facts", SMOLLM2, QWEN),
        Row("facts-smollm2-gemma", "facts", SMOLLM2, GEMMA, trio_of="facts-smollm2"),
        Row("facts-qwen", "facts", QWEN_SMALL, QWEN),
        Row("intents-smollm2", "intents", SMOLLM2, QWEN),
        Row("intents-qwen", "intents", QWEN_SMALL, QWEN),
        Row("gsm8k-qwen", "gsm8k", QWEN_SMALL, QWEN, minutes=60, fit_minutes=45, ctx=1024),
        Row(
            "direct-facts",
            "facts",
            SMOLLM2,
            QWEN,
            trio_of="facts-smollm2",
            is_direct=True,
            minutes=110,
        ),
        Row(
            "direct-intents",
            "intents",
            SMOLLM2,
            QWEN,
            trio_of="intents-smollm2",
            is_direct=True,
            minutes=110,
        ),
    )
}
"""Direct tuning has ten minutes of its two hours left for all but training."""


def choose(names: str | None) -> list[Row]:
    """The rows in a list with commas between, in the table's order; all where there is none.

    Raises `UsageError` for a row that there is not.
    """
    if names is None:
        return list(ROWS.values())
    wanted = {name.strip() for name in names.split(",")}
    for name in sorted(wanted - set(ROWS)):
        raise UsageError(f"there is no row {name!r}; there are {', '.join(ROWS)}")
    return [row for row in ROWS.values() if row.name in wanted]


def model_path(folder: Path, name: str) -> Path:
    """The file of the model called `name`. Raises `UsageError` where `folder` has it not whole."""
    file = PARCELS[name].files[0]
    if not is_here(folder, file):
        raise UsageError(
            f"{folder / file.name}: {PARCELS[name].title} is not there, or is another file; "
            f"python -m tools.models.real {folder} {name} gets it"
        )
    return folder / file.name
