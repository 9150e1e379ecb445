"""A rented host over ssh: one config file per rental, host key pinned after first contact, nothing forwarded."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from forge_core import paths
from forge_core.remote.rental import Rental, home

ALIAS = "vast"
IMAGE_PATH = 'export PATH="$PATH:/opt/conda/bin"'  # of PyTorch's images, which ssh sessions do not know
UNREACHED = 255  # ssh's status where the connection failed, as against the command
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
    user = os.environ.get("FORGE_REMOTE_USER", "root")
    values = {"host": address[0], "port": address[1], "user": user, "label": rental.label}
    known = rental.folder / "known_hosts"
    file.write_text(CONFIG.format(alias=ALIAS, key=key(), known=known, **values))
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

    def run(self, script: str, stdin: str | bytes = "", timeout: float = 60, show: bool = False) -> str:
        """Run `script` by bash there; returns what it printed, or lets it through to the screen where `show`.

        Raises:
            Unreachable: no connection, or it broke, or no end within `timeout` s.
            HostFailed: the script failed; with its last lines.
        """
        folder = shlex.quote(remote_folder())
        line = f"{IMAGE_PATH}; mkdir -p {folder} && cd {folder} && bash -c {shlex.quote(script)}"
        data = stdin.encode() if isinstance(stdin, str) else stdin
        output = None if show else subprocess.PIPE
        try:
            done = subprocess.run(
                self.command(ALIAS, line), input=data, stdout=output, stderr=subprocess.PIPE, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(f"no answer from the host in {timeout:.0f} s") from None
        errors = done.stderr.decode(errors="replace").strip()
        if done.returncode == UNREACHED:
            raise Unreachable(_why(errors))
        if done.returncode:
            tail = "\n".join((errors or (done.stdout or b"").decode(errors="replace")).splitlines()[-8:])
            raise HostFailed(f"on the host: status {done.returncode}\n{tail}")
        return (done.stdout or b"").decode(errors="replace")

    def script(self, name: str, *arguments: str, timeout: float = 60, show: bool = False) -> str:
        """Run one of `forge_core/remote/host/` there."""
        program = "python3" if name.endswith(".py") else "bash"
        words = [program, f"forge_core/remote/host/{name}", *arguments]
        return self.run(" ".join(map(shlex.quote, words)), timeout=timeout, show=show)

    def push(self, *extra: str) -> None:
        """Send the project's tree, and `extra` ignored folders. Raises HostFailed; nothing half-sent stays."""
        _sync("sync_to_vast.sh", self.config, extra)

    def pull(self, *wanted: str) -> None:
        """Fetch folders: staged, verified by sha256, then moved in place. Raises HostFailed; what is here stays."""
        _sync("sync_from_vast.sh", self.config, wanted)


def _sync(script: str, config: Path, folders: tuple[str, ...]) -> None:
    done = subprocess.run(["bash", script, "-F", str(config), ALIAS, *folders], cwd=paths.ROOT)
    if done.returncode:
        raise HostFailed(f"{script} ended with status {done.returncode}; its reason stands above")


def _why(errors: str) -> str:
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in errors or "Host key verification failed" in errors:
        return "the host shows another key than at first contact; another machine may answer for it: not connected"
    return f"no ssh connection: {errors.splitlines()[-1] if errors else 'closed'}"
