"""ForgeSpot's reference and its comparison; the capture itself is tested on pages of our own."""

import json

from forge_core.capture.forgespot import REFERENCE, compared, settings
from forge_core.capture.packages import PACKAGES

SUMS = json.loads(REFERENCE.read_text())


def test_the_reference_has_screens_of_every_package_with_two_sums_each():
    names = list(SUMS["screens"])
    assert all(any(name.startswith(f"{package}-") for name in names) for package in PACKAGES)
    assert all(len(each.split()) == 2 for each in SUMS["screens"].values())


def test_a_build_is_compared_screen_by_screen_and_only_with_the_same_tools():
    names = SUMS["screens"]
    assert compared(SUMS, SUMS).startswith(f"as the reference: {len(names)} of {len(names)} pictures")
    first = next(iter(names))
    other = SUMS | {"screens": names | {first: f"0 {names[first].split()[1]}"}}
    assert f"{len(names) - 1} of {len(names)} pictures" in compared(other, SUMS)
    assert f"the boxes of {len(names)} screens" in compared(other, SUMS)
    assert first in compared(SUMS | {"screens": dict(list(names.items())[1:])}, SUMS)
    assert "other chromium" in compared(SUMS | {"chromium": "another"}, SUMS)


def test_no_design_is_on_both_sides_and_nothing_of_a_form_is_sent():
    parts = {package.part for package in PACKAGES.values()}
    assert parts == {"train", "test"} and not any(settings(package).forms for package in PACKAGES.values())
