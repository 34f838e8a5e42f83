"""The parts of a chat that need no terminal: quotes, history, completion, columns, styles."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from edgeproxy.cli.chatting.asked import Settings
from edgeproxy.cli.chatting.bottom import bottom_line
from edgeproxy.cli.chatting.commands import COMMANDS, obey
from edgeproxy.cli.chatting.comparing import beside, wrapped
from edgeproxy.cli.chatting.completing import completions
from edgeproxy.cli.chatting.line_history import LineHistory, line_history
from edgeproxy.cli.chatting.printing import Rendered, can_render
from edgeproxy.cli.chatting.quoting import is_open, without_quotes
from edgeproxy.cli.chatting.reading import PromptReading
from edgeproxy.cli.chatting.settings import SETTINGS
from edgeproxy.cli.chatting.talk import Attached, Talk
from edgeproxy.errors import PromptError
from edgeproxy.session.conversation import Conversation
from edgeproxy.session.overflow import Room
from edgeproxy.session.speaker import TrioSpeaker
from edgeproxy.trios.find import shipped_names
from tests.helpers.command_line import Typist
from tests.helpers.fake_sessions import FakeSession
from tests.helpers.fakes import saying


class FakeLoaded:
    """In the place of a `Loaded` trio."""

    load_seconds = 0.5

    def __init__(self, n_ctx: int = 4096, reply: str = "Hello.") -> None:
        models = [saying({"Hi\n": reply}, n_ctx=n_ctx) for _ in range(3)]
        asked: dict[str, Any] = dict.fromkeys(("alpha", "base_weight", "plausibility", "n_threads"))
        self.session = FakeSession(models, draft="expert", **asked)


def talk_of(**how: Any) -> Talk:
    loaded: Any = FakeLoaded(**how)
    return Talk(loaded, Settings(64), is_interactive=True)


# Quotes


@pytest.mark.parametrize(
    ("text", "open_", "inner"),
    [
        ("plain", False, "plain"),
        ('"""one\ntwo"""', False, "one\ntwo"),
        ('"""\none\ntwo\n"""', False, "one\ntwo"),
        ('  """a""" b', False, "a b"),
        ('"""', True, '"""'),
        ('"""one', True, '"""one'),
        ('say """ this', False, 'say """ this'),
        ('""""""', False, ""),
        ('"""a"b""c"""', False, 'a"b""c'),
        ("", False, ""),
    ],
)
def test_quotes(text: str, open_: bool, inner: str) -> None:
    assert is_open(text) == open_
    assert without_quotes(text) == inner


# History


def test_lines_are_kept_for_their_owner_alone_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lines"
    for text in ("one", "two\nlines", "日本 \U0001f642", "  ", ""):
        LineHistory(path).add(text)
    assert list(LineHistory(path).newest_first()) == ["日本 \U0001f642", "two\nlines", "one"]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_long_history_loses_its_oldest_half(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text("".join(json.dumps(f"{n:07}" * 1000) + "\n" for n in range(200)))
    history = LineHistory(path)
    history.add("new")
    kept = list(history.newest_first())
    assert kept[0] == "new"
    assert kept[1].startswith("0000199")
    assert path.stat().st_size < 1 << 20
    assert 60 < len(kept) < 100
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe\n", b'{"a": 1}\n[]\n3\n', b'"cut off', b"[" * 5000 + b"\n", b"\0" * 99],
)
def test_a_damaged_history_gives_nothing_and_takes_more(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lines"
    path.write_bytes(content)
    assert list(LineHistory(path).newest_first()) == []
    LineHistory(path).add("lost with a line that was cut off")
    LineHistory(path).add("new")
    assert next(LineHistory(path).newest_first()) == "new"


def test_a_history_that_cannot_be_kept_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (None, tmp_path, tmp_path / "file" / "lines"):
        history = LineHistory(path)
        history.add("text")
        history.add("half a pair \ud800")
        assert list(history.newest_first()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs of POSIX systems")
def test_a_history_that_is_a_fifo_or_a_link_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert list(LineHistory(tmp_path / "fifo").newest_first()) == []
    (tmp_path / "target").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    LineHistory(tmp_path / "link").add("text")
    assert (tmp_path / "target").read_text() == ""


def test_a_pasted_file_is_not_kept(tmp_path: Path) -> None:
    history = LineHistory(tmp_path / "lines")
    history.add("x" * 20_000)
    assert list(history.newest_first()) == []


def test_several_chats_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "lines"

    def chat(name: str) -> None:
        history = LineHistory(path)
        for n in range(50):
            history.add(f"{name} {n} {'x' * 500}")

    threads = [threading.Thread(target=chat, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(LineHistory(path).newest_first())) == 200


def test_the_history_is_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPROXY_HOME", str(tmp_path))
    line_history().add("text")
    assert [path.name for path in tmp_path.iterdir()] == ["chat-lines.jsonl"]


# Completion


def words(line: str) -> list[str]:
    return [word for word, _ in completions(line)]


def test_commands_settings_values_and_names_are_completed() -> None:
    assert words("/") == list(COMMANDS)
    assert words("/s") == ["/set", "/show", "/system", "/save", "/sessions", "/stats"]
    assert words("/set top") == ["top-k", "top-p"]
    assert words("/set ") == list(SETTINGS)
    assert words("/set overflow ") == ["error", "trim", "default"]
    assert words("/set markdown o") == ["on", "off"]
    assert words("/set temperature d") == ["default"]
    assert words("/trio factbook-") == ["factbook-phi"]
    assert set(words("/trio ")) >= set(shipped_names())
    assert words("/proxy ") == ["on", "off"]
    assert words("/help temp") == ["temperature"]
    assert words("/help ")[:2] == ["help", "alpha"]
    assert words("/alpha ") == words("Hello /s") == words("/nonsense x") == words("/set no x") == []


def test_paths_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("notes.txt", "north", ".hidden"):
        (tmp_path / name).write_text("")
    (tmp_path / "nodes").mkdir()
    (tmp_path / "nodes" / "a b").write_text("")
    assert words(f"/file {tmp_path}/no") == [
        f"{tmp_path}/{name}" for name in ("nodes/", "north", "notes.txt")
    ]
    assert words(f"/file {tmp_path}/.h") == [f"{tmp_path}/.hidden"]
    assert words(f"/file {tmp_path}/nodes/") == [f"{tmp_path}/nodes/a b"]
    monkeypatch.chdir(tmp_path)
    assert words("/file n") == ["nodes/", "north", "notes.txt"]
    assert words("/file missing/x") == []
    assert words("/file \0") == []


# The bottom line


def test_the_bottom_line_keeps_what_matters_most() -> None:
    talk = talk_of()
    assert bottom_line(talk, 80) == " fake · alpha 1 · 0/4,096 tokens"
    talk.room = Room(3800, 4096)
    talk.attached.append(Attached("a", "b", 3))
    assert bottom_line(talk, 99) == (
        " fake · alpha 1 · 3,800/4,096 tokens (nearly full) · 1 attached"
    )
    assert bottom_line(talk, 12) == " fake"
    assert bottom_line(talk, 3) == " fa"
    talk.has_proxy = False
    assert "the base alone (alpha 0)" in bottom_line(talk, 99)


# Columns


def test_texts_stand_beside_each_other_without_trailing_blanks() -> None:
    lines = beside([("A", "one two three"), ("B", "日本語のテキスト"), ("C", "")], 32)
    assert lines == [
        "A          B          C",
        "",
        "one two    日本語の   (nothing)",
        "three      テキスト",
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", [""]),
        ("a\n\nb", ["a", "", "b"]),
        ("abcdefghij", ["abcdefgh", "ij"]),
        ("日本語日本語", ["日本語日", "本語"]),
        ("ab cd efgh ij", ["ab cd", "efgh ij"]),
        ("  indented text", ["  indent", "ed text"]),
    ],
)
def test_text_is_wrapped_by_its_width(text: str, wanted: list[str]) -> None:
    found = wrapped(text, 8)
    assert "".join(found).replace(" ", "") == "".join(text.split())
    if "indented" not in text:
        assert found == wanted


# Reading


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_how_far_reading_is_in_words() -> None:
    clock = Clock()
    reading = PromptReading(clock)
    reading.progress(0, 3000)
    assert reading.in_words() == "reading 3,000 tokens ..."
    clock.now = 2.0
    reading.progress(600, 3000)
    assert reading.in_words() == "reading 3,000 tokens: 20%, 8 s left"
    clock.now = 3.0  # between two batches it goes on as it did
    assert reading.in_words() == "reading 3,000 tokens: 30%, 7 s left"
    clock.now = 60.0
    assert reading.in_words().startswith("reading 3,000 tokens: 100%, 1 s left")
    reading.progress(0, 600)  # the next one is known by the last one's speed
    assert reading.in_words() == "reading 600 tokens: 0%, 2 s left"


# Rendering


class Screen:
    """A standard output that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def shown_on(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """Standard output as a terminal, from now on."""
    made = Screen()
    monkeypatch.setattr(sys, "stdout", made)
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "COLORTERM", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_only_styles_are_added_and_nothing_moves_the_cursor(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    screen = shown_on(monkeypatch)
    text = "# T\n\n**b** \x1b[2Jx\n```py\ndef f(a_b):\n\treturn '''x\n\ny'''  # c\n```\n- 日本 é\n"
    rendered = Rendered()
    for n in range(0, len(text), size):
        rendered.feed(text[n : n + size])
    rendered.end()
    sequences = set(re.findall(r"\x1b[^m]*m", screen.text))
    assert all(re.fullmatch(r"\x1b\[[0-9;]*m", each) for each in sequences)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", screen.text)
    assert plain == text.replace("# T", "T").replace("**", "").replace("\x1b", "\ufffd")


def test_an_unknown_language_is_shown_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = shown_on(monkeypatch)
    rendered = Rendered()
    rendered.feed("```nonsense\nx = 1\n```\n")
    rendered.end()
    assert "x = 1\n" in screen.text


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [("TERM", "xterm", True), ("TERM", "dumb", False), ("NO_COLOR", "1", False)],
)
def test_where_markdown_is_rendered(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, wanted: bool
) -> None:
    shown_on(monkeypatch)
    monkeypatch.setenv(name, value)
    assert can_render() == wanted


def test_markdown_is_not_rendered_without_rich_nor_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = shown_on(monkeypatch)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    assert not can_render()
    monkeypatch.delitem(sys.modules, "rich.console")
    assert can_render()
    monkeypatch.setattr(screen, "isatty", lambda: False)
    assert not can_render()


# Room


def test_a_full_context_is_said_once_before_it_happens(capsys: pytest.CaptureFixture[str]) -> None:
    talk = talk_of(n_ctx=40, reply="x" * 8)
    said = []
    for _ in range(3):
        talk.say("Hi")
        said.append(capsys.readouterr().err)
    assert said[0] == ""
    assert "24 of the context's 40 tokens are used" not in said[1]
    assert "tokens are used, and a message like the last one (12) may not fit" in said[2]
    assert "/set overflow trim drops the oldest turns" in said[2]
    talk.conversation.undo()
    talk.conversation.undo()
    talk.say("Hi")
    assert capsys.readouterr().err == ""


def test_a_conversation_that_cannot_be_measured_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = talk_of()
    talk.say("Hi")
    before = talk.room

    def fail(*_: object) -> int:
        raise PromptError("the template failed")

    monkeypatch.setattr(TrioSpeaker, "count", fail)
    talk.say("Hi")
    assert talk.room == before
    assert len(talk.conversation.messages) == 4


# Ctrl-C beside a reply


class Pressing:
    """In the place of a `Keeping`: its work is interrupted, as by a key that came late."""

    def __init__(self, *presses: bool) -> None:
        self.presses = list(presses)

    def asked(self, *_: object) -> None: ...

    def answered(self, *_: object) -> None: ...

    def changed(self, _: Conversation) -> None:
        if self.presses and self.presses.pop(0):
            raise KeyboardInterrupt


@pytest.mark.parametrize(("presses", "leaves"), [((True, False), False), ((True, True), True)])
def test_a_key_between_a_reply_and_the_prompt_does_not_end_the_chat(
    presses: tuple[bool, ...], leaves: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    talk = talk_of()
    talk.keeping = cast(Any, Pressing(*presses))
    if leaves:
        with pytest.raises(KeyboardInterrupt):
            talk.run(Typist("Hi", KeyboardInterrupt), obey)
    else:
        assert talk.run(Typist("Hi", "Hi", "/quit"), obey) == 0
        assert len(talk.conversation.messages) == 4
    assert "press Ctrl-C again or type /quit to leave" in capsys.readouterr().err


# Documents


def test_the_page_about_chats_names_every_command() -> None:
    page = (Path(__file__).parents[3] / "docs" / "chat.md").read_text("utf-8")
    table = page.partition("## Commands")[2].partition("## When")[0]
    for name, command in COMMANDS.items():
        assert re.search(rf"`{name}\b", table), command
