"""The parts of a tar.gz go when the images in them are whole, and all that looks for them still finds what it needs."""

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_server import Faults, HubServer
from raw_rows import picture, preprocess_params, stage1

from forge_core.data import room
from forge_core.data.download import DownloadError, download, obtain
from forge_core.data.explore import look, raw_inputs
from forge_core.data.images import open_image
from forge_core.data.listing import Listing, Order
from forge_core.data.preprocess import preprocess
from forge_core.data.schema import read_jsonl
from forge_core.results import digest

ONE, TWO, V2 = "xlangai/aguvis-stage1", "xlangai/aguvis-stage2", "OS-Copilot/ScreenSpot-v2"


def archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("web_1.png", picture())
    return buffer.getvalue()


def tar_parts() -> dict[str, bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name in ("a.png", "b.png"):
            data = picture()
            member = tarfile.TarInfo(f"seeclick/seeclick_web_imgs/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    whole, step = buffer.getvalue(), len(buffer.getvalue()) // 3 + 1
    return {f"seeclick.tar.gz.part_{n:02d}": whole[n * step : (n + 1) * step] for n in range(3)}


PARTS = tar_parts()
ROWS = json.dumps([stage1(name, ("Go", "pyautogui.click(x=0.5, y=0.5)")) for name in ("a.png", "b.png")]).encode()


@pytest.fixture
def seeclick(hub, tmp_path):
    """A hub with seeclick in three parts, and the params of notebook 02 for it."""
    hub.commit(ONE, {"seeclick.json": ROWS, **PARTS, "ricosca.json": b"[]", "ricosca.zip": archive()})
    return hub, preprocess_params(tmp_path / "out/raw", tmp_path / "out", stage1_subsets=["seeclick"])


def parts_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.part_*"))


def fetched(hub: HubServer) -> list[str]:
    """The parts that the hub's storage was asked for."""
    return sorted(
        {request.split()[1].rpartition("/")[2] for request in hub.asked("GET /storage") if "part_" in request}
    )


def whole(folder: Path, files: dict[str, bytes]) -> bool:
    return all((folder / name).read_bytes() == data for name, data in files.items())


def first_image(out: Path):
    return open_image(out / next(read_jsonl(out / "stage1.jsonl")).image)


def test_the_parts_go_when_their_images_are_whole_and_nothing_is_done_twice(seeclick, tmp_path):
    hub, params = seeclick
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    report = preprocess(params, 1)
    assert parts_in(folder) == [] and report.examples == 2
    assert first_image(tmp_path / "out").size == (64, 48)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    noted = (folder / "source.json").read_bytes()
    hub.requests.clear()
    download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    assert hub.requests == [] and (folder / "source.json").read_bytes() == noted
    assert preprocess(params, 1) == report
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}


def test_other_subsets_and_the_pinned_commit_do_not_bring_the_parts_again(seeclick, tmp_path):
    hub, params = seeclick
    download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    preprocess(params, 1)
    hub.requests.clear()
    for names, revision in ((["seeclick", "ricosca"], "main"), (["seeclick"], hub.repositories[ONE].branches["main"])):
        folder = download("aguvis", 1, names, tmp_path / "out/raw", revision)
        assert not any("part_" in request for request in hub.requests) and parts_in(folder) == []
        assert set(PARTS) <= set(json.loads((folder / "source.json").read_text())["files"])


def test_another_commit_brings_parts_of_the_same_size_again(seeclick, tmp_path):
    hub, params = seeclick
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    preprocess(params, 1)
    hub.commit(ONE, {"seeclick.json": ROWS, "new": b"", **PARTS}, branch="next")
    hub.requests.clear()
    download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "next")
    assert parts_in(folder) == fetched(hub) == sorted(PARTS)
    preprocess(params, 1)
    assert parts_in(folder) == []


@pytest.mark.parametrize("left", [0, 1, 3], ids=["all removed", "one left", "none removed"])
def test_a_kill_between_unpacking_and_removing_loses_nothing(seeclick, tmp_path, monkeypatch, left):
    hub, params = seeclick
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    remove, removed = Path.unlink, []

    def killed(path, missing_ok=False):
        if "part_" in path.name:
            if len(removed) == 3 - left:
                raise KeyboardInterrupt
            removed.append(path)
        remove(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        if left:
            with pytest.raises(KeyboardInterrupt):
                preprocess(params, 1)
        else:
            preprocess(params, 1)
    assert len(parts_in(folder)) == left
    hub.requests.clear()
    download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    assert hub.requests == []
    assert preprocess(params, 1).examples == 2 and parts_in(folder) == []


def test_images_that_are_lost_are_named_and_their_parts_brought_again(seeclick, tmp_path):
    hub, params = seeclick
    download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    report = preprocess(params, 1)
    shutil.rmtree(tmp_path / "out/images")
    with pytest.raises(
        FileNotFoundError,
        match="seeclick.tar.gz.gone.json: the images that it names are not whole, or it is torn; `forge",
    ):
        preprocess(params, 1)
    hub.requests.clear()
    download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    assert fetched(hub) == sorted(PARTS)
    assert preprocess(params, 1).inputs_sha256 == report.inputs_sha256


def test_another_data_dir_uses_the_images_that_are_there(seeclick, tmp_path):
    _, params = seeclick
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    report = preprocess(params, 1)
    other = preprocess(params.model_copy(update={"data_dir": str(tmp_path / "other")}), 1)
    assert other.inputs_sha256 == report.inputs_sha256 and parts_in(folder) == []
    assert first_image(tmp_path / "other").size == (64, 48)


def test_files_of_a_mirror_and_files_that_nobody_downloaded_stay(seeclick, tmp_path):
    _, params = seeclick
    files = {"seeclick.json": ROWS, **PARTS}
    for folder in (tmp_path / "mirror" / ONE, tmp_path / "mine/stage1"):
        folder.mkdir(parents=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main", str(tmp_path / "mirror"))
    preprocess(params, 1)
    assert whole(tmp_path / "mirror" / ONE, files) and whole(folder, files)
    preprocess(params.model_copy(update={"raw_dir": str(tmp_path / "mine")}), 1)
    assert whole(tmp_path / "mine/stage1", files)


def place(folder: Path, names=tuple(PARTS)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seeclick.json").write_bytes(ROWS)
    for name in names:
        (folder / name).write_bytes(PARTS[name])


@pytest.mark.parametrize("own", [3, 1], ids=["all", "one of them"])
def test_parts_of_your_own_stay_though_a_download_lists_them(seeclick, tmp_path, own):
    hub, params = seeclick
    place(tmp_path / "out/raw/stage1", list(PARTS)[:own])
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    assert fetched(hub) == list(PARTS)[own:]
    preprocess(params, 1)
    assert whole(folder, PARTS)


def test_a_part_of_your_own_in_the_place_of_a_fetched_one_stays(seeclick, tmp_path):
    _, params = seeclick
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    name = next(iter(PARTS))
    (folder / name).unlink()
    place(folder, [name])
    preprocess(params, 1)
    assert whole(folder, PARTS)


@pytest.mark.parametrize("linked", ["raw", "raw/stage1"])
def test_nothing_goes_from_a_folder_that_is_reached_through_a_link(seeclick, tmp_path, linked):
    _, params = seeclick
    own, link = tmp_path / "out/mine", tmp_path / "out" / linked
    own.mkdir(parents=True)
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(own)
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    preprocess(params, 1)
    assert whole(folder, PARTS)


def test_data_dir_may_be_a_link_itself(seeclick, tmp_path):
    _, params = seeclick
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    preprocess(params, 1)
    assert parts_in(folder) == [] and preprocess(params, 1).examples == 2


def test_parts_stay_where_raw_data_does_not_lie_below_data_dir(seeclick, tmp_path):
    _, params = seeclick
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    preprocess(params.model_copy(update={"data_dir": str(tmp_path / "other")}), 1)
    assert whole(folder, PARTS) and not list(folder.glob("*.gone.json"))


@pytest.mark.parametrize("pinned", [False, True], ids=["interrupted", "then pinned"])
def test_what_several_runs_fetched_goes(seeclick, tmp_path, pinned):
    hub, params = seeclick
    raw, commit = tmp_path / "out/raw", hub.repositories[ONE].branches["main"]
    hub.faults["ricosca.json"] = Faults(status=403)  # a small file, which comes after the large ones
    with pytest.raises(DownloadError):
        download("aguvis", 1, ["seeclick", "ricosca"], raw, "main")
    assert parts_in(raw / "stage1") == list(PARTS) and not (raw / "stage1/source.json").exists()
    hub.faults.clear()
    download("aguvis", 1, ["seeclick"], raw, "main")
    if pinned:
        download("aguvis", 1, ["ricosca"], raw, commit)
    preprocess(params, 1)
    assert parts_in(raw / "stage1") == []


def test_a_raw_folder_that_cannot_be_written_keeps_its_parts(seeclick, tmp_path, monkeypatch, capsys):
    _, params = seeclick
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    write = Path.write_text

    def denied(path, *args, **more):
        if ".gone.json" in path.name:
            raise PermissionError(13, "Permission denied", str(path))
        return write(path, *args, **more)

    monkeypatch.setattr(Path, "write_text", denied)
    assert preprocess(params, 1).examples == 2 and whole(folder, PARTS)
    assert capsys.readouterr().out.count("seeclick.tar.gz: unpacked; its own files stay ([Errno 13] Permission") == 1


def test_images_that_moved_to_another_data_dir_are_found_there(seeclick, tmp_path, monkeypatch):
    hub, params = seeclick
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    report = preprocess(params, 1)
    for place, look_again in (("one", lambda moved: preprocess(moved, 1)), ("two", explore_with)):
        moved = params.model_copy(update={"data_dir": str(tmp_path / place)})
        images = json.loads((folder / "seeclick.tar.gz.gone.json").read_text())["images"]
        (tmp_path / place).mkdir()
        shutil.move((folder / images).parents[1], tmp_path / place / "images")
        look_again(moved)
        hub.requests.clear()
        download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
        assert hub.requests == []
        assert preprocess(moved, 1).inputs_sha256 == report.inputs_sha256
        assert first_image(tmp_path / place).size == (64, 48)


def explore_with(params) -> None:
    """The part of `obtain` that comes before the hub is asked, which lacks the benchmark."""
    more = {"source": "aguvis", "mirror": "", "stage1_revision": "main", "stage2_revision": "main"}
    named = {"stage2_subsets": ["coat"], "benchmark_dir": "bench", "base_model": "embedded", "base_revision": "main"}
    with pytest.raises(DownloadError, match="aguvis-stage2@main: there is no such data set"):
        obtain(SimpleNamespace(**params.model_dump() | more | named))


@pytest.mark.parametrize("text", ["", '{"images": "../', "\0\0"])
def test_a_torn_note_counts_as_none_and_brings_the_parts_again(seeclick, tmp_path, text):
    hub, params = seeclick
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    preprocess(params, 1)
    (folder / "seeclick.tar.gz.gone.json").write_text(text)
    with pytest.raises(FileNotFoundError, match="or it is torn; `forge data download` brings them again"):
        preprocess(params, 1)
    hub.requests.clear()
    download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    assert fetched(hub) == sorted(PARTS)
    assert preprocess(params, 1).examples == 2 and parts_in(folder) == []


def test_a_torn_marker_counts_as_none_and_unpacks_again(seeclick, tmp_path):
    _, params = seeclick
    place(tmp_path / "out/raw/stage1")
    preprocess(params, 1)
    marker = tmp_path / "out/images/stage1/seeclick/.unpacked.json"
    told = marker.read_text()
    marker.write_text(told[:20])
    preprocess(params, 1)
    assert marker.read_text() == told


def test_only_an_archive_that_will_go_makes_room_for_the_next(tmp_path):
    raw, data = tmp_path / "data/raw/stage1", tmp_path / "data"
    sizes = {"a.tar.gz.part_aa": 4, "a.tar.gz.part_ab": 4, "b.tar.gz": 5, "c.zip": 1}
    missing = {name: size for name, size in sizes.items() if name != "a.tar.gz.part_aa"}
    raw.mkdir(parents=True)
    (raw / "a.tar.gz.part_aa").write_bytes(b"mine")

    def passing(data_dir: Path, missing: dict[str, int], commit: str | None = "c") -> list[bool]:
        order = Order("stage 1", "aguvis", ONE, "main", (), raw)
        return [use.passing for use in room._tars(Listing(order, commit, sizes, missing), data_dir)]

    assert passing(data, sizes) == [True, True] and passing(data, missing) == [False, True]
    assert passing(tmp_path / "other", sizes) == passing(data, sizes, commit=None) == [False, False]


def test_the_look_of_notebook_01_lets_the_parts_go_and_its_record_holds(seeclick, tmp_path):
    _, params = seeclick
    folder = download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    explore = SimpleNamespace(**params.model_dump())
    recorded = {path: digest(path) for path in raw_inputs(explore)[:1]}
    (counts,), (first, *_) = look(explore, 1, sample=2)
    assert counts.rows == 2 and open_image(tmp_path / "out" / first.example.image).size == (64, 48)
    assert parts_in(folder) == []
    download("aguvis", 1, ["seeclick"], tmp_path / "out/raw", "main")
    assert {path: digest(path) for path in recorded} == recorded


def test_only_what_is_not_unpacked_yet_needs_room(seeclick, tmp_path, monkeypatch):
    hub, params = seeclick
    hub.commit(TWO, {"coat.json": b"[]", "coat.zip": archive()})
    hub.commit(V2, {"screenspot_web_v2.json": b"[]", "screenspotv2_image.zip": archive()})
    where = {"raw_dir": params.raw_dir, "data_dir": params.data_dir, "benchmark_dir": str(tmp_path / "bench")}
    named = {"stage1_subsets": ["seeclick"], "stage2_subsets": ["coat"], "stage1_revision": "main"}
    base = {"base_model": "embedded", "base_revision": "main"}
    explore = SimpleNamespace(source="aguvis", mirror="", stage2_revision="main", **where, **named, **base)
    obtain(explore)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    with pytest.raises(DownloadError, match="need 0.0 MiB on the disk of .*, 0.0 MiB to fetch and up to 0.0 MiB"):
        obtain(explore)
    monkeypatch.undo()
