"""sky/train.yaml is a task that SkyPilot takes, and takes no secret along. What it runs: training/test_machines.py."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "sky" / "train.yaml"
TASK = yaml.safe_load(FILE.read_text())
CHECKS = f"""
import json, sky
from sky.data.storage_utils import get_excluded_files
from sky.exceptions import NotSupportedError

task = sky.Task.from_yaml({str(FILE)!r})
task.validate_name()
task.validate_run()
task.expand_and_validate_workdir()
task.expand_and_validate_file_mounts()
takes = {{}}
for task.num_nodes in (1, 2):
    takes[task.num_nodes] = set()
    for resources in task.resources:
        try:
            resources.cloud.check_features_are_supported(resources, task.get_required_cloud_features())
            takes[task.num_nodes].add(str(resources.cloud))
        except NotSupportedError:
            pass
print(json.dumps({{
    "sizes": [resources.disk_size for resources in task.resources],
    "takes": {{count: sorted(clouds) for count, clouds in takes.items()}},
    "left": get_excluded_files("."),
}}))
"""


@pytest.fixture
def skypilot() -> Path:
    """The Python of an environment that has SkyPilot: the one in PATH, or .venv-cloud of the project."""
    found = shutil.which("sky", path=f"{os.environ['PATH']}:{ROOT / '.venv-cloud' / 'bin'}")
    if not found:
        pytest.skip("there is no `sky` in PATH or .venv-cloud/bin (docs/scale.md says how to install SkyPilot)")
    return Path(found).resolve().with_name("python")


def test_skypilot_takes_the_task_and_leaves_secrets_and_outputs_here(skypilot, tmp_path):
    shutil.copy2(ROOT / ".skyignore", tmp_path)
    for name in (".env", "docs/.env", ".venv/bin", "data/raw", "checkpoints/a", "runs/a", ".git/objects"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "forge_core" / "data").mkdir(parents=True)
    environment = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    (tmp_path / "home").mkdir()
    done = subprocess.run(
        [skypilot, "-c", CHECKS], env=environment, cwd=tmp_path, check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["sizes"] == [TASK["resources"]["disk_size"]] * len(TASK["resources"]["any_of"])
    assert found["takes"] == {"1": ["AWS", "GCP", "Lambda", "Vast"], "2": ["AWS", "GCP", "Lambda"]}
    assert sorted(found["left"]) == [".env", ".git", ".venv", "checkpoints", "data", "docs/.env", "runs"]


def test_what_git_ignores_stays_here_too():
    ours, theirs = (set((ROOT / name).read_text().splitlines()) for name in (".skyignore", ".gitignore"))
    assert {line for line in theirs if line and not line.startswith("#")} <= ours
    never = re.findall(r"^NEVER\+?=\((.*?)\)", (ROOT / "sync_to_vast.sh").read_text(), re.MULTILINE)
    names = {name.strip("'") for line in never for name in line.split()}
    assert len(names) > 20 and not [name for name in names if not ours & {name, f"/{name}", f"{name}/", f"/{name}/"}]


def test_secrets_are_named_and_empty():
    assert TASK["secrets"] == {"HF_TOKEN": "", "WANDB_API_KEY": ""}
    assert not [name for name in TASK["envs"] if "TOKEN" in name or "KEY" in name]


def test_what_it_names_is_there():
    extras = (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    assert all(f"\n{extra} = [" in extras for extra in TASK["envs"]["EXTRAS"].split(","))
    assert (ROOT / TASK["envs"]["CONFIG"]).is_file()
    assert (ROOT / "params" / TASK["envs"]["PROFILE"] / "profile.yaml").is_file()
