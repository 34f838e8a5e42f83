"""The replies of a fit in a file, as `replies` keeps those of an evaluation.

May touch: FILE.part, and FILE at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import EdgeproxyError
from edgeproxy.files import reason, replacing
from edgeproxy.measure import settings
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.fit import Answer
from edgeproxy.measure.replies import Replies, run_of
from edgeproxy.measure.reply_lines import as_line, reply_line
from edgeproxy.measure.settings import Setting
from edgeproxy.trios.find import Recipe


class FitReplies:
    """What will be in the file at `target`; `answers` are those that are there already.

    `how` is what else replies depend on. Raises as `Replies` does.
    """

    def __init__(
        self,
        target: Path,
        recipe: Recipe,
        questions: Sequence[Question],
        how: Mapping[str, Any],
        resume: bool,
    ) -> None:
        own = settings.name(own_setting(recipe))
        has_documents = recipe.documents is not None
        systems = sorted({*settings.all_names(with_documents=has_documents), own})
        run = run_of(recipe, systems, questions, Sampling(), {**how, "verb": "fit"})
        self._kept = Replies(target, run, questions, resume)
        self._questions = questions
        self.answers = {at: Answer(text) for at, text in self._kept.known.items()}

    @property
    def part(self) -> Path:
        """Where replies are while they come."""
        return self._kept.part

    def heard(self, name: str, number: int, answer: Answer, _is_right: bool) -> None:
        """Keep an answer. Raises `EdgeproxyError` where the disk refuses."""
        self._kept.add(name, number, answer.text)

    def finish(self) -> None:
        """Put all replies into the target, setting by setting. Raises `EdgeproxyError`."""
        known = self._kept.known
        try:
            with replacing(self._kept.target) as file:
                for name, number in sorted(known):
                    line = reply_line(self._questions[number], name, known[name, number])
                    file.write(as_line(line))
        except OSError as error:
            raise EdgeproxyError(f"{self._kept.target}: {reason(error)}") from None
        known.clear()  # so that closing it takes the part away

    def close(self) -> int:
        """Let go of the file; how many replies are in it, to go on from."""
        return self._kept.close()


def own_setting(recipe: Recipe) -> Setting:
    """How a trio's manifest has its models answer; where replies end is no setting's."""
    return Setting(
        replace(recipe.steering, expert_ends=False),
        recipe.documents.to if recipe.documents is not None else "nobody",
    )
