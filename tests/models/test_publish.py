"""`forge push`, against a hub on this machine that answers as the real one does."""

import hashlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.utils import _http
from typer.testing import CliRunner
from upload_server import LARGE, OWNER, READER, TOKEN, Repository, UploadServer

from forge_core.cli import app

REPO = f"{OWNER}/churninator"


def run(*arguments, answer=None):
    return CliRunner().invoke(app, [*map(str, arguments)], input=answer)


KEY = "0123456789abcdef" * 2 + "01234567"  # as long as a W&B key, and as a commit
WEIGHTS = bytes(range(256)) * 40
HEADER = json.dumps({"__metadata__": {"note": "hf_" + "aB3" * 11}}).encode()
SAFETENSORS = len(HEADER).to_bytes(8, "little") + HEADER + WEIGHTS
FILES = {
    "README.md": b"---\nlibrary_name: transformers\n---\n",
    "model.safetensors": WEIGHTS,
    "model-[2].safetensors": WEIGHTS[::-1],
    "forge.json": json.dumps({"base_revision": KEY, "wandb": False}).encode(),
    "sub/empty.txt": b"",
}


@pytest.fixture
def folder(tmp_path):
    for name, data in FILES.items():
        path = tmp_path / "final" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "final"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub, and a client that knows its owner's token and asks without waiting between attempts."""
    server = UploadServer()
    server.xet_store = str(tmp_path / "store")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=lambda seconds: None))
    close_session()
    yield server
    close_session()
    server.shutdown()
    server.server_close()


def push_alone(hub, folder, **extra):
    """The command as a program of its own, which finds the hub by HF_ENDPOINT."""
    home = {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder.parent / "home"), "HF_HUB_OFFLINE": "0"}
    code = f"from forge_core.cli import app; app({['push', str(folder), REPO, '--yes']!r})"
    return subprocess.run([sys.executable, "-c", code], env=os.environ | home | extra, capture_output=True, text=True)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_the_bytes_that_arrive_are_the_folders(hub, folder):
    done = push_alone(hub, folder, HF_HUB_DISABLE_XET="1")
    assert done.returncode == 0, done.stderr
    assert hub.repositories[REPO].files == FILES and hub.repositories[REPO].private
    assert hub.tokens == []  # the storage is somebody else
    assert TOKEN not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{hub.url}/{REPO}/commit/{1:040}"


def test_large_files_go_by_xet_where_hf_xet_is_installed(hub, folder):
    pytest.importorskip("hf_xet")
    done = push_alone(hub, folder, HF_HUB_DISABLE_XET="0")
    assert done.returncode == 0, done.stderr
    small = {name: data for name, data in FILES.items() if len(data) < LARGE}
    large = {name: sha256(data) for name, data in FILES.items() if len(data) >= LARGE}
    assert (hub.repositories[REPO].files, hub.repositories[REPO].hashes) == (small, large)
    assert list((folder.parent / "store").rglob("*"))


def test_what_goes_where_is_shown_and_asked_first(hub, folder):
    done = run("push", folder, REPO, answer="n\n")
    assert done.exit_code == 1 and hub.requests == []
    assert done.stdout.splitlines()[:7] == [
        f"{len(FILES['README.md']):>15}  README.md",
        f"{len(FILES['forge.json']):>15}  forge.json",
        "         10,240  model-[2].safetensors",
        "         10,240  model.safetensors",
        "              0  sub/empty.txt",
        f"{sum(map(len, FILES.values())):>15,}  bytes (0.0 MiB) in 5 files of {folder}",
        f"to {hub.url}/{REPO}, private",
    ]
    assert run("push", folder, REPO).exit_code == 1 and hub.requests == []  # nobody to ask
    done = run("push", folder, REPO, "--public", answer="y\n")
    assert done.exit_code == 0 and f"to {hub.url}/{REPO}, PUBLIC\n" in done.stdout
    assert hub.repositories[REPO].files == FILES and not hub.repositories[REPO].private


def test_what_git_and_the_hub_keep_in_the_folder_stays_here(hub, folder):
    for name in (".git/config", ".cache/huggingface/model.safetensors.lock"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(TOKEN)
    assert run("push", folder, REPO, "--yes").exit_code == 0
    assert hub.repositories[REPO].files == FILES


@pytest.mark.parametrize(
    ("name", "data", "removed"),
    [
        (".env", b"A=b", ".env (by its name a secret)"),
        ("keys/server.PEM", b"", "keys/server.PEM (by its name a secret)"),
        ("id_rsa", b"", "id_rsa (by its name a secret)"),
        (".netrc", b"", ".netrc (by its name a secret)"),
        ("training_args.bin", b"", "training_args.bin (may be a pickle; weights go as safetensors)"),
        ("sub/optimizer.pt", b"", "sub/optimizer.pt (may be a pickle; weights go as safetensors)"),
        ("rows.pkl", b"", "rows.pkl (may be a pickle; weights go as safetensors)"),
        ("log.txt", b"\nlogin with hf_" + b"aB3" * 11, "log.txt:2 (Hugging Face token)"),
        ("run.sh", f"export WANDB_API_KEY={KEY}".encode(), "run.sh:1 (W&B key)"),
        ("settings.json", json.dumps({"wandb_api_key": KEY}).encode(), "settings.json:1 (W&B key)"),
        ("notes", f"machine api.wandb.ai\n  login user\n  password {KEY}\n".encode(), "notes:3 (W&B key)"),
        ("new.txt", b"wandb_v1_" + b"Ab3_" * 20, "new.txt:1 (W&B key)"),
        ("ours.txt", b"the key of this machine: short-but-ours", "ours.txt:1 (value of WANDB_API_KEY)"),
        ("x.txt", b"-----BEGIN OPENSSH " + b"PRIVATE KEY-----\n" + b"aB3" * 11, "x.txt:2 (private key)"),
        ("x.safetensors", SAFETENSORS, "x.safetensors:1 (Hugging Face token)"),
        ("sub/hf_" + "aB3" * 11 + ".json", b"", "sub/*** (Hugging Face token in a name)"),
        ("a\x1b[2J\n.pt", b"", r"a\x1b[2J\n.pt (may be a pickle; weights go as safetensors)"),
    ],
)
def test_secrets_and_pickles_are_refused(hub, folder, monkeypatch, name, data, removed):
    monkeypatch.setenv("WANDB_API_KEY", "short-but-ours")
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(data)
    done = run("push", folder, REPO, "--yes")
    assert done.exit_code == 2 and done.stdout == "" and hub.requests == []
    assert done.stderr == f"{folder}: nothing is sent; remove {removed}\n"


@pytest.mark.parametrize("name", ["model.safetensors", "sub", "nothing"])
def test_a_link_is_refused_by_its_name(hub, folder, tmp_path, name):
    (tmp_path / "outside" / "sub").mkdir(parents=True)
    for file in ("model.safetensors", "sub/x.txt"):
        (tmp_path / "outside" / file).write_text("private")
    (folder / "link.json").symlink_to(tmp_path / "outside" / name)
    done = run("push", folder, REPO, "--yes")
    assert done.exit_code == 2 and done.stdout == "" and hub.requests == []
    assert done.stderr == f"{folder}: nothing is sent; remove link.json (a link; what it leads to is not sent)\n"


@pytest.mark.parametrize(
    ("token", "repo", "message"),
    [
        ("", REPO, "no token; set HF_TOKEN to one that may write, or run `hf auth login`"),
        ("hf_notTheRightOneAtAll0000000", REPO, "the hub does not take the token; set HF_TOKEN to a valid one"),
        ("hf_line\u2026", REPO, "HF_TOKEN has characters that no token has"),
        (READER, REPO, "the hub refuses: You don't have the rights to create a model there; take a token that may"),
        (TOKEN, "else/where", "else/where: the hub refuses: You don't have the rights"),
        (TOKEN, "churninator", "'churninator': name the owner too, as in OWNER/churninator"),
        (TOKEN, "a/b/c", "Repo id must be in the form"),
        (TOKEN, "some body/x", "Repo id must use alphanumeric chars"),
    ],
)
def test_who_may_not_write_where(hub, folder, monkeypatch, token, repo, message):
    monkeypatch.setenv("HF_TOKEN", token)
    done = run("push", folder, repo, "--yes")
    assert done.exit_code == 2 and message in done.stderr and done.stderr.count("\n") == 1
    assert not token or token[3:] not in done.output
    assert hub.repositories == {}


def test_a_reader_is_refused_by_a_repository_that_is_there(hub, folder, monkeypatch):
    hub.repositories[REPO] = Repository(private=True)
    monkeypatch.setenv("HF_TOKEN", READER)
    done = run("push", folder, REPO, "--yes")
    assert done.exit_code == 2
    assert f"{REPO}: the hub refuses: Forbidden: pass a token with write access; take a token that may" in done.stderr


@pytest.mark.parametrize(("private", "option"), [(True, "--public"), (False, "--private")])
def test_a_repository_that_others_see_than_was_said_gets_nothing(hub, folder, private, option):
    hub.repositories[REPO] = Repository(private)
    done = run("push", folder, REPO, "--yes", option)
    there = "private" if private else "public"
    assert done.exit_code == 2
    assert done.stderr == f"{REPO}: it is there already and {there}; add --{there}, or change it on its settings page\n"
    assert hub.repositories[REPO].files == {} and hub.stored == {}


@pytest.mark.parametrize(
    ("where", "status", "message"),
    [
        ("/repos/create", 500, "the hub answered with status 500"),
        ("/validate-yaml", 400, f"{REPO}: Invalid metadata in README.md. - told by the hub"),
        ("/commit/", 403, "the hub refuses: told by the hub; take a token that may write there"),
        ("/storage/", 400, "the hub answered with status 400"),
    ],
)
def test_what_the_hub_refuses_is_one_line(hub, folder, where, status, message):
    hub.status[where] = (status, "told by the hub")
    done = run("push", folder, REPO, "--yes")
    assert done.exit_code == 2 and message in done.stderr.splitlines()[-1]
    assert all(repository.files == {} for repository in hub.repositories.values())


@pytest.mark.parametrize("where", ["/repos/create", "/preupload/", "/objects/batch", "/storage/", "/commit/"])
def test_a_connection_that_stays_broken_is_one_line_and_the_next_run_completes(hub, folder, where):
    hub.broken[where] = 100
    done = run("push", folder, REPO, "--yes")
    assert done.exit_code == 2 and f"{REPO}@main: the connection broke (" in done.stderr.splitlines()[-1]
    hub.broken.clear()
    assert run("push", folder, REPO, "--yes").exit_code == 0
    assert hub.repositories[REPO].files == FILES


def test_an_upload_that_breaks_off_once_is_sent_again(hub, folder):
    hub.broken["/storage/"] = 1
    assert run("push", folder, REPO, "--yes").exit_code == 0
    assert hub.repositories[REPO].files == FILES and hub.broken["/storage/"] == 0


def test_what_is_no_folder_or_empty(hub, tmp_path):
    assert run("push", tmp_path / "none", REPO, "--yes").stderr == f"{tmp_path / 'none'} is no folder\n"
    (tmp_path / "empty").mkdir()
    assert "nothing is sent; it is empty" in run("push", tmp_path / "empty", REPO, "--yes").stderr
