"""What a sweep found: its figures, its sentences, its table and its plot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from edgeproxy.cli.ui.swept import sweep_as_text
from edgeproxy.decode.steering import Steering
from edgeproxy.errors import UsageError
from edgeproxy.measure import sweep_plot
from edgeproxy.measure.compare import interval, mcnemar
from edgeproxy.measure.evaluate import Question
from edgeproxy.measure.grid import make_grid
from edgeproxy.measure.sweep import sweep_report, verdict
from edgeproxy.measure.sweep_plot import check_plot, draw, lines_of
from edgeproxy.measure.took import Took, read_took
from edgeproxy.session.turn import Changed, Stats

OWN = Steering(plausibility=0.01)
RIGHT = {
    "proxy": "xxxxxxxx........",
    "proxy/alpha=0": "................",
    "proxy/alpha=0.5": "xxxxxxxxxxxxxxx.",
    "proxy/alpha=2": "xxxxxxxxx.......",
}
"""Of each system the questions that it answers right."""


def report_of(right: Mapping[str, str], swept: Mapping[str, tuple[float, ...]]) -> dict[str, Any]:
    count = max(map(len, right.values()), default=0)
    questions = [Question(f"{n}?", ("x",), judge="exact") for n in range(count)]
    replies = {(system, n): c for system, text in right.items() for n, c in enumerate(text)}
    took = {
        asked: Took(4 + asked[1], 10.0 * asked[1] or None, Changed(1, 4 + asked[1]))
        for asked in replies
    }
    return {"trio": "mine", **sweep_report(make_grid(OWN, swept), questions, replies, took)}


FOUND = report_of(RIGHT, {"alpha": (0.0, 0.5, 1.0, 2.0)})


def test_the_figures_of_each_setting() -> None:
    assert (FOUND["questions"], FOUND["alpha"], FOUND["plausibility"]) == (16, 1.0, 0.01)
    assert FOUND["swept"] == {"alpha": [0.0, 0.5, 1.0, 2.0]}
    assert [each["alpha"] for each in FOUND["settings"]] == [0.0, 0.5, 1.0, 2.0]
    assert [each["accuracy"] for each in FOUND["settings"]] == [0.0, 15 / 16, 0.5, 9 / 16]
    half = FOUND["settings"][1]
    assert half["interval"] == list(interval(15, 16))
    assert half["changed"] == 16 / sum(range(4, 20))
    assert half["tokens"] == sum(range(4, 20)) / 16
    assert half["tokens_per_second"] == 80.0  # the median of 10 to 150
    assert half["against_own"] == {
        "n": 16,
        "only_it": 7,
        "only_own": 0,
        "p": mcnemar([True] * 15 + [False], [True] * 8 + [False] * 8),
        "better": "it",
    }
    assert FOUND["own"] == FOUND["settings"][2]
    assert FOUND["own"]["against_own"] is None


def test_what_it_says() -> None:
    better, worse, doubt = verdict(FOUND)
    assert better == "Better than the trio's own setting: alpha 0.5 (p = 0.016)."
    assert worse == "Worse: alpha 0 (p = 0.008)."
    assert doubt.startswith("Of 3 comparisons about one in 20 looks so by chance")
    alike = report_of({"proxy": "x.", "proxy/alpha=0": "x."}, {"alpha": (0.0, 1.0)})
    assert verdict(alike) == [
        "The other setting is not better than the trio's own, as far as these questions can show."
    ]
    alike = report_of({f"proxy{n}": "x." for n in ("", "/alpha=2", "/alpha=3")}, {"alpha": (2, 3)})
    assert verdict(alike)[0].startswith("None of the 2 other settings is better")
    assert verdict(report_of({"proxy": "x"}, {"alpha": (1.0,)})) == []


def test_the_table() -> None:
    lines = sweep_as_text(FOUND)
    assert lines[:5] == [
        "alpha  right       95%  changed  tokens  tokens/s  against the trio's own",
        "    0   0.0%   [0, 19]       9%    11.5      80.0  worse (0 : 8, p = 0.008)",
        "  0.5  93.8%  [72, 99]       9%    11.5      80.0  better (7 : 0, p = 0.016)",
        "    1  50.0%  [28, 72]       9%    11.5      80.0  it is that",
        "    2  56.2%  [33, 77]       9%    11.5      80.0  no difference (1 : 0, p = 1.00)",
    ]
    assert lines[6] == "16 questions; base weight 1, plausibility 0.01"


def test_the_own_setting_stands_in_the_table_though_it_was_not_swept() -> None:
    found = report_of({"proxy": "x", "proxy/alpha=2": "x"}, {"alpha": (2.0,)})
    assert [each["alpha"] for each in found["settings"]] == [2.0]
    _, own, other, *_ = sweep_as_text(found)
    assert own.split()[0] == "1"
    assert other.endswith("the same ones right")


def test_one_that_was_cut_short_says_how_many_each_has_answered() -> None:
    right = {"proxy": "x.x", "proxy/alpha=0": "xx", "proxy/alpha=2": ""}
    found = report_of(right, {"alpha": (0.0, 1.0, 2.0)})
    assert [(each["alpha"], each["n"]) for each in found["settings"]] == [(0.0, 2), (1.0, 3)]
    assert found["settings"][0]["against_own"]["n"] == 2
    heading, first, *_ = sweep_as_text(found)
    assert heading.split()[:3] == ["alpha", "n", "right"]
    assert first.split()[:3] == ["0", "2", "100.0%"]
    # Also where the trio's own has answered none.
    found = report_of({"proxy/alpha=0": "x"}, {"alpha": (0.0, 1.0)})
    assert found["own"] is None
    assert found["settings"][0]["against_own"] is None
    assert sweep_as_text(found)[1].split() == ["0", "100.0%", "[21,", "100]", "25%", "4.0", "-"]


def test_what_is_not_known_is_no_number() -> None:
    grid = make_grid(OWN, {"alpha": (1.0,)})
    asked = ("proxy", 0)
    found = sweep_report(grid, [Question("?", ("x",))], {asked: "x"}, {asked: Took(3, None, None)})
    assert found["own"]["changed"] is found["own"]["tokens_per_second"] is None
    assert found["own"]["tokens"] == 3.0
    found = sweep_report(grid, [Question("?", ("x",))], {asked: "x"}, {})
    assert found["own"]["tokens"] is None
    assert sweep_as_text(found)[1].split()[-6:] == ["-", "-", "-", "it", "is", "that"]


# What replies took


@pytest.mark.parametrize("took", [Took(7, 12.5, Changed(2, 7)), Took(0, None, None)])
def test_what_a_reply_took_is_read_as_it_was_written(took: Took) -> None:
    assert read_took(took.as_json()) == took


def test_what_a_reply_took_is_of_its_stats() -> None:
    stats = Stats(11, 1.0, 3.0, changed=Changed(2, 11))
    assert Took.of(stats) == (11, 5.0, Changed(2, 11))
    assert Took.of(Stats()) == (0, None, None)


GOOD = Took(7, 12.5, Changed(2, 7)).as_json()


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        "x",
        GOOD | {"tokens": -1},
        GOOD | {"tokens": True},
        GOOD | {"tokens": 1.5},
        GOOD | {"tokens": 10**400},
        GOOD | {"tokens_per_second": "1"},
        GOOD | {"tokens_per_second": 0},
        GOOD | {"tokens_per_second": float("nan")},
        GOOD | {"tokens_per_second": float("inf")},
        GOOD | {"tokens_per_second": 10**400},
        GOOD | {"changed": [1]},
        GOOD | {"changed": [2, 1]},
        GOOD | {"changed": [0, 0]},
        GOOD | {"changed": [1, 2, 3]},
        GOOD | {"changed": "12"},
    ],
)
def test_what_no_reply_took_is_refused(content: object) -> None:
    assert read_took(content) is None


# The plot


def test_the_lines_of_a_plot() -> None:
    swept = {"alpha": (0.5, 1.0), "base_weight": (0.25, 0.5, 1.0)}
    names = make_grid(OWN, swept).systems
    across, lines = lines_of(report_of(dict.fromkeys(names, "x."), swept))
    assert across == "base_weight"
    assert [line.name for line in lines] == ["alpha 0.5", "alpha 1"]
    assert [[each["base_weight"] for each in line.settings] for line in lines] == [
        [0.25, 0.5, 1.0]
    ] * 2
    across, (line,) = lines_of(FOUND)
    assert (across, line.name) == ("alpha", "")


SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", ["a.png", "a.SVG"])
def test_a_plot_is_drawn(tmp_path: Path, name: str) -> None:
    draw(FOUND | {"trio": "$x_{-- \ud800\ufffe日本\x1b<&"}, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    if name.endswith(".png"):
        assert data.startswith(b"\x89PNG")
    else:
        assert ElementTree.fromstring(data).tag == f"{SVG}svg"
        draw(FOUND | {"trio": "$x_{-- \ud800\ufffe日本\x1b<&"}, tmp_path / name)
        assert (tmp_path / name).read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "found",
    [
        report_of({"proxy": "x"}, {"alpha": (1.0,)}),
        report_of({"proxy": "x", "proxy/alpha=2": "x"}, {"alpha": (2.0,)}),
        report_of({"proxy/alpha=2": "x"}, {"alpha": (2.0,)}),
        report_of(
            dict.fromkeys(
                make_grid(OWN, {"alpha": (1, 2), "base_weight": (0, 0.2, 1)}).systems, "x"
            ),
            {"alpha": (1, 2), "base_weight": (0, 0.2, 1)},
        ),
    ],
    ids=["one", "own elsewhere", "no own", "left out"],
)
def test_every_sweep_can_be_drawn(tmp_path: Path, found: dict[str, Any]) -> None:
    draw(found, tmp_path / "a.svg")
    for each in found["settings"]:
        each |= {"changed": None, "tokens_per_second": None}
    draw(found | {"own": None}, tmp_path / "a.svg")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag == f"{SVG}svg"


def test_a_plot_that_cannot_be_drawn_is_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "q.svg"
    there.write_text("x")
    for path, others, said in (
        (tmp_path / "a.pdf", (), "ends in .png or .svg"),
        (tmp_path / "a", (), "ends in .png or .svg"),
        (tmp_path / "none" / "a.png", (), "nothing can be written to that folder"),
        (there / "a.png", (), "nothing can be written to that folder"),
        (there, (None, there), "would overwrite"),
        (tmp_path / "x" / ".." / "q.svg", (there,), "overwrite|nothing can be written"),
    ):
        with pytest.raises(UsageError, match=said):
            check_plot(path, others)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match="no regular file"):
        check_plot(tmp_path / "folder.png", ())
    check_plot(there, (None, tmp_path / "other"))
    assert there.read_text() == "x"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("no"), "matplotlib, which is not installed: pip install 'edgeprox"),
        (ImportError("libfoo"), r"cannot be loaded \(libfoo\): pip install 'edgeproxy\[plot\]'"),
        (OSError("libfoo"), r"cannot be loaded \(libfoo\)"),
    ],
)
def test_without_matplotlib_it_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fails(_name: str) -> None:
        raise error

    monkeypatch.setattr(sweep_plot, "import_module", fails)
    with pytest.raises(UsageError, match=said):
        check_plot(tmp_path / "a.png", ())


def test_a_sweep_without_a_plot_does_not_import_matplotlib() -> None:
    code = (
        "import sys, edgeproxy.cli.sweep, edgeproxy.cli.ui.swept, edgeproxy.measure.sweep_plot\n"
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
