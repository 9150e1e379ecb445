"""Compare two models on the same targets: how many were gained, how many lost, and whether that is chance."""

from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import binomtest

from forge_core.evaluation.score import Scored


class Paired(NamedTuple):
    """Targets that only the second model hits, that only the first hits, and McNemar's exact two-sided p."""

    gained: int
    lost: int
    p_value: float


def mcnemar(before: Sequence[Scored], after: Sequence[Scored]) -> Paired:
    """McNemar's exact test: under chance a changed target is gained or lost with probability 1/2 each.

    Rows are joined by target id; ValueError if the two do not hold the same targets, each once.
    """
    first, second = _hits(before), _hits(after)
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        raise ValueError(f"the models were scored on different targets: {len(odd)} are in one only, first {odd[0]!r}")
    gained = sum(second[target] and not first[target] for target in first)
    lost = sum(first[target] and not second[target] for target in first)
    changed = gained + lost
    return Paired(gained, lost, float(binomtest(gained, changed, 0.5).pvalue) if changed else 1.0)


def _hits(scored: Sequence[Scored]) -> dict[str, bool]:
    hits = {row.target_id: row.outcome == "hit" for row in scored}
    if len(hits) != len(scored):
        seen = set()
        twice = next(row.target_id for row in scored if row.target_id in seen or seen.add(row.target_id))
        raise ValueError(f"target {twice!r} is scored twice")
    return hits
