"""The configurations for several GPUs are ones that accelerate reads."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

FILES = sorted(Path(__file__).resolve().parents[1].glob("params/accelerate/*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_accelerate_reads_it(file):
    assert load_config_from_file(str(file)).num_processes == 2
    assert f"--config_file params/accelerate/{file.name} -m forge_core.training --params " in file.read_text()


def test_there_are_two():
    assert [file.stem for file in FILES] == ["ddp", "fsdp"]
