"""Files of examples: each layout, each wrong line with its number, and files of any size."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path

import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled, UsageError
from edgeproxy.tune.examples import WRONG_SHOWN, ExamplesFile
from edgeproxy.tune.lines import MAX_LINE

QA = {"question": "Where is Chad?", "answer": "In Africa."}
ASKED, REPLIED = ("user", "Where is Chad?"), ("assistant", "In Africa.")
BRIEF = ("system", "Be brief.")

Said = list[tuple[str, str]]


def written(folder: Path, *lines: object, name: str = "examples.jsonl") -> Path:
    """A file of these lines: bytes and text as they are, objects as JSON."""
    path = folder / name
    with path.open("wb") as file:
        for line in lines:
            if isinstance(line, Mapping):
                line = json.dumps(line, ensure_ascii=False)
            file.write(line.encode() if isinstance(line, str) else bytes(line))  # type: ignore[call-overload]
            file.write(b"\n")
    return path


def said(file: ExamplesFile) -> list[Said]:
    return [[(m.role, m.content) for m in example.messages] for example in file]


def wrong(path: Path) -> str:
    """What is said of a file that holds something wrong."""
    with pytest.raises(UsageError) as caught:
        list(ExamplesFile(path))
    return str(caught.value)


def openai(*turns: tuple[str, object]) -> dict[str, object]:
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def sharegpt(*turns: tuple[str, str]) -> dict[str, object]:
    return {"conversations": [{"from": name, "value": text} for name, text in turns]}


@pytest.mark.parametrize(
    ("record", "layout", "expected"),
    [
        (openai(ASKED, REPLIED), "messages", [ASKED, REPLIED]),
        (openai(BRIEF, ASKED, REPLIED), "messages", [BRIEF, ASKED, REPLIED]),
        (openai(("developer", "Be brief."), ASKED, REPLIED), "messages", [BRIEF, ASKED, REPLIED]),
        (openai(("system", ""), ASKED, REPLIED), "messages", [ASKED, REPLIED]),
        (
            openai(ASKED, REPLIED, ("user", "And Peru?"), ("assistant", "In America.")),
            "messages",
            [ASKED, REPLIED, ("user", "And Peru?"), ("assistant", "In America.")],
        ),
        (
            openai(
                (
                    "user",
                    [{"type": "text", "text": "Where is "}, {"type": "text", "text": "Chad?"}],
                ),
                REPLIED,
            ),
            "messages",
            [ASKED, REPLIED],
        ),
        ({**openai(ASKED, REPLIED), "tools": [], "id": 7}, "messages", [ASKED, REPLIED]),
        (
            sharegpt(("human", "Where is Chad?"), ("gpt", "In Africa.")),
            "conversations",
            [ASKED, REPLIED],
        ),
        (
            sharegpt(("system", "Be brief."), ("user", "Where is Chad?"), ("bard", "In Africa.")),
            "conversations",
            [BRIEF, ASKED, REPLIED],
        ),
        (
            {**sharegpt(("human", "Where is Chad?"), ("gpt", "In Africa.")), "system": "Be brief."},
            "conversations",
            [BRIEF, ASKED, REPLIED],
        ),
        ({"conversations": openai(ASKED, REPLIED)["messages"]}, "conversations", [ASKED, REPLIED]),
        (QA, "question and answer", [ASKED, REPLIED]),
        (
            {**QA, "answer": ["In Africa.", "Africa"], "kind": "place"},
            "question and answer",
            [ASKED, REPLIED],
        ),
        ({**QA, "system": "Be brief."}, "question and answer", [BRIEF, ASKED, REPLIED]),
        (
            {"prompt": "Where is Chad?", "completion": "In Africa."},
            "prompt and completion",
            [ASKED, REPLIED],
        ),
        (
            {"instruction": "Where is Chad?", "input": "", "output": "In Africa."},
            "instruction, input and output",
            [ASKED, REPLIED],
        ),
        (
            {"instruction": "Where is this?", "input": "Chad", "output": "In Africa."},
            "instruction, input and output",
            [("user", "Where is this?\n\nChad"), REPLIED],
        ),
        (
            {
                "instruction": "Where is Chad?",
                "output": "In Africa.",
                "system": "Be brief.",
                "input": None,
            },
            "instruction, input and output",
            [BRIEF, ASKED, REPLIED],
        ),
        (
            {"frage": "Where is Chad?", "antwort": "In Africa."},
            "frage and antwort",
            [ASKED, REPLIED],
        ),
    ],
)
def test_a_layout_is_seen_and_said(
    tmp_path: Path, record: dict[str, object], layout: str, expected: Said
) -> None:
    file = ExamplesFile(written(tmp_path, record))
    assert said(file) == [expected]
    assert file.layout == f"JSON lines of {layout}"
    array = ExamplesFile(written(tmp_path, json.dumps([record], indent=2), name="array.json"))
    assert said(array) == [expected]
    assert array.layout == f"a JSON array of {layout}"


def test_text_is_kept_as_it_is(tmp_path: Path) -> None:
    emoji = "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1f9\U0001f1e9"
    texts = ["中国在哪里？", "ประเทศไทยอยู่ที่ไหน", "أين تشاد؟", "Où ça? e\u0301", emoji, "\u2028x\r\n"]
    records = [{"question": text, "answer": f" {text}\n"} for text in texts]
    expected = [[("user", text), ("assistant", f" {text}\n")] for text in texts]
    assert said(ExamplesFile(written(tmp_path, *records))) == expected
    escaped = "\n".join(map(json.dumps, records))
    assert said(ExamplesFile(written(tmp_path, escaped))) == expected
    array = json.dumps(records, ensure_ascii=False)
    assert said(ExamplesFile(written(tmp_path, array, name="a.json"))) == expected


def test_columns_name_the_keys_of_other_lines(tmp_path: Path) -> None:
    path = written(tmp_path, {"text": "Where is Chad?", "label": "In Africa.", "question": "?"})
    file = ExamplesFile(path, columns=("text", "label"))
    assert said(file) == [[ASKED, REPLIED]]
    assert file.layout == "JSON lines of text and label"
    with pytest.raises(UsageError, match="here are the keys 'text', 'label', 'question'"):
        list(ExamplesFile(path, columns=("text", "labels")))
    with pytest.raises(UsageError, match="--columns names two"):
        list(ExamplesFile(path, columns=("text",)))


def test_blank_lines_and_a_mark_are_passed_over_and_lines_counted(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbf", "  \t", QA, "", {**QA, "question": "And Peru?"}, "\r")
    assert [example.line for example in ExamplesFile(path)] == [3, 5]
    path = written(tmp_path, b"\xef\xbb\xbf" + json.dumps(QA).encode())
    assert [example.line for example in ExamplesFile(path)] == [1]
    path = written(tmp_path, b"\xef\xbb\xbf \n[\n\n" + json.dumps(QA).encode(), ",{}", "]")
    file = ExamplesFile(path, skip_bad=True)
    assert [example.line for example in file] == [4]
    assert file.wrong == [
        f"{path}:5: the file is of question and answer, and here is no 'question'"
    ]


WITHOUT_KEYS = (
    "here are no keys and not those of an example (messages; conversations; instruction, input and "
    "output; question and answer; prompt and completion)"
)

WRONG = [
    ("{", "this line is not an object of JSON"),
    ('["question"', "this line is not an object of JSON"),
    ("9" * 5000, "this line is not an object of JSON"),
    ("[" * 100_000, "this line is not an object of JSON"),
    ("7", "here is no object of JSON but a number"),
    ("null", "here is no object of JSON but null"),
    (b'{"question": "\xff"}', "this line is not UTF-8 text: byte 0xff at offset 14"),
    (b"{\0}", "this line has a NUL at character 1"),
    ({"question": "?"}, "the file is of question and answer, and here is no 'answer'"),
    (
        {"prompt": "?", "completion": "!"},
        "the file is of question and answer, and here is no 'question', but prompt and completion",
    ),
    (openai(ASKED, REPLIED), "here is no 'question', but messages"),
    ({**QA, "question": 7}, "question must be text"),
    ({**QA, "question": " \n"}, "what the user says is empty"),
    ({**QA, "answer": None}, "answer must be text"),
    ({**QA, "answer": []}, "answer is an empty list"),
    ({**QA, "answer": [7]}, "answer must be text"),
    ({**QA, "answer": ""}, "what the assistant says is empty"),
    ({**QA, "system": 7}, "what the system says must be text"),
    (
        '{"question": "a\\ud800", "answer": "b"}',
        "what the user says holds '\\ud800' at character 1, half of a surrogate pair",
    ),
    ('{"question": "a", "answer": "b\\u0000"}', "what the assistant says has a NUL"),
    ("x" * (MAX_LINE + 1), "it has more than 4 MB"),
    ("x" * (3 * MAX_LINE), "it has more than 4 MB"),
]


@pytest.mark.parametrize(("line", "what"), WRONG, ids=[what[:40] for _, what in WRONG])
def test_a_wrong_line_is_named_or_passed_over(tmp_path: Path, line: object, what: str) -> None:
    after = {**QA, "question": "And Peru?"}
    path = written(tmp_path, QA, "", line, after)
    message = wrong(path)
    assert message.startswith(f"{path}:3: ")
    assert what in message
    assert message.endswith("; pass over such lines with --skip-bad")
    file = ExamplesFile(path, skip_bad=True)
    assert [example.line for example in file] == [1, 4]
    assert (file.n_examples, file.n_wrong, file.n_duplicates) == (2, 1, 0)
    assert what in file.wrong[0]


@pytest.mark.parametrize(
    ("record", "what"),
    [
        ({"messages": "hello"}, "messages must be a list"),
        ({"messages": []}, "no user says anything"),
        ({"messages": ["hello"]}, 'a message is {"role": ..., "content": ...}'),
        (openai(ASKED), "it ends with the user, not with an assistant's reply"),
        (openai(ASKED, REPLIED, ASKED), "it ends with the user"),
        (openai(ASKED, REPLIED, BRIEF), "it ends with the system"),
        (openai(REPLIED), "no user says anything"),
        (openai(BRIEF, REPLIED), "no user says anything"),
        (openai(REPLIED, ASKED, REPLIED), "it begins with an assistant"),
        (openai(ASKED, ("assistant", "")), "what the assistant says is empty"),
        (openai(ASKED, ("assistant", None)), "what the assistant says must be text"),
        (openai(ASKED, ("assistant", " "), ASKED, REPLIED), "what the assistant says is empty"),
        (openai(ASKED, ("tool", "42"), REPLIED), "there is a message of 'tool'; roles are system"),
        (openai(ASKED, ("bot", "42")), "there is a message of 'bot'"),
        ({"messages": [{"content": "Hello"}]}, "there is a message of no name"),
        ({**openai(ASKED, REPLIED), "tools": [{}]}, "it has tools, which are not learnt"),
        ({**openai(ASKED, REPLIED), "functions": [{}]}, "it has functions"),
        (
            {
                "messages": [
                    {"role": "user", "content": "?"},
                    {"role": "assistant", "content": "", "tool_calls": [{}]},
                ]
            },
            "a message has tool_calls, which are not learnt",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "?"},
                    {"role": "assistant", "content": "!", "weight": 0},
                ]
            },
            "a message has the weight 0",
        ),
        (
            openai(
                ("user", [{"type": "image_url", "image_url": {"url": "data:"}}]),
                REPLIED,
            ),
            "a message has a part of the type 'image_url'; only text is learnt",
        ),
        (openai(("user", ["hello"]), REPLIED), "a message has a part of the type no name"),
        (openai(("user", [{"type": "text"}]), REPLIED), "a part's text must be text"),
        (sharegpt(("human", "?"), ("function_call", "!")), "a message of 'function_call'"),
        ({"conversations": [["human", "?"]]}, 'a message is {"from": ..., "value": ...}'),
        ({"instruction": "?", "input": 7, "output": "!"}, "input must be text"),
        ({"instruction": "", "input": "", "output": "!"}, "what the user says is empty"),
        ({}, WITHOUT_KEYS),
        ({"text": "?", "label": "!"}, "here are the keys 'text', 'label'"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, record: dict[str, object], what: str) -> None:
    path = written(tmp_path, record)
    assert wrong(path).startswith(f"{path}:1: ")
    assert what in wrong(path)
    with pytest.raises(UsageError, match="there is no example in this file; the first wrong line:"):
        list(ExamplesFile(path, skip_bad=True))


def test_the_first_sound_line_decides_the_layout(tmp_path: Path) -> None:
    prompt = {"prompt": "Where is Chad?", "completion": "In Africa."}
    path = written(tmp_path, {**prompt, "completion": ""}, QA, prompt)
    file = ExamplesFile(path, skip_bad=True)
    assert said(file) == [[ASKED, REPLIED]]
    assert file.layout == "JSON lines of question and answer"
    assert [line.split(": ")[0] for line in file.wrong] == [f"{path}:1", f"{path}:3"]


def test_only_the_first_wrong_lines_are_kept(tmp_path: Path) -> None:
    path = written(tmp_path, QA, *["{"] * 20)
    file = ExamplesFile(path, skip_bad=True)
    assert len(list(file)) == 1
    assert (file.n_wrong, len(file.wrong)) == (20, WRONG_SHOWN)


def test_duplicates_are_counted_and_left_out(tmp_path: Path) -> None:
    otherwise = {**QA, "answer": ["In Africa.", "Africa"], "kind": "place"}
    other = {**QA, "answer": "In Africa"}
    swapped = {"question": QA["answer"], "answer": QA["question"]}
    file = ExamplesFile(written(tmp_path, QA, otherwise, other, QA, swapped))
    assert [example.line for example in file] == [1, 3, 5]
    assert (file.n_examples, file.n_duplicates) == (3, 2)
    assert len(list(file)) == 3
    assert (file.n_examples, file.n_duplicates) == (3, 2)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"[]", b" [ ] \n"])
def test_a_file_without_an_example_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = written(tmp_path, content)
    assert wrong(path) == f"{path}: there is no example in this file"


def test_what_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    assert "give a file of examples" in wrong(tmp_path / "missing.jsonl")
    assert "give a file of examples" in wrong(tmp_path)
    path = tmp_path / "utf16.jsonl"
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        path.write_text(json.dumps(QA), encoding)
        assert "looks like UTF-16; convert it to UTF-8 first" in wrong(path)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('[{"question": "?", "answer": "!"}\n\n', 4, "the array has no end"),
        ('[{"question": "?", "answer": "!"},\n{"question": ]', 2, "this is not JSON"),
        ('[{"question": "?", "answer": "!"}\n]\n[]', 3, "something follows the array"),
        ("[" + "[" * 100_000, 1, "this is nested too deeply"),
        ("[\n" + "x" * (MAX_LINE + 10), 2, "this is not JSON, or an object of more than 4 MB"),
        (b'[{"question": "?", "answer": "\xff!"}]', 1, "not UTF-8 text"),
    ],
)
def test_an_array_that_is_not_json_is_an_error(
    tmp_path: Path, text: str | bytes, line: int, what: str
) -> None:
    path = written(tmp_path, text)
    for skip_bad in (False, True):
        with pytest.raises(UsageError, match=what) as caught:
            list(ExamplesFile(path, skip_bad=skip_bad))
        assert str(caught.value).startswith(f"{path}:{line}: ")


def test_an_array_is_read_across_blocks_and_its_wrong_records_are_named(tmp_path: Path) -> None:
    records: list[object] = [{"question": f"é{n}", "answer": "é" * 1000} for n in range(2000)]
    records[1500] = ["not", "an", "object"]
    path = written(tmp_path, json.dumps(records, ensure_ascii=False, indent=1), name="a.json")
    assert f"{path}:6002: here is no object of JSON but a list" in wrong(path)
    file = ExamplesFile(path, skip_bad=True)
    examples = list(file)
    assert (len(examples), file.n_wrong) == (1999, 1)
    assert examples[-1].messages[0].content == "é1999"


def test_progress_is_told_and_reading_can_be_cancelled(tmp_path: Path) -> None:
    path = written(tmp_path, *({**QA, "question": f"{n}?"} for n in range(50)))
    shares: list[float] = []
    assert len(list(ExamplesFile(path, progress=shares.append))) == 50
    assert shares == sorted(shares)
    assert (len(set(shares)), shares[-1]) == (50, 1.0)
    flag = Flag()
    examples = iter(ExamplesFile(path, cancel=flag))
    next(examples)
    flag.set()
    with pytest.raises(Cancelled, match="was cancelled"):
        next(examples)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "n", "size"),
    [("lines", 100_000, 300), ("array", 20_000, 1500), ("table", 20_000, 1500)],
)
def test_100_000_examples_are_not_held(tmp_path: Path, form: str, n: int, size: int) -> None:
    path = tmp_path / f"many.{'csv' if form == 'table' else 'json'}"
    head, line, between, end = {
        "lines": ("", '{"question": "%d", "answer": "%s"}', "\n", ""),
        "array": ("[", '{"question": "%d", "answer": "%s"}', ",\n", "]"),
        "table": ("question,answer\n", "%d,%s", "\n", ""),
    }[form]
    path.write_text(head + between.join(line % (n, "x" * size) for n in range(n)) + end)
    file = ExamplesFile(path)
    count = peak = 0
    try:
        for count, _ in enumerate(file, start=1):
            if count == n // 2:
                tracemalloc.start()  # not all the time: it makes everything slow
            elif count == n // 2 + 10_000 - 1:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
    finally:
        tracemalloc.stop()
    assert count == n
    assert 0 < peak < 5_000_000  # a block or two of the file, and 10,000 digests
