"""A small project with the two scripts of this one, and how tests call them."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("__init__.py", "leaks.py", "staging.py", "sync.sh")
SCRIPTS = ("sync_to_vast.sh", "sync_from_vast.sh", ".gitignore", "pyproject.toml")
SCRIPTS += tuple(f"forge_core/remote/{name}" for name in PARTS)
HF_TOKEN = "hf_" + "aB3" * 12  # in parts, so that no file of this project looks like a leak


class Project:
    """`folder` is the project here, `there` its folder on the host."""

    def __init__(self, folder: Path, loopback) -> None:
        self.folder, self.host, self.there = folder, loopback, loopback.home / "workspace" / "forge"
        (folder / "forge_core" / "remote").mkdir(parents=True)
        for name in SCRIPTS:
            shutil.copy(ROOT / name, folder / name)

    def push(self, *arguments, **options) -> subprocess.CompletedProcess:
        return self.call("sync_to_vast.sh", "-F", self.host.config, "vast", *arguments, **options)

    def pull(self, *arguments, **options) -> subprocess.CompletedProcess:
        return self.call("sync_from_vast.sh", "-F", self.host.config, "vast", *arguments, **options)

    def call(self, *command, **environment) -> subprocess.CompletedProcess:
        return subprocess.run(**self.command(*command, **environment), capture_output=True, text=True, timeout=60)

    def command(self, script, *arguments, **environment) -> dict:
        """What `subprocess` needs to call it, with a home that has no secrets."""
        home = self.folder.parent / "laptop"
        home.mkdir(exist_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        environment = kept | {"HOME": str(home), "FORGE_REMOTE_DIR": str(self.there)} | environment
        return {"args": [self.folder / script, *arguments], "env": environment, "cwd": self.folder.parent}


def write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
