"""Evaluate: `accelerate launch -m forge_core.evaluation --params params/vast-24gb/05_evaluate_screenspot.yaml`."""

import argparse
from pathlib import Path

from forge_core.evaluation.run import report
from forge_core.params import load

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, required=True)
    report(load(parser.parse_args().params))
