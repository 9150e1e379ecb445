#!/usr/bin/env bash
# What there is to measure on a card, in one go of under 8 minutes; needs no download:
#   bash benchmarks/gpu_check.sh [OUT]         # results in OUT/gpu_check.json and OUT/*.log
#   SMOL2OPERATOR=CHECKOUT bash benchmarks/gpu_check.sh    # and the training step against huggingface/smol2operator's
set -uo pipefail
status=0
cd "$(dirname "$0")/.."
out=${1:-build/gpu_check}
python=.venv/bin/python
[ -x "$python" ] || python=python3
mkdir -p "$out"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONPATH=.
timeout 300 "$python" benchmarks/gpu_check.py --out "$out" 2>&1 | tee "$out/gpu_check.log" || status=1
timeout 160 "$python" benchmarks/train_step.py --geometry 2.2b --rows 64 --warmup 1 --steps 3 --rounds 1 \
    ${SMOL2OPERATOR:+--smol2operator "$SMOL2OPERATOR"} 2>&1 | tee "$out/train_step.log" || status=1
exit "$status"
