"""What a chat calls: turns kept, branches, and a disk that fails."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeproxy.decode.steering import Steering
from edgeproxy.errors import HistoryError, UsageError
from edgeproxy.history.history import History
from edgeproxy.history.keeper import Keeper
from edgeproxy.history.records import Said
from edgeproxy.prompts.formats import plain
from edgeproxy.session.conversation import Conversation
from edgeproxy.session.speaker import TrioSpeaker
from tests.helpers.disks import cannot, folder_to_lock, small_disk
from tests.helpers.fakes import fake_vocab, random_trio

MODELS = {"base": "ab" * 32}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history" / "sessions.sqlite"


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def keeper(path: Path, told: list[str]) -> Iterator[Keeper]:
    with Keeper("factbook", MODELS, told.append, path=path) as made:
        yield made


def turn(keeper: Keeper, number: int) -> None:
    keeper.say(f"question {number}", {"alpha": 1.0})
    keeper.answer(f"answer {number}", "stop", {"tokens": 2})


def said(path: Path, wanted: str | None = None) -> list[str]:
    """The texts of a session, or of the latest, as another process sees them."""
    with History.open(path) as history:
        session = history.latest() if wanted is None else history.find(wanted)
        assert session is not None
        return [entry.said.text for entry in history.load(session.id).entries]


def everything(path: Path) -> list[str]:
    """All texts of all branches of all sessions."""
    with History.open(path) as history:
        return [e.said.text for s in history.sessions() for e in history.tree(s.id)[1]]


def test_turns_are_kept_as_they_come(keeper: Keeper, path: Path, told: list[str]) -> None:
    keeper.begin("Be brief.")
    assert not path.exists()
    assert (keeper.count, keeper.id, keeper.name) == (1, None, None)
    keeper.say("question 1")
    assert said(path) == ["Be brief.", "question 1"]
    keeper.answer("answer 1", "length")
    turn(keeper, 2)
    assert said(path) == ["Be brief.", "question 1", "answer 1", "question 2", "answer 2"]
    assert keeper.count == 5
    keeper.begin()
    turn(keeper, 3)
    assert said(path) == ["question 3", "answer 3"]
    assert told == []
    assert keeper.is_saving


def test_what_has_no_reply_is_taken_back(keeper: Keeper, path: Path) -> None:
    turn(keeper, 1)
    keeper.say("question 2")
    keeper.unsaid()
    keeper.unsaid()
    assert said(path) == ["question 1", "answer 1"]
    keeper.say("question 3")  # the chat has forgotten to say so
    keeper.say("question 4")
    keeper.answer("answer 4")
    assert said(path) == ["question 1", "answer 1", "question 4", "answer 4"]
    assert {"question 2", "question 3"} < set(everything(path))


def test_an_answer_to_nothing_is_none(keeper: Keeper, path: Path) -> None:
    keeper.answer("answer")
    turn(keeper, 1)
    keeper.answer("another")
    assert said(path) == ["question 1", "answer 1"]
    keeper.undo()
    keeper.answer("late")
    assert said(path) == []


def test_regenerating_undoing_and_editing_branch(keeper: Keeper, path: Path) -> None:
    keeper.begin("Be brief.")
    assert keeper.again() is None
    for number in (1, 2, 3):
        turn(keeper, number)
    assert keeper.again() == "question 3"
    keeper.answer("answer 3b", "stop", settings={"steering": Steering(alpha=0.5)})
    assert said(path)[-2:] == ["question 3", "answer 3b"]
    assert keeper.undo() == "question 3"
    assert keeper.undo(2) == "question 1"
    assert keeper.count == 1
    assert keeper.undo() is None
    keeper.say("question 1, edited")
    keeper.answer("answer 1b")
    assert said(path) == ["Be brief.", "question 1, edited", "answer 1b"]
    keeper.back_to(1)
    assert said(path) == ["Be brief."]
    keeper.back_to(-5)
    assert keeper.count == 0
    assert len(everything(path)) == 10
    assert (keeper.undo(0), keeper.undo(-1), keeper.undo(99)) == (None, None, None)


def test_a_session_goes_on(keeper: Keeper, path: Path, told: list[str]) -> None:
    keeper.begin("Be brief.")
    turn(keeper, 1)
    keeper.save("letters")
    keeper.say("question 2", {"alpha": 0.5})  # and the process is killed
    for wanted in ("letters", "lett", keeper.id, None):
        with Keeper("factbook", MODELS, told.append, path=path) as other:
            loaded = other.resume(wanted)
            assert [m.content for m in loaded.messages] == ["Be brief.", "question 1", "answer 1"]
            assert loaded.unanswered == "question 2"
            assert loaded.settings == {"alpha": 0.5}
            assert (other.count, other.name) == (3, "letters")
            turn(other, 3)
            assert said(path)[-3:] == ["answer 1", "question 3", "answer 3"]
            other.back_to(3)
            other.say("question 2", {"alpha": 0.5})
    with History.open(path) as history:
        assert history.count() == 1
    assert told == []


def test_what_cannot_go_on_leaves_the_conversation(keeper: Keeper, path: Path) -> None:
    for wanted in (None, "letters"):
        with pytest.raises(HistoryError, match="sessions ls"):
            keeper.resume(wanted)
    turn(keeper, 1)
    with pytest.raises(HistoryError, match="no session 'letters'"):
        keeper.resume("letters")
    turn(keeper, 2)
    assert len(said(path)) == 4
    with pytest.raises(HistoryError, match="no earlier conversation with other"):
        Keeper("other", MODELS, print, path=path).resume()


def test_two_chats_in_one_session_branch_it(keeper: Keeper, path: Path) -> None:
    turn(keeper, 1)
    with Keeper("factbook", MODELS, print, path=path) as other:
        other.resume(keeper.id)
        turn(other, 2)
        turn(keeper, 3)
        turn(other, 4)
    assert said(path) == [f"{w} {n}" for n in (1, 2, 4) for w in ("question", "answer")]
    assert len(everything(path)) == 8


def test_another_trio_is_named_with_what_it_made(keeper: Keeper, path: Path) -> None:
    turn(keeper, 1)
    keeper.use("other", {"base": "cd" * 32})
    turn(keeper, 2)
    with History.open(path) as history:
        assert keeper.id
        entries = history.load(keeper.id).entries
    assert [entry.said.settings.get("trio") for entry in entries] == [None, None, "other", "other"]
    keeper.begin()
    turn(keeper, 3)
    with History.open(path) as history:
        assert history.sessions()[0].trio == "other"
        assert "trio" not in history.load(keeper.id).entries[0].said.settings


def test_a_name_is_checked_before_and_kept_with_the_first_message(
    keeper: Keeper, path: Path
) -> None:
    assert keeper.find("letters") is None
    keeper.begin(name=keeper.check_name(" letters "))
    turn(keeper, 1)
    found = keeper.find("letters")
    assert found is not None
    assert found.id == keeper.id
    with pytest.raises(UsageError, match="already"):
        keeper.check_name("letters")
    with pytest.raises(UsageError, match="name"):
        keeper.check_name("")


def test_a_name_that_was_taken_meanwhile_costs_only_the_name(
    keeper: Keeper, path: Path, told: list[str]
) -> None:
    keeper.begin(name=keeper.check_name("letters"))
    with Keeper("factbook", MODELS, print, path=path) as other:
        turn(other, 1)
        other.save("letters")
    turn(keeper, 2)
    assert ["letters" in line and "/save" in line for line in told] == [True]
    assert (keeper.name, keeper.is_saving) == (None, True)
    assert said(path) == ["question 2", "answer 2"]


def test_saving_names_it(keeper: Keeper, path: Path) -> None:
    assert keeper.save("early") is None
    turn(keeper, 1)
    assert said(path, "early") == ["question 1", "answer 1"]
    session = keeper.save("late")
    assert session is not None
    assert session.name == "late"
    session = keeper.save()
    assert session is not None
    assert session.name == "late"
    with Keeper("factbook", MODELS, print, path=path) as other:
        turn(other, 2)
        for name in ("late", "", "a\nb"):
            with pytest.raises(UsageError, match="name"):
                other.save(name)
    assert keeper.name == "late"


def test_off_keeps_nothing_until_it_is_saved(path: Path, told: list[str]) -> None:
    with Keeper("factbook", MODELS, told.append, path=path, on=False) as keeper:
        keeper.begin("Be brief.")
        turn(keeper, 1)
        turn(keeper, 2)
        keeper.undo()
        assert not path.parent.exists()
        assert not keeper.is_on
        assert not keeper.is_saving
        turn(keeper, 3)
        keeper.save("letters")
        assert said(path, "letters") == [
            "Be brief.",
            "question 1",
            "answer 1",
            "question 3",
            "answer 3",
        ]
        assert "question 2" in everything(path)
        turn(keeper, 4)
        assert len(said(path)) == 7
    assert told == []


def test_a_session_that_was_removed_meanwhile_is_told_and_can_be_saved(
    keeper: Keeper, path: Path, told: list[str]
) -> None:
    turn(keeper, 1)
    with History.open(path) as history:
        history.remove(keeper.id or "")
    turn(keeper, 2)
    turn(keeper, 3)
    assert ["removed" in line and "/save" in line for line in told] == [True]
    assert not keeper.is_saving
    with History.open(path) as history:
        assert history.count() == 0
    keeper.save("again")
    assert len(said(path, "again")) == 6
    assert keeper.is_saving


# A disk that fails


def fill_disk(filler: Path) -> None:
    """Write to `filler` until its disk is full."""
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1000))


def fails_and_works_again(
    keeper: Keeper, path: Path, told: list[str], break_it: Callable[[], object], why: str
) -> Callable[[Callable[[], object]], None]:
    """A chat that goes on while nothing can be kept; what is returned checks that all comes."""
    turn(keeper, 1)
    break_it()
    for number in (2, 3, 4):
        turn(keeper, number)
        assert len(told) == 1, told
    assert told[0].startswith("this conversation is not being saved: ")
    assert why in told[0]
    assert not keeper.is_saving
    keeper.undo()

    def mended(mend: Callable[[], object]) -> None:
        mend()
        turn(keeper, 5)
        assert len(told) == 2
        assert "being saved again" in told[1]
        assert keeper.is_saving
        wanted = [f"{w} {n}" for n in (1, 2, 3, 5) for w in ("question", "answer")]
        assert said(path) == wanted
        assert "question 4" in everything(path)
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()

    return mended


def test_pages_that_run_out(keeper: Keeper, path: Path, told: list[str]) -> None:
    def limit(pages: int) -> None:
        with keeper.history.reading() as connection:
            assert connection is not None
            connection.execute(f"PRAGMA max_page_count = {pages}")

    keeper.begin("x" * 50_000)
    keeper.begin()
    turn(keeper, 0)
    keeper.begin()

    def fill() -> None:
        limit(1)  # no more than there are
        keeper.say("x" * 50_000)
        keeper.unsaid()

    mended = fails_and_works_again(keeper, path, told, fill, "disk is full")
    mended(lambda: limit(1_000_000))


@pytest.mark.slow
def test_a_full_disk(tmp_path: Path, told: list[str]) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 400_000) as is_mounted:
        if not is_mounted:
            cannot("no small disk can be mounted here")
        path, filler = disk / "history" / "sessions.sqlite", disk / "filler"

        with Keeper("factbook", MODELS, told.append, path=path) as keeper:

            def fill() -> None:
                fill_disk(filler)
                keeper.say("x" * 50_000)
                keeper.unsaid()

            mended = fails_and_works_again(keeper, path, told, fill, "free some space")
            mended(filler.unlink)


@pytest.mark.slow
def test_a_disk_that_is_full_from_the_start(tmp_path: Path, told: list[str]) -> None:
    disk = tmp_path / "disk"
    with small_disk(disk, 400_000) as is_mounted:
        if not is_mounted:
            cannot("no small disk can be mounted here")
        path, filler = disk / "history" / "sessions.sqlite", disk / "filler"
        fill_disk(filler)
        with Keeper("factbook", MODELS, told.append, path=path) as keeper:
            for number in (1, 2):
                turn(keeper, number)
                assert len(told) == 1, told
            assert "free some space" in told[0] or "No space" in told[0]
            with History(path) as history:
                assert history.sessions() == []
            filler.unlink()
            turn(keeper, 3)
            assert len(said(path)) == 6


@pytest.mark.slow
def test_a_folder_that_is_read_only(tmp_path: Path, told: list[str]) -> None:
    folder = tmp_path / "locked"
    with folder_to_lock(folder) as lock:
        path = folder / "sessions.sqlite"
        with Keeper("factbook", MODELS, told.append, path=path) as keeper:
            turn(keeper, 1)
            name = keeper.id
        if not lock():
            cannot("no folder can be made read-only here")
        assert told == []
        with Keeper("factbook", MODELS, told.append, path=path) as keeper:
            loaded = keeper.resume(name)
            assert len(loaded.messages) == 2
            for number in (2, 3):
                turn(keeper, number)
            assert len(told) == 1
            assert "cannot be written to" in told[0]
            assert "EDGEPROXY_HOME" in told[0]
            with pytest.raises(HistoryError, match="cannot be written to"):
                keeper.save("letters")
        with History.open(path) as history:
            assert len(history.search("question")) == 1
            with pytest.raises(HistoryError, match="cannot be written to"):
                history.remove(name or "")
        told.clear()
        path = folder / "new" / "sessions.sqlite"
        with Keeper("factbook", MODELS, told.append, path=path) as keeper:
            turn(keeper, 1)
            turn(keeper, 2)
        assert len(told) == 1
        assert "EDGEPROXY_HOME" in told[0]


def test_one_who_writes_for_long_is_waited_for_once(
    keeper: Keeper, path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeproxy.history.keeper.WAIT", 0.125)
    turn(keeper, 0)
    keeper.begin()
    other = sqlite3.connect(path, isolation_level=None)
    mended = fails_and_works_again(
        keeper, path, told, lambda: other.execute("BEGIN IMMEDIATE"), "somebody else"
    )
    mended(lambda: other.execute("ROLLBACK"))
    assert keeper.history.wait == 0.125
    other.close()


def test_a_history_that_cannot_be_opened_is_told_once(
    keeper: Keeper, path: Path, told: list[str]
) -> None:
    path.parent.mkdir()
    path.write_text("this is a letter " * 50)
    turn(keeper, 1)
    turn(keeper, 2)
    assert ["no history" in line for line in told] == [True]
    for work in (keeper.resume, lambda: keeper.find("x"), lambda: keeper.save("x")):
        with pytest.raises(HistoryError, match="no history"):
            work()
    assert path.read_text().startswith("this is a letter")
    path.unlink()
    turn(keeper, 3)
    assert len(said(path)) == 6


def test_without_a_home_folder_it_is_told_once(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeproxy.history.database.home", lambda: None)
    with Keeper("factbook", MODELS, told.append) as keeper:
        turn(keeper, 1)
        turn(keeper, 2)
        with pytest.raises(HistoryError, match="EDGEPROXY_HOME"):
            keeper.resume()
    assert ["EDGEPROXY_HOME" in line for line in told] == [True]


def test_what_could_not_be_written_is_tried_once_more_before_another_begins(
    keeper: Keeper, path: Path, told: list[str]
) -> None:
    turn(keeper, 1)
    other = sqlite3.connect(path, isolation_level=None)
    for change in (keeper.begin, lambda: keeper.resume(keeper.id)):
        keeper.history.wait = 0.0
        other.execute("BEGIN IMMEDIATE")
        turn(keeper, 2)
        name = keeper.id
        other.execute("ROLLBACK")
        change()
        assert said(path, name)[-2:] == ["question 2", "answer 2"]
        turn(keeper, 3)
    other.close()


def test_what_could_not_be_written_is_tried_once_more_at_the_end(
    path: Path, told: list[str]
) -> None:
    with Keeper("factbook", MODELS, told.append, path=path) as keeper:
        turn(keeper, 1)
        keeper.history.wait = 0.0
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        turn(keeper, 2)
        other.close()
    assert len(said(path)) == 4


def test_it_walks_beside_a_conversation(keeper: Keeper, path: Path) -> None:
    vocab = fake_vocab()
    speaker = TrioSpeaker(random_trio(), (plain,) * 3, (vocab,) * 3, vocab.end_of_generation)
    talk = Conversation(speaker, "Be brief.")
    keeper.begin("Be brief.")
    for number, cancelled_after in enumerate((None, 2, 0)):
        text = f"question {number}"
        keeper.say(text, {"steering": speaker.steering, "sampling": speaker.sampling})
        turn = talk.say(text, max_tokens=6)
        for n, _ in enumerate(turn):
            if n + 1 == cancelled_after:
                turn.cancel()
            if cancelled_after == 0:
                break
        turn.close()
        if turn.finish_reason is None and len(talk.messages) < keeper.count:
            keeper.unsaid()
        else:
            made = {"usage": turn.usage, "stats": turn.stats}
            keeper.answer(turn.text, turn.finish_reason, made)
        assert keeper.count == len(talk.messages)
    with History.open(path) as history:
        assert keeper.id
        loaded = history.load(keeper.id)
    assert loaded.messages == talk.messages
    replies = [entry.said for entry in loaded.entries if entry.said.role == "assistant"]
    assert [said.finish_reason for said in replies][:2] == ["length", "cancelled"]
    assert replies[0].stats["usage"]["completion"] == 6
    assert replies[0].settings["steering"]["alpha"] == 1.0


# A conversation as it has become


def plain_of(*texts: str) -> list[Said]:
    """Messages of a person's and replies in turn."""
    return [Said("assistant" if n % 2 else "user", text) for n, text in enumerate(texts)]


def test_what_has_become_of_a_conversation_is_found_again_or_kept(
    keeper: Keeper, path: Path
) -> None:
    keeper.begin("Be brief.")
    system = Said("system", "Be brief.")
    for texts in (("q1", "a1", "q2", "a2"), ("q1", "b1"), ("q1", "a1", "q2", "a2"), ("q1", "b1")):
        keeper.become([system, *plain_of(*texts)])
        assert keeper.count == len(texts) + 1
        assert said(path) == ["Be brief.", *texts]
    assert everything(path) == ["Be brief.", "q1", "a1", "q2", "a2", "b1"]
    keeper.become([system])
    assert said(path) == ["Be brief.", "q1", "b1"]  # until something else is said
    keeper.become([system, *plain_of("q3")])
    assert said(path) == ["Be brief.", "q3"]


def test_what_was_not_answered_is_found_again_when_it_is_said_again(
    keeper: Keeper, path: Path
) -> None:
    turn(keeper, 1)
    keeper.say("question 2")
    with Keeper("factbook", MODELS, print, path=path) as later:
        loaded = later.resume()
        assert loaded.unanswered == "question 2"
        assert later.count == 2
        later.become(plain_of("question 1", "answer 1", "question 2"))
        later.become(plain_of("question 1", "answer 1", "question 2", "answer 2"))
    assert everything(path) == ["question 1", "answer 1", "question 2", "answer 2"]


def test_a_session_that_is_gone_on_with_is_the_latest(path: Path) -> None:
    ids = []
    for number in (1, 2):
        with Keeper("factbook", MODELS, print, path=path) as keeper:
            turn(keeper, number)
            ids.append(keeper.id)
    with Keeper("factbook", MODELS, print, path=path) as keeper:
        keeper.resume(ids[0])
        keeper.touch()
        assert keeper.history.latest().id == ids[0]  # type: ignore[union-attr]
