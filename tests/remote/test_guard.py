"""The guard that goes to a host with the rental: what ends the billing, whatever clock and files say."""

import contextlib
import os
import signal
import subprocess
import time

import pytest

from forge_core.remote import rent
from forge_core.remote.rental import new

ROW = {"id": 9001, "key": "instance-key-9001", "intended_status": "running", "actual_status": "running"}
BEHIND = "import time\nright = time.time\ntime.time = lambda: right() - 10 * 3600\n"


@pytest.fixture
def host(project, account, tmp_path, monkeypatch):
    """Starts the guard of a rental of `seconds` on a host with these state files; gives (provider, state folder)."""
    folder = tmp_path / "host"
    state = folder / ".forge"
    monkeypatch.setenv("FORGE_REMOTE_DIR", str(folder))
    provider = account([])
    provider.instances[9001] = dict(ROW)
    started = []

    def start(seconds=3600.0, files=None, **environment):
        state.mkdir(parents=True, exist_ok=True)
        for name, content in (files or {}).items():
            (state / name).write_text(content)
        own = {"VAST_URL": provider.url, "CONTAINER_ID": "9001", "CONTAINER_API_KEY": ROW["key"]}
        own |= {"FORGE_GUARD_SECONDS": "0.05", "PATH": os.environ["PATH"]} | environment
        rental = new("embedded", "RTX 4090", 0.4, False, seconds / 3600)
        done = subprocess.run(["bash", "-c", rent.onstart(rental)], env=own, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        started.append(state)
        return provider, state

    yield start
    for each in started:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((each / "guard.pid").read_text()), signal.SIGKILL)


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
