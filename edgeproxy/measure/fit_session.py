"""A loaded trio answering for `fit`: the models alone by themselves, the rest by the trio.

May touch: nothing but the session.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.fit import Answer
from edgeproxy.measure.settings import Setting

if TYPE_CHECKING:
    from edgeproxy.measure.answering import Ask
    from edgeproxy.session.session import Session

ALONE = ("expert", "base")
"""The models that answer alone too; the session must have been loaded for that."""


class SessionAnswers:
    """Has the settings of a session answer questions, one at a time, and measures how long."""

    def __init__(self, session: Session, questions: Sequence[Question], ask: Ask) -> None:
        self._session = session
        self._questions = questions
        self._ask = ask
        self._is_stopping = False

    def stop(self) -> None:
        """End the reply under way; may be called from any thread and any signal handler."""
        self._is_stopping = True
        self._session.cancel()

    def __call__(self, setting: Setting, number: int) -> Answer:
        """A setting's answer to a question. Raises `Cancelled` once stopped."""
        question = self._questions[number]
        started = time.perf_counter()
        role, readers = setting.alone, setting.readers
        if role is None:
            speaker, ends = self._session.speaker, self._session.steering.expert_ends
            steering = replace(setting.steering, expert_ends=ends)  # the trio's own, and no setting
            text = self._ask(speaker, question, self._is_over, steering, readers)
        else:
            solo = self._session.solo(role)
            text = self._ask(solo, question, self._is_over, docs_to=readers)
        return Answer(text, time.perf_counter() - started)

    def _is_over(self) -> bool:
        return self._is_stopping
