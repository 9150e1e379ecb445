"""A base's processor for screenshots: tokenizer, image processor and chat template, without what videos would need.

transformers' own SmolVLMProcessor needs torchvision and num2words for videos, counts no tokens before it has opened a
picture, and hands `return_tensors` on twice (read in transformers 5.23.0). On screenshots Idefics3Processor does the
same for SmolVLM2 as for SmolVLM v1, token for token, on PIL alone. What is saved opens as the class the base names.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoTokenizer,
    Idefics3Processor,
    PretrainedConfig,
    ProcessorMixin,
)

from forge_core.json_files import read_object
from forge_core.models.base_files import base_folder, template_of

VIDEO = "video_processor"
RAW = {"do_rescale": False, "do_normalize": False}  # arguments of an image processor: pixels stay 0 to 255


class SmolVLMProcessor(Idefics3Processor):
    """SmolVLM2's processor without its video half.

    It has the name of transformers' class, since that is what is written into the files it saves; the settings of the
    video half go there too, so that transformers' class finds them.
    """

    video: dict | None = None  # settings of the video half, as processor_config.json has them

    def to_dict(self) -> dict:
        """What is saved as processor_config.json."""
        return super().to_dict() | ({VIDEO: self.video} if self.video else {})


# by the name in a base's files
CLASSES = {"Idefics3Processor": Idefics3Processor, "SmolVLMProcessor": SmolVLMProcessor}


def read_processor(base: str, revision: str = "main") -> Idefics3Processor:
    """The processor in a folder or a repository of the hub, without running or loading anything that it names.

    Raises OSError where it has none, ValueError where it is damaged, asks for code, or is of an unknown family.
    """
    folder = base_folder(base, revision)
    for name in ("processor_config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise OSError(f"{base}@{revision}: no {name} could be read; wrong name?")
    settings = read_object(folder / "processor_config.json")
    name = settings.get("processor_class")
    if name not in CLASSES or settings.get("image_seq_len") is None:
        raise ValueError(f"{base}: its processor is {name}; known are {', '.join(CLASSES)} (SmolVLM and SmolVLM2)")
    config = config_of(folder) if (folder / "config.json").is_file() else None  # the tokenizer's class reads it too
    with naming(folder):  # `pil`: the same with a GPU, or not
        images = AutoImageProcessor.from_pretrained(folder, backend="pil", trust_remote_code=False)
    if replaced := [name for name in vars(images) if callable(getattr(type(images), name, None))]:
        raise ValueError(f"{folder}: {replaced[0]} in the settings of its image processor is no setting")
    if config:
        _check_tile(config, images.max_image_size["longest_edge"], settings["image_seq_len"], folder)
    with naming(folder / "tokenizer.json"):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    processor = CLASSES[name](
        images, tokenizer, image_seq_len=settings["image_seq_len"], chat_template=template_of(folder)
    )
    if isinstance(processor, SmolVLMProcessor):
        # before transformers 5 one file served both halves
        of_images = images.to_dict() | {"video_processor_type": "SmolVLMVideoProcessor"}
        of_images.pop("image_processor_type", None)
        processor.video = settings.get(VIDEO) or of_images
    if processor.chat_template:
        _check_written(processor, folder)
    return processor


def config_of(folder: Path) -> PretrainedConfig:
    """The configuration of a checked base, with what its file leaves to its class. Raises ValueError."""
    with naming(folder / "config.json"):
        return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def _check_tile(config: PretrainedConfig, tile: int, tokens: int, folder: Path) -> None:
    """Raise ValueError where the processor has other tiles, or other counts of tokens for them, than the model."""
    vision = config.vision_config
    made = (vision.image_size // vision.patch_size // config.scale_factor) ** 2
    if (tile, tokens) != (vision.image_size, made):
        raise ValueError(
            f"{folder}: its processor has tiles of {tile} px and {tokens} tokens, its model {vision.image_size} px "
            f"and {made}"
        )


def _check_written(processor: Idefics3Processor, folder: Path) -> None:
    """Raise ValueError unless the chat template writes a question about a picture, with one token for the picture."""
    said, seen = {"type": "text", "text": "a"}, {"type": "image"}
    chat = [{"role": "system", "content": [said]}, {"role": "user", "content": [seen, said]}]
    with naming(folder, "its chat template cannot be used"):
        text = processor.apply_chat_template(chat, add_generation_prompt=True)
        if (found := text.count(processor.image_token)) != 1:
            raise ValueError(f"for one picture it writes {processor.image_token} {found} times")


@contextmanager
def naming(path: Path | str, problem: str = "can't be loaded") -> Iterator[None]:
    """Say in one line, with the file or folder, what a library can't make of it; they raise whatever comes to them."""
    try:
        yield
    except (ImportError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        said = str(error).strip().splitlines() or [""]
        raise ValueError(f"{path}: {problem} ({type(error).__name__}: {said[0]})") from error


def pack(read: dict) -> dict:
    """What the image processor read with `RAW`, for the way between processes: `pixel_values` as uint8, and `tiles`.

    `tiles` (B,) says how many of a screenshot's tiles are not padding; the mask (B, tiles, H, W) of eight bytes a pixel
    says no more, since screenshots are resized to whole tiles.
    """
    mask = read.pop("pixel_attention_mask")
    return read | {"pixel_values": read["pixel_values"].to(torch.uint8), "tiles": mask[..., 0, 0].sum(1)}


def normalise(processor: ProcessorMixin, pixels: torch.Tensor, tiles: torch.Tensor) -> torch.Tensor:
    """`pixels` (B, tiles, 3, H, W) uint8 as the image processor would normalise them, float32; padding is zero.

    Zero is how SmolVLM's classes tell padding from a tile; no colour becomes zero (they lie on both sides of it).
    """
    images = processor.image_processor
    mean, std = (
        torch.tensor(each, device=pixels.device).view(3, 1, 1) for each in (images.image_mean, images.image_std)
    )
    is_tile = torch.arange(pixels.shape[1], device=pixels.device) < tiles[:, None]  # (B, tiles)
    return ((pixels * images.rescale_factor - mean) / std) * is_tile[..., None, None, None]
