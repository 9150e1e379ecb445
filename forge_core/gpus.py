"""All GPUs of this machine from a notebook: `accelerate launch` in processes of its own.

The notebook's process can't be one of them, nor be forked: it has imported bitsandbytes, which initialises CUDA.
"""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import yaml

from forge_core.params import NotebookParams
from forge_core.paths import ROOT

CARDS = 16, 24, 80  # GB by name, one for each vast profile


def least_memory(card: int) -> float:
    """GiB that a card of so many GB shows at least: one of 24 about 22.5."""
    return 0.9 * card


def several() -> bool:
    """Whether there are several GPUs here and no launcher has started this process."""
    return torch.cuda.device_count() > 1 and "LOCAL_RANK" not in os.environ


def on_all(module: str, notebook: str, params: NotebookParams, count: int) -> None:
    """Run `python -m MODULE --params FILE` in `count` processes, with `params` of `notebook`, and show what they print.

    SIGTERM and an interrupt reach them. Raises RuntimeError where they fail.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{notebook}.yaml"
        file.write_text(yaml.safe_dump(params.model_dump()))
        command = [sys.executable, "-m", "accelerate.commands.launch"]
        command += ["--config_file", str(ROOT / "params" / "accelerate" / "ddp.yaml"), "--num_processes", str(count)]
        command += ["--main_process_port", "0", "-m", module, "--params", str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as group:
            before = signal.signal(signal.SIGTERM, lambda *_: group.terminate())
            try:
                for line in group.stdout:
                    print(line, end="", flush=True)
            finally:
                if group.poll() is None:
                    group.terminate()
                signal.signal(signal.SIGTERM, before)
    if group.returncode:
        raise RuntimeError(f"{module} on {count} GPUs ended with status {group.returncode}; its reason stands above")
