"""The guard of a rented host: ends what the host costs. Runs at every start of the container, with nobody there.

It stops the instance, with the key that Vast gives each instance for itself alone, as soon as one of these is due:
the deadline, by the clock; as many seconds of running as lay between rental and deadline, by a monotonic clock and over
all starts; half an hour in which a course that was started does not run, and nobody asks for anything. A value that it
needs and that is missing or odd counts as due. The disk, and what is on it, stays. Started again after its end, to
fetch what is there, it stays for 20 minutes.

`onstart.sh` carries it to the host without this text, so: standard library, Python 3.9, and few characters.
"""

import contextlib
import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

FOLDER = Path(os.environ["FORGE_FOLDER"])
STATE, JOB = FOLDER / ".forge", FOLDER / "forge_core/remote/host/job.sh"
TICK = float(os.environ.get("FORGE_GUARD_SECONDS", 20))
IDLE = float(os.environ.get("FORGE_IDLE", 1800))
LATE, SAVING = 1200, float(os.environ.get("FORGE_SAVING", 200))


def number(name):
    """0, which is long ago, if it is missing or odd."""
    try:
        text = (STATE / name).read_text().strip()
        return float(text) if text.isascii() and text.isdigit() else 0
    except (OSError, ValueError):
        return 0


def put(name, value):
    """In place, as a full disk has room for that; where it has none, that must not end the guard."""
    with contextlib.suppress(OSError), open(os.open(STATE / name, os.O_WRONLY | os.O_CREAT, 0o644), "w") as file:
        file.write(f"{int(value):012}")


def asked():
    with contextlib.suppress(OSError):
        return (STATE / "contact").stat().st_mtime_ns


def works():
    """A course runs, or none was started."""
    session = ["tmux", "-S", str(STATE / "tmux"), "has-session", "-t", "course"]
    return not (STATE / "job").exists() or not subprocess.run(session, capture_output=True, timeout=60).returncode


def wait(spent, allowed):
    """Until it is time to stop; `spent` and `allowed` are seconds of running."""
    start, busy, last = time.monotonic() - spent, time.monotonic(), asked()
    while True:
        now = time.monotonic()
        put("spent", now - start + 1)
        if time.time() >= number("deadline"):
            return "deadline"
        if now - start >= allowed:
            return f"ran for {allowed:.0f} s"
        if works() or asked() != last:
            busy, last = now, asked()
        if now - busy >= IDLE:
            return "idle"
        time.sleep(TICK)


def stop():
    url = os.environ.get("VAST_URL", "https://console.vast.ai")
    url += f"/api/v0/instances/{os.environ['CONTAINER_ID']}/"
    headers = {"Authorization": f"Bearer {os.environ['CONTAINER_API_KEY']}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps({"state": "stopped"}).encode(), headers, method="PUT")
    return urllib.request.urlopen(request, timeout=30).read(500)


def say(what):
    with contextlib.suppress(OSError):
        print(time.strftime("%FT%TZ guard:", time.gmtime()), what, flush=True)


def guard():
    first = not any((STATE / name).exists() for name in ("spent", "job"))
    deadline, allowed = (float(os.environ[f"FORGE_{name}"]) for name in ("DEADLINE", "SECONDS"))
    spent = 0 if first else number("spent") or allowed
    late = time.time() >= deadline or spent >= allowed
    if late:
        deadline, allowed = time.time() + LATE, spent + LATE
    put("deadline", deadline)
    put("guard.pid", os.getpid())
    (STATE / "contact").touch()  # somebody started it
    if not late and (STATE / "job").exists() and not (STATE / "status").exists():
        subprocess.run(["bash", JOB, "resume"], timeout=SAVING)
    return wait(spent, allowed)


def main():
    try:
        say(guard())
    except Exception as error:  # fails towards the end of billing
        say(repr(error))
    try:
        if JOB.exists():
            subprocess.run(["bash", JOB, "stop"], timeout=SAVING)  # saves a checkpoint
    except Exception as error:
        say(repr(error))
    while True:  # it ends with the instance
        try:
            say(stop())
        except Exception as error:
            say(error)
        time.sleep(TICK)


main()
