"""What the Trainer lacks for a VLM on a small card: a loss without full logits, a tower without a backward pass.

Both are set on the model itself, so that they hold under DDP too.
"""

import math
import resource
import signal
import time
from functools import cached_property, wraps
from types import MethodType

import torch
import wandb
from peft import PeftModel
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback
from transformers.modeling_outputs import CausalLMOutputWithPast

from forge_core.progress import Progress
from forge_core.training.collate import IGNORED, Collator
from forge_core.training.held_out import HeldOut
from forge_core.training.rows import LengthGrouped

CHUNK = 512  # supervised positions whose logits exist at a time
PROBE = 20  # steps after which time and cost are projected


class StageTrainer(Trainer):
    """The Trainer over `Rows`, each optimizer step's rows of like length; its evaluation is `held_out`'s clicks."""

    held_out: HeldOut
    collator: Collator

    def train(self, *arguments, **named):
        """As the Trainer's; notes when it began."""
        self.began = time.monotonic()
        return super().train(*arguments, **named)

    @cached_property
    def spent(self) -> float:
        """Seconds of the processes before this one, by the log that came with their checkpoint."""
        return next((entry["seconds"] for entry in reversed(self.state.log_history)), 0.0)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As the Trainer's, with the seconds so far, and the most memory in use (GiB; on a CPU the process's)."""
        logs["seconds"] = round(self.spent + time.monotonic() - self.began, 1)
        if torch.cuda.is_available():
            logs["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        else:
            logs["memory_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        super().log(logs, start_time)

    def evaluate(self, *_, **__) -> dict[str, float]:
        """Score the clicks on the held-out screenshots, log the rate, and to W&B the answers."""
        rate, shown = self.held_out.score(self.model, self.args.eval_batch_size)
        self.log({"eval_clicks": rate})
        if wandb.run and self.is_world_process_zero():
            captions = ["{instruction} · {outcome}\n{answer}".format(**row) for row in shown]
            images = [wandb.Image(row["screenshot"], caption=text) for row, text in zip(shown, captions, strict=True)]
            rows = [[*list(row.values())[:-1], image] for row, image in zip(shown, images, strict=True)]
            table = wandb.Table(columns=list(shown[0]), data=rows)
            # a table's pictures lie outside the run's folder until it is synced; those of a list lie in it
            wandb.log({"held out": table, "held out screenshots": images}, commit=False)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, {"eval_clicks": rate})
        return {"eval_rank": rate + 1e-9 * self.state.global_step}  # of equals the later

    def get_train_dataloader(self) -> DataLoader:
        """As the Trainer's, with a generator of its own for its workers' seeds.

        From torch's common one they are drawn when workers start: once in an unbroken run, and again in the epoch after
        a resume. Dropout would draw other numbers from there on.
        """
        loader = super().get_train_dataloader()
        loader.base_dataloader.generator = torch.Generator()
        return loader

    def _prepare_inputs(self, inputs: dict) -> dict:
        """As the Trainer's, with the pixels that a worker sent as bytes normalised on the device."""
        return self.collator.expand(super()._prepare_inputs(inputs))

    def _get_train_sampler(self, train_dataset=None) -> LengthGrouped:
        arguments = self.args
        group = arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
        return LengthGrouped(train_dataset or self.train_dataset, group, arguments.seed)


def train_only_labelled(model: PeftModel) -> None:
    """Compute logits at supervised positions alone, a chunk at a time: the others (about 95%) only cost memory.

    Batches that have labels must be padded on the right, as `Collator` pads them.

    A loss that is not finite raises FloatingPointError naming the rows (`ids`) of its batch.
    """
    base = model.get_base_model()
    whole = base.forward

    @wraps(type(base).forward)  # generate() and the Trainer read its signature
    def forward(self, labels=None, num_items_in_batch=None, ids=None, **inputs):
        if labels is None:
            return whole(**inputs)
        # Rows are padded on the right, where a causal model can't look: without a mask attention takes its faster path.
        inputs.pop("attention_mask", None)
        hidden = self.model(**inputs, use_cache=False).last_hidden_state[:, :-1]  # (B, T-1, D)
        targets = labels[:, 1:]
        kept = targets != IGNORED
        total = _cross_entropy(self.lm_head, hidden[kept], targets[kept])
        if not torch.isfinite(total):
            raise FloatingPointError(f"loss is {total.item()} on rows {', '.join(ids or ['?'])}; lower learning_rate")
        return CausalLMOutputWithPast(loss=total / (num_items_in_batch or kept.sum()))

    base.forward = MethodType(forward, base)


def _cross_entropy(head: torch.nn.Module, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Summed loss of `hidden` (N, D) against `targets` (N); the backward pass makes each chunk's logits again."""

    def part(some: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(head(some).float(), wanted, reduction="sum")

    pieces = list(zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True))
    if len(pieces) == 1:
        return part(*pieces[0])
    return sum(checkpoint(part, *piece, use_reentrant=False) for piece in pieces)


def freeze_tower(model: PeftModel) -> None:
    """Run a tower without trainable weights under no_grad, so that its activations are not kept.

    Needed because activation checkpointing puts hooks on it that ask for gradients (peft, transformers 5).
    """
    tower = model.get_base_model().model.vision_model
    if any(parameter.requires_grad for parameter in tower.parameters()):
        raise ValueError("the vision tower has trainable weights; it can't run under no_grad")
    tower.forward = torch.no_grad()(tower.forward)


class Watch(TrainerCallback):
    """Shows how far it is at each logging step, and after `PROBE` steps what the whole will take."""

    def __init__(self, usd_per_hour: float) -> None:
        self.usd_per_hour = usd_per_hour
        self.progress = Progress()

    def on_train_begin(self, args, state, control, **_):
        self.began, self.first = time.monotonic(), state.global_step

    def on_step_end(self, args, state, control, **_):
        if state.global_step >= state.max_steps and args.eval_strategy != "no":
            control.should_evaluate = True  # the last one takes part, at whatever step
        done = state.global_step - self.first
        if done == 1:  # the first one warms up
            self.warm = time.monotonic()
        if done == PROBE and state.is_world_process_zero:
            step = (time.monotonic() - self.warm) / (PROBE - 1)
            hours = step * (state.max_steps - state.global_step) / 3600
            cost = f"${hours * self.usd_per_hour:.2f}" if self.usd_per_hour else "cost unknown (usd_per_hour)"
            left = f"{state.max_steps - state.global_step} more"
            print(f"a step takes {step:.2f} s (mean of {PROBE - 1}), {left} {hours:.2g} h, {cost}", flush=True)

    def on_log(self, args, state, control, logs=None, **_):
        if "eval_clicks" in (logs or {}) and state.is_world_process_zero:
            print(f"step {state.global_step}/{state.max_steps} · held-out clicks {logs['eval_clicks']:.1%}", flush=True)
        if "loss" not in (logs or {}):
            return
        if not math.isfinite(logs["loss"]):
            raise FloatingPointError(f"step {state.global_step}: loss is {logs['loss']}; lower learning_rate")
        done = state.global_step - self.first
        left = (time.monotonic() - self.began) / done * (state.max_steps - state.global_step)
        if state.is_world_process_zero:
            self.progress.show(
                state.global_step,
                state.max_steps,
                f"step {state.global_step}/{state.max_steps} · loss {logs['loss']:.4f} · "
                f"lr {logs['learning_rate']:.2e} · {left:.0f} s left",
            )


class Begun(TrainerCallback):
    """Whether a step has begun: all that a checkpoint holds has been read by then."""

    step = False

    def on_step_begin(self, args, state, control, **_):
        self.step = True


class StopOnSigterm(TrainerCallback):
    """On SIGTERM (an outbid host, `kill`) the step under way is finished and saved, then training stops."""

    def __init__(self) -> None:
        self.asked = False

    def on_train_begin(self, args, state, control, **_):
        self.before = signal.signal(signal.SIGTERM, self._ask)

    def on_step_end(self, args, state, control, **_):
        asked = torch.tensor(self.asked, dtype=torch.int32, device=args.device)
        if args.world_size > 1:  # all stop after the same step, or those that go on wait for ever
            torch.distributed.all_reduce(asked)
        if asked:
            control.should_save = control.should_training_stop = self.asked = True

    def on_train_end(self, args, state, control, **_):
        signal.signal(signal.SIGTERM, self.before)

    def _ask(self, *_) -> None:
        self.asked = True
