"""A rented host that says and prints what it likes: nothing of it becomes a name, an option or an order here."""

import json
import shutil
import subprocess
import time

import pytest
from project import ROOT, SCRIPTS, files_in, sha256, write

from forge_core.remote import job
from forge_core.remote.rental import choose
from forge_core.remote.ssh import ANSWER, Host, HostFailed
from forge_core.remote.vast import VastError

pytestmark = pytest.mark.slow
REPORT = {"running": False, "status": 0, "log": "", "offset": 0, "gpus": [], "checkpoints": [], "guard": True}
REPORT |= {"deadline": 4e9, "disk_free_gib": 1.0}
CONFIG = "checkpoints/embedded/notes.txt"  # came with an ordinary pull
NAMES = [
    f"-F {CONFIG}",
    f"-F{CONFIG}",
    "forge_core",
    "forge_core/cli.py",
    ".git/hooks",
    "../laptop",
    "/etc",
    "--",
    "-F",
]
ORDERS = "\x1b[2J\x1b]0;owned\x07\x9b31m\rall is well\u202e"


@pytest.fixture
def host(project, loopback, account, forge, monkeypatch):
    """A rented host; `says` has it report REPORT with changes, or any text."""
    loopback.there = loopback.home / "forge"
    monkeypatch.setenv("FORGE_REMOTE_DIR", str(loopback.there))
    write(project, {name: (ROOT / name).read_bytes() for name in SCRIPTS} | {"forge_core/cli.py": "of here"})
    loopback.provider = account([{}], loopback)
    assert forge("up", "--profile", "embedded", "--yes")[0] == 0

    def says(answer: dict | str) -> None:
        text = answer if isinstance(answer, str) else json.dumps(REPORT | answer)
        write(loopback.there, {"forge_core/remote/host/report.py": f"print({text!r})"})

    loopback.says = says
    return loopback


@pytest.mark.parametrize("running", [True, False])
def test_no_name_of_a_host_is_fetched_or_read_as_an_option(host, project, forge, running):
    ran = project / "ran"
    write(project, {CONFIG: f"Host *\n  ProxyCommand touch '{ran}'\n"})
    write(host.there, {"checkpoints/embedded/a": "a", "runs/other/b": "b", "forge_core/cli.py": "of there"})
    write(host.home, {"bin/ls": "#!/bin/sh\nprintf '%s\\n' " + " ".join(f"'{name}'" for name in NAMES)})
    (host.home / "bin/ls").chmod(0o755)
    host.says({"running": running, "checkpoints": NAMES})
    forge("pull")
    if not running:
        job.watch(choose(), lambda line: None)
    (host.home / "bin/ls").write_text(f"#!/bin/sh\n{shutil.which('ls')} \"$@\"\nprintf '%s\\n' -F {CONFIG}\n")
    status, told = forge("pull")
    assert status == 0, told
    assert not ran.exists() and (project / "forge_core/cli.py").read_text() == "of here"
    assert files_in(project / "checkpoints") == {"embedded/a", "embedded/notes.txt"}
    assert not (project / "runs").exists() and not (project / ".git").exists()


@pytest.fixture
def connected(loopback, monkeypatch):
    """A host that `answer(name, text)` makes print any text for one of its scripts."""
    folder = loopback.home / "forge"
    monkeypatch.setenv("FORGE_REMOTE_DIR", str(folder))
    host = Host(loopback.config)

    def answer(name: str, text: str) -> None:
        write(folder, {f"forge_core/remote/host/{name}": f"cat <<'END'\n{text}\nEND" if name[-3:] == ".sh" else text})

    host.answer = answer
    return host


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("no report" + ORDERS, "report"),
        ("[]", "report"),
        ("{}", "running"),
        (json.dumps(REPORT | {"status": "0"}), "status"),
        (json.dumps(REPORT | {"offset": -1}), "offset"),
        (json.dumps(REPORT | {"checkpoints": [["a"]]}), "checkpoints.0"),
        (json.dumps(REPORT | {"deadline": float("nan")}), "deadline"),
    ],
)
def test_a_report_is_read_strictly(connected, answer, problem):
    connected.answer("report.py", f"print({answer!r})")
    with pytest.raises(HostFailed, match=rf"the host answers {problem} = "):
        job.report(connected, 0)


def test_an_answer_without_end_is_not_kept(connected):
    connected.answer("report.py", f"print('x' * {ANSWER + 1})")
    with pytest.raises(HostFailed, match="longer than 4 MiB"):
        job.report(connected, 0)


def test_what_is_shown_of_a_script_holds_no_orders(connected, capfd):
    connected.run(f"printf '%s' '{ORDERS}'", show=True)
    assert capfd.readouterr().out == "\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\nall is well\\u202e\n"


@pytest.mark.parametrize("answer", ["", "80 abc; rm -rf /", "1:127.0.0.1:22 " + "0" * 48, f"8888 {'0' * 48}{ORDERS}"])
def test_a_tunnel_is_made_to_a_port_and_a_token_alone(connected, answer, monkeypatch):
    connected.answer("lab.sh", answer)
    monkeypatch.setattr(job.rent, "reach", lambda rental: connected)
    with pytest.raises(HostFailed, match="should name JupyterLab's port and token"):
        job.tunnel(None, 8888)


def test_a_log_and_a_failure_are_shown_without_orders(host, forge):
    host.says(
        {"log": f"{ORDERS}\nstep {'9' * 5000}/1 {'9' * 5000} s left\n", "gpus": [f"1{ORDERS}, 2, 3, 4", "1", "a"]}
    )
    said = []
    assert job.watch(choose(), said.append) == 0
    assert "\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\rall is well\\u202e\nstep 999" in said[0]
    assert all(character.isprintable() or character == "\n" for line in said for character in line)
    write(host.there, {"forge_core/remote/host/report.py": f"import sys\nsys.exit({ORDERS!r})"})
    status, told = forge("pull")
    assert status == 2 and "on the host: status 1\n\\x1b[2J\\x1b]0;owned\\x07\\x9b31m" in told


def test_what_the_start_of_a_course_prints_holds_no_orders_and_a_missing_guard_is_said(host, project, forge):
    host.says({"guard": False})
    write(project, {"forge_core/remote/host/setup.sh": "true"})
    write(project, {"forge_core/remote/host/job.sh": f"printf '%s' '{ORDERS}'"})
    status, told = forge("run")
    assert status == 0 and "\\x1b[2J" in told and "no guard runs on the host" in told
    assert not set(ORDERS) - {"\n"} & {c for c in told if not c.isprintable() and c != "\n"}


@pytest.mark.parametrize("status", [1, 255])
def test_a_host_that_reports_nothing_is_stopped_at_the_deadline_too(host, monkeypatch, status):
    """255 is what ssh itself ends with where the line is broken."""
    write(host.there, {"forge_core/remote/host/report.py": f"import sys\nsys.exit({status})"})
    rental = choose()
    rental.deadline = time.time() - 2 * job.LATE
    with pytest.raises(VastError, match="is stopped by its guard or by you"):
        job.watch(rental, lambda line: None)
    assert host.provider.instances[9001]["intended_status"] == "stopped"


def test_checkpoints_that_a_host_has_lost_stay_here(host, project):
    checkpoint = "checkpoints/embedded/grounding/checkpoints/checkpoint-2"
    write(host.there, {f"{checkpoint}/trainer_state.json": "{}"})
    host.says({"running": True, "status": None, "checkpoints": [checkpoint]})
    looks = []

    def lose(line: str) -> None:
        if line.startswith("-- ") and (project / checkpoint).exists():
            looks.append(line)
            host.says({"running": len(looks) == 1, "checkpoints": []})

    assert job.watch(choose(), lose) == 0
    assert len(looks) == 3 and files_in(project / checkpoint) == {"trainer_state.json"}


def test_down_refuses_while_there_is_a_run_that_the_params_do_not_name_any_more(host, forge):
    host.says({})
    write(host.there, {"runs/embedded/x": "x", "runs/before/x": "x", "checkpoints/before/x": "x"})
    status, told = forge("down")
    assert status == 2 and "the host also has checkpoints/before, runs/before, which" in told
    assert list(host.provider.instances) == [9001]
    assert forge("down", "--force")[0] == 0 and not host.provider.instances


def test_what_a_new_host_goes_on_from_was_fetched_while_it_trained(host, project, monkeypatch):
    """A checkpoint is of use with the identity beside it: by that a new host knows it as one of the same training."""
    monkeypatch.setattr(job, "POLL", 0.01)
    folder, report = "checkpoints/embedded/grounding/checkpoints", "forge_core/remote/host/report.py"
    write(project, {f"{folder}/checkpoint-1/mine": "from another host"})
    write(host.there, {f"{folder}/identity.json": "{}", report: (ROOT / report).read_bytes()})
    tmux = ["tmux", "-S", str(host.there / ".forge" / "tmux")]
    subprocess.run([*tmux, "new-session", "-d", "-s", "course", "cat"], check=True)
    steps = iter((2, 4, 8, 10))

    def train(line: str) -> None:
        """A checkpoint a look; 2 is the best, so that it stays there beside the last."""
        if not line.startswith("-- "):
            return
        step = next(steps, None)
        if step is None:
            subprocess.run([*tmux, "kill-session", "-t", "course"])
            return
        write(host.there, {f"{folder}/checkpoint-{step}/trainer_state.json": str(step)})
        for old in (4, 8):
            if old < step:
                shutil.rmtree(host.there / folder / f"checkpoint-{old}", ignore_errors=True)

    assert job.watch(choose(), train) == 1
    assert files_in(project / folder) == {
        "identity.json",
        "checkpoint-1/mine",
        "checkpoint-2/trainer_state.json",
        "checkpoint-10/trainer_state.json",
    }
    assert sha256(project / folder / "identity.json") == sha256(host.there / folder / "identity.json")
