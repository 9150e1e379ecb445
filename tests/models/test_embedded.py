"""The tiny VLM: SmolVLM's architecture, processor and template at a size for a CPU; shipped weights that see."""

import re
from functools import partial
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from trl.chat_template_utils import smolvlm_chat_template, smolvlm_training_chat_template

from forge_core.actions.prompts import answer_text, system_prompt
from forge_core.data.schema import Turn
from forge_core.data.screens import draw, make_screen
from forge_core.evaluation.score import judge
from forge_core.models import embedded
from forge_core.models.chat import CHAT_TEMPLATE
from forge_core.models.load import autocast, compute_dtype, load_base, load_processor
from forge_core.models.pretraining_data import name, position, question
from forge_core.paths import EMBEDDED_BASE

TOKENIZER = embedded.build_tokenizer()


@given(st.text())
def test_tokenizer_keeps_every_text(text):
    text = "".join(text.split("▁"))  # the tokenizer's own mark for a space
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    assert TOKENIZER.decode(ids) == text.encode("utf-8", "replace").decode()


def test_answers_are_few_tokens_and_come_back():
    thought = "The Save button is in the upper right. I click it."
    turn = Turn(instruction="a", thought=thought, actions=["click(x=0.41, y=0.178)"])
    for stage, most in ((1, 16), (2, 50)):
        ids = TOKENIZER(answer_text(turn, stage), add_special_tokens=False).input_ids
        assert TOKENIZER.decode(ids) == answer_text(turn, stage)
        assert len(ids) <= most
    assert len(TOKENIZER(system_prompt(2, "desktop")).input_ids) < 200


def test_template_renders_what_smolvlm_renders_and_marks_what_trl_marks():
    chat = [
        {"role": "system", "content": [{"type": "text", "text": "Act."}]},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Save"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "\n\nclick(x=0.4, y=0.1)"}]},
        {"role": "user", "content": [{"type": "text", "text": "and Open"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "click(x=0.5, y=0.2)"}]},
    ]
    render = partial(TOKENIZER.apply_chat_template, tokenize=False)
    for messages in (chat, chat[:2]):
        for prompt in (False, True):
            ours = render(messages, chat_template=CHAT_TEMPLATE, add_generation_prompt=prompt)
            assert ours == render(messages, chat_template=smolvlm_chat_template, add_generation_prompt=prompt)
    marked = partial(TOKENIZER.apply_chat_template, return_dict=True, return_assistant_tokens_mask=True)
    ours = marked(chat, chat_template=CHAT_TEMPLATE)
    theirs = marked(chat, chat_template=smolvlm_training_chat_template)
    ids, end = ours["input_ids"], TOKENIZER.eos_token_id
    newlines = [i for i in range(1, len(ids)) if ids[i - 1] == end and theirs["assistant_masks"][i]]
    assert len(newlines) == 2  # TRL trains the newline after an answer too; we stop at the end token
    assert not any(ours["assistant_masks"][i] for i in newlines)
    others = [i for i in range(len(ids)) if i not in newlines]
    assert [ours["assistant_masks"][i] for i in others] == [theirs["assistant_masks"][i] for i in others]


def test_a_screen_costs_one_tile_of_64_tokens():
    processor = embedded.build_processor()
    image = draw(make_screen(Random(0), "mobile", "train"))
    batch = processor(text=["<image>"], images=[[image]], return_tensors="pt")
    assert batch["pixel_values"].shape == (1, 1, 3, 256, 256)
    assert (batch["input_ids"] == processor.image_token_id).sum() == 64
    assert processor.chat_template == CHAT_TEMPLATE


def test_shipped_files_are_what_the_code_builds():
    shipped = load_processor("embedded")
    assert shipped.tokenizer.get_vocab() == TOKENIZER.get_vocab()
    assert shipped.chat_template == CHAT_TEMPLATE
    assert shipped.image_processor.size == {"longest_edge": embedded.IMAGE_SIZE}
    assert sum(file.stat().st_size for file in EMBEDDED_BASE.iterdir()) < 20e6


def test_pretraining_never_shows_an_action():
    rng = Random(0)
    for number in range(300):
        elements = list(make_screen(rng, "web", "train").elements)
        text = " ".join(question(rng, elements))
        assert not re.search(r"\b(click|press|tap|type|scroll)\b|[()=]|<code>|<think>", text), (number, text)


def test_image_size_must_fit_the_tile():
    with pytest.raises(ValueError, match="image_size 300 is not a multiple"):
        load_processor("embedded", image_size=300)


@pytest.fixture(scope="module")
def base():
    return load_base("embedded").eval(), load_processor("embedded")


def ask(model, processor, asked: list) -> list[str]:
    chats = [[{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}] for _, text in asked]
    inputs = processor(
        text=[processor.apply_chat_template(chat, add_generation_prompt=True) for chat in chats],
        images=[[image] for image, _ in asked], padding=True, padding_side="left", return_tensors="pt",
    )  # fmt: skip
    with torch.no_grad(), autocast():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=16)
    return [text.strip() for text in processor.tokenizer.batch_decode(ids[:, inputs["input_ids"].shape[1] :], True)]


def test_shipped_base_sees_and_reads_screens_it_never_saw(base):
    rng, asked = Random(11), {"where": [], "what": [], "part": []}
    for number in range(24):
        screen = make_screen(rng, ("web", "desktop", "mobile")[number % 3], "test")
        element, picture = rng.choice(screen.elements), draw(screen)
        asked["where"].append((picture, f"Where is {element.label}?", position(element)))
        asked["what"].append((picture, f"What is at {position(element)}?", name(element)))
        asked["part"].append((picture, f"Which part of the screen is {element.label} in?", element.region))
    for kind, questions in asked.items():
        answers = ask(*base, [question[:2] for question in questions])
        right = sum(answer == expected for answer, (_, _, expected) in zip(answers, questions, strict=True))
        assert right >= 0.7 * len(questions), (kind, answers)  # chance: 1 in 9 parts, 1 in 100 else


def test_shipped_base_never_acts(base):
    screen = make_screen(Random(12), "web", "test")
    asked = [(draw(screen), form.format(e.label)) for e in screen.elements for form in ("Click on {}", "Tap {}", "{}")]
    for answer in ask(*base, asked):
        assert judge(answer, (0, 0, 1, 1)) == ("wrong_format", None), answer


def test_four_bits_are_in_the_language_model_only():
    from bitsandbytes.nn import Linear4bit

    model = load_base("embedded", load_in_4bit=True)
    names = [name for name, module in model.named_modules() if isinstance(module, Linear4bit)]
    assert len(names) == 4 * 7  # layers x projections
    assert all(name.startswith("model.text_model.layers.") for name in names)
    assert model.model.vision_model.embeddings.patch_embedding.weight.dtype == compute_dtype()
    assert model.lm_head.weight.dtype == compute_dtype()
    assert not any(parameter.requires_grad for parameter in model.parameters())
