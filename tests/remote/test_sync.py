"""Files to a rented machine and back: what goes, what comes, and what happens when it breaks. Real sshd, real rsync."""

import getpass
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from project import HF_TOKEN, Project, files_in, sha256, write

pytestmark = pytest.mark.slow

SECRET_FILES = [
    *(
        ".env",
        ".env.local",
        ".netrc",
        "notes/.netrc",
        ".vast_api_key",
        "kaggle.json",
        "credentials",
        "credentials.json",
    ),
    *(".git/hooks/x", "wandb/run/files/x", ".vast/known_hosts", ".ssh/config", ".aws/config", ".venv/bin/x"),
    *(
        "id_ed25519",
        "keys/id_rsa_vast",
        "keys/id_ecdsa.pub",
        "server.pem",
        "keys/a.key",
        "forge_core/__pycache__/x.pyc",
        "keys/ID_RSA",
        "Server.PEM",
    ),
]
IGNORED = ["runs/a/log.txt", "data/raw.zip", "checkpoints/a/final/x.safetensors", "checkpoints/b/x.safetensors"]
SENT = {
    "pyproject.toml",
    ".gitignore",
    "sync_to_vast.sh",
    "sync_from_vast.sh",
    "docs/a b.md",
    "forge_core/credentials.py",
}
SENT |= {f"forge_core/remote/{name}" for name in ("__init__.py", "leaks.py", "staging.py", "sync.sh")}
ODD = ["a b.txt", 'it\'s "so".txt', "-rf", "ünï ✓.txt", "back\\slash", "$(touch x);*?.txt", "a.pth", "deep/er/b.bin"]
COULD_RUN = [".git/config", ".hidden", "numpy.py", "deep/torch.PYC", "x.cpython-311-x86_64-linux-gnu.so", "Makefile"]
COULD_RUN += ["jupyter_server_config.json", ".vscode/tasks.json", "json.pyd"]
COULD_RUN += ["GNUmakefile", "matplotlibrc", "wandb/settings"]  # the last says whom W&B's key is sent to


STUCK = """
import os, signal, sys
left = 8_000_000
while left > 0:
    left -= os.write(1, os.read(0, min(left, 65536)))
open(sys.argv[1], 'w').close()
signal.pause()
"""


@pytest.fixture
def project(tmp_path, loopback):
    made = Project(tmp_path / 'it\'s a 100% "odd" $project', loopback)
    write(made.folder, {"docs/a b.md": "text", "forge_core/credentials.py": "NAMES = ()\n"})
    return made


def on_the_host(project, program: str, script: str) -> None:
    """Put a program before the host's own of that name; the script has the latter's path as $REAL."""
    file = project.host.home / "bin" / program
    file.write_text(f"#!/bin/sh\nREAL={shutil.which(program)}\n{script}\n")
    file.chmod(0o755)


def test_what_git_ignores_and_what_holds_keys_stays_here(project):
    git(project, "init", "-q")
    write(project.folder, {name: name for name in SECRET_FILES + IGNORED})
    sent = project.push()
    assert sent.returncode == 0, sent.stderr
    assert files_in(project.there) == SENT
    assert f"sent {len(SENT)} new or changed files" in sent.stdout
    assert all(sha256(project.there / name) == sha256(project.folder / name) for name in SENT)


RULES = {".gitignore": "foo\\ \n\\#x\n\\!x\n*.log\n!kept.log\nrules/\n", "sub/.gitignore": "*\n!kept\n"}
IGNORED_BY_RULES = ["foo ", "#x", "!x", "a.log", "docs/rules/x", "sub/x"]
KEPT_BY_RULES = ["foo", "kept.log", "sub/kept", "docs/#x.md", ";x", "-rf", 'it\'s "so"\n.md', "q/a b"]


@pytest.mark.parametrize("checkout", [True, False])
def test_rules_mean_what_they_mean_to_git(project, checkout):
    if checkout:
        git(project, "init", "-q")
    rules = RULES | {".gitignore": (project.folder / ".gitignore").read_text() + RULES[".gitignore"]}
    write(project.folder, rules | {name: name for name in IGNORED_BY_RULES + KEPT_BY_RULES})
    sent = project.push(GIT_DIR="/nowhere")  # as a hook of git has it
    assert sent.returncode == 0, sent.stderr
    assert files_in(project.there) == SENT | set(KEPT_BY_RULES)


@pytest.mark.parametrize("ignore", [".config/git/ignore", "mine"])
def test_rules_outside_the_tree_count_too(project, ignore):
    git(project, "init", "-q")
    write(project.folder, {".git/info/exclude": "*.draft\n", "docs/x.draft": "x", "docs/x.mine": "x", "docs/x.md": "x"})
    config = "[core]\n\texcludesFile = ~/mine\n" if ignore == "mine" else ""
    write(project.folder.parent / "laptop", {".gitconfig": config, ignore: "*.mine\n"})
    sent = project.push()
    assert sent.returncode == 0, sent.stderr
    assert files_in(project.there) == SENT | {"docs/x.md"}


def test_what_git_tracks_goes_though_a_rule_ignores_it(project):
    git(project, "init", "-q")
    write(project.folder, {"runs/tracked": "x", "runs/ignored": "x", "docs/deleted": "x", ".env": "x"})
    git(project, "add", "--force", "runs/tracked", "docs/deleted", ".env")
    (project.folder / "docs/deleted").unlink()
    assert project.push().returncode == 0
    assert files_in(project.there) == SENT | {"runs/tracked"}


def test_a_repository_in_the_tree_has_its_own_rules(project):
    git(project, "init", "-q")
    write(project.folder, {"vendor/tool/.gitignore": "build\n", "vendor/tool/build/x": "x", "vendor/tool/x": "x"})
    write(project.folder, {"vendor/tool/.git/info/exclude": "y\n", "vendor/tool/y": "y"})
    git(project, "-C", "vendor/tool", "init", "-q")
    assert project.push().returncode == 0
    assert files_in(project.there) == SENT | {"vendor/tool/.gitignore", "vendor/tool/x"}


def test_no_link_is_sent_and_none_is_followed(project, tmp_path):
    write(tmp_path / "outside", {"x": "x"})
    (project.folder / "docs/link").symlink_to(tmp_path / "outside")
    (project.folder / "docs/link.md").symlink_to(tmp_path / "outside/x")
    assert project.push().returncode == 0
    assert files_in(project.there) == SENT


def test_a_folder_that_is_named_may_lie_on_another_disk(project, tmp_path):
    write(tmp_path / "disk", {"a/final/x": "x", "a/.env": "x"})
    (project.folder / "checkpoints").symlink_to(tmp_path / "disk")
    assert project.push("checkpoints/a").returncode == 0
    assert files_in(project.there) == SENT | {"checkpoints/a/final/x"}


def test_without_gits_answer_nothing_is_sent(project, tmp_path):
    (tmp_path / "bin").mkdir()
    for folder in reversed(os.environ["PATH"].split(":")):
        for program in os.listdir(folder) if os.path.isdir(folder) else ():
            (tmp_path / "bin" / program).unlink(missing_ok=True)
            (tmp_path / "bin" / program).symlink_to(os.path.join(folder, program))
    (tmp_path / "bin" / "git").unlink()
    refused = project.push(PATH=str(tmp_path / "bin"))
    assert refused.returncode == 2 and "git is not installed" in refused.stderr
    git(project, "init", "-q")
    write(project.folder, {".git/index": "damaged"})
    refused = project.push()
    assert refused.returncode == 2 and "git does not say what it ignores: nothing was sent" in refused.stderr
    assert not project.there.exists()


def git(project, *arguments) -> None:
    environment = {"HOME": str(project.folder.parent / "laptop"), "PATH": os.environ["PATH"]}
    subprocess.run(["git", *arguments], cwd=project.folder, env=environment, check=True)


def test_ignored_folders_go_when_they_are_named_and_their_keys_stay(project):
    keys = [f"checkpoints/a/{name}" for name in (".env", "x.pem", "wandb/x", ".vast/x")]
    write(project.folder, {name: name for name in [*IGNORED, *keys, ".aws/x/config"]})
    assert project.push("checkpoints/a", "./data/", ".aws/x").returncode == 0
    assert files_in(project.there) == SENT | {"data/raw.zip", "checkpoints/a/final/x.safetensors"}


def test_a_second_push_sends_what_has_changed_and_deletes_nothing(project):
    project.push()
    write(project.there, {"runs/a/results.json": "made there"})
    write(project.folder, {"docs/a b.md": "text and more"})
    (project.folder / "forge_core/credentials.py").unlink()
    again = project.push()
    assert "sent 1 new or changed files, 13 bytes" in again.stdout
    assert files_in(project.there) == SENT | {"runs/a/results.json"}
    assert (project.there / "docs/a b.md").read_text() == "text and more"


def test_a_secret_in_a_file_refuses_the_push_and_is_not_shown(project):
    write(
        project.folder,
        {
            f"docs/{HF_TOKEN}.md": "",
            "docs/notes.md": f"one\ntoken: {HF_TOKEN}\n",
            "docs/key.md": "the-key-of-this-laptop",
        },
    )
    refused = project.push(VAST_API_KEY="the-key-of-this-laptop")
    assert refused.returncode == 3 and "nothing was sent" in refused.stderr
    assert "docs/notes.md:2: Hugging Face token\n" in refused.stdout
    assert "docs/key.md:1: value of VAST_API_KEY\n" in refused.stdout
    assert "docs/***: Hugging Face token in a name\n" in refused.stdout
    assert HF_TOKEN not in refused.stdout + refused.stderr
    assert "the-key-of" not in refused.stdout + refused.stderr
    assert not project.there.exists()


def test_a_folder_that_is_not_the_project_is_not_sent(project):
    (project.folder / "pyproject.toml").write_text('name = "something-else"\n')
    refused = project.push()
    assert refused.returncode == 2 and "is not the project's folder" in refused.stderr
    assert not project.there.exists()


def test_what_the_page_shows_can_be_pasted_and_the_host_is_pinned(project):
    pasted = ["-p", str(project.host.port), f"{getpass.getuser()}@127.0.0.1", "-L", "8080:localhost:8080"]
    key = project.folder.parent / "of 100% h"
    shutil.copy(project.host.key, key)
    pasted += ["-i", key.name]
    sent = project.call("sync_to_vast.sh", "ssh", *pasted)
    assert sent.returncode == 0, sent.stderr
    assert (project.folder / ".vast" / "known_hosts").stat().st_size
    project.host.stop()
    project.host.new_host_key()
    project.host.start()
    write(project.there, {"runs/a/x": "x"})
    for script in ("sync_to_vast.sh", "sync_from_vast.sh"):
        refused = project.call(script, *pasted)
        assert refused.returncode == 6 and "shows another host key than before" in refused.stderr
    assert not (project.folder / "runs").exists()


def test_the_agent_is_not_forwarded_even_where_the_config_says_so(project, tmp_path):
    project.host.config.write_text(project.host.config.read_text() + "  ForwardAgent yes\n")
    on_the_host(project, "rsync", 'echo "${SSH_AUTH_SOCK:-none}" > "$HOME/agent"; exec $REAL "$@"')
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.PIPE)
    try:
        agent.stdout.readline()  # it listens now
        assert project.push(SSH_AUTH_SOCK=str(tmp_path / "agent")).returncode == 0
    finally:
        agent.kill()
        agent.communicate()
    assert (project.host.home / "agent").read_text() == "none\n"


def test_files_come_back_byte_for_byte_whatever_their_names(project):
    made = {f"runs/a/{name}": os.urandom(5000) + name.encode() for name in ODD} | {"checkpoints/a/empty": b""}
    write(project.there, made | {"runs/a/.rsync-partial/half": "half", "data/x": "not asked for"})
    pulled = project.pull()
    assert pulled.returncode == 0, pulled.stderr
    kept = {name: (project.folder / name).read_bytes() for name in made}
    assert kept == made
    assert files_in(project.folder / "runs") == {f"a/{name}" for name in ODD}
    assert not (project.folder / "data").exists()
    assert f"{len(made)} files, {sum(map(len, made.values()))} bytes" in pulled.stdout
    check = ["sha256sum", "--check", "--strict", "--quiet", ".vast/pulled.sha256"]
    assert subprocess.run(check, cwd=project.folder).returncode == 0
    assert files_in(project.folder / ".vast") == {"pulled.sha256"}


def test_what_is_replaced_is_kept_and_what_is_only_here_stays(project):
    write(project.there, {"runs/a/results.json": "of there", "runs/a/log.txt": "1\n2\n3\n", "runs/a/same": "same"})
    write(project.folder, {"runs/a/results.json": "of here", "runs/a/log.txt": "1\n2\n", "runs/a/same": "same"})
    write(project.folder, {"runs/a/only here": "x"})
    pulled = project.pull("runs/a/")
    assert pulled.returncode == 0, pulled.stderr
    assert (project.folder / "runs/a/results.json").read_text() == "of there"
    assert (project.folder / "runs/a/log.txt").read_text() == "1\n2\n3\n"
    assert (project.folder / "runs/a/only here").exists()
    (time_of_it,) = (project.folder / ".vast/replaced").iterdir()
    assert files_in(time_of_it) == {"runs/a/results.json"}
    assert (time_of_it / "runs/a/results.json").read_text() == "of here"
    assert pulled.stdout.count("replaced ") == 1


def test_a_local_file_of_the_same_size_and_time_is_not_taken_for_the_hosts(project):
    write(project.there, {"runs/a/x": "of there"})
    write(project.folder, {"runs/a/x": "not that"})
    for folder in (project.there, project.folder):
        os.utime(folder / "runs/a/x", (1_000_000_000, 1_000_000_000))
    assert project.pull("runs").returncode == 0
    assert (project.folder / "runs/a/x").read_text() == "of there"


def test_symlinks_are_named_and_not_followed(project):
    write(project.there, {"runs/a/x": "x", "outside/secret": "x", "outside/other": "x"})
    (project.there / "runs/a/link").symlink_to(project.there / "outside/secret")
    (project.there / "runs/folder").symlink_to(project.there / "outside")
    pulled = project.pull("runs", "runs/folder", "runs/folder/secret")
    assert pulled.returncode == 0, pulled.stderr
    assert files_in(project.folder / "runs") == {"a/x"}
    named = [f"not copied, symlink: {name}" for name in ("runs/a/link", "runs/folder", "runs/folder/secret")]
    assert pulled.stdout.splitlines()[:-1] == named


def test_files_with_secrets_are_withheld_and_the_rest_comes(project):
    keys = project.host.home / ".config/churninator-forge/keys.env"
    write(keys.parent, {keys.name: "WANDB_API_KEY='of-a-kind-nobody-knows'\n"})
    write(
        project.there,
        {"runs/a/ok": "x", "runs/a/b c.txt": f"\n{HF_TOKEN}", "checkpoints/a": b"\0of-a-kind-nobody-knows"},
    )
    write(project.there, {"runs/a/local.txt": "known-only-to-the-laptop", f"runs/a/{HF_TOKEN}.txt": "x"})
    pulled = project.pull("runs", "checkpoints", MY_TOKEN="known-only-to-the-laptop")
    assert pulled.returncode == 3
    assert files_in(project.folder / "runs") == {"a/ok"}
    assert "withheld, a secret in runs/a/b c.txt:2: Hugging Face token\n" in pulled.stdout
    assert "withheld, a secret in checkpoints/a:1: value of WANDB_API_KEY\n" in pulled.stdout
    assert "withheld, a secret in runs/a/local.txt:1: value of MY_TOKEN\n" in pulled.stdout
    assert "withheld, a secret in runs/a/***: Hugging Face token in a name\n" in pulled.stdout
    assert "1 files, 1 bytes" in pulled.stdout and "withheld: 4" in pulled.stdout
    shown = pulled.stdout + pulled.stderr
    assert not [value for value in (HF_TOKEN, "of-a-kind-", "known-only-") if value in shown]
    assert not (project.folder / ".vast/incoming").exists()


def test_a_file_that_changes_once_during_the_copy_is_copied_again(project):
    write(project.there, {"runs/a/log.txt": "1\n"})
    once = '[ -e "$HOME/done" ] || echo 2 >> "$FILE"; touch "$HOME/done"; exec $REAL "$@"'
    on_the_host(project, "rsync", f"FILE={project.there}/runs/a/log.txt\n{once}")
    assert project.pull("runs").returncode == 0
    assert (project.folder / "runs/a/log.txt").read_text() == "1\n2\n"


def test_a_file_that_changes_during_every_copy_is_named_and_nothing_is_moved(project):
    write(project.there, {"runs/a/log.txt": "1\n", "runs/a/x": "x"})
    on_the_host(project, "rsync", f'echo 2 >> {project.there}/runs/a/log.txt; exec $REAL "$@"')
    pulled = project.pull("runs")
    assert pulled.returncode == 4 and pulled.stdout == "differs: runs/a/log.txt\n"
    assert (project.there / "runs/a/log.txt").read_text() == "1\n2\n2\n2\n"
    assert not (project.folder / "runs").exists()


def test_a_folder_in_the_way_is_named_and_nothing_is_moved(project):
    write(project.there, {"runs/a/x": "x", "runs/b": "x"})
    write(project.folder, {"runs/b/mine": "x"})
    pulled = project.pull("runs")
    assert pulled.returncode == 4 and "in the way, nothing was moved: runs/b\n" in pulled.stdout
    assert files_in(project.folder / "runs") == {"b/mine"}


def test_a_host_that_dies_moves_nothing_and_the_same_command_continues(project):
    big = os.urandom(16_000_000)
    write(project.there, {"checkpoints/a/big.bin": big, "checkpoints/a/a.txt": "small"})
    on_the_host(project, "rsync", f'$REAL "$@" | python3 -c "{STUCK}" "$HOME/half"')
    command = project.command("sync_from_vast.sh", "-F", project.host.config, "vast", "checkpoints/a")
    with subprocess.Popen(**command, stderr=subprocess.PIPE, text=True) as pull:
        try:
            wait_for(project.host.home / "half", pull)
        finally:
            project.host.stop()
        assert pull.wait(30) == 5
        assert "nothing was moved. The same command again continues." in pull.stderr.read()
    assert not (project.folder / "checkpoints").exists()
    on_the_host(project, "rsync", '$REAL "$@" | tee "$HOME/second"')
    project.host.start()
    pulled = project.pull("checkpoints/a")
    assert pulled.returncode == 0, pulled.stderr
    assert (project.folder / "checkpoints/a/big.bin").read_bytes() == big
    assert (project.host.home / "second").stat().st_size < 12_000_000


def wait_for(file, process, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not file.exists():
        assert time.monotonic() < end and process.poll() is None
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue


def test_a_host_that_dies_during_a_push_has_no_half_file_in_place(project):
    project.push()
    write(project.folder, {"docs/big.bin": os.urandom(16_000_000), "docs/a b.md": "newer text"})
    on_the_host(project, "rsync", f'python3 -c "{STUCK}" "$HOME/half" | $REAL "$@"')
    command = project.command("sync_to_vast.sh", "-F", project.host.config, "vast")
    with subprocess.Popen(**command, stderr=subprocess.PIPE, text=True) as push:
        try:
            wait_for(project.host.home / "half", push)
        finally:
            project.host.stop()
        assert push.wait(30) == 5
        assert "no half file is in place" in push.stderr.read()
    assert not (project.there / "docs/big.bin").exists()
    assert (project.there / "docs/a b.md").read_text() == "text"
    (project.host.home / "bin" / "rsync").unlink()
    project.host.start()
    assert project.push().returncode == 0
    assert sha256(project.there / "docs/big.bin") == sha256(project.folder / "docs/big.bin")
    assert (project.there / "docs/a b.md").read_text() == "newer text"


def test_one_pull_runs_at_a_time_and_a_dead_ones_lock_is_no_hindrance(project):
    write(project.there, {"runs/a": "x"})
    ended = subprocess.Popen(["true"])
    ended.wait()
    lock = project.folder / ".vast" / "pull.lock"
    lock.parent.mkdir()
    lock.symlink_to(str(os.getpid()))
    refused = project.pull("runs")
    assert refused.returncode == 2 and f"another sync_from_vast.sh is at work (process {os.getpid()})" in refused.stderr
    lock.unlink()
    lock.symlink_to(str(ended.pid))
    assert project.pull("runs").returncode == 0


def test_a_dead_host_is_status_5_both_ways(project):
    project.host.stop()
    for call in (project.push, project.pull):
        failed = call()
        assert failed.returncode == 5 and "no connection to vast" in failed.stderr


@pytest.mark.parametrize("path", ["/etc", "../x", "runs/../../x", ".", "", "runs//a", "runs/a\nb", "it's", "-x"])
def test_paths_outside_the_project_are_refused(project, path):
    for call in (project.push, project.pull):
        assert call("--", path).returncode == 2
    assert "Accepted publickey" not in project.host.log.read_text()


def test_no_option_is_read_behind_two_dashes(project):
    for script in ("sync_to_vast.sh", "sync_from_vast.sh"):
        refused = project.call(script, "--", "-oProxyCommand=touch ran", "runs")
        assert refused.returncode == 2 and "not a host" in refused.stderr
        refused = project.call(script, "-F", project.host.config, "--", "vast", "-F", "runs/config")
        assert refused.returncode == 2 and "not a plain path" in refused.stderr
    assert "Accepted publickey" not in project.host.log.read_text()


def test_nothing_but_what_the_forge_makes_is_fetched(project):
    write(project.there, {"forge_core/cli.py": "of there", ".git/hooks/x": "x"})
    for path in ("forge_core", "forge_core/cli.py", ".git", "params"):
        refused = project.pull("runs", path)
        assert refused.returncode == 2 and f"only what lies below runs, checkpoints, data is fetched, not {path}" in (
            refused.stderr
        )
    assert files_in(project.folder) == SENT


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{sha}  runs/../forge_core/cli.py", "a file that was not asked for"),
        ("{sha}  forge_core/cli.py", "a file that was not asked for"),
        ("symlink  /etc/passwd", "a file that was not asked for"),
        ("{sha}  runs/a\033]0;x\007", "a name with a control character: "),
        ("{sha}  runs/a\302\233", "a name with a control character: "),
        ("{sha}  runs/{long}", "a name that is too long"),
        ("../../x  runs/a", "something that is no SHA-256"),
        ("\033[2Jx", "something that is no SHA-256"),
    ],
)
def test_a_list_of_the_hosts_own_choosing_is_refused(project, line, problem):
    write(project.there, {"runs/a": "x"})
    on_the_host(project, "python3", f"printf '{line}\\n'".format(sha="0" * 64, long="x" * 300))
    refused = project.pull("runs")
    assert refused.returncode == 1 and f"the host lists {problem}" in refused.stderr
    assert "\033" not in refused.stderr and "\x9b" not in refused.stderr
    assert files_in(project.folder) == SENT


def test_what_comes_to_another_disk_replaces_nothing_but_its_namesake(project, tmp_path):
    try:
        disk = tempfile.TemporaryDirectory(dir="/dev/shm")
    except OSError:
        pytest.skip("no /dev/shm")
    with disk as runs:
        if os.stat(runs).st_dev == os.stat(tmp_path).st_dev:
            pytest.skip("no other disk")
        write(project.there, {"runs/a/x": "of there"})
        write(Path(runs), {"a/x.incoming": "of here"})
        (project.folder / "runs").symlink_to(runs)
        assert project.pull("runs").returncode == 0
        assert (Path(runs) / "a/x").read_text() == "of there"
        assert files_in(Path(runs)) == {"a/x", "a/x.incoming"}
        assert (Path(runs) / "a/x.incoming").read_text() == "of here"


def test_what_could_run_here_by_itself_does_not_come_and_is_named(project):
    write(project.there, {f"runs/a/{name}": name for name in ["ok.json", *COULD_RUN]})
    pulled = project.pull("runs")
    assert pulled.returncode == 0, pulled.stderr
    assert files_in(project.folder / "runs") == {"a/ok.json"}
    named = {f"not copied, could run here: runs/a/{name}" for name in COULD_RUN}
    assert named == set(pulled.stdout.splitlines()[:-1])


def test_a_link_of_this_side_leads_no_file_out_of_runs(project, tmp_path):
    write(project.there, {"runs/a/cli.py.txt": "of there", "runs/b/x": "x"})
    (tmp_path / "disk").mkdir()
    (project.folder / "runs").symlink_to(tmp_path / "disk")  # on another disk: that is their owner's wish
    assert project.pull("runs/b").returncode == 0 and (tmp_path / "disk/b/x").read_text() == "x"
    (tmp_path / "disk" / "a").symlink_to(project.folder / "forge_core")
    refused = project.pull("runs/a")
    assert refused.returncode == 4 and "in the way, nothing was moved: runs/a/cli.py.txt" in refused.stdout
    assert files_in(project.folder / "forge_core") <= {name.removeprefix("forge_core/") for name in SENT}


def test_what_a_host_prints_while_files_are_sent_reaches_no_terminal_as_it_is(project):
    on_the_host(project, "mkdir", r"""printf '\033[2J\302\233x'; exec $REAL "$@" """)
    sent = project.push()
    assert sent.returncode == 0 and "\033" not in sent.stdout + sent.stderr and "\x9b" not in sent.stdout


@pytest.mark.parametrize("program", ["python3", "rsync"])
def test_what_a_host_says_reaches_no_terminal_as_it_is(project, program):
    write(project.there, {"runs/a": "x"})
    on_the_host(project, program, r"printf '\033[2Jgone\302\233 all is well\rnothing is billed\n' >&2; exit 1")
    pulled = project.pull("runs")
    assert pulled.returncode in (1, 5) and "?[2Jgone? all is well?nothing is billed\n" in pulled.stderr


def test_names_with_line_breaks_are_refused(project):
    write(project.there, {"runs/a\nb": "x", "runs/c": "x"})
    refused = project.pull("runs")
    assert refused.returncode == 4 and r"'runs/a\nb'" in refused.stderr
    assert not (project.folder / "runs").exists()


def test_one_of_the_paths_must_be_there(project):
    write(project.there, {"runs/a/x": "x"})
    assert project.pull().returncode == 0  # no checkpoints
    missing = project.pull("checkpoints", "runs/b")
    assert missing.returncode == 2 and "none of these is on the host" in missing.stderr
