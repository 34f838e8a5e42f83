"""Sessions begun, found, read as trees, renamed and removed."""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeproxy.decode.sample import Sampling
from edgeproxy.decode.steering import Steering
from edgeproxy.documents.cleaning import clean
from edgeproxy.errors import HistoryError, RemovedError, UsageError
from edgeproxy.history.history import History, Saved
from edgeproxy.history.naming import MAX_NAME, check_name, new_id, title_of
from edgeproxy.history.records import Said, plain
from edgeproxy.session.turn import Stats, Usage

MODELS = {"base": "ab" * 32, "expert": "cd" * 32, "anti_expert": "ef" * 32}
HOSTILE_NAMES = (
    "'; DROP TABLE sessions; --",
    '" OR 1=1 --',
    "%_*?[a]",
    "../../etc/passwd",
    "C:\\con",
    "/",
    "-rf",
    "--help",
    "NULL",
    "naïve 日本 🎉",
    "<script>alert(1)</script>",
    "$(reboot) `reboot`",
)
HOSTILE_TEXTS = (
    "a NUL \0 amid it",
    "half a pair \ud800 and \udfff",
    "\x1b]0;title\x07\x1b[31mred",
    "'; DROP TABLE messages; --",
    "\ufeff\u202e\u200b",
    "a" * 1_000_000,
    "\r\n\r \t ",
    "\U0010ffff\uffff",
)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path / "history" / "sessions.sqlite") as made:
        yield made


def talk(history: History, *texts: str, name: str | None = None, trio: str = "factbook") -> Saved:
    """A session in which these were said, in turn by a user and the assistant."""
    saved = history.begin(trio, MODELS, name)
    roles = ("user", "assistant")
    saved.add([Said(roles[n % 2], text) for n, text in enumerate(texts)], None)  # type: ignore[arg-type]
    return saved


def test_nothing_is_made_before_the_first_message(history: History) -> None:
    assert (history.sessions(), history.count(), history.latest()) == ([], 0, None)
    assert history.search("word") == []
    history.begin("factbook", MODELS, "letters")
    assert not history.path.parent.exists()
    with pytest.raises(HistoryError, match="sessions ls"):
        history.find("letters")
    with pytest.raises(HistoryError, match="abcde"):
        history.load("abcde")


def test_a_session_is_what_was_put_in(history: History) -> None:
    saved = history.begin("factbook", MODELS, "letters")
    settings = {"steering": Steering(alpha=0.5), "sampling": Sampling(seed=7), "docs": "expert"}
    stats = {"usage": Usage(5, 1, 3), "stats": Stats(3, 0.5, 2.0), "odd": float("nan")}
    said = [
        Said("system", "Be brief."),
        Said("user", "What is a fjord?", settings),
        Said("assistant", "A narrow inlet.", settings, "stop", stats),
    ]
    ids = saved.add(said, None)
    (session,) = history.sessions()
    assert (session.id, session.name, session.title) == (saved.id, "letters", "What is a fjord?")
    assert (session.trio, session.models, session.messages) == ("factbook", MODELS, 2)
    assert session.head == ids[-1]
    loaded = history.load(session.id)
    assert [(m.role, m.content) for m in loaded.messages] == [(s.role, s.text) for s in said]
    assert loaded.unanswered is None
    kept = loaded.entries[2].said
    assert kept.settings["steering"] == {
        "alpha": 0.5,
        "base_weight": 1.0,
        "plausibility": 0.0,
        "expert_ends": False,
    }
    assert kept.settings["sampling"]["seed"] == 7
    assert kept.stats["usage"] == {"prompt": 5, "kept": 1, "completion": 3}
    assert kept.stats["stats"]["seconds"] == 2.0
    assert kept.stats["odd"] == "nan"
    assert (kept.finish_reason, kept.created) == ("stop", said[2].created)
    assert loaded.settings["docs"] == "expert"


def test_an_edited_message_branches_and_nothing_is_lost(history: History) -> None:
    saved = talk(history, "one", "1", "two", "2")
    assert saved.id
    first = history.load(saved.id).entries
    saved.add([Said("user", "two, edited"), Said("assistant", "2!")], first[1].id)
    assert [m.content for m in history.load(saved.id).messages] == ["one", "1", "two, edited", "2!"]
    info, entries = history.tree(saved.id)
    assert [e.said.text for e in entries] == ["one", "1", "two", "2", "two, edited", "2!"]
    assert info.messages == 6
    saved.point(first[-1].id)
    assert [m.content for m in history.load(saved.id).messages] == ["one", "1", "two", "2"]
    saved.point(None)
    assert history.load(saved.id).messages == []


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
def test_any_text_comes_back_as_it_was(history: History, text: str) -> None:
    saved = talk(history, f"x{text}", text)
    assert saved.id
    (question, answer) = history.load(saved.id).entries
    assert (question.said.text, answer.said.text) == (f"x{text}", text)
    (session,) = history.sessions()
    assert len(session.title) <= 70
    assert clean(session.title) == session.title
    assert history.search("xhalf drop amid") == []


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_is_a_name_whatever_is_in_it(history: History, name: str) -> None:
    talk(history, "another")
    saved = talk(history, "hello", name=name)
    assert history.find(name).id == saved.id
    assert history.find(name[:1]).id == saved.id
    with pytest.raises(UsageError, match="already"):
        history.begin("factbook", MODELS, name)
    assert saved.id
    history.rename(saved.id, None)
    assert history.named(name) is None
    history.rename(saved.id, name)
    history.remove(saved.id)
    assert history.count() == 1
    assert sorted(path.name for path in history.path.parent.parent.iterdir()) == ["history"]


@pytest.mark.parametrize(
    "name", ["", "  ", "a\nb", "a\tb", "\x1b[31m", "a\0b", "\ud800", "x" * 81, "a\u202eb"]
)
def test_what_cannot_be_a_name_is_refused(history: History, name: str) -> None:
    saved = talk(history, "hello")
    with pytest.raises(UsageError, match="name"):
        history.begin("factbook", MODELS, name)
    assert saved.id
    with pytest.raises(UsageError, match="name"):
        history.rename(saved.id, name)
    with pytest.raises(HistoryError, match="no session"):
        history.find(name)
    assert history.named(name) is None


def test_a_name_is_composed_and_without_white_space_around_it() -> None:
    assert check_name(" e\u0301te\u0301 ") == "été"
    assert check_name("x" * MAX_NAME) == "x" * MAX_NAME


def test_a_title_is_the_beginning_of_the_first_message() -> None:
    assert title_of("  What\n is\ta \x1b[1mfjord?") == "What is a fjord?"
    assert title_of("\u200b") == "(no text)"
    assert title_of("word " * 100) == "word " * 11 + "word ..."
    assert title_of("x" * 5000) == "x" * 60 + " ..."


def test_a_session_is_found_by_the_beginning_of_its_name_or_id(history: History) -> None:
    ids = [talk(history, f"number {n}", name=f"letter {n}").id for n in range(8)]
    assert history.find("letter 3").id == ids[3]
    assert history.find(ids[5] or "").id == ids[5]
    with pytest.raises(HistoryError, match=r"several.*letter 7.*, \.\.\.; give more"):
        history.find("lett")
    talk(history, "x", name="notes")
    assert history.find("not").name == "notes"
    with pytest.raises(HistoryError, match="no session 'nowhere'"):
        history.find("nowhere")
    with pytest.raises(HistoryError) as told:
        history.find("x" * 100_000)
    assert len(str(told.value)) < 300


def test_an_exact_name_wins_over_beginnings(history: History) -> None:
    short = talk(history, "x", name="note").id
    talk(history, "x", name="notes")
    assert history.find("note").id == short


def test_no_name_is_an_id_nor_an_id_a_name(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = talk(history, "x").id
    assert first
    with pytest.raises(UsageError, match="already"):
        history.begin("factbook", MODELS, first)
    talk(history, "x", name="bbbbb")
    ids = iter([first, "bbbbb", "ccccc"])
    monkeypatch.setattr("edgeproxy.history.history.new_id", lambda: next(ids))
    assert talk(history, "x").id == "ccccc"


def test_ids_are_easy_to_type() -> None:
    for _ in range(200):
        made = new_id()
        assert len(made) == 5
        assert not set(made) & set("01ilouaeAEIOU")


def test_the_latest_is_that_which_was_changed_last(history: History) -> None:
    one, two = talk(history, "one"), talk(history, "two", trio="other")
    latest = history.latest()
    assert latest is not None
    assert latest.id == two.id
    one.add([Said("user", "more", created=latest.changed + 5)], None)
    assert [s.id for s in history.sessions()] == [one.id, two.id]
    of_other = history.latest("other")
    assert of_other is not None
    assert of_other.id == two.id
    assert history.latest("none") is None
    # A clock that was put back makes nothing older.
    one.add([Said("user", "more", created=5)], None)
    assert history.sessions(1)[0].id == one.id


def test_what_is_removed_is_gone_from_the_files(history: History) -> None:
    secret = talk(history, "my Zanzibarword is long", "a Quetzalword")
    other = talk(history, "another Zanzibarword")
    assert len(history.search("zanzibarword")) == 2
    assert secret.id
    history.remove(secret.id)
    assert len(history.search("zanzibarword")) == 1
    assert history.search("quetzalword") == []
    files = b"".join(path.read_bytes() for path in history.path.parent.iterdir())
    assert b"another Zanzibarword" in files
    for gone in (b"my Zanzibarword", b"Quetzal", b"quetzal"):
        assert gone not in files
    for work in (
        lambda: history.remove(secret.id or ""),
        lambda: history.load(secret.id or ""),
        lambda: history.rename(secret.id or "", "x"),
        lambda: secret.add([Said("user", "more")], 1),
        lambda: secret.point(1),
    ):
        with pytest.raises(RemovedError, match="removed"):
            work()
    assert history.sessions()[0].id == other.id
    assert history.count() == 1


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_only_its_owner_can_read_it(history: History) -> None:
    mask = os.umask(0)
    try:
        talk(history, "hello")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(history.path.parent.stat().st_mode) == 0o700
    for path in history.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_was_moved_away_is_noticed(history: History) -> None:
    saved = talk(history, "hello")
    for path in list(history.path.parent.iterdir()):
        path.rename(path.with_name(f"old-{path.name}"))
    assert history.sessions() == []
    with pytest.raises(RemovedError):
        saved.add([Said("user", "more")], None)
    talk(history, "a new one")
    assert [session.title for session in history.sessions()] == ["a new one"]


def test_threads_take_turns(history: History) -> None:
    failed: list[BaseException] = []

    def write(who: int) -> None:
        try:
            for n in range(10):
                talk(history, f"{who}.{n}", "answer")
                history.sessions(3)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert history.count() == 40


def test_several_who_make_it_at_once_make_one(tmp_path: Path) -> None:
    """Each has a connection of its own, as processes have."""
    path = tmp_path / "history" / "sessions.sqlite"
    failed: list[BaseException] = []
    start = threading.Barrier(8)

    def make(who: int) -> None:
        try:
            start.wait()
            with History(path) as history:
                talk(history, f"from {who}", "answer")
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=make, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with History(path) as history:
        assert {session.title for session in history.sessions()} == {f"from {n}" for n in range(8)}


def statements(history: History, work: Callable[[], object]) -> list[str]:
    """What SQLite is asked by `work`."""
    asked: list[str] = []
    with history.reading() as connection:
        assert connection is not None
        connection.set_trace_callback(asked.append)
        work()
        connection.set_trace_callback(None)
    return asked


def plan(history: History, asked: str) -> str:
    with history.reading() as connection:
        assert connection is not None
        return " | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked}"))


def test_ten_thousand_sessions_are_one_question(history: History) -> None:
    first = talk(history, "hello", "hello yourself").id
    with history.writing() as connection:
        connection.executemany(
            "INSERT INTO sessions SELECT ?, NULL, 'title', trio, models, version, ?, ?, 2 "
            "FROM sessions WHERE id = ?",
            ((f"zz{n:05}", n, n, first) for n in range(10_000)),
        )
        connection.execute(
            "INSERT INTO messages(session, role, text, settings, stats, created) "
            "SELECT id, 'user', 'hello', '{}', '{}', 5 FROM sessions"
        )
    assert history.count() == 10_001
    asked = statements(history, lambda: history.sessions())
    assert len(asked) == 1
    for work in (lambda: history.sessions(20), history.latest, lambda: history.find("zz00007")):
        (asked,) = [statements(history, work)]
        assert len(asked) == 1
        assert "USING COVERING INDEX messages_of" in plan(history, asked[0])
    assert "SCAN s USING INDEX recent" in plan(
        history, statements(history, lambda: history.sessions(20))[0]
    )
    assert len(history.sessions()) == 10_001
    assert [session.id for session in history.sessions(2)] == [first, "zz09999"]


def test_plain_makes_json_of_anything() -> None:
    deep: list[object] = []
    deep.append(deep)
    assert plain({1: {2}, "x": (1, b"y"), "z": float("inf")}) == {
        "1": [2],
        "x": [1, "b'y'"],
        "z": "inf",
    }
    assert str(plain(deep)).startswith("[[[")
    assert plain([10**5000, 2**63, True]) == [hex(10**5000), 2**63, True]
    assert plain(Said) == str(Said)


def test_sqlite_alone_reads_it(history: History) -> None:
    talk(history, "hello", "hello yourself")
    connection = sqlite3.connect(history.path)
    assert connection.execute("SELECT text FROM messages ORDER BY id").fetchall() == [
        ("hello",),
        ("hello yourself",),
    ]
    connection.close()
