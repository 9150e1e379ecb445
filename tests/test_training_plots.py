"""The figures of notebooks 03 and 04 hold the numbers they were given, and no two texts overlap."""

import pytest
import torch
from drawn import check, words

from forge_core import training_plots
from forge_core.models.cost import Adapted, adapted
from forge_core.models.nf4 import pack


def test_nf4(tmp_path):
    packed = pack(torch.randn(64, 128, generator=torch.Generator().manual_seed(0)))
    fig = training_plots.nf4(packed, "a matrix")
    check(fig, tmp_path)
    assert f"NF4 on 8,192 weights of a matrix: off by {packed.error:.1%} (rms)" in words(fig)
    assert {"32", "16", "4.5"} <= words(fig)


def test_lora_of_a_small_and_a_large_base(tmp_path):
    small = adapted("embedded", "main", 32)
    wide = {name: (10 * out, 10 * into) for name, (out, into) in small.matrices.items()}
    large = Adapted({name: 500 * count for name, count in small.parts.items()}, small.adapters, wide, 32)
    fig = training_plots.lora({"embedded": small, "someone/a-much-larger-base-with-a-long-name": large})
    check(fig, tmp_path)
    share = sum(small.adapters.values()) / sum([*small.adapters.values(), *small.parts.values()])
    assert f"0.49 M trained,\n{share:.1%} of all" in words(fig)


def test_losses(tmp_path):
    fig = training_plots.losses({"right: 8 of 8": [12, 2, 0.1], "wrong: 0 of 8": [12, 1, 0.05]}, "Two runs")
    check(fig, tmp_path)
    assert {"right: 8 of 8", "wrong: 0 of 8", "Two runs"} <= words(fig)


def test_token_bill(tmp_path):
    bills = {"stage 1": {"image": 8, "prompt": 20, "call": 17}, "stage 2": {"image": 67, "thought": 19, "call": 21}}
    fig = training_plots.token_bill(bills)
    check(fig, tmp_path)
    assert {"17 of 45\nsupervised", "40 of 107\nsupervised"} <= words(fig)


def test_starts(tmp_path):
    fig = training_plots.starts({"the base alone": 12.5, "stage 2's adapter, finished": 0.04})
    check(fig, tmp_path)
    assert {"12.500", "0.040"} <= words(fig)


def test_token_losses(tmp_path):
    tokens = ["<think>", "\n", " click", *["$_^"] * 200]
    fig = training_plots.token_losses(tokens, [10.0] * 203, [0.0] * 203)
    check(fig, tmp_path)
    assert {"<think>", "⏎", "·click"} <= words(fig)
    with pytest.raises(ValueError, match="203 tokens, but 1 and 203 losses"):
        training_plots.token_losses(tokens, [1.0], [0.0] * 203)
