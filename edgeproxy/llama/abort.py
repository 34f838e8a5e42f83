"""What llama.cpp asks while it evaluates whether to stop."""

from __future__ import annotations

from edgeproxy.core.cancel import Cancel


class Abort:
    """Answers llama.cpp by a `Cancel`.

    Apart from the context: one that its own callback referred to would stay until a collection.
    """

    def __init__(self, cancel: Cancel) -> None:
        self._cancel = cancel
        self._interrupt: BaseException | None = None

    def __call__(self, _data: object) -> bool:
        """Whether to stop; what is raised meanwhile stops as well."""
        try:
            return self._cancel.is_set()
        except BaseException as error:  # noqa: BLE001 - Ctrl-C lands here; carried across C
            self._interrupt = error
            return True

    def take(self) -> BaseException | None:
        """What came while it was asked, once."""
        interrupt, self._interrupt = self._interrupt, None
        return interrupt
