"""The arithmetic of LoRA's size agrees with adapters that are really attached."""

import pytest

from forge_core.models.cost import adapted
from forge_core.models.load import LORA_TARGETS, attach_lora, load_base


@pytest.mark.parametrize("train_vision", LORA_TARGETS)
def test_arithmetic_counts_what_peft_attaches(train_vision):
    model = attach_lora(load_base("embedded", load_in_4bit=False, on_cpu=True), 8, 16, 0.0, train_vision)
    trainable, total = model.get_nb_trainable_parameters()
    counted = adapted("embedded", "main", 8, train_vision)
    assert sum(counted.adapters.values()) == trainable
    assert sum(counted.parts.values()) == total - trainable
    assert ("vision tower" in counted.adapters) == (train_vision == "lora")


def test_the_matrices_of_a_layer_are_those_with_an_adapter():
    matrices = adapted("embedded", "main", 8).matrices
    assert matrices["down_proj"] == (192, 576) and matrices["gate_proj"] == (576, 192)
    assert len(matrices) == 7
