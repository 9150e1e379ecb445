"""The whole way on loopback: rent, send, set up, run, a dropped line, an outbid host, JupyterLab, fetch, give back.

Real are sshd, ssh, rsync, tmux, pip, papermill, JupyterLab and the vastai command; the provider's answers are made up.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from pathlib import Path
from threading import Event, Thread

import pytest
import small_profile
import yaml
from provider import ACCOUNT_KEY
from small_course import enter

from forge_core.data import disk
from forge_core.params import OPTIONAL
from forge_core.remote import job, rent, ssh
from forge_core.remote.rental import choose

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
SMALL = small_profile.SMALL | {"max_steps": 4, "save_steps": 2, "baselines": ["centre"]}
LONG = {"max_steps": 8}  # of stage 1, so that it is still at work when its first checkpoint is there
TOKEN = "hf_" + "Qw3rTz9uIoPa" * 3


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of this project with a profile that needs seconds."""
    if not shutil.which("tmux"):
        pytest.skip("not installed: tmux")
    root = tmp_path / "project"
    subprocess.run(["rsync", "-a", "--exclude=.git", "--filter=:- .gitignore", f"{ROOT}/", f"{root}/"], check=True)
    for file in (root / "params" / "embedded").glob("0*.yaml"):
        values = yaml.safe_load(file.read_text())
        small = {name: SMALL[name] for name in SMALL.keys() & values.keys()}
        file.write_text(yaml.safe_dump(values | small | (LONG if file.stem == "03_train_grounding" else {})))
    for name in OPTIONAL:
        (root / "params" / "embedded" / f"{name}.yaml").unlink()
    enter(root, monkeypatch)
    return root


@pytest.fixture
def host(loopback, monkeypatch):
    """A host whose image has the pinned packages: its environment sees those of this one."""
    folder = loopback.home / "forge"
    monkeypatch.setenv("FORGE_REMOTE_DIR", str(folder))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / ".venv"], check=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / ".venv" / "lib" / version / "site-packages"
    (packages / "image.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    loopback.project = folder
    return loopback


def digests(root: Path) -> dict[str, str]:
    files = [file for part in ("runs/embedded", "checkpoints/embedded") for file in (root / part).rglob("*")]
    return {
        file.relative_to(root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if file.is_file()
    }


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def opens(url: str) -> int:
    """The HTTP status, 0 where nobody listens."""
    try:
        return urllib.request.urlopen(url, timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def is_whole(file: Path) -> bool:
    try:
        return bool(json.loads(file.read_text()))
    except (OSError, ValueError):
        return False


def look_at_jupyter(checkout: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from forge_core.cli import app; app()", "vast", "tunnel", "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    tunnel = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=checkout)
    try:
        url = next(line.split()[0] for line in tunnel.stdout if "/lab?token=" in line)
        token = url.split("token=")[1]
        end = time.monotonic() + 60
        while not (status := opens(f"http://127.0.0.1:{port}/api/contents/notebooks?token={token}")):
            assert time.monotonic() < end and tunnel.poll() is None
        assert status == 200 and opens(f"http://127.0.0.1:{port}/api/contents/notebooks") == 403
    finally:
        tunnel.send_signal(signal.SIGINT)
        tunnel.wait(20)
        tunnel.stdout.close()


def test_from_nothing_to_verified_adapters_and_nothing_left_to_pay(checkout, host, account, forge, monkeypatch):
    provider = account([{"id": 1, "min_bid": 0.1}], host)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    status, said = forge("up", "--profile", "embedded", "--bid", 0.12, "--yes")
    assert status == 0, said
    status, said = forge("run")
    assert status == 0 and "the course has started (profile embedded)" in said, said
    keys = host.home / ".config" / "churninator-forge" / "keys.env"
    assert keys.read_text() == f"HF_TOKEN={TOKEN}\n" and keys.stat().st_mode & 0o777 == 0o600

    lines, story = [], []

    def outbid() -> None:
        """As soon as there is a checkpoint to go on from, whatever the log has shown by then."""
        saved = host.project / "checkpoints/embedded/grounding/checkpoints/checkpoint-2/trainer_state.json"
        while not is_whole(saved):
            Event().wait(0.05)
        story.append("outbid")
        provider.halt(9001, "running")

    def show(line: str) -> None:
        lines.append(line)
        if "01_explore_data: started" in line:
            story.append("the line drops")
            host.stop()
        elif "connection lost" in line and story == ["the line drops"]:
            story.append("it is back")
            host.start()
            Thread(target=outbid, daemon=True).start()
        elif "instance 9001: exited; waiting" in line:
            story.append("won back")
            provider.instances[9001]["statuses"] = iter(["loading", "running"])
            provider.boot(9001)

    monkeypatch.setattr(job, "POLL", 0.5)
    assert job.watch(choose(), show) == 0
    text = "\n".join(lines)
    assert story == ["the line drops", "it is back", "outbid", "won back"], text
    went_on = re.search(r"resuming from checkpoint-(\d+)", text)
    assert went_on and 2 <= int(went_on[1]) < 8 and "done: 3 run, 2 skipped" in text, text
    assert (checkout / "checkpoints/embedded/reasoning/final/adapter_model.safetensors").is_file()  # before any pull

    look_at_jupyter(checkout)
    there = digests(host.project)
    status, said = forge("down")
    assert status == 0 and "instance 9001 is gone" in said, said
    assert provider.instances == {}
    assert digests(checkout).items() >= there.items() and len(there) > 50  # and checkpoints that had their day there
    assert all(TOKEN.encode() not in file.read_bytes() for file in checkout.rglob("*") if file.is_file())
    account_key = ACCOUNT_KEY.encode()
    assert all(account_key not in file.read_bytes() for file in host.home.rglob("*") if file.is_file())
    assert "guard" not in (host.project / ".forge" / "guard.log").read_text()


def test_down_refuses_while_the_course_runs_or_the_host_is_dead(checkout, host, account, forge, monkeypatch):
    provider = account([{"dph_total": 0.15}], host)
    assert forge("up", "--profile", "embedded", "--yes")[0] == 0
    (host.project / ".venv/bin/forge").write_text("#!/bin/bash\nread -r < /dev/zero\n")  # a course that takes long
    (host.project / ".venv/bin/forge").chmod(0o755)
    ssh.Host(choose().folder / "ssh_config").push()
    ssh.Host(choose().folder / "ssh_config").script("job.sh", "start", "embedded")
    status, said = forge("down")
    assert status == 2 and "the course still runs there" in said and 9001 in provider.instances
    status, said = forge("pull")
    assert status == 2 and "has saved no checkpoint yet" in said
    final = host.project / "checkpoints/embedded/grounding/final"
    final.mkdir(parents=True)
    (final / "forge.json").write_text("{}")
    assert forge("pull")[0] == 0 and (checkout / "checkpoints/embedded/grounding/final/forge.json").is_file()
    host.stop()
    monkeypatch.setattr(rent, "LOADING", 1.0)
    status, said = forge("down")
    assert status == 2 and "nothing was destroyed, and it is billed on" in said and 9001 in provider.instances
    assert forge("down", "--force")[0] == 0 and provider.instances == {}


def test_the_host_stops_itself_at_the_deadline_by_its_own_key(project, host, account, forge):
    provider = account([{}], host)
    provider.environment = {"FORGE_GUARD_SECONDS": "0.1"}
    rental = rent.up("embedded", lambda text: True)
    provider.onstart[0].wait(20)
    deadline = host.project / ".forge" / "deadline"
    assert float(deadline.read_text()) == pytest.approx(rental.deadline, abs=1)
    deadline.write_text("1")
    assert provider.halted.wait(30) and provider.instances[9001]["intended_status"] == "stopped"
    keys = {key for method, path, _, key in provider.requests if (method, path) == ("PUT", "/api/v0/instances/9001/")}
    assert keys == {"instance-key-9001"}
    assert f"${disk.gb('embedded') * 0.2 / 730:.3f}/h" in forge("status")[1]  # $0.2 a GB and month
    # started again after its end, to fetch what is there, it stays for 20 minutes
    row = provider.instances[9001]
    row["onstart"] = row["onstart"].replace(f"FORGE_DEADLINE={rental.deadline:.0f}", "FORGE_DEADLINE=1")
    rent.vast.start(9001)
    rent.reach(rental)
    provider.onstart[1].wait(20)
    left = float(deadline.read_text()) - time.time()
    assert 1000 < left <= 1200


def test_the_host_stops_itself_when_the_course_has_ended_and_nobody_asks(project, host, account):
    provider = account([{}], host)
    provider.environment = {"FORGE_GUARD_SECONDS": "0.1", "FORGE_IDLE": "2"}
    rent.up("embedded", lambda text: True)
    provider.onstart[0].wait(20)
    contact = host.project / ".forge" / "contact"
    for name in ("status", "job"):
        contact.with_name(name).write_text("0")
    assert provider.halted.wait(30) and provider.instances[9001]["intended_status"] == "stopped"
    rent.vast.start(9001)  # to fetch what is there: the time begins anew
    provider.onstart[1].wait(20)
    assert time.time() - contact.stat().st_mtime < 60


def test_what_was_never_used_is_given_back_without_force(project, host, account, forge):
    provider = account([{}], host)
    assert forge("up", "--profile", "embedded", "--yes")[0] == 0
    status, said = forge("down")
    assert status == 0 and "nothing was sent there" in said and provider.instances == {}


def test_another_host_key_than_at_first_contact_is_not_connected_to(project, host, account, forge, monkeypatch):
    account([{}], host)
    assert forge("up", "--profile", "embedded", "--yes")[0] == 0
    host.stop()
    host.new_host_key()
    host.start()
    monkeypatch.setattr(rent, "LOADING", 1.0)
    status, said = forge("pull")
    assert status == 2 and "the host shows another key than at first contact" in said
