"""The embedded tiny VLM: SmolVLM's architecture (Idefics3) at 4 million parameters, with its own small tokenizer.

It exists so that the whole course runs on a CPU: same classes, same processor, same chat template as SmolVLM v1.
`paths.EMBEDDED_BASE` holds the weights that `python -m forge_core.models.pretrain` makes; `build_*` make the untrained
parts.
"""

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

from forge_core.data.screens import ICONS, KINDS, WORDS
from forge_core.models.chat import CHAT_TEMPLATE

TILE = 256  # px: what the vision tower sees
IMAGE_SIZE = 512  # px: longest edge before the picture is squeezed to one tile
PATCH, SCALE_FACTOR = 16, 2
IMAGE_TOKENS = (TILE // PATCH // SCALE_FACTOR) ** 2  # 64, as in SmolVLM-256M
HIDDEN = 192

SPECIAL_TOKENS = (
    "<unk>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>",
    *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
)  # fmt: skip
# Words the tokenizer keeps whole besides the screens' own labels; everything else is spelled, down to bytes.
COMMON_WORDS = """
    User System Assistant Describe The the screen Where is are Which What part of at in on it a an and or to
    find Find Locate where which part upper middle lower left centre right button link field checkbox tab menu icon
    element none yes no not this that with for from by as be you your I me my we can do does will has have one two
    three four five Click click Press press Select select Open open Go go Tap tap Choose choose Use use Double Right
    double right type Type types typed press pressed keys key scroll Scroll scrolls down up amount direction drag Drag
    swipe Swipe move_mouse long_press right_click double_click select_option value wait Wait seconds open_app app_name
    app navigate_home navigate_back final_answer answer Answer text x y from_coord to_coord coord left_click
    item items window video music page screenshot instruction Instruction instructions Previous previous actions
    action Action next move Please generate according UI None Step Thought think Think then Then act first First
    given Given task Task user agent GUI call calls function functions python code Code inside between one only using
    coordinates coordinate normalised normalized image size width height origin top point Point answers reply Reply
    each line write Write exactly available Available space these those them its is was been into field's more see
    need must should hello world name note done Done success status message box see look Look there here now next
    finish finished complete completed done repeat Repeat set Set print area sum true false True False
    """.split()  # noqa: SIM905
PIECES = ("<think>", "</think>", "<code>", "</code>", "0.", "('", "')", '")', '("', "', ", "=0.", ", ", "\n", "'", ".")


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Unigram over whole words with equal scores, so the fewest pieces win; unknown text falls back to bytes."""
    words = dict.fromkeys([*WORDS, *ICONS, *KINDS, *COMMON_WORDS])
    pieces = [*SPECIAL_TOKENS, *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += dict.fromkeys(["▁", *string.printable.strip(), *PIECES, *(f"▁{word}" for word in words), *words])
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


def build_processor() -> Idefics3Processor:
    """Squeezes a picture to one 256 px tile: 64 image tokens."""
    images = Idefics3ImageProcessorPil(
        size={"longest_edge": IMAGE_SIZE}, max_image_size={"longest_edge": TILE}, do_image_splitting=False
    )
    return Idefics3Processor(images, build_tokenizer(), image_seq_len=IMAGE_TOKENS, chat_template=CHAT_TEMPLATE)


def build_model() -> Idefics3ForConditionalGeneration:
    """The untrained model; seed torch before."""
    tokenizer = build_tokenizer()
    text = LlamaConfig(
        hidden_size=HIDDEN, intermediate_size=3 * HIDDEN, num_hidden_layers=4, num_attention_heads=3,
        num_key_value_heads=3, vocab_size=len(tokenizer), max_position_embeddings=2048, tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.05,
    )  # fmt: skip
    vision = dict(
        hidden_size=HIDDEN, intermediate_size=3 * HIDDEN, num_hidden_layers=4, num_attention_heads=3,
        image_size=TILE, patch_size=PATCH, initializer_range=0.05,
    )  # fmt: skip
    config = Idefics3Config(
        vision_config=vision, text_config=text, scale_factor=SCALE_FACTOR, tie_word_embeddings=True,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return Idefics3ForConditionalGeneration(config)
