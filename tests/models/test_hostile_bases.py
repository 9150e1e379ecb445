"""Bases and merged models of somebody else: what asks for code, another repository or too much is refused."""

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


@pytest.mark.parametrize(("path", "value"), [("model", {"type": "Nothing"}), ("added_tokens", [{"id": "a"}])])
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


def test_a_merged_folder_is_read_as_carefully(base, tmp_path):
    (base / RECORD).write_text("{torn")
    asked = evaluate_params(tmp_path, tmp_path, tmp_path, merged_model=str(base))
    with pytest.raises(ValueError) as found:
        load_model(asked, "merged")
    one_line(found, base / RECORD, "not JSON")
