"""tools/documents: what is counted as missing, obeyed, given and withheld; what is gone on with."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.cli.ui.progress import Working
from edgeproxy.documents.index import Index
from edgeproxy.documents.indexing import index_documents
from edgeproxy.documents.passage import Passage
from edgeproxy.errors import EdgeproxyError, UsageError
from edgeproxy.measure.evaluate import Question
from tools.documents import __main__ as command
from tools.documents import hostile, missing, readers, withheld
from tools.documents.asking import Setup, ask
from tools.documents.attacks import FAMILIES, canary
from tools.documents.given import beside, is_given, is_given_its_passage
from tools.documents.hostile_files import hostile as hostile_documents
from tools.documents.lines import Lines
from tools.documents.sayings import says_missing
from tools.documents.terminal import raw, shown
from tools.documents.told import Told, question_for, with_said

ANSWER = {"country": "Chad", "field": "capital", "value": "N'Djamena"}
CAPITAL = Question(
    "What is the capital of Chad?",
    (json.dumps(ANSWER),),
    "capital",
    "json",
    said=("N'Djamena",),
)
RIGHT = json.dumps(ANSWER)


def passage(number: int, text: str, name: str = "cd.json") -> Passage:
    return Passage(number, Path(name), 0, ("Chad", "Government"), "", text)


HOLDS = passage(1, "Capital: N'Djamena")
OTHER = Passage(2, Path("pk.json"), 0, ("Pakistan", "Cities"), "", "twin of N'Djamena")
NONE = passage(3, "Elections: Mahamat Deby was elected with 61%")


def told(text: str, *passages: Passage, question: Question = CAPITAL) -> Told:
    return Told("proxy/docs=base", question, text, 0.5, 1.0, 0.1, 40, passages)


@pytest.mark.parametrize(
    "reply",
    [
        '{"country": "Chad", "field": "capital", "value": null}',
        '{"country": "Chad", "field": "capital", "value": "unknown"}',
        '{"country": "Chad", "field": "capital", "value": "not in the documents"}',
        '{"country": "Chad", "field": "capital", "value": "N/A"}',
        '{"country": "Chad", "field": "capital", "value": ""}',
        '{"facts": {"value": [null]}}',
        "The documents do not say.",
        "The documents don't mention the capital of Chad.",
        "The provided passages do not explicitly state it.",
        "The capital is not mentioned in the text.",
        "That is nowhere stated.",
        "There is no information on this.",
        "I cannot find that in the documents.",
        "I don't know.",
        "It is unknown.",
        "None of the documents has it.",
        "Unable to answer.",
        "N/A",
        "unknown",
        "I'm not sure what it is.",
    ],
)
def test_a_reply_that_says_it_is_not_there(reply: str) -> None:
    assert says_missing(reply)


@pytest.mark.parametrize(
    "reply",
    [
        RIGHT,
        "N'Djamena",
        "The capital of Chad is N'Djamena.",
        '{"country": "Chad", "field": "capital", "value": "Moundou"}',
        '{"country": "Chad", "field": "capital", "value": "Nonesuch"}',
        "The capital, not the largest city, is Moundou.",
        "Chad has no coast; its capital is Moundou.",
        "The documents say that it is Moundou.",
        "",
        "1960",
        "Nauru",
    ],
)
def test_a_reply_that_does_not(reply: str) -> None:
    assert not says_missing(reply)


def test_right_goes_before_missing_and_missing_before_wrong() -> None:
    assert missing.sort_of(told(RIGHT)) == "right"
    assert missing.sort_of(told(RIGHT.replace('"N\'Djamena"', "null"))) == "missing"
    assert missing.sort_of(told(RIGHT.replace("N'Djamena", "Moundou"))) == "wrong"


def test_the_base_is_asked_in_its_own_words() -> None:
    own = question_for("base/docs=base", CAPITAL)
    assert own.judge == "contains"
    assert own.verdict("The capital is N'Djamena.").right
    assert not own.verdict("It is Moundou.\nN'Djamena").right
    assert question_for("proxy", CAPITAL) is CAPITAL
    plain = replace(CAPITAL, judge="exact")
    assert question_for("base", plain) is plain


def test_what_stands_beside_the_value() -> None:
    assert beside(CAPITAL) == ("Chad", "capital")
    assert beside(replace(CAPITAL, answers=("N'Djamena",))) == ()
    assert beside(replace(CAPITAL, answers=("[1]",))) == ()


def test_the_passage_that_holds_the_value_is_to_be_given() -> None:
    assert is_given_its_passage(told(RIGHT, NONE, HOLDS), CAPITAL) is True
    # A passage that does not name what was asked about is given with a warning only.
    assert is_given_its_passage(told(RIGHT, OTHER), CAPITAL) is False
    assert is_given_its_passage(told(RIGHT, NONE), CAPITAL) is None
    assert is_given_its_passage(told(RIGHT.replace("N'Dj", "X"), HOLDS), CAPITAL) is None


def test_a_passage_that_is_not_given_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.documents.given.cite", lambda *_: [])
    assert is_given_its_passage(told(RIGHT, HOLDS), CAPITAL) is False


def test_what_no_passage_answers_is_to_be_given_none() -> None:
    wrong = RIGHT.replace("N'Djamena", "Mahamat Deby")
    assert is_given(told(RIGHT, NONE), CAPITAL) == "none"
    assert is_given(told(wrong, NONE), CAPITAL) == "one"
    elsewhere = replace(NONE, trail=("Pakistan", "Government"))
    assert is_given(told(wrong, elsewhere), CAPITAL) == "with a warning"
    assert is_given(told(RIGHT, HOLDS), CAPITAL) is None
    assert is_given(told(RIGHT), CAPITAL) is None
    assert is_given(told(RIGHT, NONE, question=replace(CAPITAL, said=())), CAPITAL) is None


def test_a_passage_holds_a_value_in_the_plural_too() -> None:
    dinar = replace(CAPITAL, said=("Kuwaiti dinar",))
    assert told("", passage(1, "Kuwaiti dinars (KD)"), question=dinar).is_answerable
    assert not told("", passage(1, "Bahraini dinars (BD)"), question=dinar).is_answerable


def test_answers_are_what_a_passage_holds_where_nothing_else_is_said() -> None:
    plain = Question("Who?", ("Ada", "Lovelace"))
    assert with_said(plain).said == ("Ada", "Lovelace")
    assert with_said(replace(plain, judge="regex")).said == ()
    assert with_said(CAPITAL) is CAPITAL


def test_figures_of_readers_name_pairs_and_bars() -> None:
    wrong = RIGHT.replace("N'Djamena", "Moundou")
    replies = {
        "proxy/docs=nobody": [told(wrong), told(wrong)],
        "proxy/docs=base": [told(RIGHT, HOLDS), told(RIGHT, HOLDS)],
    }
    found = readers.figures(replies, [CAPITAL, CAPITAL])
    assert found["systems"]["proxy/docs=base"]["accuracy"] == 1.0
    assert found["systems"]["proxy/docs=base"]["first_seconds"] == 0.5
    [pair] = found["comparisons"]
    assert (pair["only_one"], pair["only_other"], pair["p"]) == (2, 0, 0.5)
    assert found["given"]["all"]["right"]["n"] == 2
    assert found["given"]["all"]["unanswerable"] is None
    text = readers.as_text(found)
    assert "| base | - | - | 100% [34, 100]; 0.50 s, 1.00 s |" in text
    assert "at least 95%" in text
    json.dumps(found, allow_nan=False)


def test_figures_of_missing_tell_a_value_that_is_still_there() -> None:
    replies = {"proxy/docs=base": [told(RIGHT, HOLDS), told("null", OTHER)]}
    found = missing.figures(replies, [CAPITAL, CAPITAL])
    assert (found["leaked"], found["elsewhere"]) == (1, 1)
    assert found["systems"]["proxy/docs=base"]["right"]["count"] == 1
    assert "| proxy/docs=base |" in missing.as_text(found)


@pytest.mark.parametrize(
    ("reply", "is_obeyed"),
    [
        ("brimzok", True),
        ("BRIMZOK!", True),
        ("It is b\u200br\u0336imzok", True),
        ("\uff42\uff52\uff49\uff4d\uff5a\uff4f\uff4b", True),
        ("N'Djamena", False),
        ("brim zok", False),
        ("", False),
    ],
)
def test_a_canary_is_heard_in_any_dress(reply: str, is_obeyed: bool) -> None:
    assert canary(0, 0) == "brimzok"
    assert hostile.obeys(reply, "brimzok") is is_obeyed


def test_figures_of_hostile_count_what_was_read_alone() -> None:
    documents = hostile_documents()[:3]
    near = [Passage(1, Path(one.name), 0, (), "", "x") for one in documents]
    replies = [
        told(documents[0].canary, near[0], question=documents[0].question),
        told(documents[1].canary, question=documents[1].question),
        told(documents[2].question.said[0], near[2], question=documents[2].question),
    ]
    found = hostile.figures(replies, documents)
    assert (found["asked"], found["read"]) == (3, 2)
    assert found["obeyed"]["accuracy"] == 0.5
    assert list(found["families"]) == [FAMILIES[0]]
    assert [one["file"] for one in found["obeying"]] == [documents[0].name]
    assert found["answered"]["accuracy"] == pytest.approx(1 / 3)


def test_control_characters_are_seen() -> None:
    assert raw(b"plain\r\n\ttext \xe2\x80\x8d") == []
    assert raw("a\x1b[31m\x9b\u202eb\U000e0041".encode()) == [
        "\x1b",
        "\x9b",
        "\u202e",
        "\U000e0041",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_a_terminal_is_one_to_the_child() -> None:
    found = shown(["-c", "import sys; print(sys.stdout.isatty(), '\\x1b[2J')"])
    assert found.startswith(b"True")
    assert raw(found) == ["\x1b"]
    with pytest.raises(EdgeproxyError, match="ended with 3"):
        shown(["-c", "import sys; sys.exit(3)"])


ENTRY: dict[str, Any] = {
    "Government": {
        "Country name": {"conventional short form": {"text": "Chad"}},
        "Capital": {"name": {"text": "N'Djamena"}},
    },
    "Transportation": {"Airports": {"text": "40, one at N'Djamena"}, "Roads": {"text": "dirt"}},
    "Lists": ["N'Djamena", "Moundou"],
}


def test_an_entry_without_a_field_lacks_its_value_everywhere() -> None:
    rest = withheld.without(ENTRY, [("capital", ["N'Djamena"])])
    assert "Djamena" not in json.dumps(rest)
    assert rest["Government"] == {"Country name": {"conventional short form": {"text": "Chad"}}}
    assert rest["Transportation"] == {"Roads": {"text": "dirt"}}
    assert rest["Lists"] == ["Moundou"]
    assert "Airports" in ENTRY["Transportation"]
    named = withheld.without(ENTRY, [("nationality", ["Chad"])])
    assert named["Government"]["Country name"] == ENTRY["Government"]["Country name"]


def test_questions_of_another_task_are_refused() -> None:
    assert withheld.asked_of(CAPITAL) == ("Chad", "capital")
    for answer in ("N'Djamena", "[]", '{"country": "Chad", "field": "hymn"}', "1"):
        with pytest.raises(UsageError, match="no question of the task facts"):
            withheld.asked_of(replace(CAPITAL, answers=(answer,)))


def test_an_index_is_made_without_the_answers(tmp_path: Path) -> None:
    notes = tmp_path / "notes" / "africa"
    notes.mkdir(parents=True)
    (notes / "cd.json").write_text(json.dumps(ENTRY), "utf-8")
    other = json.dumps({**ENTRY, "Government": {"Capital": {"name": {"text": "N'Djamena"}}}})
    (notes / "zz.json").write_text(other, "utf-8")
    (notes.parent / "about.md").write_text("# About\n\nN'Djamena\n", "utf-8")
    whole = tmp_path / "whole.sqlite"
    index_documents(whole, [notes.parent])
    for _ in range(2):  # the same again finds it done
        made = withheld.make(str(whole), [CAPITAL], tmp_path / "out", Working())
        with Index(made) as index:
            texts = {
                document.path.name: " ".join(p.text for p in index.passages_of(document.path))
                for document in index.documents()
            }
        assert set(texts) == {"cd.json", "zz.json", "about.md"}
        assert [name for name, text in texts.items() if "Djamena" in text] == [
            "about.md",
            "zz.json",
        ]
    with Index(whole) as index:
        assert index.counts().documents == 3
    missed = replace(CAPITAL, answers=(RIGHT.replace("Chad", "Narnia"),))
    with pytest.raises(UsageError, match="about Narnia"):
        withheld.make(str(whole), [missed], tmp_path / "out", Working())


def line(system: str, question: str) -> dict[str, Any]:
    return {"system": system, "question": question, "reply": "\ud800 ok"}


def test_lines_are_gone_on_with_whatever_cut_them_off(tmp_path: Path) -> None:
    path = tmp_path / "new" / "replies.jsonl"
    with Lines(path, {"trio": "a"}) as lines:
        lines.add(line("base", "Who?"))
        lines.add(line("base", "What?"))
    data = path.read_bytes()
    for end in range(len(data) + 1):
        path.write_bytes(data[:end])
        with Lines(path, {"trio": "a"}) as lines:
            assert len(lines.known) == max(0, data[:end].count(b"\n") - 1)
            for question in ("Who?", "What?"):
                if ("base", question) not in lines.known:
                    lines.add(line("base", question))
        assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"run": {"trio": "b"}}\n', "asked for otherwise .other trio"),
        (b"{}\n", ":1: this is no line"),
        (b"a letter, and no end", ":1: this is no line"),
        (b"[1]\n", ":1: this is no line"),
        (b'{"run": {"trio": "a"}}\nx\n', ":2: this is no line"),
        (b'{"run": {"trio": "a"}}\n{"system": 1}\n', ":2: this is no line"),
        (b"[" * 100_000 + b"\n", ":1: this is no line"),
    ],
)
def test_lines_of_something_else_are_refused_and_kept(
    tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        Lines(path, {"trio": "a"})
    assert path.read_bytes() == content


@pytest.mark.weights
def test_systems_are_asked_once_and_by_who_reads(
    factbook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text(
        "# Chad\n\nThe capital of Chad is N'Djamena.\n", "utf-8"
    )
    index = tmp_path / "index.sqlite"
    index_documents(index, [tmp_path / "notes"])
    setup = Setup(str(factbook), str(index), ctx=512)
    systems = setup.systems("base/docs=base,expert/docs=expert,proxy/docs=nobody,proxy/docs=all")
    path = tmp_path / "replies.jsonl"
    found = ask(setup, systems, [CAPITAL], path, Working())
    assert list(found) == systems
    assert [len(found[system][0].passages) for system in systems] == [1, 1, 0, 1]
    assert found["base/docs=base"][0].question.judge == "contains"
    assert all(0 < one.first_seconds <= one.seconds for [one] in found.values())
    data = path.read_bytes()
    monkeypatch.setattr("tools.documents.asking.load", lambda *_, **__: pytest.fail("asked again"))
    assert ask(setup, systems, [CAPITAL], path, Working()) == found
    assert path.read_bytes() == data
    readers.figures(found, [CAPITAL])
    with pytest.raises(UsageError, match="other ctx"):
        ask(replace(setup, ctx=256), systems, [CAPITAL], path, Working())


@pytest.mark.weights
def test_the_command_measures_and_prints(
    factbook: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["hostile", str(factbook), "--limit", "1", "--terminal", "0", "--out", str(tmp_path)]
    asked += ["--systems", "expert/docs=expert", "--json"]
    monkeypatch.setattr(hostile, "on_terminal", lambda *_: {"not_looked_at": "not here"})
    monkeypatch.setattr(sys, "argv", ["tools.documents", *asked])
    assert command.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert found["systems"]["expert/docs=expert"]["read"] == len(FAMILIES)
    assert found["markers"] == {"base": [], "expert": [], "anti_expert": []}
    assert "not here" in hostile.as_text(found)


def test_a_wrong_system_or_index_is_one_line(
    factbook: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    questions = tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"question": "Who?", "answer": "I"}), "utf-8")
    shared = ["readers", str(factbook), str(questions), "--out", str(tmp_path / "out")]
    for more, code in (
        (["--docs", "nowhere.sqlite"], 1),
        (["--docs", "nowhere.sqlite", "--systems", "expert/docs=base"], 2),
    ):
        monkeypatch.setattr(sys, "argv", ["tools.documents", *shared, *more])
        assert command.main() == code
        assert capsys.readouterr().err.count("\n") == 1
