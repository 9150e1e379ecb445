"""Which targets are scored where not all are."""

from collections import Counter

import pytest

from forge_core.data.screenspot import Target
from forge_core.evaluation.stages import choose

CELLS = {("web", "text"): 50, ("mobile", "icon"): 30, ("desktop", "text"): 17, ("web", "icon"): 3}


@pytest.fixture(scope="module")
def targets():
    """100 targets whose cells are mixed up."""
    cells = [cell for cell, count in CELLS.items() for _ in range(count)]
    cells = [cells[37 * index % 100] for index in range(100)]
    told = {"image": "a.png", "width": 9, "height": 9, "bbox": (0, 0, 1, 1), "instruction": "x"}
    return [Target(id=str(i), platform=platform, kind=kind, **told) for i, (platform, kind) in enumerate(cells)]


def counted(targets):
    return Counter((target.platform, target.kind) for target in targets)


@pytest.mark.parametrize(
    ("limit", "counts"),
    [
        (10, (5, 3, 2, 0)),  # 5, 3, 1.7, 0.3
        (50, (25, 15, 8, 2)),  # 25, 15, 8.5, 1.5: of equal remainders the cell that comes first in the benchmark
        (99, (49, 30, 17, 3)),  # 49.5, 29.7, 16.83, 2.97
    ],
)
def test_each_cell_keeps_its_share(targets, limit, counts):
    found = counted(choose(targets, limit, 1))
    assert sum(found.values()) == limit
    if limit == 50:  # one of the two
        assert (found["desktop", "text"], found["web", "icon"]) in ((9, 1), (8, 2))
    else:
        assert tuple(found[cell] for cell in CELLS) == counts


def test_the_sample_is_the_seeds_and_in_the_benchmarks_order(targets):
    sample = choose(targets, 30, 1)
    assert choose(targets, 30, 1) == sample != choose(targets, 30, 2)
    assert sample == sorted(sample, key=lambda target: int(target.id))
    assert len({target.id for target in sample}) == 30


@pytest.mark.parametrize("limit", [0, 100, 1000])
def test_no_limit_is_the_whole_benchmark(targets, limit):
    assert choose(targets, limit, 1) == targets


def test_every_target_can_be_drawn(targets):
    drawn = {target.id for seed in range(300) for target in choose(targets, 20, seed)}
    assert len(drawn) == 100
