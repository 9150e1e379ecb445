"""The download, against a hub on this machine that answers as the real one does."""

import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_server import CHUNK, TOKEN, Faults, HubServer
from huggingface_hub import constants

from forge_core.data import download as module
from forge_core.data.download import DownloadError, download, download_benchmark, obtain

ONE, TWO = "xlangai/aguvis-stage1", "xlangai/aguvis-stage2"
PARQUET = "smolagents/aguvis-stage-1"
V2 = "OS-Copilot/ScreenSpot-v2"
PAGE = "https://huggingface.co/datasets/"


def content(seed: str, size: int) -> bytes:
    """Bytes in which every place differs from its neighbours, so that a wrong joint shows."""
    return b"".join(f"{seed}{number:09d}".encode() for number in range(size // len(f"{seed}{0:09d}") + 1))[:size]


FILES = {
    "README.md": b"about",
    "guienv.json": content("guienv", 5000),
    "guienv.zip": content("zip", 20 * CHUNK),
    "omniact.json": content("omni", 300),
    "omniact.zip": content("omniact", 3 * CHUNK),
    "seeclick.json": content("see", 2000),
    "seeclick.tar.gz.part_aa": content("part a", 2 * CHUNK),
    "seeclick.tar.gz.part_ab": content("part b", CHUNK),
    "ricosca.json": b"[]",
}


@pytest.fixture
def hub(hub):
    """With the first stage on it."""
    hub.commit(ONE, FILES)
    return hub


def same(folder: Path, names: list[str], files: dict[str, bytes] = FILES) -> bool:
    return all((folder / name).read_bytes() == files[name] for name in names)


def visible(folder: Path) -> list[str]:
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(path.as_posix() for path in files if not path.parts[0].startswith("."))


def note(folder: Path) -> dict:
    return json.loads((folder / "source.json").read_text())


def run(hub: HubServer, raw: Path, before: str = "", **extra) -> subprocess.Popen:
    """The download of guienv as a program of its own, which finds the hub by HF_ENDPOINT."""
    code = "from forge_core.data.download import download; download('aguvis', 1, ['guienv'], {!r}, 'main')"
    home = {"HF_HOME": str(raw / "home"), "HF_HUB_OFFLINE": "0"}
    environment = os.environ | {"HF_ENDPOINT": hub.url} | home | extra
    small = f"from huggingface_hub import constants; constants.DOWNLOAD_CHUNK_SIZE = {CHUNK}"
    command = [sys.executable, "-c", "\n".join((before, small, code.format(str(raw))))]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


# ---------------------------------------------------------------- what is fetched


def test_only_the_named_subsets_are_fetched(hub, tmp_path, capfd):
    folder = download("aguvis", 1, ["seeclick", "guienv"], tmp_path, "main")
    names = ["guienv.json", "guienv.zip", "seeclick.json", "seeclick.tar.gz.part_aa", "seeclick.tar.gz.part_ab"]
    assert folder == tmp_path / "stage1"
    assert visible(folder) == [*names, "source.json"]
    assert same(folder, names)
    commit = hub.repositories[ONE].branches["main"]
    assert note(folder) == {
        "source": "aguvis",
        "repository": ONE,
        "revision": "main",
        "commit": commit,
        "files": {name: len(FILES[name]) for name in names},
        "fetched": {name: (folder / name).stat().st_mtime_ns for name in names},
    }
    assert not (folder / ".partial").exists()
    out, err = capfd.readouterr()
    assert out.splitlines()[:2] == [
        f"stage 1: {ONE}@main is commit {commit}; write that into the params as revision to pin it",
        f"stage 1: {ONE}@{commit[:8]}: 5 files, 0.4 MiB, 5 to fetch (0.4 MiB)",
    ]
    assert err == ""  # no bars


def test_a_second_call_asks_nobody(hub, tmp_path, capsys):
    download("aguvis", 1, ["guienv"], tmp_path, "main")
    hub.requests.clear()
    download("aguvis", 1, ["guienv"], tmp_path, "main")
    assert hub.requests == []
    assert "already downloaded, 2 files" in capsys.readouterr().out


def test_a_commit_as_revision_needs_no_advice(hub, tmp_path, capsys):
    commit = hub.repositories[ONE].branches["main"]
    hub.commit(ONE, {"guienv.json": b"[]"})
    folder = download("aguvis", 1, ["guienv"], tmp_path, commit)
    assert same(folder, ["guienv.json", "guienv.zip"])
    assert "to pin it" not in capsys.readouterr().out


def test_more_subsets_come_from_the_same_commit_though_the_branch_moved(hub, tmp_path):
    download("aguvis", 1, ["guienv"], tmp_path, "main")
    first = hub.repositories[ONE].branches["main"]
    hub.commit(ONE, {name: data + b"new" for name, data in FILES.items()})
    hub.requests.clear()
    folder = download("aguvis", 1, ["omniact"], tmp_path, "main")
    assert same(folder, ["guienv.json", "guienv.zip", "omniact.json", "omniact.zip"])
    assert hub.asked("GET /storage") == [f"GET /storage/{ONE}/{first}/omniact.zip"]
    assert note(folder)["commit"] == first
    assert len(note(folder)["files"]) == 4
    hub.requests.clear()
    download("aguvis", 1, ["omniact", "guienv"], tmp_path, "main")
    assert hub.requests == []


def test_another_revision_replaces_what_differs_though_it_has_the_same_size(hub, tmp_path):
    download("aguvis", 1, ["guienv"], tmp_path, "main")
    newer = FILES | {"guienv.zip": FILES["guienv.zip"][::-1]}
    commit = hub.commit(ONE, newer, branch="next")
    hub.requests.clear()
    folder = download("aguvis", 1, ["guienv"], tmp_path, "next")
    assert same(folder, ["guienv.json", "guienv.zip"], newer)
    assert hub.asked("GET /storage") == [f"GET /storage/{ONE}/{commit}/guienv.zip"]
    assert note(folder)["commit"] == commit


def test_levels_share_an_archive_which_comes_once(hub, tmp_path):
    files = {"mind2web-l1.json": content("l1", 3000), "mind2web-l2.json": b"[]", "mind2web.zip": content("m", CHUNK)}
    hub.commit(TWO, files)
    folder = download("aguvis", 2, ["mind2web-l1", "mind2web-l2"], tmp_path, "main")
    assert visible(folder) == [*files, "source.json"]
    assert len(hub.asked("GET /storage")) == 2


def test_smolagents_has_a_folder_of_parquet_for_each_subset(hub, tmp_path):
    files = {f"guienv/train-0000{number}-of-00002.parquet": content(f"p{number}", CHUNK) for number in range(2)}
    hub.commit(PARQUET, files | {"guienv2/train-00000-of-00001.parquet": b"", "README.md": b""})
    folder = download("smolagents", 1, ["guienv"], tmp_path, "main")
    assert visible(folder) == [*files, "source.json"]
    assert same(folder, list(files), files)
    hub.requests.clear()
    download("smolagents", 1, ["guienv"], tmp_path, "main")
    assert hub.requests == []


def test_no_name_leads_out_of_the_folder(hub, tmp_path):
    hub.commit(PARQUET, {"guienv/train.parquet": b"rows", "guienv/../../../out.parquet": content("out", CHUNK)})
    assert visible(download("smolagents", 1, ["guienv"], tmp_path, "main")) == ["guienv/train.parquet", "source.json"]
    assert not list(tmp_path.parent.rglob("out.parquet"))


@pytest.mark.parametrize(
    "listing",
    [
        *("[]", "null", "3", "{}", '{"id": "a/b", "sha": null, "siblings": []}'),
        *('{"id": "a/b", "sha": "../../out", "siblings": []}', '{"id": "a/b", "sha": "\\u001b[2J", "siblings": []}'),
        *('{"id": "a/b", "sha": "COMMIT", "siblings": "no"}', '{"id": "a/b", "sha": "COMMIT", "siblings": [3]}'),
        '{"id": "a/b", "sha": "COMMIT", "siblings": [{"rfilename": "guienv/a.parquet", "size": -1}]}',
        '{"id": "a/b", "sha": "COMMIT", "siblings": [{"rfilename": "guienv/a.parquet", "size": "1"}]}',
        '{"id": "a/b", "sha": "COMMIT", "siblings": [{"rfilename": "guienv/a.parquet"}]}',
    ],
)
def test_a_listing_of_another_shape_is_one_line_and_writes_nothing(hub, tmp_path, capsys, listing):
    commit = hub.commit(PARQUET, {"guienv/train.parquet": b"rows"})
    hub.listing = listing.replace("COMMIT", commit)
    with pytest.raises(DownloadError, match=f"{PARQUET}@main: what answered is no hub") as caught:
        download("smolagents", 1, ["guienv"], tmp_path / "raw", "main")
    assert str(caught.value).isprintable() and not list(tmp_path.iterdir())
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["guienv.json", "guienv.zip", "omniact.json"])
@pytest.mark.parametrize("damage", [lambda data: data[:-7], lambda data: data + b"tail", lambda data: None])
def test_a_changed_or_lost_file_is_fetched_again(hub, tmp_path, name, damage):
    folder = download("aguvis", 1, ["guienv", "omniact"], tmp_path, "main")
    damaged = damage(FILES[name])
    (folder / name).unlink()
    if damaged is not None:
        (folder / name).write_bytes(damaged)
    hub.requests.clear()
    download("aguvis", 1, ["guienv", "omniact"], tmp_path, "main")
    assert same(folder, ["guienv.json", "guienv.zip", "omniact.json", "omniact.zip"])
    assert {request.rpartition("/")[2] for request in hub.asked("GET")} & {*FILES} == {name}


def test_a_file_that_the_hub_calls_otherwise_is_found_under_the_name_of_the_table(hub, tmp_path):
    hub.commit(ONE, {"guienv.json": b"[]", "guienvs.zip": content("zip", CHUNK), "omniact_fix.json": b"[1]"}, "other")
    with pytest.raises(DownloadError, match=f"{ONE}@other: the repository has no omniact.zip or .*; similar"):
        download("aguvis", 1, ["guienv", "omniact"], tmp_path, "other")
    for _ in range(2):
        folder = download("aguvis", 1, ["guienv"], tmp_path, "other")
        assert (folder / "guienv.zip").read_bytes() == content("zip", CHUNK)
        assert list(note(folder)["files"]) == ["guienv.json", "guienvs.zip"]
        hub.requests.clear()
    assert hub.requests == []


def test_the_sandbox_is_not_downloaded(tmp_path):
    with pytest.raises(ValueError, match="sandbox_web is not on the hub"):
        download("aguvis", 1, ["sandbox_web"], tmp_path, "main")


# ---------------------------------------------------------------- what breaks on the way


def test_a_dropped_connection_is_taken_up_where_it_ended(hub, tmp_path):
    hub.faults["guienv.zip"] = Faults(times=3, at=4 * CHUNK)
    folder = download("aguvis", 1, ["guienv"], tmp_path, "main")
    assert same(folder, ["guienv.zip"])
    continued = [request for request in hub.asked("GET /storage") if "bytes=" in request]
    assert [request.split()[-1] for request in continued] == [f"bytes={4 * CHUNK}-"] * 3


def goes_on(hub: HubServer, raw: Path) -> int:
    """Run again, see that guienv.zip is taken up where its partial file ends, and return where that was."""
    (partial,) = (raw / "stage1" / ".partial").glob("*/guienv.zip")
    kept = partial.stat().st_size
    hub.requests.clear()
    folder = download("aguvis", 1, ["guienv"], raw, "main")
    assert same(folder, ["guienv.json", "guienv.zip"])
    first, *_ = hub.asked("guienv.zip")
    assert first.endswith(f"/guienv.zip bytes={kept}-" if kept else "/guienv.zip")
    assert not (folder / ".partial").exists()
    return kept


@pytest.mark.parametrize(
    ("name", "faults"),
    [
        ("RemoteProtocolError", Faults(times=6, at=9 * CHUNK)),
        ("ReadError", Faults(times=1, at=9 * CHUNK, how="reset")),
        ("ReadError", Faults(times=1, at=9 * CHUNK, how="reset", ranges=False)),
    ],
    ids=["closed", "reset", "reset, no ranges"],
)
def test_the_next_run_continues_a_broken_file(hub, tmp_path, name, faults):
    hub.faults["guienv.zip"] = replace(faults)
    with pytest.raises(DownloadError) as error:
        download("aguvis", 1, ["guienv"], tmp_path, "main")
    message = rf"{ONE}@main: the connection broke \({name}: .+\); what is there is kept, the next run continues"
    assert re.fullmatch(message, str(error.value))
    assert error.value.__suppress_context__
    assert visible(tmp_path / "stage1") in ([], ["guienv.json"])
    kept = goes_on(hub, tmp_path)
    assert kept == 9 * CHUNK or faults.how == "reset"  # a reset also takes what the client has not yet read


def test_a_killed_program_continues(hub, tmp_path):
    hub.faults["guienv.zip"] = Faults(times=1, at=9 * CHUNK, how="hang")
    program = run(hub, tmp_path)
    assert hub.hanging.wait(60)
    program.kill()
    program.communicate()
    goes_on(hub, tmp_path)


def test_a_damaged_partial_file_is_noticed(hub, tmp_path):
    hub.faults["guienv.zip"] = Faults(times=6, at=9 * CHUNK)
    with pytest.raises(DownloadError):
        download("aguvis", 1, ["guienv"], tmp_path, "main")
    (partial,) = tmp_path.glob("stage1/.partial/*/guienv.zip")
    partial.write_bytes(bytes(9 * CHUNK))
    assert same(download("aguvis", 1, ["guienv"], tmp_path, "main"), ["guienv.zip"])


def test_what_the_hub_says_about_itself(hub, tmp_path):
    hub.faults["guienv.zip"] = Faults(status=503)
    with pytest.raises(DownloadError, match=f"{ONE}@main: the hub answered with status 503; what is there is kept"):
        download("aguvis", 1, ["guienv"], tmp_path, "main")
    hub.listing_status = 500
    with pytest.raises(DownloadError, match="the hub answered with status 500"):
        download("aguvis", 1, ["guienv"], tmp_path, "main")
    hub.listing_status = 200
    with pytest.raises(DownloadError, match=f"{ONE}@main: what answered is no hub .*; look at HF_ENDPOINT"):
        download("aguvis", 1, ["guienv"], tmp_path, "main")


@pytest.mark.parametrize("name", ["guienv.zip", "omniact.json"])
def test_a_file_of_another_size_than_listed_is_not_taken(hub, tmp_path, name):
    hub.faults[name] = Faults(extra=b"more than was said")
    with pytest.raises(DownloadError, match=f"{ONE}@main: .*size.*run it again"):
        download("aguvis", 1, ["guienv", "omniact"], tmp_path, "main")
    assert not (tmp_path / "stage1" / "source.json").exists()
    hub.faults.clear()
    assert same(download("aguvis", 1, ["guienv", "omniact"], tmp_path, "main"), [name])


def test_no_hub_at_all(hub, tmp_path, monkeypatch):
    hub.shutdown()
    hub.server_close()
    with pytest.raises(DownloadError, match=rf"{ONE}@main: the connection broke \(ConnectError: .*refused\); what"):
        download("aguvis", 1, ["guienv"], tmp_path, "main")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match=f"{ONE}@main: offline mode is on; unset HF_HUB_OFFLINE"):
        download("aguvis", 1, ["guienv"], tmp_path, "main")


# ---------------------------------------------------------------- who may read what


def test_a_noted_commit_that_is_gone(hub, tmp_path):
    download("aguvis", 1, ["guienv"], tmp_path, "main")
    hub.repositories.clear()
    hub.commit(ONE, FILES | {"README.md": b"squashed"})
    note_path = tmp_path / "stage1" / "source.json"
    with pytest.raises(DownloadError, match=f"{ONE}@main: the commit that {note_path} notes is gone; remove that file"):
        download("aguvis", 1, ["guienv", "omniact"], tmp_path, "main")


def test_a_gated_data_set_opens_with_the_token(hub, tmp_path, monkeypatch):
    hub.commit(PARQUET, {"guienv/train.parquet": content("p", CHUNK)}, gated="token")
    gated = f"{PARQUET}@main: the data set is gated; accept its terms on {PAGE}{PARQUET}, then set HF_TOKEN"
    with pytest.raises(DownloadError, match=gated):
        download("smolagents", 1, ["guienv"], tmp_path, "main")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    download("smolagents", 1, ["guienv"], tmp_path, "main")
    assert hub.tokens == []  # the storage is somebody else


@pytest.mark.parametrize(
    ("repository", "gated", "revision", "token", "message"),
    [
        (PARQUET, "terms", "main", TOKEN, "the data set is gated; accept its terms on .*, then set HF_TOKEN"),
        (PARQUET, "", "main", "hf_notTheRightOne", "the hub does not take the token; set HF_TOKEN to a valid one, or"),
        (PARQUET, "", "main", "hf_line\u2026", "HF_TOKEN has characters that no token has"),
        (PARQUET, "", "main", "hf_\x0btab", "HF_TOKEN has characters that no token has"),
        (PARQUET, "", "v9", "", f"there is no such revision; take a commit, .*{PAGE}{PARQUET}"),
        (
            "else/where",
            "",
            "main",
            "",
            f"there is no such data set, or it is private; look at {PAGE}{PARQUET}, and set",
        ),
        ("else/where", "", "main", TOKEN, "there is no such data set, or it is private"),
    ],
)
def test_what_may_not_be_read(hub, tmp_path, monkeypatch, capfd, caplog, repository, gated, revision, token, message):
    caplog.set_level(logging.DEBUG)
    hub.commit(repository, {"guienv/train.parquet": content("p", CHUNK)}, gated=gated)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(DownloadError, match=f"{PARQUET}@{revision}: {message}") as error:
        download("smolagents", 1, ["guienv"], tmp_path, revision)
    told = str(error.value) + caplog.text + "".join(capfd.readouterr())
    assert not token or token[:6] not in told.replace("hf_hub", "")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["ricosca"],
            "the repository has no ricosca.zip or ricosca.tar.gz or ricosca.tar.gz.part_[*]; similar .*ricosca",
        ),
        (["guienv", "ui_refexp"], "has no ui_refexp.json, ui_refexp.zip or .*; there are: README.md, guienv.json"),
    ],
)
def test_a_subset_that_the_repository_has_not(hub, tmp_path, names, message):
    with pytest.raises(DownloadError, match=f"{ONE}@main: .*{message}"):
        download("aguvis", 1, names, tmp_path, "main")
    assert hub.asked("/resolve/") == []


# ---------------------------------------------------------------- room


def test_without_room_nothing_is_fetched(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100 << 10))
    message = (
        rf"{ONE}@main: 0.3 MiB are still to fetch, 0.1 MiB are free in {tmp_path}/stage1; make room, use another folder"
    )
    with pytest.raises(DownloadError, match=message):
        download("aguvis", 1, ["guienv"], tmp_path, "main")
    assert hub.asked("/resolve/") == []
    download("aguvis", 1, ["omniact"], tmp_path, "main")


def test_only_what_is_missing_needs_room(hub, tmp_path, monkeypatch):
    hub.faults["guienv.zip"] = Faults(times=6, at=18 * CHUNK)
    with pytest.raises(DownloadError):
        download("aguvis", 1, ["guienv"], tmp_path, "main")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=2 * CHUNK))
    assert same(download("aguvis", 1, ["guienv"], tmp_path, "main"), ["guienv.zip"])


def test_a_full_disk_is_said_and_the_next_run_completes(hub, tmp_path):
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({6 * CHUNK}, {6 * CHUNK}))"
    program = run(hub, tmp_path, limit, PYTHONDONTWRITEBYTECODE="1")
    _, err = program.communicate()
    folder = tmp_path / "stage1"
    assert err.splitlines()[-1].endswith(
        f"DownloadError: {ONE}@main: no room to write in {folder} (File too large); make room; "
        "what is there is kept, the next run continues"
    )
    assert "another exception" not in err
    hub.requests.clear()
    assert same(download("aguvis", 1, ["guienv"], tmp_path, "main"), ["guienv.json", "guienv.zip"])
    assert hub.asked("guienv.zip bytes=") != []


def test_progress_is_a_line_every_few_seconds(hub, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(module, "SECONDS", 0)
    download("aguvis", 1, ["guienv"], tmp_path, "main")
    out, err = capfd.readouterr()
    lines = [line for line in out.splitlines() if " of " in line]
    assert re.fullmatch(r"stage 1: 0\.3 MiB of 0\.3 MiB, [\d.]+ [MG]iB/s", lines[-1])
    assert err == ""


# ---------------------------------------------------------------- a folder instead of the hub


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def test_a_mirror_is_linked(hub, tmp_path):
    fill(tmp_path / "mirror" / ONE, FILES)
    for _ in range(2):
        folder = download("aguvis", 1, ["seeclick"], tmp_path / "raw", "main", str(tmp_path / "mirror"))
    assert folder.joinpath("seeclick.json").readlink() == tmp_path / "mirror" / ONE / "seeclick.json"
    names = ["seeclick.json", "seeclick.tar.gz.part_aa", "seeclick.tar.gz.part_ab"]
    assert visible(folder) == [*names, "source.json"]
    assert note(folder)["commit"] is None
    assert note(folder)["files"] == {name: len(FILES[name]) for name in names}
    assert hub.requests == []


@pytest.mark.parametrize("revision", ["main", "v2"])
def test_a_link_is_replaced_when_the_mirror_is_another(tmp_path, revision):
    for text in (b"old", b"new"):
        fill(tmp_path / text.decode() / PARQUET, {"guienv/train.parquet": text})
    folder = download("smolagents", 1, ["guienv"], tmp_path, "main", str(tmp_path / "old"))
    if revision == "main":
        shutil.rmtree(tmp_path / "old")
    download("smolagents", 1, ["guienv"], tmp_path, revision, str(tmp_path / "new"))
    assert (folder / "guienv/train.parquet").read_bytes() == b"new"


def test_after_a_mirror_the_hub_compares_and_keeps_the_mirror_whole(hub, tmp_path):
    mirrored = {name: FILES[name] for name in ("guienv.json", "guienv.zip")} | {"guienv.json": content("other", 5000)}
    fill(tmp_path / "mirror" / ONE, mirrored)
    download("aguvis", 1, ["guienv"], tmp_path, "main", str(tmp_path / "mirror"))
    folder = download("aguvis", 1, ["guienv"], tmp_path, "main")
    assert same(folder, ["guienv.json", "guienv.zip"])
    assert (folder / "guienv.zip").is_symlink()
    assert same(tmp_path / "mirror" / ONE, list(mirrored), mirrored)
    assert note(folder)["commit"] == hub.repositories[ONE].branches["main"]


def test_what_a_mirror_has_not(tmp_path):
    with pytest.raises(DownloadError, match=f"{ONE}@main: the mirror has no folder {tmp_path}/{ONE}; put the files"):
        download("aguvis", 1, ["guienv"], tmp_path, "main", str(tmp_path))
    fill(tmp_path / ONE, {"guienvs.json": b"[]"})
    with pytest.raises(DownloadError, match="has no guienv.json, guienv.zip or .*; similar names there: guienvs.json"):
        download("aguvis", 1, ["guienv"], tmp_path, "main", str(tmp_path))


# ---------------------------------------------------------------- the benchmark


def archive(top: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr(f"{top}web_1.png", content("png", 4000))
        zipped.writestr("__MACOSX/._web_1.png", b"junk")
    return buffer.getvalue()


@pytest.mark.parametrize("top", ["screenspotv2_image/", ""], ids=["top folder", "flat"])
@pytest.mark.parametrize("mirrored", [False, True], ids=["hub", "mirror"])
def test_the_images_of_the_benchmark_are_unpacked(hub, tmp_path, top, mirrored):
    tables = {f"screenspot_{platform}_v2.json": b"[]" for platform in ("desktop", "mobile", "web")}
    files = tables | {"screenspotv2_image.zip": archive(top), "README.md": b""}
    hub.commit(V2, files)
    fill(tmp_path / "mirror" / V2, files)
    for _ in range(2):
        folder = download_benchmark("screenspot_v2", tmp_path / "v2", mirror=str(tmp_path / "mirror") * mirrored)
        image = folder / "screenspotv2_image" / "web_1.png"
        assert image.read_bytes() == content("png", 4000)
        assert not hub.requests or not mirrored
        hub.requests, unpacked, before = [], image.stat().st_mtime_ns, image.resolve()
    assert (hub.requests, image.stat().st_mtime_ns, image.resolve()) == ([], unpacked, before)
    assert list(note(folder)["files"]) == [*tables, "screenspotv2_image.zip"]


def test_images_that_are_there_already_are_left_alone(hub, tmp_path):
    hub.commit(V2, {"screenspot_web_v2.json": b"[]", "screenspotv2_image.zip": archive("")})
    fill(tmp_path, {"screenspotv2_image/mine.png": b"mine"})
    with pytest.raises(DownloadError, match="screenspotv2_image is in the way of the downloaded images; move it"):
        download_benchmark("screenspot_v2", tmp_path)
    assert (tmp_path / "screenspotv2_image/mine.png").read_bytes() == b"mine"


def test_a_benchmark_without_an_archive(hub, tmp_path):
    hub.commit("rootsautomation/ScreenSpot", {"data/test-0.parquet": content("p", CHUNK), "README.md": b""})
    assert visible(download_benchmark("screenspot_v1", tmp_path / "v1")) == ["data/test-0.parquet", "source.json"]


# ---------------------------------------------------------------- the notebook's call

ALL = {
    ONE: FILES,
    TWO: {"coat.json": b"[]", "coat.zip": content("coat", 2 * CHUNK), "amex-l2.json": b"[]"},
    V2: {"screenspot_web_v2.json": b"[]", "screenspotv2_image.zip": archive("")},
}


def call(tmp_path, **more) -> SimpleNamespace:
    """Params of notebook 01 for guienv and coat."""
    where = {"raw_dir": str(tmp_path / "raw"), "data_dir": str(tmp_path), "benchmark_dir": str(tmp_path / "bench")}
    named = {"stage1_subsets": ["guienv"], "stage2_subsets": ["coat"]}
    pinned = {"stage1_revision": "main", "stage2_revision": "main", "base_model": "embedded", "base_revision": "main"}
    return SimpleNamespace(**{"source": "aguvis", "mirror": ""} | where | named | pinned | more)


@pytest.fixture
def full(hub):
    for repository, files in ALL.items():
        hub.commit(repository, files)
    return hub


def test_obtain_brings_both_stages_and_the_benchmark(full, tmp_path):
    for repository, files in ALL.items():
        fill(tmp_path / "mirror" / repository, files)
    for mirror in ("", str(tmp_path / "mirror")):
        params = call(tmp_path / f"of {mirror[-6:]}", mirror=mirror)
        obtain(params)
        assert visible(Path(params.raw_dir, "stage1")) == ["guienv.json", "guienv.zip", "source.json"]
        assert visible(Path(params.raw_dir, "stage2")) == ["coat.json", "coat.zip", "source.json"]
        assert Path(params.benchmark_dir, "screenspotv2_image/web_1.png").is_file()
        full.requests.clear()
        obtain(params)
        assert full.requests == []


def test_all_is_looked_up_before_anything_is_fetched(full, tmp_path):
    with pytest.raises(DownloadError, match=f"{TWO}@main: the repository has no amex.zip or .*; similar .*amex-l2"):
        obtain(call(tmp_path, stage2_subsets=["coat", "amex-l2"]))
    with pytest.raises(OSError, match="base_model .*nothing@main: its tokenizer.json could not be read"):
        obtain(call(tmp_path, base_model=str(tmp_path / "nothing")))
    full.repositories.pop(V2)
    with pytest.raises(DownloadError, match=f"{V2}@main: there is no such data set"):
        obtain(call(tmp_path))
    with pytest.raises(ValueError, match="stage 2: no subset 'coatt'"):
        obtain(call(tmp_path, stage2_subsets=["coatt"]))
    with pytest.raises(DownloadError, match=f"the mirror has no folder {tmp_path}/{TWO}"):
        fill(tmp_path / ONE, FILES)
        obtain(call(tmp_path, mirror=str(tmp_path)))
    assert full.asked("/resolve/") == full.asked("/storage/") == [] and not (tmp_path / "raw").exists()


def disk_of(monkeypatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))


def size(*stems: str) -> int:
    files = {name: data for repository in ALL.values() for name, data in repository.items()}
    return sum(len(data) for name, data in files.items() if name.startswith(stems))


@pytest.mark.parametrize(
    ("stage1", "more"),  # what is unpacked beside: the benchmark's images, and the largest tar.gz
    [(["guienv"], 0), (["guienv", "seeclick"], 3 * CHUNK)],
    ids=["zips", "a tar.gz"],
)
def test_the_room_for_all_stages_is_looked_at_first(full, tmp_path, monkeypatch, stage1, more):
    needed = size(*stage1, "coat", "screenspot") + size("screenspotv2_image") + more
    disk_of(monkeypatch, needed - 1)
    with pytest.raises(DownloadError) as error:
        obtain(call(tmp_path, stage1_subsets=stage1))
    fetch, beside = (f"{count / 2**20:.1f} MiB" for count in (size(*stage1, "coat", "screenspot"), more + 4300))
    assert re.fullmatch(
        rf"all stages and the benchmark need 0\.\d MiB on the disk of {tmp_path}\S*, {fetch} to fetch and up to "
        rf"{beside} at a time to unpack; 0\.\d MiB are free there; make room, set raw_dir and data_dir to another "
        "disk, or name fewer subsets; nothing was fetched",
        str(error.value),
    )
    assert full.asked("/resolve/") == []
    disk_of(monkeypatch, needed)
    obtain(call(tmp_path, stage1_subsets=stage1))


def test_what_is_there_needs_no_room_again(full, tmp_path, monkeypatch):
    obtain(call(tmp_path))
    disk_of(monkeypatch, size("omniact"))
    obtain(call(tmp_path, stage1_subsets=["guienv", "omniact"]))


def test_a_mirror_needs_room_for_what_is_unpacked_alone(full, tmp_path, monkeypatch):
    for repository, files in ALL.items():
        fill(tmp_path / "mirror" / repository, files)
    params = call(tmp_path, stage1_subsets=["seeclick", "guienv"], mirror=str(tmp_path / "mirror"))
    needed = 3 * CHUNK + size("screenspotv2_image")
    disk_of(monkeypatch, needed - 1)
    with pytest.raises(DownloadError, match="need 0.1 MiB on the disk of .*, 0.0 MiB to fetch and up to 0.1 MiB"):
        obtain(params)
    disk_of(monkeypatch, needed)
    obtain(params)
