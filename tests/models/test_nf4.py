"""What the lesson shows of NF4 is what the base's layers are packed into."""

import pytest
import torch

from forge_core.models.load import load_base
from forge_core.models.nf4 import BLOCK, pack

MATRIX = "model.text_model.layers.0.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def packed():
    return pack(load_base("embedded", load_in_4bit=False, on_cpu=True).get_parameter(MATRIX).detach())


def test_each_weight_goes_to_the_nearest_level_of_its_block(packed):
    scaled = packed.weight.reshape(-1, BLOCK) / packed.scales.reshape(-1, 1)
    nearest = packed.levels[(scaled[..., None] - packed.levels).abs().argmin(-1)] * packed.scales.reshape(-1, 1)
    spread = packed.scales.max() * 0.02  # what packing the scales themselves costs
    assert len(packed.levels) == 16 and scaled.abs().max() == 1
    assert (packed.restored.reshape(-1, BLOCK) - nearest).abs().max() < spread
    assert 0.05 < packed.error < 0.15


def test_the_bits_count_the_scales(packed):
    blocks = packed.weight.numel() // BLOCK
    assert packed.bits["NF4"] == 4 + 32 * blocks / packed.weight.numel() == 4.5
    assert 4.12 < packed.bits["NF4, scales packed"] < 4.14


def test_a_matrix_that_fills_no_whole_blocks_is_refused():
    with pytest.raises(ValueError, match="100 weights do not fill blocks of 64"):
        pack(torch.ones(10, 10))
