"""Train one stage: `python -m forge_core.training --params params/embedded/03_train_grounding.yaml`."""

import argparse
from pathlib import Path

from forge_core.params import load
from forge_core.training.stage import run_stage

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    print(run_stage(load(parser.parse_args().params)).adapter)
