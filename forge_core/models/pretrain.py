"""Pretrain the embedded base: it learns to see, to read and to say what stands where. It never sees an action.

    python -m forge_core.models.pretrain --out forge_core/models/embedded_base

Three kinds of supervision, all from `data.screens`, all on layouts of the training split:
dense labels make the vision tower read (which word, which kind, where its centre is); captions and questions in words
and per-mille positions ("417,178") make the language model describe screens and look things up; echoing random text
keeps every token's embedding alive. The dense heads are thrown away afterwards.
"""

import argparse
import time
from collections import deque
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from forge_core.data.screens import ICONS, KINDS, UNITS, WORDS, Element, Screen, draw, make_screen
from forge_core.models import embedded

LABELS = (*WORDS, *ICONS)
PLATFORMS = ("web", "desktop", "mobile")
PATCHES = embedded.TILE // embedded.PATCH  # 16 a side
CELLS = PATCHES // embedded.SCALE_FACTOR  # 8 a side: one image token each
BINS = 64  # of 4 units, for an element's centre
LENGTH = 320  # tokens of one conversation
INITIAL = 4  # batches that the data-dependent start looks at


def position(element: Element) -> str:
    """The centre in per mille of width and height: the base's own way to say where something is."""
    x, y = element.centre
    return f"{int(x * 1000):03d},{int(y * 1000):03d}"


def _noun(element: Element, rng: Random) -> str:
    return rng.choice((element.label, element.label, f"the {element.label} {element.kind}"))


def question(rng: Random, elements: list[Element]) -> tuple[str, str]:
    """One question about the screen with its answer."""
    element, draw_lot = rng.choice(elements), rng.random()
    if draw_lot < 0.55:
        form = rng.choice(("Where is {}?", "Where is {}?", "Find {}.", "Locate {}."))
        return form.format(_noun(element, rng)), position(element)
    if draw_lot < 0.75:
        return f"What is at {position(element)}?", f"{element.label} {element.kind}"
    if draw_lot < 0.92:
        return f"Which part of the screen is {_noun(element, rng)} in?", element.region
    return f"What is {element.label}?", f"{element.label} {element.kind}"


class Screens(IterableDataset):
    """Endless pretraining samples: pixels (3, 256, 256) uint8, dense labels, token ids and labels (LENGTH,)."""

    def __init__(self, seed: int, skip: int = 0):
        self.seed, self.skip = seed, skip
        self.tokenizer = embedded.build_tokenizer()
        self.vocabulary = [piece for piece in self.tokenizer.get_vocab() if not piece.startswith("<")]
        self.vocabulary.sort()
        self.turn_end = self.encode("<end_of_utterance>\n")
        self.image = "<fake_token_around_image><global-img>" + "<image>" * embedded.IMAGE_TOKENS + "<fake_token_around_image>"

    def encode(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def __iter__(self):
        rng = Random(self.seed * 1000)
        for _ in range(self.skip):
            self.conversation(rng, list(self.screen(rng).elements))
        while True:
            yield self.sample(rng)

    def screen(self, rng: Random) -> Screen:
        return make_screen(rng, rng.choice(PLATFORMS), "train")

    def noise(self, rng: Random, shortest: int, longest: int) -> str:
        """Random pieces of the vocabulary as text."""
        pieces = rng.choices(self.vocabulary, k=rng.randint(shortest, longest))
        return "".join(pieces).replace("▁", " ").strip() or "a"

    def question(self, rng: Random, elements: list[Element]) -> tuple[str, str]:
        if rng.random() < 0.9:
            return question(rng, elements)
        text = self.noise(rng, 4, 12)
        return f"Repeat: {text}", text

    def sample(self, rng: Random) -> dict[str, np.ndarray]:
        screen = self.screen(rng)
        image = draw(screen).resize((embedded.TILE, embedded.TILE), Image.Resampling.LANCZOS)
        ids, labels = self.conversation(rng, list(screen.elements))
        return {"pixels": np.asarray(image).transpose(2, 0, 1).copy(), **dense_labels(screen.elements), "ids": ids, "labels": labels}

    def conversation(self, rng: Random, elements: list[Element]) -> tuple[np.ndarray, np.ndarray]:
        """Turns until the sequence is full; labels only on answers and their end token."""
        system = f"System: {self.noise(rng, 5, 70)}<end_of_utterance>\n" if rng.random() < 0.3 else ""
        ids, first = self.encode(f"<|im_start|>{system}User:{self.image}"), True
        labels = [-100] * len(ids)
        caption = ", ".join(f"{element.label} {element.kind}" for element in elements)
        turn = ("Describe the screen.", caption) if rng.random() < 0.25 else self.question(rng, elements)
        while True:
            asked = self.encode(turn[0] if first else f"User: {turn[0]}") + self.turn_end + self.encode("Assistant:")
            answer = self.encode(f" {turn[1]}")
            if len(ids) + len(asked) + len(answer) + 2 > LENGTH:
                break
            ids += asked + answer + self.turn_end
            labels += [-100] * len(asked) + answer + [self.turn_end[0], -100]
            turn, first = self.question(rng, elements), False
        ids += [self.tokenizer.pad_token_id] * (LENGTH - len(ids))
        labels += [-100] * (LENGTH - len(labels))
        return np.array(ids), np.array(labels)


def dense_labels(elements: tuple[Element, ...]) -> dict[str, np.ndarray]:
    """What each patch reads (16, 16), and per image token (8, 8) the element centred there: label, kind, x and y bin."""
    patch = np.zeros((PATCHES, PATCHES), np.int64)  # 0: nothing written here
    label, kind, x_bin, y_bin = (np.full((CELLS, CELLS), -100) for _ in range(4))
    kind[:] = 0
    for element in elements:
        left, top, right, _ = element.box
        inset = 4 if element.kind == "icon" else 8 + 16 * (element.kind == "checkbox")
        row, word = (top + 12) // 16, LABELS.index(element.label) + 1
        patch[row, (left + inset) // 16 : (right - (4 if element.kind == "icon" else 8) - 1) // 16 + 1] = word
        x, y = element.centre
        cell = int(y * CELLS), int(x * CELLS)
        label[cell], kind[cell] = word - 1, KINDS.index(element.kind) + 1
        x_bin[cell], y_bin[cell] = int(x * BINS), int(y * BINS)
    return {"patch": patch, "label": label, "kind": kind, "x": x_bin, "y": y_bin}


class Pretrainer(nn.Module):
    """The model plus the dense heads that are dropped in the end."""

    def __init__(self):
        super().__init__()
        self.vlm = embedded.build_model()
        tokenizer = embedded.build_tokenizer()
        self.register_buffer("label_ids", torch.tensor(tokenizer.convert_tokens_to_ids([f"▁{word}" for word in LABELS])))
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
        out["place"] = F.cross_entropy(x, batch["x"].flatten()[anchors]) + F.cross_entropy(y, batch["y"].flatten()[anchors])
        out["place_acc"] = (x.argmax(-1) == batch["x"].flatten()[anchors]).float().mean()
        return out


def initialise(trainer: Pretrainer, sample_pixels: torch.Tensor) -> None:
    """Data-dependent start: patches whitened by PCA, positions as 2-D sinusoids. Reading starts minutes earlier."""
    vision = trainer.vlm.model.vision_model.embeddings
    patches = F.unfold(sample_pixels.float() / 127.5 - 1, embedded.PATCH, stride=embedded.PATCH)  # (B, 768, 256)
    patches = patches.transpose(1, 2).reshape(-1, 3 * embedded.PATCH**2)
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    scale = (values[-embedded.HIDDEN :] + 1e-2 * values[-embedded.HIDDEN :].mean()).rsqrt()
    weight = (vectors[:, -embedded.HIDDEN :] * scale).T * 0.5  # (D, 768)
    angle = torch.arange(PATCHES)[:, None] * (2.0 ** -torch.linspace(-1, 4, embedded.HIDDEN // 4))[None]
    wave = torch.cat([angle.sin(), angle.cos()], -1) * 0.5  # (16, D/2)
    grid = torch.cat([wave[:, None].expand(-1, PATCHES, -1), wave[None].expand(PATCHES, -1, -1)], -1)
    with torch.no_grad():
        vision.patch_embedding.weight.copy_(weight.view_as(vision.patch_embedding.weight))
        vision.patch_embedding.bias.copy_(-(weight @ mean))
        vision.position_embedding.weight.copy_(grid.reshape(PATCHES**2, -1))


def optimizers(trainer: Pretrainer, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for embeddings, heads and vectors."""
    layers = [p for n, p in trainer.named_parameters() if p.ndim == 2 and (".layers." in n or "connector" in n)]
    chosen = {id(p) for p in layers}
    rest = [p for p in trainer.parameters() if id(p) not in chosen]
    muon = torch.optim.Muon(layers, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)]


def pretrain(out: Path, steps: int, dense_steps: int, batch_size: int, rate: float, seed: int, resume: bool) -> None:
    torch.manual_seed(seed)
    trainer = Pretrainer()
    optims, start, began, recent = optimizers(trainer, rate), 0, time.time(), deque(maxlen=50)
    state_file = out / "pretraining.pt"
    if resume and state_file.exists():
        state = torch.load(state_file, weights_only=True)
        trainer.load_state_dict(state["model"])
        start = state["step"]
        for optim, saved in zip(optims, state["optims"], strict=True):
            optim.load_state_dict(saved)
    skip = (start + INITIAL) * batch_size if start else 0
    loader = iter(DataLoader(Screens(seed, skip), batch_size=batch_size, num_workers=1, prefetch_factor=8))
    if not start:
        initialise(trainer, torch.cat([next(loader)["pixels"] for _ in range(INITIAL)]))
    for step in range(start, steps):
        language = step >= dense_steps
        warm, left = min(1, (step + 1) / 100), min(1.0, (steps - step) / (0.3 * steps))
        for optim in optims:
            for group in optim.param_groups:
                group["lr"] = rate * warm * left
        with torch.autocast("cpu", torch.bfloat16):
            result = trainer(next(loader), language)
        loss = result["patch"] + result["label"] + result["kind"] + 0.5 * result["place"] + 2 * result.get("language", 0)
        loss.backward()
        nn.utils.clip_grad_norm_(trainer.parameters(), 1.0)
        for optim in optims:
            optim.step()
            optim.zero_grad()
        recent.append({name: float(value.detach()) for name, value in result.items()})
        if (step + 1) % 50 == 0:
            means = {name: sum(r.get(name, 0) for r in recent) / len(recent) for name in recent[-1]}
            rate_now = (step + 1 - start) * batch_size / (time.time() - began)
            print(f"{step + 1}/{steps} · {rate_now:.0f} screens/s · " + " ".join(f"{k} {v:.3f}" for k, v in means.items()), flush=True)
        if (step + 1) % 500 == 0 or step + 1 == steps:
            save(trainer, out)
            torch.save({"model": trainer.state_dict(), "step": step + 1, "optims": [o.state_dict() for o in optims]}, state_file)


def save(trainer: Pretrainer, out: Path) -> None:
    """Weights in bf16, tokenizer, processor: an ordinary transformers folder."""
    out.mkdir(parents=True, exist_ok=True)
    model = embedded.build_model()
    model.load_state_dict(trainer.vlm.state_dict())
    model.to(torch.bfloat16).save_pretrained(out)
    embedded.build_processor().save_pretrained(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--dense-steps", type=int, default=1200, help="steps for the vision tower alone")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    pretrain(**vars(parser.parse_args()))
