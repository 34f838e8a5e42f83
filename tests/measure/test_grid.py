"""What a sweep tries: ranges, lists and grids, hostile ones too."""

from __future__ import annotations

import pytest

from edgeproxy.decode.steering import EXPERT_ALONE, Steering
from edgeproxy.errors import UsageError
from edgeproxy.measure.grid import MOST, make_grid, read_values
from edgeproxy.measure.systems import read_systems, steering_of

OWN = Steering(plausibility=0.01)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0:2:0.25", (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)),
        ("0:1:0.1", (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)),
        ("0:1:0.3", (0.0, 0.3, 0.6, 0.9)),
        ("0:1:5", (0.0,)),
        ("1:1:1", (1.0,)),
        ("-1:1:1", (-1.0, 0.0, 1.0)),
        ("0.5", (0.5,)),
        ("1, .5 ,1.5,1", (1.0, 0.5, 1.5)),
        ("-0,0,+0.0", (0.0,)),
        ("1e-1:3e-1:1e-1", (0.1, 0.2, 0.3)),
        ("0.1234567,0.12345671", (0.123457,)),
    ],
)
def test_values(text: str, values: tuple[float, ...]) -> None:
    found = read_values("alpha", text)
    assert found == values
    assert str(found) == str(values)  # neither -0.0 nor 0.30000000000000004


def test_as_many_as_there_may_be() -> None:
    assert len(read_values("alpha", "0.01:2:0.01")) == MOST
    with pytest.raises(UsageError, match=r"that makes 201 settings, and a sweep has at most 200"):
        read_values("alpha", "0:2:0.01")
    with pytest.raises(UsageError, match="that makes 201 settings"):
        read_values("alpha", ",".join(map(str, range(201))))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'' is no number; write a range"),
        (",", "'' is no number"),
        ("1,,2", "'' is no number"),
        (":", "write a range START:STOP:STEP"),
        ("::", "'' is no number"),
        ("0:2", "write a range START:STOP:STEP"),
        ("0:1:0.1:2", "write a range START:STOP:STEP"),
        ("0:2:0", "the step must be above 0"),
        ("0:2:-0.1", "the step must be above 0"),
        ("2:0:-0.1", "the step must be above 0"),
        ("0:2:1e-999", "the step must be above 0"),
        ("2:0:0.1", "it ends below where it starts"),
        ("nan", "'nan' is no number"),
        ("inf", "'inf' is no number"),
        ("0:inf:1", "'inf' is no number"),
        ("0:nan:1", "'nan' is no number"),
        ("0:2:sNaN", "'sNaN' is no number"),
        ("1e999", "'1e999' is no number"),
        ("0:1e999999999999:1", "is no number"),
        ("0:1:1e-9", "that makes 1,000,000,001 settings"),
        ("0:1e308:5e-324", "that makes far too many settings"),
        ("-1e308:1e308:1e-300", "that makes far too many settings"),
        ("1_0", "is no number"),
        ("0x10", "is no number"),
        ("１", "is no number"),
        ("1;2", "is no number"),
        ("9" * 5000, "is no number"),
        ("$(id)", "is no number"),
    ],
)
def test_what_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_values("alpha", text)
    message = str(caught.value)
    assert message.startswith("--alpha ")
    assert said in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("base_weight", "0:1.5:0.5", "--base-weight 0:1.5:0.5: base_weight must be between"),
        ("plausibility", "-0.1,0", "plausibility must be between 0"),
        ("plausibility", "2", "plausibility must be between 0"),
    ],
)
def test_a_value_that_the_steering_cannot_have(name: str, text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_values(name, text)


def test_a_grid_names_its_settings_as_systems() -> None:
    grid = make_grid(OWN, {"plausibility": (0.0, 0.01), "alpha": (0.5, 1.0)})
    assert [point.system for point in grid.points] == [
        "proxy/alpha=0.5/plausibility=0",
        "proxy/alpha=0.5/plausibility=0.01",
        "proxy/alpha=1/plausibility=0",
        "proxy",
    ]
    assert grid.systems[0] == "proxy"
    assert sorted(grid.systems) == sorted(point.system for point in grid.points)
    for point in grid.points:
        assert (steering_of(point.system, OWN) or OWN) == point.steering
    assert set(read_systems(",".join(grid.systems), OWN)) == set(grid.systems)
    assert list(grid.swept) == ["alpha", "plausibility"]


def test_the_own_setting_is_asked_though_it_is_not_swept() -> None:
    grid = make_grid(OWN, {"alpha": (0.5,)})
    assert grid.systems == ["proxy", "proxy/alpha=0.5"]
    assert [point.steering.alpha for point in grid.points] == [0.5]


def test_combinations_that_there_are_not_are_left_out() -> None:
    grid = make_grid(OWN, {"alpha": (0.0, 1.0), "base_weight": (0.0, 0.5, 1.0)})
    found = [(point.steering.alpha, point.steering.base_weight) for point in grid.points]
    assert found == [(0.0, 1.0), (1.0, 0.0), (1.0, 0.5), (1.0, 1.0)]
    assert len(grid.left_out) == 2
    assert "alpha 0" in grid.left_out[1]
    assert grid.points[0].steering.alone == "base"
    assert grid.points[1].steering.alone == "expert"


def test_a_trio_whose_expert_answers_alone_can_be_swept() -> None:
    with pytest.raises(UsageError, match="there is no such setting: base_weight 0 is the expert"):
        make_grid(EXPERT_ALONE, {"alpha": (0.5, 2.0)})
    grid = make_grid(EXPERT_ALONE, {"alpha": (0.5, 1.0), "base_weight": (1.0,)})
    assert grid.systems == [
        "proxy",
        "proxy/alpha=0.5/base_weight=1",
        "proxy/alpha=1/base_weight=1",
    ]


def test_no_grid_is_too_large_or_empty() -> None:
    with pytest.raises(UsageError, match=r"say what to sweep, such as --alpha 0:2:0.2"):
        make_grid(OWN, {})
    many = tuple(n / 100 for n in range(1, 21))
    with pytest.raises(
        UsageError, match=r"--alpha with --base-weight: that makes 220 settings.* at most 200"
    ):
        make_grid(OWN, {"alpha": many[:11], "base_weight": many})
