"""How often passages hold answers, and how many of the right replies they account for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeproxy.documents.passage import Passage
from edgeproxy.documents.search import Found
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.finding import found_of
from edgeproxy.prompts.formats import Message
from edgeproxy.session.reading import Reading

CHAD = Question("Of Chad?", ("N'Djamena",), said=("N'Djamena",))
PERU = Question("Of Peru?", ("Lima",), said=("Lima",))
MALI = Question("Of Mali?", ("Bamako",), said=("Bamako",))
OTHERS = (Question("Two and two?", ("4",)), Question("A", ("a",), said=("a",), is_general=True))
ASKED = [CHAD, PERU, MALI, *OTHERS]
RIGHT = ["N'Djamena", "Lima", "Bamako", "4", "a"]


def find(messages: Sequence[Message]) -> list[Found]:
    """Passages that hold the answers of Chad and Peru, and none of Mali's."""
    passages = {"Of Chad?": "It is N'Djamena.", "Of Peru?": "It is Lima.", "Of Mali?": "Unknown."}
    text = passages.get(messages[-1].content)
    passage = Passage(1, Path("a.txt"), 0, (), "line 1", text or "")
    return [Found(passage, 1.0, ())] if text else []


def test_finding_by_itself_counts_questions_of_the_task_that_say_what_to_look_for() -> None:
    found = found_of(ASKED, {}, Reading(find, "base"))
    assert found is not None
    assert (found["recall"]["n"], found["recall"]["accuracy"]) == (3, 2 / 3)
    assert found["right"] == {}


def test_nothing_is_counted_where_no_question_says_what_to_look_for() -> None:
    assert found_of(OTHERS, {"base": ["4", "a"]}, Reading(find, "base")) is None


def test_of_right_replies_those_are_counted_whose_passages_hold_the_answer() -> None:
    said = ["N'Djamena", "Quito", "Bamako", "4"]
    found = found_of(ASKED, {"proxy": [*said, "a"]}, Reading(find, "base"))
    assert found is not None
    assert (found["right"]["proxy"]["n"], found["right"]["proxy"]["accuracy"]) == (2, 0.5)


def test_only_systems_that_read_are_counted() -> None:
    replies = {
        "base": RIGHT,
        "base/docs=nobody": RIGHT,
        "expert": RIGHT[:4],
        "expert/docs=expert": RIGHT[:4],
        "proxy": RIGHT,
        "proxy/docs=nobody": RIGHT,
        "proxy/docs=all": RIGHT,
    }
    found = found_of(ASKED, replies, Reading(find, "base"))
    assert found is not None
    assert list(found["right"]) == ["base", "expert/docs=expert", "proxy", "proxy/docs=all"]


def test_a_system_without_a_right_reply_has_no_share() -> None:
    found = found_of(ASKED, {"proxy": ["", "", "", "4", "a"]}, Reading(find, "all"))
    assert found is not None
    assert found["right"] == {}
