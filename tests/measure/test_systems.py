"""Names of systems: what each means, one spelling for each, and a clear refusal of others."""

from __future__ import annotations

import pytest

from edgeproxy.decode.steering import Steering
from edgeproxy.errors import UsageError
from edgeproxy.measure.systems import by_role, read_systems, steering_of

PAPER = Steering()


def test_systems_stand_in_their_usual_order_once() -> None:
    given = "tuned, proxy/alpha=2,base,proxy/alpha=0.5,anti-expert,proxy,base"
    assert read_systems(given, PAPER) == [
        "base",
        "anti_expert",
        "proxy",
        "proxy/alpha=2",
        "proxy/alpha=0.5",
        "tuned",
    ]


@pytest.mark.parametrize(
    "written",
    [
        "proxy/base_weight=0.5/plausibility=0.05",
        "proxy/plausibility=.05/base-weight=0.50",
        " proxy/base-weight=.5/plausibility=5e-2 ",
    ],
)
def test_a_variant_has_one_name(written: str) -> None:
    assert read_systems(written, PAPER) == ["proxy/base_weight=0.5/plausibility=0.05"]


def test_a_variant_changes_the_trio_s_own_steering() -> None:
    own = Steering(alpha=1.5, plausibility=0.05)
    assert steering_of("proxy/plausibility=0", own) == Steering(alpha=1.5)
    assert steering_of("proxy", own) is None
    assert steering_of("base", own) is None
    with pytest.raises(UsageError, match="proxy/base_weight=0: base_weight 0 is the expert alone"):
        read_systems("proxy/base_weight=0", own)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("", "there is no system ''; there are base, anti_expert"),
        ("prox", "there is no system 'prox'"),
        ("expert/alpha=1", "only the proxy has variants that are steered"),
        ("expert/docs=base", "alone, the expert can read itself"),
        ("proxy/docs=me", "nobody, base, expert, all"),
        ("base/docs", "write NAME=VALUE"),
        ("proxy/", "'' changes nothing of the proxy"),
        ("proxy/alpha", "write NAME=VALUE, where NAME is one of alpha, base_weight"),
        ("proxy/temperature=1", "'temperature=1' changes nothing"),
        ("proxy/alpha=1/alpha=2", "alpha is there twice"),
        ("proxy/alpha=one", "alpha must be a number, not 'one'"),
        ("proxy/alpha=nan", "alpha must be a finite number"),
        ("proxy/base_weight=1.5", "base_weight must be between"),
        ("proxy/policy=unsure", "'policy=unsure' changes nothing of the proxy"),
    ],
)
def test_what_is_no_system_is_refused_by_name(written: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_systems(written, PAPER)
    assert said in str(caught.value)


def test_systems_that_the_same_models_answer_for_stand_together() -> None:
    assert by_role(["base", "proxy", "proxy/alpha=2"]) == {
        "base": ["base"],
        "proxy": ["proxy", "proxy/alpha=2"],
    }
