"""Raw rows as AGUVIS writes them, archives to go with them, and parameters that leave everything in."""

import io
import json
import zipfile
from pathlib import Path

from PIL import Image

from forge_core.params import PreprocessParams

REQUEST = "<image>\nPlease generate the next move according to the UI screenshot, instruction and previous actions.\n\n"
PLAIN = {
    "run": "test", "seed": 0, "stage1_subsets": ["sandbox_web"], "stage2_subsets": ["sandbox_web"], "max_turns": 8,
    "max_rows": 0, "max_rejected_share": 1.0, "use_shares": False, "drop_near_duplicates": False,
    "drop_off_screen": False, "max_target_share": 1.0, "min_target_px": 0, "max_platform_share": 1.0,
    "max_action_share": 1.0, "workers": 1, "usd_per_hour": 0.0, "base_model": "embedded", "base_revision": "main",
    "image_size": 512,
}  # fmt: skip


def preprocess_params(raw: Path, out: Path, **more) -> PreprocessParams:
    return PreprocessParams(**PLAIN | {"raw_dir": str(raw), "data_dir": str(out)} | more)


def human(value):
    return {"from": "human", "value": value}


def gpt(value, **more):
    return {"from": "gpt", "value": value, **more}


def stage1(image, *pairs, **more):
    turns = [part for asked, code in pairs for part in (human(asked), gpt(code))]
    return {"image": image, "conversations": turns} | more


def stage2(image, request, thought, code):
    thoughts = [gpt(thought, recipient="all", end_turn=False)] if thought else []
    answers = [*thoughts, gpt(code, recipient="os", end_turn=True)]
    return {
        "image": image,
        "conversations": [{"from": "system", "value": "You are"}, human(REQUEST + request), *answers],
    }


def picture(kind="PNG", size=(64, 48)):
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).save(buffer, kind)
    return buffer.getvalue()


def eps() -> bytes:
    """A drawing for which PIL runs Ghostscript."""
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


def without_pixels() -> bytes:
    """A PNG without its data, on which PIL fails with an IndexError."""
    data = picture()
    return data[: data.index(b"IDAT") - 4] + data[data.index(b"IEND") - 4 :]


def write_subset(raw: Path, stage: int, rows: list, images: dict[str, bytes] | None = None, name="sandbox_web") -> Path:
    """Write a subset's JSON and its zip below raw/stage{N}; returns raw."""
    folder = raw / f"stage{stage}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(rows))
    with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
        for image, data in (images or {"a.png": picture(), "b.png": picture(size=(30, 20))}).items():
            archive.writestr(image, data)
    return raw
