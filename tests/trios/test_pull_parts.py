"""The parts of pulling that need no server: waiting, giving up, telling how fast it goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from edgeproxy.errors import HubError, UsageError
from edgeproxy.trios.manifest import Source
from edgeproxy.trios.pull.fetch import LONGEST_WAIT, TRIES, Patience, Watch, look
from edgeproxy.trios.pull.hub import Hub, Remote, Trouble, _asked_wait
from edgeproxy.trios.pull.wanted import source_of

SOURCE = Source("org/name", "0" * 40, "file.gguf")


class Said(Watch):
    def __init__(self) -> None:
        self.words: list[str] = []

    def waiting(self, file: str, why: str) -> None:
        self.words.append(f"{file}: {why}")


def test_waits_grow_and_end() -> None:
    slept: list[float] = []
    said = Said()
    patience = Patience("file.gguf", said, slept.append)
    for _ in range(TRIES - 1):
        patience.after(Trouble("the line is cut"))
    assert sum(slept) == pytest.approx(0.5 + 1 + 2 + 4 + 8 + 16 + 30)
    assert said.words[0] == "file.gguf: the line is cut; trying again in 0 s (1 of 7)"
    with pytest.raises(HubError, match=r"file\.gguf: the line is cut; the same command"):
        patience.after(Trouble("the line is cut"))


def tries_left(patience: Patience, have: Sequence[int]) -> int:
    """How many more attempts there are, where each ends with so many bytes."""
    for count, each in enumerate(have):
        try:
            patience.after(Trouble("the line is cut"), each)
        except HubError:
            return count
    return len(have)


def test_an_attempt_that_brought_something_is_forgotten() -> None:
    patience = Patience("file.gguf", Watch(), lambda _: None)
    for have in range(5 * TRIES):
        patience.after(Trouble("the line is cut"), have)
    assert tries_left(patience, [7] * 99) == TRIES - 2  # the last of those brought something


def test_beginning_anew_again_and_again_ends() -> None:
    patience = Patience("file.gguf", Watch(), lambda _: None)
    assert tries_left(patience, [100, 99] * 99) == TRIES - 1


def test_what_the_hub_asks_for_is_waited_or_refused() -> None:
    slept: list[float] = []
    patience = Patience("file.gguf", Watch(), slept.append)
    patience.after(Trouble("busy", 0.0))
    patience.after(Trouble("busy", 3.0))
    assert sum(slept) == 3.0
    with pytest.raises(HubError, match="asks to wait 10 minutes"):
        patience.after(Trouble("busy", 2 * LONGEST_WAIT))


def test_look_is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Remote | Trouble] = [Trouble("busy", 0.0), Trouble("busy"), Remote(5, None)]

    def one(_: Hub, source: Source) -> Remote:
        answer = answers.pop(0)
        if isinstance(answer, Trouble):
            raise answer
        return answer

    monkeypatch.setattr(Hub, "look", one)
    assert look(Hub(), SOURCE, Watch(), lambda _: None) == Remote(5, None)
    answers[:] = [Trouble("busy")] * TRIES
    with pytest.raises(HubError, match="busy"):
        look(Hub(), SOURCE, Watch(), lambda _: None)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({"RateLimit": '"resolvers";r=0;t=55'}, 55.0),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
    ],
)
def test_how_long_a_busy_hub_asks_to_be_left_alone(
    headers: dict[str, str], wait: float | None
) -> None:
    assert _asked_wait(headers) == wait


def test_a_busy_hub_may_name_a_time() -> None:
    later = datetime.now(timezone.utc) + timedelta(seconds=90)
    wait = _asked_wait({"Retry-After": format_datetime(later, usegmt=True)})
    assert wait == pytest.approx(90, abs=2)


def test_a_reference() -> None:
    source, sha256 = source_of(f"hf:org/name/sub/a file.gguf@{'a' * 40}#sha256={'b' * 64}")
    assert source == Source("org/name", "a" * 40, "sub/a file.gguf")
    assert sha256 == "b" * 64
    assert source_of(f"hf:org/name/f.gguf@{'a' * 40}")[1] is None


@pytest.mark.parametrize("text", ["", "hf:", "org/name/file@x", "hf:org/name@x", "hf:a/b/c#d"])
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(UsageError, match="hf:ORG/NAME/FILE@REVISION"):
        source_of(text)


def test_nothing_else_imports_the_hubs_library() -> None:
    verbs = "edgeproxy.cli.chat, edgeproxy.cli.show, edgeproxy.cli.pull"
    code = f"import sys, {verbs}, edgeproxy.session.load"
    code += "; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
