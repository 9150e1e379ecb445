"""What the Trainer lacks for a VLM on a small card: a loss without full logits, a tower without a backward pass.

Both are set on the model itself, so that they hold under DDP too.
"""

import math
import time
from types import MethodType

import torch
from peft import PeftModel
from torch.nn import functional as F
from transformers import TrainerCallback
from transformers.models.idefics3.modeling_idefics3 import Idefics3CausalLMOutputWithPast

from forge_core.training.collate import IGNORED


def train_only_labelled(model: PeftModel) -> None:
    """Compute logits at supervised positions alone: the others (about 95%) only cost memory."""
    base = model.get_base_model()
    whole = base.forward

    def forward(self, labels=None, num_items_in_batch=None, **inputs):
        if labels is None:
            return whole(**inputs)
        hidden = self.model(**inputs, use_cache=False).last_hidden_state[:, :-1]  # (B, T-1, D)
        targets = labels[:, 1:]
        kept = targets != IGNORED
        logits = self.lm_head(hidden[kept]).float()  # (supervised, V)
        total = F.cross_entropy(logits, targets[kept], reduction="sum")
        return Idefics3CausalLMOutputWithPast(loss=total / (num_items_in_batch or kept.sum()))

    base.forward = MethodType(forward, base)


def freeze_tower(model: PeftModel) -> None:
    """Run a tower without trainable weights under no_grad, so that its activations are not kept.

    Needed because activation checkpointing puts hooks on it that ask for gradients (peft, transformers 5).
    """
    tower = model.get_base_model().model.vision_model
    if any(parameter.requires_grad for parameter in tower.parameters()):
        raise ValueError("the vision tower has trainable weights; it can't run under no_grad")
    tower.forward = torch.no_grad()(tower.forward)


class Watch(TrainerCallback):
    """Prints one line per logging step, and stops a run whose loss is no longer finite."""

    def on_train_begin(self, args, state, control, **_):
        self.began, self.first = time.monotonic(), state.global_step

    def on_log(self, args, state, control, logs=None, **_):
        if "loss" not in (logs or {}):
            return
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"step {state.global_step}: loss is {logs['loss']}; lower learning_rate")
        done = state.global_step - self.first
        left = (time.monotonic() - self.began) / done * (state.max_steps - state.global_step)
        print(
            f"step {state.global_step}/{state.max_steps} · loss {logs['loss']:.4f} · "
            f"lr {logs['learning_rate']:.2e} · {left:.0f} s left",
            flush=True,
        )
