"""SmolVLM2 and SmolVLM as the hub has them, but narrow and two layers deep: files, classes, special tokens, tiles.

Weights are random; `WIDE` is SmolVLM2-2.2B's own geometry, for benchmarks. The ids of all 145 special tokens are the
real ones; between them lies a small byte-level BPE, learned from the project's prompts, and names that no text has.
File forms: SmolVLM2-2.2B-Instruct at 482adb53 and SmolVLM-256M-Instruct, as public ports of them describe these.
"""

import json
from functools import cache
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForImageTextToText

from forge_core.actions.prompts import system_prompt
from forge_core.data.screens import WORDS

# ids 0 to 16, SmolLM2's own
FIRST = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<reponame>", "<file_sep>", "<filename>"),
    *("<gh_stars>", "<issue_start>", "<issue_comment>", "<issue_closed>", "<jupyter_start>", "<jupyter_text>"),
    *("<jupyter_code>", "<jupyter_output>", "<jupyter_script>", "<empty_output>"),
)
# ids 49152 to 49279, SmolVLM's
LAST = (
    "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    *("<fake_token_around_image>", "<image>"),
    *(f"<|reserved_special_token_{number}|>" for number in range(88)),
    "<end_of_utterance>",
)
SPECIAL = FIRST + LAST
WORDS_END = 49152  # the first id behind the plain vocabulary
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}"
    "{% if message['content'][0]['type'] == 'image' %}{{':'}}{% else %}{{': '}}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{line['text']}}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
# by the model type: class prefix, tile and patch in px, patches squeezed into a token's side, longest edge
FAMILIES = {
    "smolvlm": ("SmolVLM", 384, 14, 3, 1536),
    "idefics3": ("Idefics3", 512, 16, 4, 2048),
}
# (language model, vision tower); heads of the language model are 64 wide
NARROW = (
    {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2},
    {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2},
)
WIDE = (
    {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32},
    {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16},
)


def write_base(folder: Path, family: str, geometry: tuple[dict, dict] = NARROW, device: str = "cpu") -> Path:
    """Write a base of `family` ("smolvlm": SmolVLM2, "idefics3": SmolVLM) into `folder`; the same bytes each time.

    Its weights are made on `device`.
    """
    write_files(folder, family, geometry)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    _write_configs(folder, family, geometry)  # in the hub's form again, not in that of today's transformers
    return folder


def write_files(folder: Path, family: str, geometry: tuple[dict, dict] = NARROW) -> Path:
    """Write all of a base but its weights."""
    prefix, tile, patch, squeeze, edge = FAMILIES[family]
    folder.mkdir(parents=True)
    _write_configs(folder, family, geometry)
    _write_processor(folder, prefix, tile, (tile // patch // squeeze) ** 2, edge)
    _write_tokenizer(folder, prefix)
    return folder


def _write_configs(folder: Path, family: str, geometry: tuple[dict, dict]) -> None:
    prefix, tile, patch, squeeze, _ = FAMILIES[family]
    text = geometry[0] | {
        "model_type": "llama", "head_dim": 64, "num_key_value_heads": geometry[0]["num_attention_heads"],
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 130000, "pad_token_id": 2,
        "vocab_size": WORDS_END + len(LAST),
    }  # fmt: skip
    vision = geometry[1] | {
        "model_type": f"{family}_vision" if family == "smolvlm" else family, "image_size": tile, "patch_size": patch,
    }  # fmt: skip
    config = {
        "architectures": [f"{prefix}ForConditionalGeneration"], "model_type": family, "image_token_id": 49190,
        "scale_factor": squeeze, "tie_word_embeddings": False, "text_config": text, "vision_config": vision,
        "pad_token_id": 128002, "vocab_size": text["vocab_size"], "torch_dtype": "bfloat16", "use_cache": False,
    }  # fmt: skip
    _write(folder / "config.json", config)
    generation = {"bos_token_id": 1, "eos_token_id": 49279, "pad_token_id": 2, "_from_model_config": True}
    _write(folder / "generation_config.json", generation)


def _write_processor(folder: Path, prefix: str, tile: int, tokens: int, edge: int) -> None:
    images = {
        "image_processor_type": f"{prefix}ImageProcessor", "processor_class": f"{prefix}Processor",
        "do_convert_rgb": True, "do_image_splitting": True, "do_normalize": True, "do_pad": True, "do_rescale": True,
        "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "rescale_factor": 1 / 255, "resample": 1,
        "max_image_size": {"longest_edge": tile}, "size": {"longest_edge": edge},
    }  # fmt: skip
    if prefix == "SmolVLM":
        images["video_sampling"] = {"fps": 1, "max_frames": 64, "video_size": {"longest_edge": tile}}
    _write(folder / "preprocessor_config.json", images)
    _write(folder / "processor_config.json", {"image_seq_len": tokens, "processor_class": f"{prefix}Processor"})
    _write(folder / "chat_template.json", {"chat_template": TEMPLATE})


@cache
def _vocabulary() -> dict[str, int]:
    """The learned pieces, and names up to the first id behind them."""
    pieces = json.loads(_learned())["model"]["vocab"]
    return pieces | {f"#{number}": number for number in range(len(pieces), WORDS_END)}


@cache
def _learned() -> str:
    """A BPE of the prompts' text, as JSON."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=list(FIRST), initial_alphabet=alphabet, show_progress=False
    )
    texts = [system_prompt(stage, platform) for stage in (1, 2) for platform in ("web", "desktop", "mobile")]
    tokenizer.train_from_iterator([*texts, *WORDS, *(f" {word}" for word in WORDS)], trainer)
    return tokenizer.to_str()


def _write_tokenizer(folder: Path, prefix: str) -> None:
    learned = json.loads(_learned())
    learned["model"]["vocab"] = _vocabulary()
    tokenizer = Tokenizer.from_str(json.dumps(learned))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in LAST])
    assert [tokenizer.token_to_id(token) for token in ("<image>", "<end_of_utterance>")] == [49190, 49279]
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"image_token": "<image>", "fake_image_token": "<fake_token_around_image>"}
    names |= {"global_image_token": "<global-img>", "end_of_utterance_token": "<end_of_utterance>"}
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    ids = {tokenizer.token_to_id(token): token for token in SPECIAL}
    settings = {
        "added_tokens_decoder": {str(number): {"content": token, **flags} for number, token in sorted(ids.items())},
        "additional_special_tokens": ["<fake_token_around_image>", "<image>", "<end_of_utterance>"],
        "bos_token": "<|im_start|>", "eos_token": "<end_of_utterance>", "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>", "add_prefix_space": False, "clean_up_tokenization_spaces": False,
        "model_max_length": 8192, "truncation_side": "left", "tokenizer_class": "GPT2Tokenizer",
        "processor_class": f"{prefix}Processor", "extra_special_tokens": names, **names,
    }  # fmt: skip
    _write(folder / "tokenizer_config.json", settings)


def _write(file: Path, content: dict) -> None:
    file.write_text(json.dumps(content, indent=1))
