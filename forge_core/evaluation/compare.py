"""Compare two models on the same targets: which were gained or lost, is it chance, and how many would settle it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import binomtest, norm

from forge_core.evaluation.score import Scored


class Paired(NamedTuple):
    """Targets that only the second model hits, that only the first hits, and McNemar's exact two-sided p."""

    gained: int
    lost: int
    p_value: float


class Discordant(NamedTuple):
    """Ids of the targets that only the second model hits, and that only the first hits, in the first's order."""

    gained: list[str]
    lost: list[str]


def discordant(before: Sequence[Scored], after: Sequence[Scored]) -> Discordant:
    """The targets on which the two differ.

    Rows are joined by target id; ValueError if the two do not hold the same targets, each once.
    """
    first, second = _hits(before), _hits(after)
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        raise ValueError(f"the models were scored on different targets: {len(odd)} are in one only, first {odd[0]!r}")
    gained = [target for target in first if second[target] and not first[target]]
    return Discordant(gained, [target for target in first if first[target] and not second[target]])


def mcnemar(before: Sequence[Scored], after: Sequence[Scored]) -> Paired:
    """McNemar's exact test: under chance a changed target is gained or lost with probability 1/2 each.

    Raises like `discordant`.
    """
    gained, lost = map(len, discordant(before, after))
    changed = gained + lost
    return Paired(gained, lost, float(binomtest(gained, changed, 0.5).pvalue) if changed else 1.0)


def needed(gained: int, lost: int, n: int, power: float = 0.8, alpha: float = 0.05) -> int | None:
    """How many targets would settle the difference seen on `n`: sample size of McNemar's test, None for no difference.

    With psi = (gained + lost) / n and delta = |gained - lost| / n, the share of changed targets and the difference in
    accuracy, it is ((z[1 - alpha / 2] sqrt(psi) + z[power] sqrt(psi - delta^2)) / delta)^2, rounded up (Connor 1987,
    Biometrics 43:207, for the two-sided test). It takes the difference seen for the true one, and the normal for the
    exact distribution: a size to plan with, not a promise.
    """
    if min(gained, lost) < 0 or gained + lost > n:
        raise ValueError(f"{gained} gained and {lost} lost of {n} is no comparison")
    if not (0 < power < 1 and 0 < alpha < 1):
        raise ValueError(f"power and alpha lie between 0 and 1, found {power} and {alpha}")
    if gained == lost:
        return None
    psi, delta = (gained + lost) / n, abs(gained - lost) / n
    spread = norm.ppf(1 - alpha / 2) * math.sqrt(psi) + norm.ppf(power) * math.sqrt(psi - delta**2)
    return math.ceil((spread / delta) ** 2)


def _hits(scored: Sequence[Scored]) -> dict[str, bool]:
    hits = {row.target_id: row.outcome == "hit" for row in scored}
    if len(hits) != len(scored):
        seen = set()
        twice = next(row.target_id for row in scored if row.target_id in seen or seen.add(row.target_id))
        raise ValueError(f"target {twice!r} is scored twice")
    return hits
