"""A rented machine for tests: a real sshd on a free port of 127.0.0.1, with a home folder of its own."""

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

_SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/client_key.pub
AuthenticationMethods publickey
PermitRootLogin prohibit-password
UsePAM no
StrictModes no
PermitUserRC no
PrintMotd no
MaxStartups 100
LogLevel VERBOSE
SetEnv HOME={home} PATH={home}/bin:{path}
ForceCommand cd "$HOME" && if [ -n "$SSH_ORIGINAL_COMMAND" ]; then exec sh -c "$SSH_ORIGINAL_COMMAND"; else exec sh; fi
"""
_CLIENT = """\
Host vast
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/client_key
  IdentitiesOnly yes
  BatchMode yes
  StrictHostKeyChecking accept-new
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
"""


def missing_programs() -> list[str]:
    """What the tests with a host need and this machine lacks."""
    return [name for name in ("sshd", "ssh", "ssh-keygen", "rsync", "git") if _program(name) is None]


class Loopback:
    """`ssh -F config vast` reaches it. Sessions start in `home`; programs in `home`/bin come before the machine's own.

    `log` is what sshd says. `stop` is a host that dies or a line that drops; `start` brings it back on the same port.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.home, self.port = folder, folder / "home", _free_port()
        self.key, self.config, self.log = folder / "client_key", folder / "ssh_config", folder / "sshd.log"
        (self.home / "bin").mkdir(parents=True)
        values = {"port": self.port, "folder": folder, "home": self.home, "user": getpass.getuser()}
        (folder / "sshd_config").write_text(_SERVER.format(**values, path=os.environ["PATH"]))
        self.config.write_text(_CLIENT.format(**values))
        _make_key(self.key)
        self.new_host_key()
        self._listener: subprocess.Popen | None = None

    def new_host_key(self) -> None:
        """Another identity, from the next `start` on: what a client must not accept."""
        _make_key(self.folder / "host_key")

    def start(self) -> None:
        if self._listener is not None:
            return
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd of root wants it
        with self.log.open("ab") as log:
            command = [_program("sshd"), "-D", "-e", "-f", str(self.folder / "sshd_config")]
            self._listener = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log)
        end = time.monotonic() + 10
        while not self._answers():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._listener.wait(0.02)
            if self._listener.returncode is not None or time.monotonic() > end:
                raise RuntimeError(f"sshd does not answer: {self.log.read_text()}")

    def stop(self) -> None:
        """Kill the listener, its sessions and what runs in them; what was detached from them (tmux) lives on."""
        if self._listener is None:
            return
        pids = [self._listener.pid, *_descendants(self._listener.pid)]
        self._kill(pids)
        self._listener.wait()
        self._listener = None

    def close(self) -> None:
        """`stop`, and kill what was detached too: every process whose HOME is this home."""
        self.stop()
        mark = f"\0HOME={self.home}\0".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in b"\0" + (folder / "environ").read_bytes():
                    self._kill([int(folder.name)])

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as line:
            return line.recv(4) == b"SSH-"
        return False

    @staticmethod
    def _kill(pids: list[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _program(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")  # sshd wants its full path


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _make_key(path: Path) -> None:
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True)


def _descendants(pid: int) -> list[int]:
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in listing.splitlines()]
    found = [pid]
    for parent in found:  # grows while it is walked
        found += [child for child, its_parent in pairs if its_parent == parent]
    return found[1:]
