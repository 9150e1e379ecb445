"""McNemar's exact test on two sets of scored predictions, the targets that differ, and how many would settle it."""

import numpy as np
import pytest
from scipy.stats import norm

from forge_core.evaluation.compare import discordant, mcnemar, needed
from forge_core.evaluation.score import Scored


def run(outcomes):
    """Scored rows from a string: h = hit, m = miss, w = wrong format."""
    names = {"h": "hit", "m": "miss", "w": "wrong_format"}
    return [
        Scored(target_id=str(i), raw="", platform="web", kind="text", outcome=names[letter], point=None)
        for i, letter in enumerate(outcomes)
    ]


def test_counts_and_exact_p():
    result = mcnemar(run("hhhhmmmmmww"), run("hhhmhhhhhhw"))
    assert (result.gained, result.lost) == (6, 1)
    assert result.p_value == pytest.approx(2 * (1 + 7) / 2**7)  # two tails of Binomial(7, 1/2)


def test_no_change_is_no_evidence():
    assert mcnemar(run("hm"), run("hw")) == (0, 0, 1.0)


def test_rows_are_joined_by_target_not_by_place():
    assert mcnemar(run("hm"), run("hm")[::-1]) == (0, 0, 1.0)


def test_different_targets_are_refused():
    with pytest.raises(ValueError, match="different targets: 1 are in one only, first '2'"):
        mcnemar(run("hmh"), run("hm"))
    with pytest.raises(ValueError, match="'0' is scored twice"):
        mcnemar(run("h") * 2, run("h"))


def test_the_targets_that_differ_are_named_in_order():
    assert discordant(run("hhmmw"), run("mhhwh")) == (["2", "4"], ["0"])
    assert discordant(run("hmw"), run("hww")[::-1]) == ([], [])
    with pytest.raises(ValueError, match="different targets"):
        discordant(run("h"), run("hh"))


@pytest.mark.parametrize(("gained", "lost", "n"), [(20, 10, 100), (60, 20, 360), (25, 5, 200), (30, 60, 300)])
@pytest.mark.parametrize("power", [0.8, 0.95])
def test_so_many_targets_show_the_difference_as_often_as_asked(gained, lost, n, power):
    """McNemar's test without continuity correction, on 40,000 simulated comparisons of the size that is said."""
    size = needed(gained, lost, n, power)
    drawn = np.random.default_rng(1).multinomial(size, [gained / n, lost / n, 1 - (gained + lost) / n], 40_000)
    b, c = drawn[:, 0], drawn[:, 1]
    significant = (b - c) ** 2 > norm.ppf(0.975) ** 2 * (b + c)
    assert power - 0.01 <= significant.mean() <= power + 0.05  # the formula is on the safe side


def test_needed_by_hand_and_its_limits():
    # psi = 0.3, delta = 0.1: ((1.95996 sqrt(0.3) + 0.84162 sqrt(0.29)) / 0.1)^2 = 233.04
    assert needed(20, 10, 100) == needed(10, 20, 100) == needed(40, 20, 200) == 234
    assert needed(7, 7, 100) is None and needed(0, 0, 0) is None
    assert needed(20, 10, 100, alpha=0.01) > 234
    for wrong in ((-1, 0, 5), (3, 3, 5)):
        with pytest.raises(ValueError, match="is no comparison"):
            needed(*wrong)
    with pytest.raises(ValueError, match="power and alpha"):
        needed(2, 1, 5, power=1)
