"""The report of an evaluation as a person reads it."""

from __future__ import annotations

from typing import Any

from edgeproxy.cli.ui.measured import as_text
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.report import report


def found(questions: list[Question], replies: dict[str, list[str]], **other: Any) -> dict[str, Any]:
    steering = {"alpha": 1.0, "base_weight": 1.0, "plausibility": 0.0}
    return {**steering, **report(questions, replies), **other}


JSON = Question("?", ('{"city": "Lima"}',), "ci\x1bty", "json", said=("Lima",))


def test_a_table_and_what_it_says() -> None:
    replies = {
        "base": ["Lima.", "It is Lima"],
        "anti_expert": ["", ""],
        "proxy": ['{"city": "Lima"}', '{"city": "Lima", "more": 1}'],
        "proxy/base_weight=0.5/alpha=2": ['{"city": "Lima"}', "{}"],
    }
    assert as_text(found([JSON] * 2, replies, alpha=2.0, base_weight=0.5)).splitlines() == [
        r"kind           n     base  anti-expert    proxy            proxy/",
        r"                                                 base_weight=0.5/",
        r"                                                          alpha=2",
        r"ci\x1bty       2     0.0%         0.0%    50.0%             50.0%",
        r"all            2     0.0%         0.0%    50.0%             50.0%",
        r"95%               [0, 66]      [0, 66]  [9, 91]           [9, 91]",
        r"F1                   0.0%         0.0%    80.0%             66.7%",
        r"said anywhere      100.0%         0.0%   100.0%             50.0%",
        "",
        "alpha 2, base weight 0.5, plausibility 0",
        "",
        "proxy 50% [9, 91] against base 0% [0, 66] of 2: no difference that these questions can "
        "show (p = 1.00)",
        "proxy/base_weight=0.5/alpha=2 50% [9, 91] against proxy 50% [9, 91] of 2: no "
        "difference that these questions can show (p = 1.00)",
    ]


def test_a_system_alone_is_a_plain_table() -> None:
    assert as_text(found([Question("?", ("a",))], {"expert": ["a"]})).splitlines() == [
        "kind  n     expert",
        "all   1     100.0%",
        "95%      [21, 100]",
        "",
        "alpha 1, plausibility 0",
    ]


def test_who_was_cut_is_said_and_what_allows_more() -> None:
    questions, replies = [Question("?", ("a",))], {"base": ["a"], "anti_expert": ["a"]}
    cut = {"base": 1, "anti_expert": None, "expert": 0, "proxy": 1200}
    said = as_text(found(questions, replies, cut=cut)).splitlines()
    assert said[-1] == (
        "replies cut at the longest they may be: 1 of base, 1,200 of proxy; "
        "--max-tokens allows more"
    )
