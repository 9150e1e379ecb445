"""Pretrain the embedded base: it learns to see, to read and to say what stands where. It never sees an action.

    python -m forge_core.models.pretrain --out forge_core/models/embedded_base

Three kinds of supervision, all from `pretraining_data`: dense labels make the vision tower read (which word and kind,
where its centre is), and put the words' own vectors into the image tokens; captions and questions make the language
model describe screens and look things up, with answers in words only; echoing random text keeps every token's embedding
alive. The dense heads are thrown away afterwards. About 40 minutes on 2 CPU cores.
"""

import argparse
import math
import time
from collections import deque
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from forge_core.data.screens import KINDS
from forge_core.models import embedded
from forge_core.models.load import autocast
from forge_core.models.pretraining_data import BINS, LABELS, PATCHES, Screens
from forge_core.paths import EMBEDDED_BASE

INITIAL = 4  # batches that the data-dependent start looks at
DECAY = 0.3  # share of the steps over which the rate falls to zero
LOSS_WEIGHTS = {"patch": 1.0, "label": 1.0, "kind": 1.0, "place": 0.5, "language": 2.0}


class Pretrainer(nn.Module):
    """The model plus the dense heads that are dropped in the end."""

    def __init__(self):
        super().__init__()
        self.vlm = embedded.build_model()
        tokenizer = embedded.build_tokenizer()
        self.register_buffer(
            "label_ids", torch.tensor(tokenizer.convert_tokens_to_ids([f"▁{word}" for word in LABELS]))
        )
        self.patch_head = nn.Linear(embedded.HIDDEN, len(LABELS) + 1)
        self.kind_head = nn.Linear(embedded.HIDDEN, len(KINDS) + 1)
        self.place_head = nn.Linear(embedded.HIDDEN, 2 * BINS)
        self.register_buffer("patch_mask", torch.ones(1, PATCHES, PATCHES, dtype=torch.bool), persistent=False)

    def forward(self, batch: dict, language: bool) -> dict[str, torch.Tensor]:
        """Losses by name, and the accuracies that tell how far it is."""
        model = self.vlm.model
        pixels = batch["pixels"].float() / 127.5 - 1  # (B, 3, 256, 256)
        patches = model.vision_model(pixels, patch_attention_mask=self.patch_mask.expand(len(pixels), -1, -1))
        patches = patches.last_hidden_state  # (B, 256, D)
        tokens = model.connector(patches)  # (B, 64, D)
        out = self.dense(patches, tokens, batch)
        if language:
            embeds = model.text_model.embed_tokens(batch["ids"])  # (B, T, D)
            where = (batch["ids"] == self.vlm.config.image_token_id).unsqueeze(-1)
            embeds = embeds.masked_scatter(where, tokens.to(embeds.dtype))
            hidden = model.text_model(inputs_embeds=embeds, use_cache=False).last_hidden_state[:, :-1]
            targets = batch["labels"][:, 1:]
            kept = targets != -100
            logits = self.vlm.lm_head(hidden[kept])
            out["language"] = F.cross_entropy(logits.float(), targets[kept])
            out["token_acc"] = (logits.argmax(-1) == targets[kept]).float().mean()
        return out

    def dense(self, patches, tokens, batch) -> dict[str, torch.Tensor]:
        read = self.patch_head(patches).float().flatten(0, 1)
        target = batch["patch"].flatten()
        weight = torch.where(target > 0, 1.0, 0.1)
        out = {"patch": (F.cross_entropy(read, target, reduction="none") * weight).sum() / weight.sum()}
        out["patch_acc"] = (read.argmax(-1) == target)[target > 0].float().mean()
        tokens = tokens.flatten(0, 1)
        label, kind = batch["label"].flatten(), batch["kind"].flatten()
        anchors = label >= 0
        normed = F.rms_norm(tokens[anchors], (embedded.HIDDEN,))
        words = self.vlm.model.text_model.embed_tokens(self.label_ids)  # image tokens learn the words' own vectors
        out["label"] = F.cross_entropy((normed @ words.T).float(), label[anchors])
        out["label_acc"] = ((normed @ words.T).argmax(-1) == label[anchors]).float().mean()
        out["kind"] = F.cross_entropy(self.kind_head(F.rms_norm(tokens, (embedded.HIDDEN,))).float(), kind)
        x, y = self.place_head(normed).float().split(BINS, -1)
        out["place"] = F.cross_entropy(x, batch["x"].flatten()[anchors]) + F.cross_entropy(
            y, batch["y"].flatten()[anchors]
        )
        out["place_acc"] = (x.argmax(-1) == batch["x"].flatten()[anchors]).float().mean()
        return out


def start_tower(embeddings: nn.Module, sample_pixels: torch.Tensor) -> None:
    """Data-dependent start: patches whitened by PCA, positions as 2-D sinusoids. Reading starts minutes earlier."""
    size, hidden, side = embeddings.patch_size, embeddings.embed_dim, embeddings.num_patches_per_side
    patches = F.unfold(sample_pixels.float() / 127.5 - 1, size, stride=size)  # (B, 3 * size**2, patches)
    patches = patches.transpose(1, 2).reshape(-1, 3 * size**2)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    scale = (values[-hidden:] + 1e-2 * values[-hidden:].mean()).rsqrt()
    weight = (vectors[:, -hidden:] * scale).T * 0.5  # (D, 3 * size**2)
    angle = torch.arange(side)[:, None] * (2.0 ** -torch.linspace(-1, math.log2(side), hidden // 4))[None]
    wave = torch.cat([angle.sin(), angle.cos()], -1) * 0.5  # (side, D/2)
    grid = torch.cat([wave[:, None].expand(-1, side, -1), wave[None].expand(side, -1, -1)], -1)
    with torch.no_grad():
        embeddings.patch_embedding.weight.copy_(weight.view_as(embeddings.patch_embedding.weight))
        embeddings.patch_embedding.bias.copy_(-(weight @ mean))
        embeddings.position_embedding.weight.copy_(grid.reshape(side**2, -1))


def optimizers(trainer: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings, heads and vectors."""
    layers = [p for n, p in trainer.named_parameters() if p.ndim == 2 and (".layers." in n or "connector" in n)]
    chosen = {id(p) for p in layers}
    rest = [p for p in trainer.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(layers, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0)]


def pretrain(
    out: Path, state_file: Path, steps: int, dense_steps: int, batch_size: int, rate: float, seed: int
) -> None:
    """Train from scratch, or go on from `state_file`; write the base to `out`."""
    torch.manual_seed(seed)
    trainer = Pretrainer()
    optims = optimizers(trainer)
    start = restore(state_file, trainer, optims)
    skip = (start + INITIAL) * batch_size if start else 0
    loader = iter(DataLoader(Screens(seed, skip), batch_size=batch_size, num_workers=1, prefetch_factor=8))
    if not start:
        pixels = torch.cat([next(loader)["pixels"] for _ in range(INITIAL)])
        start_tower(trainer.vlm.model.vision_model.embeddings, pixels)
    began, recent = time.monotonic(), deque(maxlen=50)
    for step in range(start, steps):
        for group in (group for optim in optims for group in optim.param_groups):
            group["lr"] = rate * min(1, (step + 1) / 100, (steps - step) / (DECAY * steps))
        recent.append(train_step(trainer, optims, next(loader), language=step >= dense_steps))
        if (step + 1) % 50 == 0:
            speed = (step + 1 - start) * batch_size / (time.monotonic() - began)
            means = (f"{key} {sum(past.get(key, 0) for past in recent) / len(recent):.3f}" for key in recent[-1])
            print(f"{step + 1}/{steps} · {speed:.0f} screens/s ·", *means, flush=True)
        if (step + 1) % 250 == 0 or step + 1 == steps:
            save(trainer, out)
            optim_states = [optim.state_dict() for optim in optims]
            torch.save({"model": trainer.state_dict(), "step": step + 1, "optims": optim_states}, state_file)


def train_step(trainer: Pretrainer, optims: list, batch: dict, language: bool) -> dict[str, float]:
    """One optimizer step on a batch; its losses and accuracies."""
    with autocast():
        result = trainer(batch, language)
    loss = sum(weight * result[key] for key, weight in LOSS_WEIGHTS.items() if key in result)
    loss.backward()
    nn.utils.clip_grad_norm_(trainer.parameters(), 1.0)
    for optim in optims:
        optim.step()
        optim.zero_grad()
    return {key: float(value.detach()) for key, value in result.items()}


def restore(state_file: Path, trainer: Pretrainer, optims: list) -> int:
    """Load a saved state if there is one; the number of steps it has behind it."""
    if not state_file.exists():
        return 0
    state = torch.load(state_file, weights_only=True)
    trainer.load_state_dict(state["model"])
    for optim, saved in zip(optims, state["optims"], strict=True):
        optim.load_state_dict(saved)
    return state["step"]


def save(trainer: Pretrainer, out: Path) -> None:
    """Weights in bf16, tokenizer, processor: an ordinary transformers folder."""
    out.mkdir(parents=True, exist_ok=True)
    model = embedded.build_model()
    model.load_state_dict(trainer.vlm.state_dict())
    model.to(torch.bfloat16).save_pretrained(out)
    embedded.build_processor().save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=EMBEDDED_BASE)
    parser.add_argument("--state-file", type=Path, default="pretraining.pt", help="goes on from here if it exists")
    parser.add_argument("--steps", type=int, default=2200)
    parser.add_argument("--dense-steps", type=int, default=700, help="steps for the vision tower alone")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    pretrain(**vars(parser.parse_args()))
