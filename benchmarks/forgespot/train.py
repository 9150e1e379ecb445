"""Train a grounding model from scratch within minutes of one GPU, and score it on a benchmark of pages it never saw.

    python -m benchmarks.forgespot.train OUT --screens FOLDER... --fonts FOLDER --benchmark FOLDER

Screens are rendered ones (`render.py`) and drawn ones (`drawn.py`). First quarters of screens, then whole ones; the
losses are the same throughout: the tower says which letters each patch shows; the heads of `LOOKERS` of the language
model look from a word of the instruction to where that word stands, and from the answer to what is to be clicked; the
answer's tokens, its places blurred by the target's size. Nothing but the model's own weights is kept. `OUT` can be
evaluated like a merged model. `--small` is a rehearsal for a CPU.
"""

import argparse
import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from transformers.models.llama.modeling_llama import rotate_half

from benchmarks.forgespot.model import LETTERS, build_model, build_processor
from benchmarks.forgespot.samples import SLOTS, UNKNOWN, Samples, collate
from forge_core.data.screenspot import load_v2
from forge_core.evaluation.predict import predict
from forge_core.evaluation.score import score, table, write_scored
from forge_core.models.load import autocast, compute_dtype, device
from forge_core.models.pretrain import optimizers, start_tower

HEAD = 64  # width of an attention head
LOOKERS = {2: ("words", 2), 3: ("looks", 2), 4: ("looks", 2)}  # layer -> what it looks up, with how many heads
WEIGHTS = {"letters": 1.0, "words": 0.3, "looks": 0.5, "places": 0.5, "text": 0.1}
BINS = 1000  # places
DECAY = 0.4  # share of the training over which the rate falls to zero


class Phase(NamedTuple):
    """A part of the training: on what, and how many tokens of questions a sample has; `drawn` is a share."""

    steps: int
    batch: int
    quarters: bool
    drawn: float
    budget: int


def vision_layer(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """An Idefics3EncoderLayer without a mask."""
    attention, normed = layer.self_attn, layer.layer_norm1(x)
    q, k, v = (
        project(normed).unflatten(-1, (-1, HEAD)).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    x = x + attention.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))
    return x + layer.mlp(layer.layer_norm2(x))


def text_layer(layer: nn.Module, x: torch.Tensor, wave: tuple, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """A LlamaDecoderLayer; also its queries and keys (B, heads, T, HEAD)."""
    attention, normed = layer.self_attn, layer.input_layernorm(x)
    q, k, v = (
        project(normed).unflatten(-1, (-1, HEAD)).transpose(1, 2)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    cos, sin = (part.unsqueeze(1).to(q.dtype) for part in wave)
    q, k = q * cos + rotate_half(q) * sin, k * cos + rotate_half(k) * sin
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(-2)
    x = x + attention.o_proj(mixed)
    return x + layer.mlp(layer.post_attention_layernorm(x)), q, k


class Learner(nn.Module):
    """The model and the head that reads, which is dropped in the end."""

    def __init__(self, shape: dict[str, int], compiled: bool):
        super().__init__()
        self.vlm = build_model(**shape)
        hidden = shape["hidden"]
        self.reader = nn.Linear(hidden, SLOTS * (len(LETTERS) + 1))
        self.first_place = build_processor(shape["tile"]).tokenizer.convert_tokens_to_ids("0.000")
        wrap = torch.compile if compiled else lambda function, **_: function
        self.vision_layer, self.text_layer = wrap(vision_layer, dynamic=False), wrap(text_layer, dynamic=False)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Losses by name, and rates that tell how far it is."""
        model = self.vlm.model
        patches = self.see(batch["pixels"], batch["corner"])  # (B, N, D)
        out = self.reading(patches, batch["letters"])
        tokens = model.connector(patches)  # (B, n, D)
        x = model.text_model.embed_tokens(batch["ids"])  # (B, T, D)
        image = batch["ids"] == self.vlm.config.image_token_id
        first = image.int().argmax(1)  # (B,)
        x = x.masked_scatter(image.unsqueeze(-1), tokens.to(x.dtype))
        wave = model.text_model.rotary_emb(x, batch["position"])
        group = batch["group"]
        past = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        mask = (past & ((group[:, None, :] == 0) | (group[:, None, :] == group[:, :, None]))).unsqueeze(1)
        for number, layer in enumerate(model.text_model.layers):
            x, q, k = self.text_layer(layer, x, wave, mask)
            if number in LOOKERS:
                name, heads = LOOKERS[number]
                keys = gathered(
                    k[:, :heads].transpose(1, 2), first[:, None] + torch.arange(tokens.shape[1], device=x.device)
                )
                out |= looking(name, q[:, :heads].transpose(1, 2), keys, batch[name], round(tokens.shape[1] ** 0.5))
        return out | self.answering(model.text_model.norm(x), batch)

    def see(self, pixels: torch.Tensor, corner: torch.Tensor) -> torch.Tensor:
        """The tower on screens, or on parts of them whose top left image token is `corner`."""
        tower = self.vlm.model.vision_model
        x = tower.embeddings.patch_embedding(pixels.float() / 127.5 - 1)  # (B, D, h, w)
        side, whole = x.shape[-1], tower.embeddings.num_patches_per_side
        steps = torch.arange(side, device=x.device)
        rows, columns = (corner[:, axis, None] * self.vlm.config.scale_factor + steps for axis in (0, 1))
        where = (rows[:, :, None] * whole + columns[:, None, :]).flatten(1)
        x = x.flatten(2).transpose(1, 2) + tower.embeddings.position_embedding(where)
        for layer in tower.encoder.layers:
            x = self.vision_layer(layer, x)
        return tower.post_layernorm(x)

    def reading(self, patches: torch.Tensor, letters: torch.Tensor) -> dict[str, torch.Tensor]:
        """Which letters each patch shows; of empty patches one in eight takes part."""
        target = letters.flatten(1, 2).flatten(0, 1).long()  # (B * N, SLOTS)
        written, known = target[:, 0] > 0, target[:, 0] != UNKNOWN
        taken = known & (written | (torch.rand(len(written), device=target.device) < 0.125))
        target, logits = target[taken], self.reader(patches.flatten(0, 1)[taken]).float().unflatten(-1, (SLOTS, -1))
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
        shown = target > 0
        weight = torch.where(shown.flatten(), 1.0, 0.2)
        right = (logits.argmax(-1) == target)[shown].float().mean()
        return {"letters": (loss * weight).sum() / weight.sum(), "letters_right": right}

    def answering(self, x: torch.Tensor, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Places, blurred by the size of their target, and the tokens around them."""
        places = batch["places"]  # (B, Q, 3): token before it, place, blur
        asked = places[..., 0] >= 0
        found = gathered(x, places[..., 0].clamp(min=0).long())[asked]  # (M, D)
        logits = self.vlm.lm_head(found).float().log_softmax(-1)
        bins = torch.arange(BINS, device=x.device)
        wanted, blur = places[asked][:, 1] - self.first_place, places[asked][:, 2]
        target = (-0.5 * ((bins - wanted[:, None]) / blur[:, None]) ** 2).softmax(-1)
        loss = -(target * logits[:, self.first_place : self.first_place + BINS]).sum(-1).mean()
        off = (logits.argmax(-1) - self.first_place - wanted).abs()
        hit = (off < 3 * blur).view(-1, 2).all(-1).float().mean()
        labels = batch["labels"][:, 1:]
        kept = labels != -100
        text = F.cross_entropy(self.vlm.lm_head(x[:, :-1][kept]).float(), labels[kept])
        return {"places": loss, "hit": hit, "text": text}


def gathered(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """x (B, T, ...) at index (B, Q): (B, Q, ...)."""
    return x[torch.arange(len(x), device=x.device)[:, None], index]


def looking(
    name: str, queries: torch.Tensor, keys: torch.Tensor, looks: torch.Tensor, side: int
) -> dict[str, torch.Tensor]:
    """How much of the attention to the image (keys: B, n, h, HEAD) goes where it should, from the tokens in `looks`."""
    asked = looks[..., 0] >= 0  # (B, Q)
    q = gathered(queries, looks[..., 0].clamp(min=0))  # (B, Q, h, HEAD)
    scores = torch.einsum("bqhd,bnhd->bqhn", q, keys).float()[asked] / HEAD**0.5  # (M, h, n)
    steps = torch.arange(side, device=scores.device)
    top, bottom, left, right = looks[asked][:, 1:].unbind(-1)
    rows = (steps >= top[:, None]) & (steps <= bottom[:, None])
    columns = (steps >= left[:, None]) & (steps <= right[:, None])
    wanted = (rows[:, :, None] & columns[:, None, :]).flatten(1)[:, None]  # (M, 1, n)
    loss = scores.logsumexp(-1) - scores.masked_fill(~wanted, -torch.inf).logsumexp(-1)
    best = wanted.expand_as(scores).gather(-1, scores.argmax(-1, keepdim=True)).float().mean()
    return {name: loss.mean(), f"{name}_right": best}


class Clock:
    """How far a training is, from 0 to 1: by its steps, or by its seconds where these run out first."""

    def __init__(self, steps: int, seconds: float):
        self.steps, self.seconds, self.done, self.began = steps, seconds, 0, time.monotonic()

    @property
    def progress(self) -> float:
        return max(self.done / self.steps, (time.monotonic() - self.began) / self.seconds)


def train(arguments: argparse.Namespace) -> Learner:
    """Quarters, then whole screens."""
    torch.manual_seed(arguments.seed)
    torch.set_float32_matmul_precision("high")
    learner = Learner(arguments.shape, arguments.compile).to(device())
    optims = optimizers(learner)
    clock = Clock(sum(phase.steps for phase in arguments.phases), arguments.seconds)
    loaders = [loader_of(phase, number, arguments) for number, phase in enumerate(arguments.phases)]
    embeddings = learner.vlm.model.vision_model.embeddings
    start_tower(embeddings, next(loaders[0])["pixels"][:32].cpu())
    until = 0
    for phase, loader in zip(arguments.phases, loaders, strict=True):
        until += phase.steps
        run_phase(learner, optims, loader, clock, until / clock.steps, arguments)
    return learner


def loader_of(phase: Phase, number: int, arguments: argparse.Namespace) -> Iterator[dict[str, torch.Tensor]]:
    """Endless batches of a phase; its workers start at once, so that the second phase does not wait for them."""
    data = Samples(
        arguments.screens, arguments.fonts, phase.drawn, arguments.shape["tile"], phase.quarters, phase.budget,
        arguments.seed * 1000 + number,
    )  # fmt: skip
    return iter(
        DataLoader(
            data, phase.batch, num_workers=arguments.workers, collate_fn=collate, pin_memory=device().type == "cuda",
            prefetch_factor=2 if arguments.workers else None,
        )
    )  # fmt: skip


def run_phase(learner: Learner, optims: list, loader, clock: Clock, until: float, arguments) -> None:
    """Steps until the clock says so; a line every `log_every` of them. The rate falls over the last `DECAY` of all."""
    recent, began, first = deque(maxlen=arguments.log_every), time.monotonic(), clock.done
    while (progress := clock.progress) < until:
        batch = {name: value.to(device(), non_blocking=True) for name, value in next(loader).items()}
        for group in (group for optim in optims for group in optim.param_groups):
            group["lr"] = arguments.rate * min(1, (clock.done + 1) / 100, (1 - progress) / DECAY)
        with autocast():
            result = learner(batch)
        sum(weight * result[key] for key, weight in WEIGHTS.items()).backward()
        finite = nn.utils.clip_grad_norm_(learner.parameters(), 1.0).isfinite()
        for optim in optims:
            if finite:
                optim.step()
            optim.zero_grad()
        recent.append({key: value.detach() for key, value in result.items()})
        clock.done += 1
        if clock.done % arguments.log_every == 0:
            means = (f"{key} {float(sum(past[key] for past in recent)) / len(recent):.3f}" for key in result)
            speed = (clock.done - first) * len(batch["ids"]) / (time.monotonic() - began)
            print(f"{clock.done} · {progress:.1%} · {speed:.0f} samples/s ·", *means, flush=True)


def save(learner: Learner, out: Path, arguments: argparse.Namespace) -> None:
    """Weights in bf16, tokenizer, processor, and what the Forge asks of a merged model."""
    out.mkdir(parents=True, exist_ok=True)
    model = build_model(**arguments.shape)
    model.load_state_dict(learner.vlm.state_dict())
    model.to(torch.bfloat16).save_pretrained(out)
    build_processor(arguments.shape["tile"]).save_pretrained(out)
    identity = {"stage": 1, "coord_format": "4-decimals", "seed": arguments.seed}
    (out / "forge.json").write_text(json.dumps({"identity": identity}))


def evaluate(learner: Learner, arguments: argparse.Namespace, file: Path) -> None:
    """Answers and verdicts on the benchmark, by the Forge's own prediction."""
    targets = load_v2(arguments.benchmark)
    processor = build_processor(arguments.shape["tile"])
    learner.vlm.to(compute_dtype())
    answers = predict(
        learner.vlm, processor, targets, 1, file, f"seed {arguments.seed}", batch_size=32, max_new_tokens=16
    )
    scored = score(targets, answers)
    write_scored(file.with_name(f"scored_{file.name}"), scored)
    for row in table(scored, by=("platform", "kind", "application")):
        print(f"{row.group} {row.name}: {row.k}/{row.n} = {row.value:.1%}, wrong format {row.wrong_format}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--screens", type=Path, nargs="*", default=[], help="folders that render.py wrote")
    parser.add_argument("--fonts", type=Path, required=True)
    parser.add_argument("--benchmark", type=Path, help="a folder in ScreenSpot-v2's layout")
    parser.add_argument("--steps", type=int, nargs=2, default=(1800, 1200), help="on quarters, on whole screens")
    parser.add_argument("--batch", type=int, nargs=2, default=(64, 24))
    parser.add_argument("--rate", type=float, default=1.5e-3)
    parser.add_argument("--seconds", type=float, default=1e9, help="what the training may take; it then ends early")
    parser.add_argument("--workers", type=int, default=7, help="data loader processes of each of the two")
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-compile", dest="compile", action="store_false")
    parser.add_argument("--small", action="store_true", help="a tile of 256 px and a tenth of the weights")
    arguments = parser.parse_args()
    arguments.shape = {"tile": 1024, "hidden": 512, "vision_layers": 8, "text_layers": 6}
    if arguments.small:
        arguments.shape |= {"tile": 256, "hidden": 128, "vision_layers": 4}
    (quarter_steps, steps), (quarter_batch, batch) = arguments.steps, arguments.batch
    arguments.phases = [
        Phase(quarter_steps, quarter_batch, True, 0.6, 480), Phase(steps, batch, False, 0.25, 768)
    ]  # fmt: skip
    learner = train(arguments)
    save(learner, arguments.out, arguments)
    if arguments.benchmark:
        evaluate(learner, arguments, arguments.out / "answers.jsonl")


if __name__ == "__main__":
    main()
