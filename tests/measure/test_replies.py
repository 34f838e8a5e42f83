"""A file of replies: what came is there whatever happens, and only the whole replaces what was."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.decode.sample import Sampling
from edgeproxy.errors import EdgeproxyError, UsageError
from edgeproxy.measure import replies as module
from edgeproxy.measure import reply_lines
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.replies import Replies, run_of
from edgeproxy.measure.took import Took
from edgeproxy.session.turn import Changed
from edgeproxy.trios.find import Lora, Recipe, Role

QUESTIONS = [Question("Capital?", ("Lima", "Quito"), "city"), Question("Größe?", ("3",))]
SYSTEMS = ["base", "proxy"]
RUN = {"trio": "mine", "alpha": 1.0, "systems": SYSTEMS, "base": {"file": "a.gguf"}}
TEXTS = {
    ("base", 0): "I do not know.",
    ("base", 1): "\u22123 \u4eac \ud800",
    ("proxy", 0): "It is Lima.",
    ("proxy", 1): "",
}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "replies.jsonl"


def opened(target: Path, resume: bool = False, **other: Any) -> Replies:
    return Replies(target, {**RUN, **other}, QUESTIONS, resume)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def known_of(target: Path) -> dict[tuple[str, int], str]:
    with contextlib.closing(opened(target, resume=True)) as replies:
        return dict(replies.known)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def whole(target: Path) -> bytes:
    """What is in the file of an evaluation that nothing cut short."""
    replies = opened(target)
    for (system, number), text in TEXTS.items():
        replies.add(system, number, text)
    replies.finish(SYSTEMS)
    assert replies.close() == 0
    return target.read_bytes()


def cut_short(target: Path, count: int = 2) -> Path:
    """An evaluation that ended after some replies; the file that has them."""
    replies = opened(target)
    for (system, number), text in list(TEXTS.items())[:count]:
        replies.add(system, number, text)
    assert replies.close() == count
    return replies.part


def test_the_file_has_a_line_a_reply_by_system(target: Path) -> None:
    whole(target)
    found = lines(target)
    assert [(line["system"], line["question"]) for line in found] == [
        (system, question.text) for system in SYSTEMS for question in QUESTIONS
    ]
    assert found[2] == {
        "question": "Capital?",
        "kind": "city",
        "answer": ["Lima", "Quito"],
        "system": "proxy",
        "reply": "It is Lima.",
        "judge": "contains",
        "right": True,
    }
    assert [line["reply"] for line in found] == list(TEXTS.values())
    assert names(target.parent) == [target.name]


def test_what_was_there_is_there_until_the_whole_replaces_it(target: Path) -> None:
    target.write_text("older")
    replies = opened(target)
    for at, ((system, number), text) in enumerate(TEXTS.items(), start=1):
        replies.add(system, number, text)
        assert target.read_text() == "older"
        assert [line["reply"] for line in lines(replies.part)[1:]] == list(TEXTS.values())[:at]
    replies.finish(SYSTEMS)
    assert len(lines(target)) == 4


def test_an_end_without_any_reply_leaves_all_as_it_was(target: Path) -> None:
    target.write_text("older")
    assert opened(target).close() == 0
    assert target.read_text() == "older"
    assert names(target.parent) == [target.name]


def test_it_goes_on_after_the_replies_that_came(target: Path) -> None:
    cut_short(target)
    replies = opened(target, resume=True)
    assert replies.known == dict(list(TEXTS.items())[:2])
    for key in list(TEXTS)[2:]:
        replies.add(*key, TEXTS[key])
    replies.finish(SYSTEMS)
    replies.close()
    assert target.read_bytes() == whole(target.with_name("at-once"))


@given(st.data())
def test_wherever_it_was_cut_the_whole_is_the_same(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "replies.jsonl"
        part = cut_short(target, 4)
        content = part.read_bytes()
        head = content.index(b"\n") + 1
        cut = data.draw(st.integers(head, len(content)))
        os.truncate(part, cut)
        replies = opened(target, resume=True)
        assert list(replies.known.items()) == list(TEXTS.items())[: content[:cut].count(b"\n") - 1]
        for key in [key for key in TEXTS if key not in replies.known]:
            replies.add(*key, TEXTS[key])
        replies.finish(SYSTEMS)
        replies.close()
        assert target.read_bytes() == whole(target.with_name("at-once"))


def test_replies_that_are_left_are_not_written_over(target: Path) -> None:
    part = cut_short(target)
    before = part.read_bytes()
    with pytest.raises(UsageError, match="cut short; go on with --resume, or remove it"):
        opened(target)
    assert part.read_bytes() == before


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"alpha": 0.5}, "alpha was 1.0 and is 0.5"),
        ({"base": {"file": "b.gguf"}}, "other base"),
        ({"systems": ["proxy"]}, "other systems"),
        ({"questions": "abc"}, "other questions"),
        ({"seed": 3}, "seed was None and is 3"),
    ],
)
def test_another_evaluation_does_not_go_on(target: Path, other: Any, said: str) -> None:
    part = cut_short(target)
    before = part.read_bytes()
    with pytest.raises(UsageError, match=rf"another evaluation \({said}\)"):
        opened(target, resume=True, **other)
    assert part.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        b"my diary",
        b"my diary\n",
        b"[1]\n",
        b'{"mine": 1}\n',
        b'{"run": 1}\n{"system": "base", "number": 0, "reply": "x"}\n',
    ],
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_file_of_something_else_is_left_alone(target: Path, content: bytes, resume: bool) -> None:
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(content)
    with pytest.raises(UsageError, match="remove it to begin anew"):
        opened(target, resume)
    assert part.read_bytes() == content


@pytest.mark.parametrize(
    "line",
    [
        {"system": "tuned", "number": 0, "reply": "x"},
        {"system": "base", "number": 2, "reply": "x"},
        {"system": "base", "number": -1, "reply": "x"},
        {"system": "base", "number": True, "reply": "x"},
        {"system": ["base"], "number": 0, "reply": "x"},
        {"system": "base", "number": 0},
        {},
    ],
)
def test_a_line_that_is_no_reply_of_these_is_named(target: Path, line: Any) -> None:
    part = cut_short(target)
    with part.open("a") as file:
        file.write(json.dumps(line) + "\n")
    with pytest.raises(UsageError, match=r"replies\.jsonl\.part:4: "):
        opened(target, resume=True)


@pytest.mark.parametrize("left", [b"", b'{"run": {"alpha": 9}}\n', b'{"run": {}}\n{"syst'])
@pytest.mark.parametrize("resume", [False, True])
def test_where_nothing_is_kept_it_begins_anew(target: Path, left: bytes, resume: bool) -> None:
    target.with_name(f"{target.name}.part").write_bytes(left)
    replies = opened(target, resume)
    assert replies.known == {}
    replies.add("base", 0, "x")
    assert [*lines(replies.part)[0]] == ["run"]
    assert replies.close() == 1
    assert known_of(target) == {("base", 0): "x"}


def test_a_target_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        opened(tmp_path / "none" / "replies")
    with pytest.raises(UsageError, match="no regular file"):
        opened(tmp_path)
    with pytest.raises(UsageError, match="no regular file"):
        opened(Path(os.devnull))


def test_a_link_leads_to_the_file_that_is_replaced(tmp_path: Path) -> None:
    there, link = tmp_path / "there" / "replies", tmp_path / "link"
    there.parent.mkdir()
    try:
        link.symlink_to(there)
    except OSError:
        pytest.skip("links cannot be made here")
    whole(link)
    assert link.is_symlink()
    assert len(lines(there)) == 4


def test_a_full_disk_loses_nothing(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target.write_text("older")
    replies = opened(target)
    for (system, number), text in TEXTS.items():
        replies.add(system, number, text)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", str(target))

    with monkeypatch.context() as patch:
        patch.setattr(reply_lines, "replacing", full)
        with pytest.raises(EdgeproxyError, match="No space left"):
            replies.finish(SYSTEMS)
        patch.setattr(replies, "_write", full)
        with pytest.raises(EdgeproxyError, match="No space left"):
            replies.add("base", 0, "x")
    assert replies.close() == 4
    assert target.read_text() == "older"
    assert names(target.parent) == [target.name, replies.part.name]
    assert known_of(target) == TEXTS


def test_a_run_is_what_replies_depend_on(tmp_path: Path) -> None:
    for name in ("base", "pair", "tuned"):
        (tmp_path / name).write_text(name)
    pair = Role(tmp_path / "pair")
    recipe = Recipe("mine", Role(tmp_path / "base", sha256="0" * 64), pair, pair)

    def run(
        recipe: Recipe = recipe,
        systems: list[str] = SYSTEMS,
        questions: list[Question] = QUESTIONS,
        sampling: Sampling | None = None,
        **settings: Any,
    ) -> Any:
        return json.loads(
            json.dumps(run_of(recipe, systems, questions, sampling or Sampling(), settings))
        )

    first = run(alpha=1.0)
    assert first == run(alpha=1.0)
    for other in (
        run(alpha=2.0),
        run(systems=["base"], alpha=1.0),
        run(questions=QUESTIONS[:1], alpha=1.0),
        run(questions=[replace(QUESTIONS[0], judge="json"), *QUESTIONS[1:]], alpha=1.0),
        run(questions=[replace(QUESTIONS[0], is_general=True), *QUESTIONS[1:]], alpha=1.0),
        run(sampling=Sampling(temperature=0.5), alpha=1.0),
        run(sampling=Sampling(logit_bias={3: 1.0}), alpha=1.0),
        run(replace(recipe, base=Role(tmp_path / "base", sha256="1" * 64)), alpha=1.0),
        run(replace(recipe, base=Role(tmp_path / "base", "chatml", sha256="0" * 64)), alpha=1.0),
        run(
            replace(recipe, expert=pair.with_loras([Lora(tmp_path / "tuned")], "plain")), alpha=1.0
        ),
    ):
        assert module._differing(first, other)
    # How replies are judged is another matter, where as much of them is awaited.
    exact, regex = ([replace(q, judge=name) for q in QUESTIONS] for name in ("exact", "regex"))
    assert run(questions=exact) == run(questions=regex)
    assert run(questions=[replace(q, answers=("x",)) for q in QUESTIONS], alpha=1.0) == first
    tuned = replace(recipe, tuned=Role(tmp_path / "tuned"))
    assert run(tuned, alpha=1.0) == first
    assert "tuned" in run(tuned, ["base", "tuned"])
    # A file without a hash is known by its size and time; one with a hash may be copied.
    os.utime(tmp_path / "base", (1, 1))
    assert run(alpha=1.0) == first
    os.utime(tmp_path / "pair", (1, 1))
    assert module._differing(first, run(alpha=1.0)) == "other anti_expert, other expert"


def test_what_replies_took_is_kept_with_them(target: Path) -> None:
    took = Took(7, 12.5, Changed(2, 7))
    replies = opened(target)
    replies.add("proxy", 0, "It is Lima.", took)
    replies.add("proxy", 1, "3")
    replies.close()
    with contextlib.closing(opened(target, resume=True)) as again:
        assert again.took == {("proxy", 0): took}
        assert set(again.known) == {("proxy", 0), ("proxy", 1)}
        for number, text in enumerate(("no", "4")):
            again.add("base", number, text, took._replace(changed=None))
        again.finish(SYSTEMS)
    found = [line.get("took") for line in lines(target)]
    assert found == [took._replace(changed=None).as_json()] * 2 + [took.as_json(), None]


def test_a_line_that_took_nothing_sensible_is_named(target: Path) -> None:
    replies = opened(target)
    replies.add("proxy", 0, "It is Lima.", Took(7, 12.5, Changed(2, 7)))
    replies.close()
    part = replies.part
    part.write_bytes(part.read_bytes().replace(b"[2, 7]", b"[9, 7]"))
    before = part.read_bytes()
    with pytest.raises(UsageError, match=r"\.part:2: this line is no evaluation's"):
        opened(target, resume=True)
    assert part.read_bytes() == before
