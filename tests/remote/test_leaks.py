"""Tokens are found by shape and by value, in names and in files of any kind, and what merely looks random is not."""

import ast
import base64
import io
import json
import random
import sqlite3
import subprocess
import sys
import urllib.parse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
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
    ("GitLab token", "glpat" + f"-{MIXED[:20]}"),
    ("GitLab token", "glrt" + f"-{MIXED[:20]}"),
    ("npm token", "npm" + f"_{MIXED[:36]}"),
    ("PyPI token", "pypi" + f"-AgEIcHlwaS5vcmc{MIXED}{MIXED}"),
    ("Stripe key", "sk_" + f"live_{MIXED[:24]}"),
    ("Stripe key", "rk_" + f"live_{MIXED[:24]}"),
    ("Stripe key", "whsec" + f"_{MIXED[:32]}"),
    ("JSON Web Token", "eyJ" + "hbGciOiJIUzI1NiJ9" + f".eyJ{MIXED}.{MIXED}"),
    ("PuTTY key", "PuTTY-User-Key-File" + "-3: ssh-ed25519\nEncryption: none"),
    ("age key", "AGE-SECRET-" + "KEY-1" + "QPZRY9X8GF" * 5 + "QPZRY9X8"),
    ("OpenRouter key", "sk-" + f"or-v1-{HEX64}"),
    ("Groq key", "gsk" + f"_{MIXED}{MIXED[:12]}"),
    ("xAI key", "xai" + f"-{MIXED}{MIXED}"),
    ("Replicate token", "r8" + f"_{MIXED[:37]}"),
    ("RunPod key", "rpa" + f"_{MIXED.upper()}abc123"),
    ("Kaggle token", "KGAT" + f"_{HEX64[:32]}"),
    ("Kaggle key", json.dumps({"username": "me", "key": HEX64[:32]})),
    ("SendGrid key", "SG" + f".{MIXED[:22]}.{MIXED}aB3"),
    ("Twilio key", "SK" + HEX64[:32]),
    ("DigitalOcean token", "dop" + f"_v1_{HEX64}"),
    ("Docker Hub token", "dckr" + f"_pat_{MIXED[:27]}"),
    ("Databricks token", "dapi" + HEX64[:32]),
    ("Azure key", "AccountKey" + f"={MIXED}{MIXED}aB3dE6=="),
    ("Azure client secret", "aB3" + f"8Q~{MIXED[:34]}"),
    ("Google key", "GOCSPX" + f"-{MIXED[:28]}"),
    ("Hugging Face token", "api" + f"_org_{MIXED[:34]}"),
    ("Hugging Face token", "hf" + f"_oauth_{MIXED}"),
    ("Slack token", "xapp" + "-1-A0123456789-1234567890123-abcdef"),
    ("secret by its variable's name", "export GITHUB_" + f"PAT={MIXED[:24]}"),
    ("secret by its variable's name", "OPENAI_" + f"KEY = '{MIXED[:32]}'"),
    ("secret by its variable's name", "DB_" + "PASS=hunter2hunter2"),
    ("secret by its variable's name", json.dumps({"PGPASS" + "WORD": "hunter2hunter2"})),
    ("AWS key", "AKIA" + "ABCDEFGH12345678"),
    ("AWS key", f"aws_secret_access_key = {MIXED}"),
    ("Anthropic key", "sk-" + f"ant-api03-{MIXED}"),
    ("OpenAI key", "sk-" + MIXED),
    ("OpenAI key", "sk-" + f"proj-{MIXED}"),
    ("Slack token", "xoxb" + "-123456789012-1234567890123-abcDEF"),
    ("Google key", "AIza" + MIXED[:35]),
    ("private key", "-----BEGIN OPENSSH " + f"PRIVATE KEY-----\n{MIXED}"),
    ("private key", json.dumps("-----BEGIN " + f"PRIVATE KEY-----\n{MIXED}")),
    ("private key", "-----BEGIN PGP " + f"PRIVATE KEY BLOCK-----\n\n{MIXED}"),
    ("private key", "KEY = ('-----BEGIN RSA " + f"PRIVATE KEY-----'\n  '{MIXED}"),
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
    "key.startswith('-----BEGIN " + "PRIVATE KEY-----', '-----END " + "PRIVATE KEY-----')",
    "PuTTY-User-Key-File-3 is how a key begins",
    "API_KEY=\nNEXT_SETTING_2=some-long-value API_KEY=$OTHER_KEY_OF_MINE_12345 API_KEY=/home/me/a/long/path/key2",
    "IMAGE_TOKEN = '<image_token_of_20_letters>' LIB_KEY = 'com.github.a18n.converter.type1' X_TOKEN = find_it_in_20()",
    "DB_PASS=secret DB_PASSWORD=${DB_PASSWORD_2} PASSWORD = get_password1()",
]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home without secrets, and an environment without any."""
    for name in [name for name in leaks.os.environ if leaks.VALUE_NAME.match(name)]:
        monkeypatch.delenv(name)
    for name in ("XDG_CONFIG_HOME", "HF_HOME", "FORGE_KEYS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize(("kind", "text"), SHAPES)
def test_known_shapes_are_found_with_their_line(tmp_path, kind, text):
    write(tmp_path, {"a/x.txt": f"first\n\n{text}\n"})
    line = 3 + text.count("\n")
    assert find(["a"], str(tmp_path)) == [Leak("a/x.txt", line, kind, f"a/x.txt:{line}")]


@pytest.mark.parametrize("before", ['"\\n', "%3D", '"\\u003d', "\x1b[31m", "/", "=", "é"])
def test_a_token_begins_behind_an_escape_too(tmp_path, before):
    write(tmp_path, {"x.jsonl": f"{before}{HF_TOKEN}"})
    assert [leak.kind for leak in find([str(tmp_path / "x.jsonl")])] == ["Hugging Face token"]


def in_a_png() -> bytes:
    chunks, file = PngImagePlugin.PngInfo(), io.BytesIO()
    chunks.add_text("Comment", HF_TOKEN)
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=chunks)
    return file.getvalue()


def in_a_jpeg() -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x010E] = f"made by {HF_TOKEN}"
    Image.new("RGB", (64, 64)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def in_an_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, numbers=np.zeros(9), letters=np.array([HF_TOKEN]))  # four bytes a letter
    np.savez(file, numbers=np.zeros(9), letters=np.array([HF_TOKEN.encode()]))
    return file.getvalue()


def in_a_database() -> bytes:
    with sqlite3.connect(":memory:") as database:
        database.execute("create table cells (source text)")
        database.execute("insert into cells values (?)", [f"token='{HF_TOKEN}'"])
    return database.serialize()


def in_safetensors() -> bytes:
    header = json.dumps({"__metadata__": {"note": HF_TOKEN}}).encode()
    return len(header).to_bytes(8, "little") + header + random.Random(0).randbytes(9999)


@pytest.mark.parametrize("make", [in_a_png, in_a_jpeg, in_an_npz, in_a_database, in_safetensors])
def test_a_token_in_a_binary_file_is_found(tmp_path, make):
    content = make()
    assert b"\0" in content[:8192]
    write(tmp_path, {"x": content})
    assert [leak.kind for leak in find([str(tmp_path / "x")])] == ["Hugging Face token"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])  # the last with a mark of its order
@pytest.mark.parametrize("text", [f"first\nü {HF_TOKEN}\n", f"Ł\nkey='sk-{'ant'}-{MIXED}'", "a\n" + f"AKIA{'Q' * 16}"])
def test_a_token_in_utf_16_is_found_with_its_line(tmp_path, encoding, text):
    write(tmp_path, {"x.txt": text.encode(encoding)})
    assert [leak.line for leak in find([str(tmp_path / "x.txt")])] == [2]


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


def test_random_bytes_are_not_reported(tmp_path):
    write(tmp_path, {"x.safetensors": random.Random(0).randbytes(2 * BLOCK)})
    assert find([str(tmp_path / "x.safetensors")]) == []


def test_a_token_in_a_name_is_found_and_nothing_shows_it(tmp_path):
    write(tmp_path, {f"a/b/{HF_TOKEN}/x.txt": HF_TOKEN, f"a/{HF_TOKEN}.json": "", "a/\x1b[2J\n.txt": HF_TOKEN})
    (tmp_path / "a/b/ghp").symlink_to("/nowhere/" + HF_TOKEN)
    (tmp_path / "a/b" / ("ghp" + f"_{MIXED[:36]}")).symlink_to("/nowhere")
    run = subprocess.run([*SCANNER, "."], cwd=tmp_path, capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (1, "")
    assert sorted(run.stdout.splitlines()) == [
        "a/***: Hugging Face token in a name",
        r"a/\x1b[2J\n.txt:1: Hugging Face token",
        "a/b/***: GitHub token in a name",
        "a/b/***: Hugging Face token in a name",
        "a/b/***:1: Hugging Face token",
    ]


@pytest.mark.parametrize(
    "name",
    [".env", ".ENV.local", "prod.env", "id_rsa", "Server.PEM", "a.p12", "a.ppk", ".netrc", "_netrc", "kaggle.json"],
)
def test_a_file_is_a_secret_by_its_name(tmp_path, name):
    write(tmp_path, {f"a/{name}": "x", "a/credentials.py": "x", "a/environment.yml": "x"})
    assert find(["a"], str(tmp_path)) == [Leak(f"a/{name}", 0, "by its name a secret", f"a/{name}")]


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
    monkeypatch.setenv("HF_TOKEN", "value-number-0")
    write(home, {".vast_api_key": "value-number-1\n", ".config/vastai/vast_api_key": "value-number-2"})
    write(home, {".cache/huggingface/token": "value-number-3"})
    write(home, {".netrc": "machine a\n login b\n password value-number-4"})
    write(home, {".config/churninator-forge/keys.env": '# mine\nexport X="value-number-5"\n'})
    write(home, {".aws/credentials": "[default]\naws_access_key_id = a\naws_secret_access_key = value-number-6\n"})
    write(home, {".git-credentials": "https://me" + ":value-number-7@host\n"})
    write(home, {".kaggle/kaggle.json": json.dumps({"username": "me", "key": "value-number-8"})})
    write(home, {".cache/huggingface/stored_tokens": "[mine]\nhf_token = value-number-9\n"})
    values = {f"value-number-{i}" for i in range(10)}
    write(tmp_path / "there", {f"{i}.bin": b"\0" * 9000 + f"\nvalue-number-{i}".encode() for i in range(10)})
    found = find(["."], str(tmp_path / "there"))
    assert [leak.place for leak in found] == [f"{i}.bin:2" for i in range(10)]
    assert not [leak for leak in found if any(value in leak.kind for value in values)]


@pytest.mark.parametrize(
    "name",
    ["AWS_SECRET_ACCESS_KEY", "OPENAI_KEY", "GITHUB_PAT", "DB_PASS", "MYSQL_PWD", "PGPASSWORD", "X_TOKEN_2", "KEYS"]
    + ["GOOGLE_CREDENTIALS", "NPM_AUTH", "SECRET_KEY_BASE", "db_passwd", "GPG_PASSPHRASE"],
)
def test_an_environment_variable_is_a_secret_by_its_name(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "of-a-kind-nobody-knows")
    write(tmp_path, {"x": "of-a-kind-nobody-knows"})
    assert [leak.kind for leak in find([str(tmp_path / "x")])] == [f"value of {name}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DB_PASS", "hunter2"),  # too short, as the next
        ("DB_PASS", "postgres"),
        ("SSH_KEY", "/usr/bin"),  # a path that is there
        ("SSH_AUTH_SOCK", "/tmp/ssh-agent/socket1"),
        ("TOKEN_URL", "https://host/oauth/token1"),
        ("AUTH_TOKEN_ENDPOINT", "https://host/oauth/token1"),
        ("TOKENIZERS_PARALLELISM", "in-parallel-if-it-must-be"),
        ("PWD", "/usr"),
        ("COMPASS", "north-by-northwest"),
    ],
)
def test_what_is_no_secret_in_the_environment_is_not_looked_for(tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    write(tmp_path, {"x": value})
    assert find([str(tmp_path / "x")]) == []


PASSWORD = 'p/a"s s+w0rd?>&'


@pytest.mark.parametrize(
    "written",
    [
        f"x{PASSWORD}x".encode(),
        f"x{PASSWORD}x".encode("utf-16-le"),
        f"x{PASSWORD}x".encode("utf-16-be"),
        urllib.parse.quote(PASSWORD, safe="").encode(),
        json.dumps({"a": PASSWORD}).encode(),
        base64.b64encode(PASSWORD.encode()),
        base64.b64encode(f"{PASSWORD}\n".encode()),
        base64.urlsafe_b64encode(PASSWORD.encode()),
    ],
)
def test_a_value_is_found_as_it_may_be_written(tmp_path, monkeypatch, written):
    monkeypatch.setenv("DB_PASS", PASSWORD)
    write(tmp_path, {"x": written})
    assert [leak.kind for leak in find([str(tmp_path / "x")])] == ["value of DB_PASS"]


@pytest.mark.parametrize("start", [BLOCK - 20, 2 * BLOCK - 1, 3 * BLOCK])
def test_a_token_across_two_blocks_of_a_big_file_is_found_once_with_its_line(tmp_path, start):
    line = b"x" * 63 + b"\n"
    content = bytearray(line * (3 * BLOCK // len(line) + 2))
    content[start - 1 : start + len(HF_TOKEN) + 1] = f" {HF_TOKEN} ".encode()
    write(tmp_path, {"x.txt": bytes(content)})
    line = content[:start].count(b"\n") + 1
    assert find(["x.txt"], str(tmp_path)) == [Leak("x.txt", line, "Hugging Face token", f"x.txt:{line}")]


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
    write(tmp_path, {f"{HF_TOKEN}.txt": "x"})
    run = subprocess.run([*SCANNER, "--names", "."], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.splitlines() == [
        "a b.txt\ta b.txt:2: Hugging Face token",
        f"{HF_TOKEN}.txt\t***: Hugging Face token in a name",
    ]
    assert subprocess.run([*SCANNER, "ok.txt"], cwd=tmp_path).returncode == 0
    missing = subprocess.run([*SCANNER, "none.txt"], cwd=tmp_path, capture_output=True, text=True)
    assert missing.returncode == 2 and "none.txt" in missing.stderr


@pytest.mark.parametrize("name", ["leaks.py", "staging.py"])
def test_what_is_piped_to_hosts_needs_python_3_9_and_nothing_else(name):
    tree = ast.parse(Path(ROOT / "forge_core/remote" / name).read_text(), feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in imported} <= sys.stdlib_module_names
