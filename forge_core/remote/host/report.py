"""What a rented host is doing, as one JSON object; the standard library alone, as it is asked every few seconds.

python3 forge_core/remote/host/report.py OFFSET: `log` is what the course printed from byte OFFSET of its log on.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
STATE = ROOT / ".forge"
AT_MOST = 200_000  # bytes of log in one answer


def number(name, missing):
    """What a file of one number says; -1 where that is odd."""
    file = STATE / name
    text = file.read_text().strip() if file.is_file() else ""
    return int(text) if text.isdigit() else -1 if text else missing


def lines(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def log(offset):
    """(text, next offset), cut at the end of a line."""
    file = STATE / "job.log"
    if not file.is_file():
        return "", 0
    with file.open("rb") as stream:
        stream.seek(offset)
        part = stream.read(AT_MOST)
    part = part[: part.rfind(b"\n") + 1]
    return part.decode(errors="replace"), offset + len(part)


def alive(pid):
    return pid > 0 and Path(f"/proc/{pid}").exists()


def in_tmux(session):
    try:
        command = ["tmux", "-S", str(STATE / "tmux"), "has-session", "-t", session]
        return subprocess.run(command, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def checkpoints():
    """Complete ones below checkpoints/: the last file of each kind is there."""
    found = list(ROOT.glob("checkpoints/*/*/checkpoints/checkpoint-*/trainer_state.json"))
    found += ROOT.glob("checkpoints/*/*/final/forge.json")
    return [file.parent.relative_to(ROOT).as_posix() for file in found]


def main():
    STATE.mkdir(exist_ok=True)
    (STATE / "contact").touch()
    query = "--query-gpu=utilization.gpu,memory.used,memory.total,temperature.gpu"
    part, offset = log(int(sys.argv[1]))
    report = {
        "running": in_tmux("course"),
        "status": number("status", None),
        "log": part,
        "offset": offset,
        "gpus": lines("nvidia-smi", query, "--format=csv,noheader,nounits"),
        "checkpoints": checkpoints(),
        "guard": alive(number("guard.pid", 0)),
        "deadline": float(number("deadline", 0)),
        "disk_free_gib": shutil.disk_usage(ROOT).free / 2**30,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
