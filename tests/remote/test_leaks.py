"""Tokens are found by shape and by value, and what merely looks random is not."""

import ast
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from project import HF_TOKEN, ROOT, write

from forge_core.remote import leaks
from forge_core.remote.leaks import BLOCK, Leak, find

SCANNER = [sys.executable, "-I", str(ROOT / "forge_core/remote/leaks.py")]
# in parts, so that no file of this project looks like a leak
HEX40, HEX48, HEX64 = ("0123456789abcdef" * 4)[:40], ("0123456789abcdef" * 4)[:48], "0123456789abcdef" * 4
MIXED = "aB3dE6gH9kL2mN5pQ8sT1vW4yZ7aB3dE6gH9kL2m"
SHAPES = [
    ("Hugging Face token", f'login(token="{HF_TOKEN}")'),
    ("W&B key", f"export WANDB_API_KEY={HEX40}"),
    ("W&B key", f'wandb.login(key="{HEX40}")'),
    ("W&B key", f"wandb login {HEX40}"),
    ("W&B key", "wandb_" + f"v1_{MIXED}"),
    ("Vast.ai key", f"VAST_API_KEY: '{HEX64}'"),
    ("Vast.ai key", f"vastai set api-key {HEX64}"),
    ("Vast.ai key", f"https://host/api/v0/instances?api_key={HEX64}"),
    ("GitHub token", "ghp" + f"_{MIXED[:36]}"),
    ("GitHub token", "github_" + f"pat_{MIXED}_{MIXED}"),
    ("AWS key", "AKIA" + "ABCDEFGH12345678"),
    ("AWS key", f"aws_secret_access_key = {MIXED}"),
    ("Anthropic key", "sk-" + f"ant-api03-{MIXED}"),
    ("OpenAI key", "sk-" + MIXED),
    ("OpenAI key", "sk-" + f"proj-{MIXED}"),
    ("Slack token", "xoxb" + "-123456789012-1234567890123-abcDEF"),
    ("Google key", "AIza" + MIXED[:35]),
    ("private key", "-----BEGIN OPENSSH " + f"PRIVATE KEY-----\n{MIXED}"),
    ("private key", json.dumps("-----BEGIN " + f"PRIVATE KEY-----\n{MIXED}")),
    ("Authorization header", f"Authorization: Bearer {MIXED}"),
    ("Authorization header", json.dumps({"authorization": f"Bearer {MIXED}"})),
    ("password in a URL", "https://me" + ":swordfish@host/x.git"),
    ("Jupyter token", f"http://localhost:8888/lab?token={HEX48}"),
]
HARMLESS = [
    f"{HEX64}  runs/vast-16gb/x",
    json.dumps({"data/vast-16gb/stage1.jsonl": HEX64, "api": HEX40, "id": HEX48[:8]}),
    f"wandb: commit {HEX40}",
    "hf_hub_download_and_everything_that_is_long_enough hf_token",
    "Authorization: Bearer YOUR_OWN_TOKEN_HERE_PLEASE, Bearer $HF_TOKEN",
    "a task-" + MIXED + " sk-toggleable__control-label-arrow sk-estimator-doc-link",
    "https://host:8080/a@b user:name@host https://host/a:b@c",
    "-----BEGIN OPENSSH " + "PRIVATE KEY----- is how a key begins",
    "-----BEGIN PUBLIC KEY-----\n" + MIXED,
]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home without secrets, and an environment without any."""
    for name in [name for name in leaks.os.environ if name.endswith(leaks.VALUE_NAMES)]:
        monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "HF_HOME", "FORGE_KEYS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize(("kind", "text"), SHAPES)
def test_known_shapes_are_found_with_their_line(tmp_path, kind, text):
    write(tmp_path, {"a/x.txt": f"first\n\n{text}\n"})
    (leak,) = find([str(tmp_path / "a")])
    assert (leak.file, leak.kind) == (str(tmp_path / "a/x.txt"), kind)
    assert leak.line == 3 + text.count("\n")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_one_is_not_reported(tmp_path, text):
    write(tmp_path, {"x.txt": text})
    assert find([str(tmp_path / "x.txt")]) == []


def test_base64_is_not_reported(tmp_path):
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    text = "".join(random.Random(0).choices(letters, k=2_000_000))
    tokens = ["AIza" + MIXED[:35], "AKIA" + "ABCDEFGH12345678", "ASIA" + "ABCDEFGH12345678"]
    images = [text, *(token + text[:99] for token in tokens), *(text[:99] + token for token in tokens)]
    write(tmp_path, {"x.ipynb": json.dumps({"image/png": images})})
    assert find([str(tmp_path / "x.ipynb")]) == []


def test_this_project_has_none():
    listed = subprocess.run(["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True).stdout
    names = listed.split(b"\0") if listed else []
    paths = [ROOT / name.decode() for name in names if name] or [
        ROOT / "forge_core",
        ROOT / "tests",
        ROOT / "notebooks",
    ]
    assert find([str(path) for path in paths if path.exists()]) == []


def test_the_values_of_this_machine_are_found_in_any_file(tmp_path, monkeypatch, home):
    values = {f"value-number-{i}" for i in range(6)}
    monkeypatch.setenv("HF_TOKEN", "value-number-0")
    monkeypatch.setenv("DB_PASSWORD", "short")
    write(home, {".vast_api_key": "value-number-1\n", ".config/vastai/vast_api_key": "value-number-2"})
    write(
        home, {".cache/huggingface/token": "value-number-3", ".netrc": "machine a\n login b\n password value-number-4"}
    )
    write(home, {".config/churninator-forge/keys.env": '# mine\nexport X="value-number-5"\n'})
    write(tmp_path / "there", {f"{value}.bin": b"\0" * 9000 + b"\n" + value.encode() for value in values})
    write(tmp_path / "there", {"x.txt": "short\n" + HF_TOKEN, "binary": b"\0" + HF_TOKEN.encode()})
    found = find([str(tmp_path / "there")])
    assert {leak.file for leak in found} == {str(tmp_path / f"there/{v}.bin") for v in values} | {
        str(tmp_path / "there/x.txt")
    }
    assert {leak.line for leak in found} == {2}
    assert not [leak for leak in found if any(value in leak.kind for value in values)]


@pytest.mark.parametrize("start", [BLOCK - 20, 2 * BLOCK - 1, 3 * BLOCK])
def test_a_token_across_two_blocks_of_a_big_file_is_found_once_with_its_line(tmp_path, start):
    line = b"x" * 63 + b"\n"
    content = bytearray(line * (3 * BLOCK // len(line) + 2))
    content[start - 1 : start + len(HF_TOKEN) + 1] = f" {HF_TOKEN} ".encode()
    write(tmp_path, {"x.txt": bytes(content)})
    assert find([str(tmp_path / "x.txt")]) == [
        Leak(str(tmp_path / "x.txt"), content[:start].count(b"\n") + 1, "Hugging Face token")
    ]


def test_links_are_not_followed_and_what_is_missing_is_an_error(tmp_path):
    write(tmp_path, {"outside/x.txt": HF_TOKEN, "a/y.txt": "y"})
    (tmp_path / "a/link").symlink_to(tmp_path / "outside")
    (tmp_path / "a/link.txt").symlink_to(tmp_path / "outside/x.txt")
    assert find([str(tmp_path / name) for name in ("a", "a/link", "a/link.txt")]) == []
    with pytest.raises(FileNotFoundError, match="nothing"):
        find([str(tmp_path / "nothing")])


def test_the_command_names_file_line_and_kind_and_never_the_value(tmp_path):
    write(tmp_path, {"a b.txt": f"\n{HF_TOKEN}", "ok.txt": "x"})
    for arguments, names in (([".", "ok.txt"], ""), (["-0"], "ok.txt\0a b.txt\0")):
        run = subprocess.run(SCANNER + arguments, input=names, cwd=tmp_path, capture_output=True, text=True)
        assert (run.returncode, run.stdout, run.stderr) == (1, "a b.txt:2: Hugging Face token\n", "")
    assert subprocess.run([*SCANNER, "ok.txt"], cwd=tmp_path).returncode == 0
    missing = subprocess.run([*SCANNER, "none.txt"], cwd=tmp_path, capture_output=True, text=True)
    assert missing.returncode == 2 and "none.txt" in missing.stderr


@pytest.mark.parametrize("name", ["leaks.py", "staging.py"])
def test_what_is_piped_to_hosts_needs_python_3_9_and_nothing_else(name):
    tree = ast.parse(Path(ROOT / "forge_core/remote" / name).read_text(), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names
