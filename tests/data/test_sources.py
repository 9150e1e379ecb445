"""The tables of data sets."""

import pytest

from forge_core.data.sources import BENCHMARKS, REPOSITORIES, SUBSETS, subsets
from forge_core.paths import ROOT


def test_every_name_is_there_once_a_stage():
    assert len({(subset.stage, subset.name) for subset in SUBSETS}) == len(SUBSETS)
    assert len([subset for subset in SUBSETS if subset.on_hub]) == 8 + 22
    assert {subset.platform for subset in SUBSETS} == {"web", "desktop", "mobile"}


def test_every_stage_and_benchmark_has_a_repository():
    repositories = [name for stages in REPOSITORIES.values() for name in stages.values()]
    repositories += [benchmark.repository for benchmark in BENCHMARKS.values()]
    assert all(stages.keys() == {1, 2} for stages in REPOSITORIES.values())
    assert len(set(repositories)) == len(repositories) == 2 * 2 + 3
    assert all(name.count("/") == 1 for name in repositories)


def test_levels_share_their_images():
    first, third = subsets(2, ["mind2web-l1", "mind2web-l3"])
    assert (first.archive, first.image_root, first.json) == ("mind2web", "mind2web", "mind2web-l1.json")
    assert (third.archive, third.json) == ("mind2web", "mind2web-l3.json")


def test_subsets_keep_the_order_and_belong_to_a_stage():
    assert [subset.name for subset in subsets(1, ["seeclick", "guienv", "seeclick"])] == ["seeclick", "guienv"]
    assert subsets(1, ["sandbox_web"])[0].stage == 1
    assert subsets(2, ["sandbox_web"])[0].stage == 2


@pytest.mark.parametrize(
    ("stage", "names", "message"),
    [
        (1, ["guienv", "nope"], "no subset 'nope'; there are .*guienv"),
        (2, ["guienv"], "guienv"),
        (1, [], "no subset was"),
    ],
)
def test_an_unknown_subset_is_named(stage, names, message):
    with pytest.raises(ValueError, match=message):
        subsets(stage, names)


def test_the_documentation_has_the_table():
    text = (ROOT / "docs/data.md").read_text()
    for subset in SUBSETS:
        rows = f"{subset.rows:,}" if subset.rows else "?"
        cells = (subset.stage, f"`{subset.name}`", subset.platform, f"`{subset.json}`", f"`{subset.archive}`")
        line = " | ".join(map(str, (*cells, f"`{subset.image_root}`", rows, f"{subset.share:g}")))
        assert (f"| {line} |" in text) == subset.on_hub
