"""What is trained on and what is held out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeproxy.core.cancel import Flag
from edgeproxy.errors import Cancelled, PromptError, UsageError
from edgeproxy.prompts.formats import Message, Segment, plain
from edgeproxy.tune.data import MAX_HELD_OUT, held_out, read_data
from edgeproxy.tune.encoding import Encoder
from edgeproxy.tune.examples import Example
from edgeproxy.tune.tokens import TokenSet
from tests.helpers.fakes import fake_vocab

VOCAB = fake_vocab()
END = min(VOCAB.end_of_generation)
ENCODER = Encoder(plain, VOCAB, END)


def written(path: Path, *pairs: tuple[str, str] | Mapping[str, object] | str) -> Path:
    records = [
        {"question": pair[0], "answer": pair[1]} if isinstance(pair, tuple) else pair
        for pair in pairs
    ]
    path.write_text("".join(r if isinstance(r, str) else f"{json.dumps(r)}\n" for r in records))
    return path


def texts(tokens: TokenSet) -> list[str]:
    return sorted(b"".join(VOCAB.tokens[t] for t in one.ids[:-1]).decode() for one in tokens)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return written(tmp_path / "many.jsonl", *((f"{n}?", f"{n}!") for n in range(200)))


def test_a_tenth_is_held_out(many: Path) -> None:
    data = read_data(many, ENCODER, max_tokens=100)
    assert (data.n_training, data.n_held_out) == (180, 20)
    assert (len(data.training), len(data.held_out)) == (180, 20)
    assert texts(data.training) + texts(data.held_out) != []
    assert sorted(texts(data.training) + texts(data.held_out)) == sorted(
        f"{n}?\n{n}!" for n in range(200)
    )
    assert data.found.layout == "JSON lines of question and answer"
    assert data.training.n_reply_tokens < data.training.n_tokens


def test_the_seed_decides_and_the_order_does_not(many: Path, tmp_path: Path) -> None:
    lines = many.read_text().splitlines(keepends=True)
    turned = tmp_path / "turned.jsonl"
    turned.write_text("".join(reversed(lines)))
    chosen = [
        texts(read_data(path, ENCODER, max_tokens=100, seed=seed).held_out)
        for path, seed in ((many, 0), (many, 0), (turned, 0), (many, 1))
    ]
    assert chosen[0] == chosen[1] == chosen[2]
    assert chosen[0] != chosen[3]


def test_a_question_stands_on_one_side(tmp_path: Path) -> None:
    pairs = [(f"What is  {n // 3}?" if n % 2 else f"WHAT is {n // 3}? ", f"{n}") for n in range(90)]
    data = read_data(written(tmp_path / "a.jsonl", *pairs), ENCODER, max_tokens=100)
    sides = [
        {text.split("?")[0].split()[-1] for text in texts(tokens)}
        for tokens in (data.training, data.held_out)
    ]
    assert sides[0].isdisjoint(sides[1])
    assert data.n_held_out == 9


@pytest.mark.parametrize(
    ("counts", "share", "wanted"),
    [
        ([1], 0.1, 0),
        ([5], 0.1, 0),
        ([1, 1], 0.1, 1),
        ([2, 2], 0.1, 2),
        ([90, 10], 0.1, 10),
        ([99, 1], 0.1, 1),
        ([40, 60], 0.1, 40),
        ([1] * 10_000, 0.1, MAX_HELD_OUT),
        ([1] * 10, 0.0, 0),
        ([1] * 10, 0.5, 5),
        ([1] * 10, 0.01, 1),
    ],
)
def test_how_many_are_held_out(counts: Sequence[int], share: float, wanted: int) -> None:
    questions = np.repeat(np.arange(len(counts), dtype=np.uint64), counts)
    assert held_out(questions, share).sum() == wanted


def test_all_that_an_example_teaches_is_one_example(many: Path) -> None:
    def lesson(example: Example) -> list[Example]:
        *asked, reply = example.messages
        other = replace(example, messages=(*asked, replace(reply, content="no")))
        return [example, other] if int(example.question[:-1]) % 2 else [example]

    data = read_data(many, ENCODER, max_tokens=100, lesson=lesson)
    assert (data.n_training, data.n_held_out, data.found.n_kept) == (180, 20, 200)
    for tokens in (data.training, data.held_out):
        found = texts(tokens)
        numbers = {text.partition("?")[0] for text in found}
        assert found == sorted(
            [f"{n}?\n{n}!" for n in numbers] + [f"{n}?\nno" for n in numbers if int(n) % 2]
        )
    long = read_data(many, ENCODER, max_tokens=7, lesson=lesson)
    assert (long.found.n_kept, long.found.n_too_long) == (10, 190)


def test_one_example_is_trained_with(tmp_path: Path) -> None:
    data = read_data(written(tmp_path / "a.jsonl", ("a", "b")), ENCODER, max_tokens=10)
    assert (data.n_training, data.n_held_out, len(data.held_out)) == (1, 0, 0)


def test_long_examples_duplicates_and_wrong_lines_are_counted(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.jsonl", ("a", "b"), ("a", "x" * 50), "{\n", ("a", "b"), ("c", "d"), ("e", "f")
    )
    data = read_data(path, ENCODER, max_tokens=10, skip_bad=True)
    found = data.found
    assert (found.n_kept, found.n_wrong, found.n_duplicates, found.n_too_long) == (3, 1, 1, 1)
    assert found.wrong[0].startswith(f"{path}:3: ")
    assert data.n_training + data.n_held_out == 3
    exactly = len("a\nb") + 1
    assert read_data(path, ENCODER, max_tokens=exactly, skip_bad=True).found.n_kept == 3
    with pytest.raises(UsageError, match="all that are sound are longer than 3 tokens"):
        read_data(path, ENCODER, max_tokens=exactly - 1, skip_bad=True)


def test_what_is_too_long_to_tokenise_at_once_is_too_long(tmp_path: Path) -> None:
    path = written(tmp_path / "a.jsonl", ("a", "b"), ("c" * 300_000, "é" * 100_000))
    found = read_data(path, ENCODER, max_tokens=1_000_000).found
    assert (found.n_kept, found.n_too_long) == (1, 1)


def test_replies_of_one_conversation_are_one_example(tmp_path: Path) -> None:
    talk = [
        {"role": role, "content": text}
        for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    ]
    other = [{**turn, "content": turn["content"] * 2} for turn in talk]
    path = written(tmp_path / "a.jsonl", {"messages": talk}, {"messages": other})
    data = read_data(path, ENCODER, max_tokens=100)
    assert (data.n_training, data.n_held_out) == (1, 1)
    assert (len(data.training), len(data.held_out)) == (2, 2)
    assert {len(text.replace("\n", "")) // 2 for text in texts(data.training)} in ({1, 2}, {2, 4})


def refusing(messages: Sequence[Message]) -> list[Segment]:
    if "?" in messages[0].content:
        raise PromptError("the template refuses a question")
    return plain(messages)


def test_what_the_format_refuses_is_a_wrong_line(tmp_path: Path) -> None:
    encoder = Encoder(refusing, VOCAB, END)
    path = written(tmp_path / "a.jsonl", ("a", "b"), ("c?", "d"))
    with pytest.raises(UsageError) as caught:
        read_data(path, encoder, max_tokens=10)
    assert str(caught.value) == (
        f"{path}:2: the template refuses a question; pass over such lines with --skip-bad"
    )
    assert read_data(path, encoder, max_tokens=10, skip_bad=True).found.n_wrong == 1
    path = written(tmp_path / "a.jsonl", ("c?", "d"))
    with pytest.raises(UsageError, match=r"no example that can be used: .*:1: the template"):
        read_data(path, encoder, max_tokens=10, skip_bad=True)


def test_a_validation_file_is_held_out(tmp_path: Path, many: Path) -> None:
    validation = written(tmp_path / "v.jsonl", ("7?", "other"), ("new?", "1"), ("new?", "2"))
    data = read_data(many, ENCODER, max_tokens=100, validation=validation)
    assert (data.n_training, data.n_held_out, data.n_in_both) == (199, 3, 1)
    assert texts(data.held_out) == ["7?\nother", "new?\n1", "new?\n2"]
    assert "7?\n7!" not in texts(data.training)
    assert data.validation is not None
    assert data.validation.path == validation
    with pytest.raises(UsageError, match="every question is in"):
        read_data(many, ENCODER, max_tokens=100, validation=many)


def test_progress_is_told_and_reading_can_be_cancelled(many: Path, tmp_path: Path) -> None:
    heard: Counter[Path] = Counter()
    validation = written(tmp_path / "v.jsonl", ("a", "b"))
    read_data(
        many,
        ENCODER,
        max_tokens=100,
        validation=validation,
        progress=lambda path, share: heard.update([path]),
    )
    assert heard == {many: 201, validation: 2}
    flag = Flag()
    flag.set()
    with pytest.raises(Cancelled):
        read_data(many, ENCODER, max_tokens=100, cancel=flag)


@pytest.mark.parametrize("wrong", [{"max_tokens": 1}, {"share": 1.0}, {"share": -0.1}])
def test_impossible_settings_are_refused(many: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        read_data(many, ENCODER, **{"max_tokens": 100, **wrong})  # type: ignore[arg-type]
