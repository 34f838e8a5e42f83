"""What a person sees while a trio is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from edgeproxy.align import ALIGNING
from edgeproxy.cli.ui import opening
from edgeproxy.cli.ui.options import Models
from edgeproxy.core.cancel import Cancel
from edgeproxy.errors import Cancelled
from edgeproxy.session import load as loader
from edgeproxy.session.model_files import Progress


def test_each_part_of_loading_is_called_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Status:
        def show(self, text: str) -> None:
            shown.append(text)

        def clear(self) -> None:
            pass

    def load(*_: object, progress: Progress, cancel: Cancel, **asked: Any) -> None:
        progress("anti_expert", 0.5)
        progress(ALIGNING, 0.4)
        raise Cancelled("as far as this test goes")

    monkeypatch.setattr(opening, "StatusLine", Status)
    monkeypatch.setattr(loader, "load", load)
    with pytest.raises(Cancelled, match="as far"), opening.opened(Models()):
        pass
    assert shown == ["loading anti-expert 50%", "aligning vocabularies 40%"]
