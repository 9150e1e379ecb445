"""McNemar's exact test on two sets of scored predictions."""

import pytest

from forge_core.evaluation.compare import mcnemar
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
