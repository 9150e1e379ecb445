"""The guard that goes to a host with the rental: what ends the billing, whatever clock and files say."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from forge_core.remote import rent
from forge_core.remote.rental import new

ROW = {"id": 9001, "key": "instance-key-9001", "intended_status": "running", "actual_status": "running"}
FULL = """\
import errno, io, os
right, right_os = io.open, os.open

def new(path):
    raise OSError(errno.ENOSPC, "No space left on device", str(path))

def open_(file, mode="r", *rest, **named):
    return new(file) if mode[0] in "wxa" and not isinstance(file, int) else right(file, mode, *rest, **named)

def os_open(path, flags, *rest, **named):
    return new(path) if flags & os.O_TRUNC or not os.path.exists(path) else right_os(path, flags, *rest, **named)

io.open, os.open, __builtins__["open"] = open_, os_open, open_
"""
BEHIND = "import time\nright = time.time\ntime.time = lambda: right() - 10 * 3600\n"


@pytest.fixture
def host(project, account, tmp_path, monkeypatch):
    """Starts the guard of a rental of `seconds` on a host with these state files; gives (provider, state folder)."""
    folder = tmp_path / "host"
    state = folder / ".forge"
    monkeypatch.setenv("FORGE_REMOTE_DIR", str(folder))
    provider = account([])
    provider.instances[9001] = dict(ROW)

    def start(seconds=3600.0, files=None, **environment):
        folder.mkdir(exist_ok=True)
        if not state.exists():
            state.mkdir()
        for name, content in (files or {}).items():
            (state / name).write_text(content)
        own = {"VAST_URL": provider.url, "CONTAINER_ID": "9001", "CONTAINER_API_KEY": ROW["key"]}
        own |= {"FORGE_GUARD_SECONDS": "0.05", "PATH": os.environ["PATH"], "HOME": str(tmp_path)} | environment
        rental = new("embedded", "RTX 4090", 0.4, False, seconds / 3600)
        done = subprocess.run(["bash", "-c", rent.onstart(rental)], env=own, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        return provider, state

    yield start
    mark = f"\0FORGE_FOLDER={folder}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in b"\0" + (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


def wait_for(file) -> str:
    end = time.monotonic() + 20
    while not (file.is_file() and file.read_text()):
        assert time.monotonic() < end, file
    return file.read_text()


def test_it_fits_what_vast_takes(project):
    assert len(rent.onstart(new("embedded", "RTX 4090", 0.4, False, 24.0))) <= 4048


def test_a_clock_ten_hours_behind_ends_it_all_the_same(host, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(BEHIND)
    provider, state = host(seconds=1, PYTHONPATH=str(tmp_path))
    assert provider.halted.wait(20) and "ran for 1 s" in (state / "guard.log").read_text()


@pytest.mark.parametrize("deadline", ["", "soon", "nan", "inf", "-1", "1e99", "١٢٣٤٥٦٧٨٩٠", "1"])
def test_a_deadline_that_is_odd_is_now(host, deadline):
    provider, state = host()
    wait_for(state / "guard.pid")
    assert not provider.halted.is_set()
    (state / "deadline").write_text(deadline)
    assert provider.halted.wait(20)


def test_a_deadline_that_is_gone_is_now(host):
    provider, state = host()
    wait_for(state / "guard.pid")
    (state / "deadline").unlink()
    assert provider.halted.wait(20)


@pytest.mark.parametrize("files", [{"spent": "3601"}, {"spent": ""}, {"spent": "much"}, {"job": "embedded"}])
def test_started_after_its_end_or_without_a_count_it_stays_for_20_minutes_and_starts_nothing(host, files):
    provider, state = host(files=files)
    wait_for(state / "guard.pid")
    left = float((state / "deadline").read_text()) - time.time()
    assert 1150 < left <= 1200 and not provider.halted.is_set() and not (state / "tmux").exists()


def test_what_ran_before_a_restart_counts(host):
    provider, state = host(seconds=100, files={"spent": "99"})
    assert provider.halted.wait(20) and "ran for 100 s" in (state / "guard.log").read_text()


@pytest.mark.parametrize("files", [{"status": "0"}, {}])
def test_a_course_that_ended_or_was_killed_is_waited_half_an_hour_for(host, files):
    provider, state = host(files={"job": "embedded", "spent": "1"} | files, FORGE_IDLE="0.3")
    assert provider.halted.wait(20) and "idle" in (state / "guard.log").read_text()


def test_before_a_course_is_started_nothing_is_idle(host):
    provider, state = host(seconds=1, FORGE_IDLE="0.2")
    assert provider.halted.wait(20) and "idle" not in (state / "guard.log").read_text()


def test_a_stop_that_fails_is_asked_for_again(host, project):
    answers = iter([(500, {}), (200, {"success": False}), (429, {})])
    provider, state = host(seconds=1)
    provider.faults = lambda method, path: next(answers, None) if method == "PUT" else None
    assert provider.halted.wait(20)
    assert len(provider.asked("PUT", "/api/v0/instances/9001/")) >= 4


def test_a_full_disk_does_not_keep_it_from_stopping(host, tmp_path):
    provider, state = with_full_disk(host, tmp_path, seconds=1)
    assert provider.halted.wait(20)


def test_a_full_disk_is_fetched_from_for_20_minutes_after_its_end(host, tmp_path):
    provider, state = with_full_disk(host, tmp_path, files={"job": "embedded", "spent": "3601", "deadline": "17"})
    end = time.monotonic() + 20
    while (left := float((state / "deadline").read_text() or 0) - time.time()) < 0 and time.monotonic() < end:
        provider.halted.wait(0.05)
    assert 1150 < left <= 1200 and not provider.halted.is_set()


def with_full_disk(host, tmp_path, files=None, **how):
    """No file can be made or made anew there; nothing can be said."""
    state = tmp_path / "host" / ".forge"
    state.mkdir(parents=True)
    (state / "guard.log").symlink_to("/dev/full")
    (tmp_path / "sitecustomize.py").write_text(FULL)
    return host(files={"guard.pid": "none", "contact": ""} | (files or {}), PYTHONPATH=str(tmp_path), **how)


@pytest.mark.parametrize("odd", [".forge", ".forge/guard.log/", ".forge/deadline/", ".forge/contact/"])
def test_what_lies_in_the_place_of_its_files_does_not_keep_it_from_stopping(host, tmp_path, odd):
    place = tmp_path / "host" / odd
    place.parent.mkdir(parents=True, exist_ok=True)
    place.mkdir() if odd.endswith("/") else place.write_text("")
    provider, _ = host(seconds=1)
    assert provider.halted.wait(20)


@pytest.fixture
def course(tmp_path):
    """`job.sh` on the host, and the command that speaks to its tmux."""
    if not shutil.which("tmux"):
        pytest.skip("not installed: tmux")
    job = Path(rent.HOST_SCRIPTS, "job.sh")
    (tmp_path / "host/forge_core/remote/host").mkdir(parents=True)
    shutil.copy(job, tmp_path / "host/forge_core/remote/host")
    (tmp_path / "host/.forge").mkdir()
    tmux = ["tmux", "-S", str(tmp_path / "host/.forge/tmux")]
    yield tmux
    subprocess.run([*tmux, "kill-server"], capture_output=True)


def test_how_the_course_ended_is_known_after_the_stop(host, course):
    """Else the next start, to fetch what is there, would begin the course again."""
    provider, state = host(files={"job": "embedded", "spent": "1", "status": "1"}, FORGE_IDLE="0.3")
    assert provider.halted.wait(20) and (state / "status").read_text() == "1"


def test_a_tmux_that_hangs_does_not_keep_it_from_stopping(host, course):
    subprocess.run([*course, "new-session", "-d", "-s", "course", "cat"], check=True)
    server = int(subprocess.check_output([*course, "display-message", "-p", "#{pid}"]))
    os.kill(server, signal.SIGSTOP)
    try:
        provider, _ = host(seconds=1, FORGE_SAVING="0.5")
        assert provider.halted.wait(20)
    finally:
        os.kill(server, signal.SIGCONT)
