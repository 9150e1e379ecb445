"""The table of data sets, and the download that reads it."""

import pytest
from huggingface_hub import constants

from forge_core.data.download import download
from forge_core.data.sources import SUBSETS, subsets


def test_every_name_is_there_once_a_stage():
    assert len({(subset.stage, subset.name) for subset in SUBSETS}) == len(SUBSETS)
    assert len([subset for subset in SUBSETS if subset.on_hub]) == 8 + 21
    assert {subset.platform for subset in SUBSETS} == {"web", "desktop", "mobile"}


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


def test_without_a_hub_there_is_one_clear_message(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        ConnectionError, match=r"xlangai/aguvis-stage1@main: could not fetch guienv.json, guienv.zip or"
    ):
        download(1, ["guienv"], tmp_path, "main")


def test_the_sandbox_is_not_downloaded(tmp_path):
    with pytest.raises(ValueError, match="sandbox_web is not on the hub"):
        download(1, ["sandbox_web"], tmp_path, "main")
