"""What a profile needs of a disk follows from its params and the table of sizes, and from nothing else."""

import re
import shutil
from types import SimpleNamespace

import pytest
import torch
import yaml

from forge_core import course, doctor, paths
from forge_core.data import disk
from forge_core.data.sources import ARCHIVES, SUBSETS, subsets, weights
from forge_core.params import ParamsError, load, load_profile
from forge_core.training.checkpoints import check_space

PROFILES = sorted(path.parent.name for path in (paths.ROOT / "params").glob("*/profile.yaml"))


def explore_of(profile):
    return load(paths.ROOT / "params" / profile / "01_explore_data.yaml")


@pytest.fixture
def changed(tmp_path, monkeypatch):
    """Changes params of a copy of vast-24gb."""
    shutil.copytree(paths.ROOT / "params/vast-24gb", tmp_path / "params/vast-24gb")
    shutil.copytree(paths.ROOT / "notebooks", tmp_path / "notebooks")
    monkeypatch.setattr(paths, "ROOT", tmp_path)

    def change(notebook, **values):
        file = tmp_path / "params/vast-24gb" / f"{notebook}.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | values))

    return change


def need(profile, what):
    return sum(part.gb for part in disk.needs(profile) if part.what == what)


def test_every_archive_of_the_hub_has_a_size_and_no_other():
    assert {subset.archive for subset in SUBSETS if subset.on_hub} == set(ARCHIVES)
    assert all(0 < archive.json_gb < archive.gb for archive in ARCHIVES.values())


def test_levels_that_share_an_archive_count_it_once():
    one, three = (weights(subsets(2, names)) for names in (["amex-l1"], ["amex-l1", "amex-l2", "amex-l3"]))
    assert one["amex"] == pytest.approx(ARCHIVES["amex"].gb + ARCHIVES["amex"].json_gb)
    assert three["amex"] == pytest.approx(one["amex"] + 2 * ARCHIVES["amex"].json_gb)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_has_room_for_all_of_its_parts(profile):
    explore, most = explore_of(profile), 0.0
    if explore.source == "aguvis":
        chosen = [*subsets(1, explore.stage1_subsets), *subsets(2, explore.stage2_subsets)]
        most = sum(weights(chosen).values()) + max(
            (ARCHIVES[s.archive].gb for s in chosen if ARCHIVES[s.archive].tar), default=0
        )
    assert disk.gb(profile) >= most + disk.ENVIRONMENT and disk.gb(profile) % 10 == 0
    assert disk.gb(profile) <= 1.1 * (most + 30) + 10


def test_nothing_downloaded_takes_the_environment_alone():
    assert {part.what for part in disk.needs("embedded") if part.gb} == {"environment", "margin"}
    assert disk.gb("embedded") == 20


def test_the_largest_tar_alone_is_unpacked_at_a_time(changed):
    changed("01_explore_data", stage1_subsets=["omniact"], stage2_subsets=["coat"])
    assert need("vast-24gb", "unpacked, at most at a time") == pytest.approx(1.33)
    changed("01_explore_data", stage1_subsets=["seeclick"], stage2_subsets=["gui-odyssey-l2"])
    assert need("vast-24gb", "unpacked, at most at a time") == pytest.approx(127.9 + 1.33)


def test_a_mirror_is_not_downloaded_and_its_archives_stay_beside_what_is_unpacked(changed):
    changed("01_explore_data", stage1_subsets=["seeclick"], stage2_subsets=["gui-odyssey-l2"], mirror="/mirror")
    assert not any(part.gb for part in disk.needs("vast-24gb") if part.what.startswith("download"))
    assert need("vast-24gb", "unpacked, at most at a time") == pytest.approx(127.9 + 84.0 + 1.33)


def test_checkpoints_count_as_training_counts_them(tmp_path, monkeypatch):
    parameters = 32 * disk.PER_RANK["none"]  # rank 32 in both stages
    model = SimpleNamespace(parameters=lambda: [torch.empty(parameters, device="meta", requires_grad=True)])
    one_stage = need("vast-24gb", "checkpoints") * 1e9 / 2
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=one_stage))
    check_space(model, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=one_stage - 1))
    with pytest.raises(OSError, match="are needed for checkpoints"):
        check_space(model, tmp_path)


def test_a_new_run_without_room_for_all_stages_is_refused_before_the_first_byte(changed, monkeypatch, tmp_path):
    needed = disk.gb_after_setup("vast-24gb") / (1 + disk.MARGIN)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=(needed - 30) * 1e9))
    why = disk.problem("vast-24gb")
    assert re.match(
        rf"download, .* need 3\d\d GB \(.*seeclick 129, .*\), {needed - 30:.0f} GB are free in {tmp_path};", why
    )
    with pytest.raises(ParamsError, match="vast-24gb/01_explore_data.yaml: download, unpacking, base and checkpoints"):
        course.check_machine("vast-24gb", course.plan("vast-24gb", None, None)[1])
    course.check_machine("vast-24gb", course.plan("vast-24gb", "03", None)[1])  # without the notebook that downloads
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=(needed + 1) * 1e9))
    assert not disk.problem("vast-24gb")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    (tmp_path / "data/vast-24gb/raw").mkdir(parents=True)  # then the look-up of what is missing decides
    assert not disk.problem("vast-24gb")
    changed("01_explore_data", stage1_subsets=["seclick"])
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(ParamsError, match="stage 1: no subset 'seclick'; there are"):
        course.check_machine("vast-24gb", course.plan("vast-24gb", None, None)[1])


def test_the_table_ends_with_the_disk_to_ask_for():
    shown = disk.lines("vast-24gb")
    assert re.fullmatch(r"download seeclick +128\.6 GB", shown[5])
    assert any(re.fullmatch(r"download guiact-web-single +~ +20\.1 GB", line) for line in shown)
    assert re.fullmatch(rf"disk to ask for +{disk.gb('vast-24gb')} GB", shown[-1])


def test_what_is_typed_in_elsewhere_is_that_number():
    readme = (paths.ROOT / "README.md").read_text()
    assert f"launch mode SSH, {disk.gb('vast-24gb')} GB of disk" in readme
    vast, data = (paths.ROOT / "docs" / f"{name}.md" for name in ("vast", "data"))
    known, unknown = disk.after_setup()
    assert len(known) >= 4 and not unknown
    for profile in known:
        assert f"| `{profile}` | {disk.gb(profile)} GB |" in vast.read_text()
    task = yaml.safe_load((paths.ROOT / "sky/train.yaml").read_text())
    assert task["resources"]["disk_size"] == disk.gb(task["envs"]["PROFILE"])
    for name, archive in ARCHIVES.items():
        assert f"| `{name}` | {archive.gb:g} | {archive.json_gb:g} |" in data.read_text()


def test_a_profile_says_nothing_of_its_disk_itself():
    assert all(
        "disk" not in load_profile(paths.ROOT / "params" / name / "profile.yaml").model_dump() for name in PROFILES
    )


def test_the_doctor_names_the_profiles_without_room(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=200e9))
    found = doctor.disk()
    assert found.state == "note" and "; new runs need more: vast-24gb " in found.detail and "16gb" not in found.detail
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2e12))
    assert doctor.disk().state == "ok"
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0.5e9))
    assert doctor.disk().state == "missing"


def test_the_doctor_survives_a_broken_profile(changed, monkeypatch):
    shutil.copytree(paths.ROOT / "params/vast-24gb", paths.ROOT / "params/sound")
    shutil.copytree(paths.ROOT / "params/vast-24gb", paths.ROOT / "params/torn")
    (paths.ROOT / "params/torn/profile.yaml").write_text("rent: [")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=200e9))
    for name, why in (("nope", "stage 1: no subset 'nope'"), ("sandbox_web", "sandbox_web is not on the hub: it is")):
        changed("01_explore_data", stage1_subsets=[name])
        found = doctor.disk()
        assert found.state == "note" and re.search(
            rf"; new runs need more: sound \d+ GB; what they need is not known: torn: .*; vast-24gb: {why}",
            found.detail,
        )


def test_where_raw_data_lies_elsewhere_all_that_is_unpacked_counts(changed, tmp_path):
    changed("01_explore_data", stage1_subsets=["seeclick"], stage2_subsets=["gui-odyssey-l2"], raw_dir="raw")
    assert need("vast-24gb", "unpacked, at most at a time") == pytest.approx(127.9 + 84.0 + 1.33)


def test_what_is_not_on_the_hub_is_named(changed):
    changed("01_explore_data", stage1_subsets=["capture_web"])
    with pytest.raises(ValueError, match="capture_web is not on the hub: it is captured, source: capture"):
        disk.needs("vast-24gb")
