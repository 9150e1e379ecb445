"""A grounding model of SmolVLM's architecture from scratch: a screen in one tile, letters one by one, places as tokens.

The screenshot is squeezed to one 1,024 px tile (64 x 64 patches, 32 x 32 image tokens). The tokenizer spells names, as
the screen does, and has one token for each of 0.000 to 0.999, so that a coordinate is one choice. The classes,
processor and chat template are the Forge's own, so that `forge eval` takes the folder like any merged model.
"""

import re
import string

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlamaConfig,
    PreTrainedTokenizerFast,
)

from forge_core.actions.prompts import system_prompt
from forge_core.capture.rows import FORMS
from forge_core.models.chat import CHAT_TEMPLATE
from forge_core.models.embedded import SPECIAL_TOKENS

PATCH, SCALE_FACTOR = 16, 2
PLATFORMS = ("web", "desktop", "mobile")
PLACES = [f"{number / 1000:.3f}" for number in range(1000)]
LETTERS = string.digits + string.ascii_letters + string.punctuation  # what the tower learns to read, in this order
CALL = (" click(x=", ",", " y=", ")")  # around the two places


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Unigram with equal scores, so that the fewest pieces win: places, the words of prompts, and single letters."""
    prompts = " ".join([*(system_prompt(1, platform) for platform in PLATFORMS), "User Assistant System"])
    prompts += " ".join(form.replace("{name}", "").replace("{noun}", "field item") for form in sum(FORMS.values(), ()))
    words = sorted(set(re.findall(r"[A-Za-z_]{2,}", prompts)))
    pieces = [*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *LETTERS, "\n"]
    pieces += [f"▁{letter}" for letter in string.digits + string.ascii_letters]
    pieces += [*PLACES, "▁click(x=", "▁y=", *words, *(f"▁{word}" for word in words)]
    scores = [(piece, -20.0 if piece.startswith("<0x") else -1.0) for piece in dict.fromkeys(pieces)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="never"), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<|im_start|>", eos_token="<end_of_utterance>",
        pad_token="<unk>", padding_side="right", clean_up_tokenization_spaces=False,
    )  # fmt: skip


def build_processor(tile: int) -> Idefics3Processor:
    """Brings the longest edge to 1.25 tiles (1,280 px for the whole model), then squeezes the screen to one tile."""
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": tile * 5 // 4}, max_image_size={"longest_edge": tile}, do_image_splitting=False
    )
    tokens = (tile // PATCH // SCALE_FACTOR) ** 2
    return Idefics3Processor(images, build_tokenizer(), image_seq_len=tokens, chat_template=CHAT_TEMPLATE)


def build_model(tile: int, hidden: int, vision_layers: int, text_layers: int) -> Idefics3ForConditionalGeneration:
    """The untrained model; seed torch before. Heads are 64 wide."""
    tokenizer = build_tokenizer()
    text = LlamaConfig(
        hidden_size=hidden, intermediate_size=3 * hidden, num_hidden_layers=text_layers,
        num_attention_heads=hidden // 64, num_key_value_heads=hidden // 64, vocab_size=len(tokenizer),
        max_position_embeddings=4096, rope_parameters={"rope_type": "default", "rope_theta": 100000.0},
        tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    vision = dict(
        hidden_size=hidden, intermediate_size=4 * hidden, num_hidden_layers=vision_layers,
        num_attention_heads=hidden // 64, image_size=tile, patch_size=PATCH,
    )  # fmt: skip
    config = Idefics3Config(
        vision_config=vision, text_config=text, scale_factor=SCALE_FACTOR, tie_word_embeddings=True,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return Idefics3ForConditionalGeneration(config)
