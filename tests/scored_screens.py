"""Targets on small screens of three platforms, and judged answers to them."""

from pathlib import Path

from PIL import Image

from forge_core.data.screenspot import PLATFORMS, Target
from forge_core.evaluation.score import Scored, score

SIZES = {"web": (512, 288), "desktop": (400, 320), "mobile": (200, 400)}  # px
THOUGHT = "The Save button is in the upper left."


def make_targets(folder: Path, count: int = 12) -> list[Target]:
    """`count` targets, platforms in turn, two of a platform on one screenshot; the box grows from target to target."""
    targets = []
    for number in range(count):
        platform = PLATFORMS[number % 3]
        image = folder / f"{platform}_{number // 6}.png"
        if not image.exists():
            Image.effect_noise(SIZES[platform], 40 + number).convert("RGB").save(image)
        width, height = SIZES[platform]
        targets.append(
            Target(
                id=f"{platform}_{number}",
                image=image,
                width=width,
                height=height,
                bbox=(0.1, 0.1, 0.2 + 0.02 * number, 0.2 + 0.02 * number),
                instruction=f"Open number {number}",
                platform=platform,
                kind="icon" if number % 2 else "text",
            )
        )
    return targets


def answers(targets: list[Target], letters: str, reasoned: bool = False) -> list[Scored]:
    """Judged answers from one letter each: h = hit, m = miss at (0.9, 0.8), w = no click."""
    raw = {"h": "click(x=0.15, y=0.15)", "m": "click(x=0.9, y=0.8)", "w": "I see a button."}
    if reasoned:
        raw |= {letter: f"<think>\n{THOUGHT}\n</think>\n<code>\n{raw[letter]}\n</code>" for letter in "hm"}
    return score(targets, {target.id: raw[letter] for target, letter in zip(targets, letters, strict=True)})
