"""Bases and merged models of somebody else: what asks for code, another repository or too much is refused."""

import os
import shutil
from pathlib import Path

import pytest
import torch
from hostile import BACKTRACKING, CONFIG, LOOP, RECORD, Pickled, edit, leave_code, one_line
from small_training import evaluate_params

from forge_core.evaluation.stages import load_model
from forge_core.models.base_files import FILES
from forge_core.models.chat import CHAT_TEMPLATE, check_template
from forge_core.models.cost import geometry
from forge_core.models.load import load_base, load_processor
from forge_core.paths import EMBEDDED_BASE

COMMIT = "a" * 40


@pytest.fixture(autouse=True)
def yes(monkeypatch):
    """Who is asked says yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")


GROWS = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 100}
CODE = [
    ("config.json", "auto_map", {"AutoConfig": "evil.Evil", "AutoModelForImageTextToText": "evil.Evil"}),
    ("config.json", "text_config.auto_map", {"AutoModel": "evil.Evil"}),
    ("config.json", "model_type", "evil"),
    ("config.json", "text_config.model_type", "qwen3"),
    ("config.json", "attn_implementation", "evil/kernel"),
    ("config.json", "text_config._attn_implementation", "evil/kernel:forward"),
    ("config.json", "attn_implementation", {"text_config": "evil/kernel"}),
    ("config.json", "quantization_config", {"quant_method": "fp8"}),
    ("config.json", "text_config.quantization_config", {"quant_method": "mxfp4"}),
    ("config.json", "text_config.num_hidden_layers", 10**9),
    ("config.json", "vision_config.image_size", 10**9),
    ("generation_config.json", "custom_generate", "evil/generate"),
    ("generation_config.json", "penalty_alpha", 0.6),
    ("generation_config.json", "num_beams", 10**6),
    ("tokenizer_config.json", "auto_map", {"AutoTokenizer": ["evil.Evil", None]}),
    ("tokenizer_config.json", "fast_tokenizer_files", ["../../tokenizer.json"]),
    ("tokenizer.json", "pre_tokenizer", {"type": "Split", "pattern": {"Regex": BACKTRACKING}, "behavior": "Isolated"}),
    ("processor_config.json", "auto_map", {"AutoProcessor": "evil.Evil"}),
    ("processor_config.json", "image_processor.auto_map", {"AutoImageProcessor": "evil.Evil"}),
    ("processor_config.json", "image_processor.image_processor_type", "EvilImageProcessor"),
    (
        "processor_config.json",
        "audio_tokenizer",
        {"audio_tokenizer_class": "AutoModel", "audio_tokenizer_name_or_path": "AUDIO"},
    ),
    ("processor_config.json", "chat_template", LOOP),
    ("config.json", "transformers_weights", "evil.safetensors"),
    ("config.json", "num_labels", 10**9),
    ("generation_config.json", "return_dict_in_generate", True),
    ("generation_config.json", "num_beams", 0),
    ("generation_config.json", "forced_eos_token_id", 10**9),
    ("generation_config.json", "bos_token_id", "x"),
    ("generation_config.json", "top_k", "x"),
    ("tokenizer.json", "normalizer", {"type": "Sequence", "normalizers": [GROWS] * 9}),
    ("tokenizer.json", "normalizer", {"type": "Prepend", "prepend": "x" * 10**6}),
    ("tokenizer.json", "decoder", {"type": "Sequence", "decoders": [{"type": "Fuse"}] + [GROWS] * 9}),
    ("tokenizer.json", "post_processor.single", [{"SpecialToken": {"id": "<unk>", "type_id": 0}}] * 10**4),
    ("tokenizer_config.json", "model_max_length", "x"),
    ("tokenizer_config.json", "model_input_names", ["input_ids"]),
    ("processor_config.json", "image_processor.do_pad", False),
]


@pytest.mark.parametrize(("file", "path", "value"), CODE)
def test_a_base_that_asks_for_code_is_refused_and_nothing_runs(base, tmp_path, file, path, value):
    leave_code(base, tmp_path / "ran")
    edit(base / file, path, value)
    said = {"pre_tokenizer": "Regex", "chat_template": "chat template"}.get(path, path.split(".")[-1])
    uses = (lambda: load_base(str(base), load_in_4bit=False), lambda: load_processor(str(base)))
    for use in (*uses, lambda: geometry(str(base))):
        with pytest.raises(ValueError) as found:
            use()
        one_line(found, base / file, said)
    assert not (tmp_path / "ran").exists()


def test_code_of_the_folder_that_an_audio_tokenizer_names_does_not_run(base, tmp_path):
    (base / "audio").mkdir()
    leave_code(base / "audio", tmp_path / "ran")
    (base / "audio" / "config.json").write_text('{"model_type": "x", "auto_map": {"AutoConfig": "evil.Evil"}}')
    named = {"audio_tokenizer_class": "AutoModel", "audio_tokenizer_name_or_path": str(base / "audio")}
    edit(base / "processor_config.json", "audio_tokenizer", named)
    with pytest.raises(ValueError) as found:
        load_processor(str(base))
    one_line(found, base / "processor_config.json", "audio_tokenizer is refused")
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def cached(tmp_path, monkeypatch) -> Path:
    """The embedded base in the hub's cache, as owner/name at a commit; nothing answers beyond it."""
    repository = tmp_path / "models--owner--name"
    folder = Path(shutil.copytree(EMBEDDED_BASE, repository / "snapshots" / COMMIT))
    (repository / ".no_exist" / COMMIT).mkdir(parents=True)  # where the cache notes what a commit has not
    for name in {*FILES, CONFIG} - {path.name for path in folder.iterdir()}:
        (repository / ".no_exist" / COMMIT / name).touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # discard port: refused
    return folder


def test_a_commit_in_the_cache_needs_no_network_and_is_checked_too(cached):
    assert load_processor("owner/name", COMMIT).image_seq_len == load_processor("embedded").image_seq_len
    assert load_base("owner/name", COMMIT, load_in_4bit=False).name_or_path == str(cached)
    edit(cached / "config.json", "text_config.auto_map", {"AutoModel": "evil.Evil"})
    for use in (load_base, load_processor, geometry):
        with pytest.raises(ValueError) as found:
            use("owner/name", COMMIT)
        one_line(found, cached / "config.json", "auto_map is refused")


@pytest.mark.parametrize("name", ["owner/na me", "../x", "/nothing/there"])
def test_a_name_that_no_base_has_is_one_line(name):
    with pytest.raises(OSError) as found:
        load_processor(name)
    one_line(found, f"{name}@main: could not be read")


def test_a_base_of_pickles_or_with_an_adapter_in_it_is_refused(base, adapter_folder, tmp_path):
    shutil.copy(adapter_folder / CONFIG, base)
    with pytest.raises(ValueError) as found:
        load_base(str(base), load_in_4bit=False)
    one_line(found, base / CONFIG, "a base has no such file")
    (base / CONFIG).unlink()
    (base / "model.safetensors").unlink()
    torch.save(Pickled(tmp_path / "ran"), base / "pytorch_model.bin")
    with pytest.raises(ValueError) as found:
        load_base(str(base), load_in_4bit=False)
    one_line(found, base, "no weights as safetensors")
    (base / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../pytorch_model.bin"}}')
    with pytest.raises(ValueError) as found:
        load_base(str(base), load_in_4bit=False)
    one_line(found, base / "model.safetensors.index.json", "weight_map.a")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("path", "value"), [("model", {"type": "BPE"}), ("added_tokens", [{"id": "a"}])])
def test_a_tokenizer_that_cannot_be_loaded_is_one_line(base, path, value):
    edit(base / "tokenizer.json", path, value)
    with pytest.raises(ValueError) as found:
        load_processor(str(base))
    one_line(found, base / "tokenizer.json", "can't be loaded")


@pytest.mark.parametrize("path", ["text_config.hidden_act", "vision_config.hidden_act"])
def test_a_configuration_that_makes_no_model_is_one_line(base, path):
    edit(base / "config.json", path, "os.system")
    with pytest.raises(ValueError) as found:
        load_base(str(base), load_in_4bit=False)
    one_line(found, base, "can't be loaded")


@pytest.mark.parametrize(
    "text",
    [
        LOOP,
        "{% for a in messages %}{% for b in messages %}{% for c in messages %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in messages recursive %}{{ loop(messages) }}{% endfor %}",
        "{% for a in 'aaaa' * 999999999 %}{% endfor %}",
        "{{ 'a' * 999999999 }}",
        "{{ 'a'.center(999999999) }}",
        "{{ 'a' | center(999999999) }}",
        "{{ 9 ** 999999999 }}",
        "{% set a = messages %}",
        "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for a in messages %}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "x" * 100_000,
        7,
        {"default": CHAT_TEMPLATE},
    ],
    ids=range(18),
)
def test_a_chat_template_that_does_more_than_write_messages_is_refused(text):
    with pytest.raises(ValueError) as found:
        check_template(text, Path("chat_template.jinja"))
    one_line(found, "chat_template.jinja")


@pytest.mark.parametrize(
    "change",
    [{"text_config.intermediate_size": 2**20}, {"text_config.num_hidden_layers": 256}, {"text_config": {}}],
    ids=["wide", "deep", "of the class's own size"],
)
def test_a_model_larger_than_its_weights_is_refused_before_it_takes_memory(base, change):
    for path, value in change.items():
        edit(base / "config.json", path, value)
    with pytest.raises(ValueError) as found:
        load_base(str(base), load_in_4bit=False)
    one_line(found, base / "config.json", "parameters, but there are 3,966,720")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{% if 1 %}" * 120 + "{% endif %}" * 120, "IndentationError"),
        ("{{ messages['a']['b'] }}", "UndefinedError"),
        ("{{ 1 | length }}", "TypeError"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
        ("{{ messages[0]['role'] }}", "for one picture it writes <image> 0 times"),
        ("<image><image>", "for one picture it writes <image> 2 times"),
    ],
)
def test_a_chat_template_that_cannot_ask_about_a_picture_is_named(base, text, said):
    (base / "chat_template.jinja").write_text(text)
    with pytest.raises(ValueError) as found:
        load_processor(str(base))
    one_line(found, base, "chat template", said)


SMOLVLM = (
    "<|im_start|>{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == "
    "'image' %}{{':'}}{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}"
    "{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% elif line['type'] == 'video' %}{{ '<video>' }}"
    "{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)  # on the hub
LANGUAGE_MODEL = (  # a tokenizer may still carry that of its own
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system' }}"
    "{% endif %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}{% endfor %}"
)


@pytest.mark.parametrize("text", [SMOLVLM, LANGUAGE_MODEL], ids=["SmolVLM", "language model"])
def test_templates_of_real_bases_are_let_through(text):
    check_template(text, Path("chat_template.json"))


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("image_processor.preprocess", "x", "preprocess in the settings of its image processor"),
        ("image_processor.max_image_size.longest_edge", 128, "tiles of 128 px and 64 tokens, its model 256 px and 64"),
        ("image_seq_len", 81, "tiles of 256 px and 81 tokens, its model 256 px and 64"),
    ],
)
def test_a_processor_that_does_not_fit_the_model_is_named(base, path, value, said):
    edit(base / "processor_config.json", path, value)
    with pytest.raises(ValueError) as found:
        load_processor(str(base))
    one_line(found, base, said)


@pytest.mark.parametrize("name", ["chat_template.jinja", "config.json", "model-2.safetensors"])
def test_a_pipe_is_not_waited_for(base, name):
    (base / name).unlink(missing_ok=True)
    os.mkfifo(base / name)
    with pytest.raises((ValueError, OSError)) as found:
        load_base(str(base), load_in_4bit=False)
    one_line(found, base / name, "not a file")


def test_a_merged_folder_is_read_as_carefully(base, tmp_path):
    (base / RECORD).write_text("{torn")
    asked = evaluate_params(tmp_path, tmp_path, tmp_path, merged_model=str(base))
    with pytest.raises(ValueError) as found:
        load_model(asked, "merged")
    one_line(found, base / RECORD, "not JSON")
