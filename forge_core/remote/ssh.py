"""A rented host over ssh: one config file per rental, host key pinned after first contact, nothing forwarded.

The host is not trusted: what it says is bounded in length, and whatever of it is shown goes through `printable`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO

from forge_core import paths
from forge_core.remote.rental import Rental, home
from forge_core.text import printable

ALIAS = "vast"
IMAGE_PATH = 'export PATH="$PATH:/opt/conda/bin"'  # of PyTorch's images, which ssh sessions do not know
UNREACHED = 255  # ssh's status where the connection failed, as against the command
ANSWER = 4 << 20  # characters that a command on the host may answer
LINE = 4096  # characters shown as one line
CONFIG = """\
Host {alias}
  HostName {host}
  Port {port}
  User {user}
  HostKeyAlias {label}
  IdentityFile "{key}"
  IdentitiesOnly yes
  UserKnownHostsFile "{known}"
  StrictHostKeyChecking accept-new
  UpdateHostKeys no
  BatchMode yes
  ForwardAgent no
  ForwardX11 no
  ConnectTimeout 15
  ServerAliveInterval 10
  ServerAliveCountMax 3
  LogLevel ERROR
"""


class Unreachable(OSError):
    """No ssh connection, or it broke. What ran on the host under tmux goes on."""


def remote_folder() -> str:
    """Where the project lies on the host."""
    return os.environ.get("FORGE_REMOTE_DIR", "/workspace/churninator-forge")


def remote_user() -> str:
    """Who to be on the host."""
    return os.environ.get("FORGE_REMOTE_USER", "root")


def key() -> Path:
    """The private key for rented hosts alone, made on first use; it opens nothing else."""
    file = home() / "id_ed25519"
    if not file.exists():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "churninator-forge", "-f", str(file)]
        subprocess.run(command, check=True)
    return file


def config(rental: Rental, address: tuple[str, int]) -> Path:
    """Write the rental's ssh_config: `ssh -F FILE vast` gets there. A pinned host key outlives a change of address."""
    file = rental.folder / "ssh_config"
    values = {"host": address[0], "port": address[1], "user": remote_user(), "label": rental.label}
    own = {"key": key(), "known": rental.folder / "known_hosts"}
    own = {name: str(path).replace("%", "%%") for name, path in own.items()}  # ssh puts values for %h and the like
    file.write_text(CONFIG.format(alias=ALIAS, **own, **values))
    return file


class HostFailed(OSError):
    """A command on the host, or the sending or fetching of files, failed."""


class Host:
    """Commands on a host, in the project's folder there."""

    def __init__(self, config: Path):
        self.config = config

    def command(self, *arguments: str) -> list[str]:
        """An ssh command line with this host's options."""
        return ["ssh", "-F", str(self.config), *arguments]

    def run(self, script: str, stdin: str = "", timeout: float = 60, show: bool = False) -> str:
        """Run `script` by bash there; returns what it printed, or prints it where `show`.

        Raises:
            Unreachable: no connection, or it broke, or no end within `timeout` s.
            HostFailed: the script failed, with its last lines; or its answer is longer than ANSWER.
        """
        folder = shlex.quote(remote_folder())
        line = f"{IMAGE_PATH}; mkdir -p {folder} && cd {folder} && bash -c {shlex.quote(script)}"
        status, said, errors = _call(self.command(ALIAS, line), stdin, timeout, show)
        if status == UNREACHED:
            raise Unreachable(_why(errors))
        if status:
            tail = "\n".join((errors or said).splitlines()[-8:])
            raise HostFailed(f"on the host: status {status}\n{tail}")
        return said

    def script(self, name: str, *arguments: str, timeout: float = 60, show: bool = False) -> str:
        """Run one of `forge_core/remote/host/` there."""
        program = "python3" if name.endswith(".py") else "bash"
        words = [program, f"forge_core/remote/host/{name}", *arguments]
        return self.run(" ".join(map(shlex.quote, words)), timeout=timeout, show=show)

    def forward(self, port: int, there: int) -> None:
        """Lead 127.0.0.1:`port` to the host's own 127.0.0.1:`there`, until Ctrl-C. Raises Unreachable if that ends."""
        options = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{port}:127.0.0.1:{there}"]
        try:
            status, _, errors = _call(self.command(*options, ALIAS), "", None, False)
        except KeyboardInterrupt:
            return
        raise Unreachable(f"the tunnel ended (ssh status {status}: {errors}); the same command opens it again")

    def push(self, *extra: str) -> None:
        """Send the project's tree, and `extra` ignored folders. Raises HostFailed; nothing half-sent stays."""
        _sync("sync_to_vast.sh", self.config, extra)

    def pull(self, *wanted: str) -> None:
        """Fetch folders, named by this side: staged, verified by sha256, then moved in place.

        Raises HostFailed; what is here stays.
        """
        _sync("sync_from_vast.sh", self.config, wanted)


def _call(command: list[str], stdin: str, timeout: float | None, show: bool) -> tuple[int, str, str]:
    """Exit status and texts of stdout (nothing where it is shown) and stderr. Raises as `Host.run`."""
    pipe, said, errors = subprocess.PIPE, [], []
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, encoding="utf-8", errors="replace") as process:
        out = Thread(target=_print if show else _keep, args=(process.stdout, said))
        readers = [out, Thread(target=_keep, args=(process.stderr, errors))]
        try:
            for reader in readers:
                reader.start()
            with suppress(BrokenPipeError):
                process.stdin.write(stdin)
                process.stdin.close()
            process.wait(timeout)
        except BaseException as error:
            process.kill()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Unreachable(f"no answer from the host in {timeout:.0f} s") from None
            raise
        finally:
            for reader in readers:
                reader.join()
    if sum(map(len, said)) > ANSWER:
        raise HostFailed(f"the host's answer is longer than {ANSWER >> 20} MiB; not read")
    return process.returncode, "".join(said), "".join(errors).strip()


def _keep(stream: IO[str], kept: list[str]) -> None:
    """Read to the end; keep the beginning, as much as `_call` can tell from too much."""
    size = 0
    while part := stream.read(1 << 16):
        if size <= ANSWER:
            kept.append(part)
        size += len(part)


def _print(stream: IO[str], _: list[str]) -> None:
    while line := stream.readline(LINE):
        print(printable(line.rstrip("\n")), flush=True)


def _sync(script: str, config: Path, folders: tuple[str, ...]) -> None:
    done = subprocess.run(["bash", script, "-F", str(config), "--", ALIAS, *folders], cwd=paths.ROOT)
    if done.returncode:
        raise HostFailed(f"{script} ended with status {done.returncode}; its reason stands above")


def _why(errors: str) -> str:
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in errors or "Host key verification failed" in errors:
        return "the host shows another key than at first contact; another machine may answer for it: not connected"
    return f"no ssh connection: {errors.splitlines()[-1] if errors else 'closed'}"
