"""The host, the account and the command line of the tests of the remote part."""

import getpass
import os
import shutil
from pathlib import Path

import pytest
import warm_vastai
import yaml
from loopback import Loopback, missing_programs
from provider import ACCOUNT_KEY, Provider
from small_course import enter
from typer.testing import CliRunner

from forge_core import paths
from forge_core.cli import app
from forge_core.remote import billed, job, rent, vast


@pytest.fixture
def loopback(tmp_path_factory):
    if missing := missing_programs():
        pytest.skip(f"not installed: {', '.join(missing)}")
    host = Loopback(tmp_path_factory.mktemp("host"))
    try:
        host.start()
        yield host
    finally:
        host.close()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with the embedded profile, whose minutes make half an hour, and a home folder without keys."""
    root = tmp_path / "project"
    shutil.copytree(paths.ROOT / "params" / "embedded", root / "params" / "embedded")
    shutil.copytree(paths.ROOT / "notebooks", root / "notebooks")
    file = root / "params" / "embedded" / "profile.yaml"
    profile = yaml.safe_load(file.read_text())
    profile["rent"] |= {"max_usd_per_hour": 0.5}
    profile["minutes"] = dict.fromkeys(profile["minutes"], 6.0)
    file.write_text(yaml.safe_dump(profile))
    enter(root, monkeypatch)
    return root


@pytest.fixture(scope="session")
def warm_program(tmp_path_factory):
    """The path of a `vastai` that starts quickly."""
    python = Path(__file__).resolve().parents[2] / ".venv-vast" / "bin" / "python"
    if not python.with_name("vastai").is_file():
        pytest.skip("vastai is not here: make vast")
    server, program = warm_vastai.start(python, tmp_path_factory.mktemp("vastai"))
    yield program
    server.kill()
    server.communicate()


@pytest.fixture
def vastai(warm_program, monkeypatch, tmp_path):
    """The real vastai command, for an account that `provider` has; no pauses between questions."""
    home = tmp_path / "laptop"
    home.mkdir()
    monkeypatch.setenv("PATH", f"{warm_program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("VAST_API_KEY", ACCOUNT_KEY)
    monkeypatch.setenv("FORGE_REMOTE_USER", getpass.getuser())
    for name in ("HF_TOKEN", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(vast, "PAUSE", 0.01)
    monkeypatch.setattr(vast, "TRIES", 2)
    monkeypatch.setattr(billed, "ENDING", 2)
    monkeypatch.setattr(billed, "POLL", 0.05)
    monkeypatch.setattr(rent, "POLL", 0.05)
    monkeypatch.setattr(job, "POLL", 0.05)


@pytest.fixture
def account(vastai, monkeypatch):
    """Starts a provider with these offers and this host; the command line talks to it."""
    started = []

    def open_account(offers, host=None):
        provider = Provider(offers, host)
        monkeypatch.setenv("VAST_URL", provider.url)
        started.append(provider)
        return provider

    yield open_account
    for provider in started:
        provider.close()


@pytest.fixture
def forge():
    """Runs `forge vast ...`; gives (exit status, all that was said)."""

    def call(*arguments, answer=""):
        result = CliRunner().invoke(app, ["vast", *map(str, arguments)], input=answer)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    return call
