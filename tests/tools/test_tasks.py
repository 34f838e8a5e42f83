"""tools/tasks: the three tasks' files, made-up or from the Factbook where it is there."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.errors import UsageError
from edgeproxy.measure.evaluate import read_questions
from tools.tasks import facts, values
from tools.tasks.gsm8k import gsm8k, number, solution
from tools.tasks.intents import intents
from tools.tasks.lines import Line, find_data, read_lines, write_lines

ROOT = Path(__file__).parents[2]
GENERAL = ROOT / "tools" / "tasks" / "general.jsonl"
NAMES = [
    f"{first}{last}" for first in "BCDFGHJKLMNPRSTV" for last in ("aria", "edon", "ilia", "onia")
]
NAMES += [f"{name} {side}" for name in NAMES for side in ("North", "South", "East", "West")]


def text(value: str) -> dict[str, str]:
    return {"text": value}


def entry(name: str, **more: str) -> dict[str, Any]:
    """A country as the Factbook writes one; `more` replaces capital, currency and so on."""
    stem = (
        hashlib.sha256(name.encode())
        .hexdigest()
        .translate(str.maketrans("0123456789", "ghijklmnop"))
    )
    return {
        "Government": {
            "Country name": {"conventional short form": text(name)},
            "Capital": {"name": text(more.get("capital", f"{stem[:6].title()} (by the sea)"))},
            "Independence": text(more.get("independence", "5 July 1962 (from France)")),
        },
        "Economy": {
            "Exchange rates": {
                "Currency": text(more.get("currency", "dorins (DRN) per US dollar -"))
            }
        },
        "People and Society": {
            "Nationality": {"adjective": text(more.get("nationality", f"{stem[:5].title()}ian"))},
            "Languages": {"Languages": text(more.get("language", "Dorish (official), Tolk"))},
        },
        "Communications": {"Internet country code": text(more.get("internet", ".qx"))},
    }


def archive(path: Path, names: list[str]) -> Path:
    with tarfile.open(path, "w:xz") as tar:
        for name in names:
            data = json.dumps(entry(name)).encode()
            member = tarfile.TarInfo(f"world/{name}.json")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture(scope="module")
def factbook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real archive where it is there, else one of made-up countries."""
    try:
        return find_data(None, "world-factbook.tar.xz", "--factbook")
    except UsageError:
        return archive(tmp_path_factory.mktemp("factbook") / "world-factbook.tar.xz", NAMES)


@pytest.fixture(scope="module")
def made(factbook: Path) -> dict[str, list[Line]]:
    return facts.facts(factbook)


def test_there_are_as_many_questions_as_asked_for(made: dict[str, list[Line]]) -> None:
    assert {split: len(lines) for split, lines in made.items()} == {
        "train": 420,
        "validation": 102,
        "test": 180,
    }
    for lines in made.values():
        assert len({line["question"] for line in lines}) == len(lines)
        assert {line["kind"] for line in lines} == set(values.VALUES)


def test_no_country_is_in_two_files_and_held_out_ones_are_by_md5(
    made: dict[str, list[Line]],
) -> None:
    def countries(split: str) -> set[str]:
        answers = [line["answer"] for line in made[split]]
        return {json.loads(a if isinstance(a, str) else a[0])["country"] for a in answers}

    train, validation, test = (countries(split) for split in ("train", "validation", "test"))
    assert not train & validation
    assert not train & test
    assert not validation & test
    plain = {name for name in test if hashlib.md5(name.encode()).hexdigest()[0] in "0123"}
    assert len(plain) > 0.8 * len(test), "others have a name in the Factbook that is not shown"


def test_every_answer_parses_and_holds_its_question_s_value(made: dict[str, list[Line]]) -> None:
    for split, lines in made.items():
        for line in lines:
            answers = [line["answer"]] if split == "train" else line["answer"]
            for answer, value in zip(answers, line["contains"], strict=split != "train"):
                found = json.loads(answer)
                assert list(found) == ["country", "field", "value"]
                assert found["country"] in line["question"]
                assert (found["field"], found["value"]) == (line["kind"], value)
            assert line["judge"] == "json"
            assert not facts.gives_itself_away(line)


def test_the_same_seed_gives_the_same_and_another_seed_others(
    factbook: Path, made: dict[str, list[Line]]
) -> None:
    assert facts.facts(factbook) == made
    assert facts.facts(factbook, seed=1)["test"] != made["test"]


def test_too_few_countries_and_broken_archives_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gives \d+ questions for train, and 420 are needed"):
        facts.facts(archive(tmp_path / "small.tar.xz", NAMES[:20]))
    (tmp_path / "broken.tar.xz").write_bytes(b"no archive")
    with pytest.raises(UsageError, match=r"broken.tar.xz: this is not the Factbook's archive"):
        facts.facts(tmp_path / "broken.tar.xz")


@pytest.mark.parametrize(
    ("kind", "raw", "wanted"),
    [
        ("capital", "Tashkent (Toshkent)", ("Tashkent", "Toshkent")),
        ("capital", "La Paz (seat); Sucre (the [other] seat)", ("La Paz", "Sucre")),
        ("capital", "Santiago; note - Valparaiso is the seat of the legislature", ("Santiago",)),
        ("capital", "Saint John's", ("Saint John's", "St. John's")),
        ("capital", "Washington, D.C.", ("Washington", "Washington, D.C.")),
        ("capital", "Rangoon (aka Yangon, still recognized)", ()),
        ("currency", "euros (EUR) per US dollar -", ("euro", "EUR")),
        ("currency", "zlotych (PLN) per US dollar -", ("Dorian zloty", "zloty", "PLN")),
        ("currency", "Dorish francs (D)", ("Dorish franc", "Dorian franc", "Doria franc")),
        ("currency", "Danish kroner (DKK) per US dollar -", ("Danish krone", "DKK")),
        ("currency", "Comptoirs Francais du Pacifique francs per US dollar", ("CFP franc",)),
        ("currency", "Aruban guilders/florins per US dollar -", ()),
        ("language", "Dorish (official) 86.4%, Tolk", ("Dorish",)),
        ("language", "Dorish (official), Tolk (official)", ()),
        ("language", "Dorish (official, spoken by all), Irish (Gaelic) (official)", ()),
        ("language", "Persian Farsi (official), Tolk", ("Persian", "Farsi")),
        ("nationality", "Motswana (singular), Batswana (plural)", ("Motswana", "Batswana")),
        ("nationality", "Taiwan (or Taiwanese)", ("Taiwan", "Taiwanese")),
        ("nationality", "Swati; note - former term, Swazi", ("Swati",)),
        ("nationality", "NA", ()),
        ("independence", "11 August 1960 (from France)", ("1960",)),
        ("independence", "8 May 1902 (from the US); 10 December 1898 (from Spain)", ()),
        ("independence", "none (territory of the US)", ()),
        ("internet", ".td", (".td",)),
        ("internet", ".is", ()),
    ],
)  # fmt: skip
def test_values(kind: str, raw: str, wanted: tuple[str, ...]) -> None:
    country = entry("Doria", **{"nationality": "Dorian", kind: raw})
    assert values.VALUES[kind](country) == wanted


def test_a_question_that_gives_its_answer_away_is_seen() -> None:
    asked: Line = {"question": "What is the capital of Djibouti?", "contains": ["Djibouti"]}
    assert facts.gives_itself_away(asked)
    assert not facts.gives_itself_away({**asked, "contains": ["Djibouti City"]})


def test_intents_are_passed_on_with_their_judge(tmp_path: Path) -> None:
    line: Line = {"question": "play it", "answer": '{"intent": "PlayMusic"}', "kind": "PlayMusic"}
    for split in ("train", "validation", "test"):
        write_lines(tmp_path / f"{split}.jsonl", [line])
    assert list(intents(tmp_path).values()) == [[{**line, "judge": "json"}]] * 3
    write_lines(tmp_path / "test.jsonl", [{**line, "answer": "PlayMusic"}])
    with pytest.raises(UsageError, match="'PlayMusic' is not a JSON object"):
        intents(tmp_path)


def problem(i: int) -> Line:
    return {
        "question": f"{i} + 1000?",
        "answer": f"It is <<{i}+1000={i + 1000}>>{i + 1000:,}.\n#### {i + 1000:,}",
    }


def test_gsm8k_keeps_solutions_to_learn_and_numbers_to_judge(tmp_path: Path) -> None:
    write_lines(tmp_path / "train-1500.jsonl", map(problem, range(300)))
    write_lines(tmp_path / "test.jsonl", map(problem, range(500, 800)))
    made = gsm8k(tmp_path)
    assert {split: len(lines) for split, lines in made.items()} == {
        "train": 200,
        "validation": 100,
        "test": 200,
    }
    questions = [line["question"] for lines in made.values() for line in lines]
    assert len(set(questions)) == len(questions)
    assert made == gsm8k(tmp_path)
    learnt = made["train"][0]
    i = int(learnt["question"].split()[0])
    assert learnt["answer"] == f"It is {i + 1000:,}.\n#### {i + 1000}"
    for line in made["validation"]:
        solved, alone = line["answer"]
        assert solved.endswith(f"\n#### {alone}")
    assert all(line["answer"].isdecimal() for line in made["test"])
    assert {line["judge"] for line in made["test"]} == {"number"}


@pytest.mark.parametrize(
    ("answer", "wanted"), [("a\n#### 1,234", "1234"), ("a\n#### -5 ", "-5"), ("#### 0.5", "0.5")]
)
def test_the_number_after_the_marker(answer: str, wanted: str) -> None:
    assert number({"question": "q", "answer": answer}) == wanted


@pytest.mark.parametrize("answer", ["72", "#### many", "#### 7\nand more"])
def test_an_answer_without_its_number_is_named(answer: str) -> None:
    with pytest.raises(UsageError, match="'How many': the answer has no last line like"):
        solution({"question": "How many", "answer": answer})


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"question": "q"}', b'{"question": 1, "answer": "a"}']
)
def test_a_wrong_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"question": "q", "answer": "a"}\n' + line + b"\n")
    with pytest.raises(UsageError, match=r"a\.jsonl:2: "):
        read_lines(path)


def test_general_questions_are_a_hundred_and_none_gives_itself_away() -> None:
    questions = read_questions(GENERAL)
    assert len({question.text for question in questions}) == 100
    for question in questions:
        asked: Line = {"question": question.text, "contains": list(question.answers)}
        assert not facts.gives_itself_away(asked), question


def test_the_command_writes_the_files_and_names_what_is_missing(tmp_path: Path) -> None:
    line: Line = {"question": "play it", "answer": '{"intent": "PlayMusic"}', "kind": "PlayMusic"}
    raw = tmp_path / "raw"
    raw.mkdir()
    for split in ("train", "validation", "test"):
        write_lines(raw / f"{split}.jsonl", [line])

    def build(folder: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tools.tasks", "build", str(tmp_path / "out")]
        command += ["--only", "intents", "--intents", str(folder), "--json"]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    done = build(raw)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"intents": {"train": 1, "validation": 1, "test": 1}}
    assert read_lines(tmp_path / "out" / "intents" / "test.jsonl") == [{**line, "judge": "json"}]
    missing = build(tmp_path / "nowhere")
    assert missing.returncode == 2
    assert "nowhere: there is no such file or folder; say where with --intents" in missing.stderr
