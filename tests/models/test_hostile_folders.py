"""Adapters of somebody else: what is damaged or asks for more than an adapter may is one line with the file."""

import json
import struct
from pathlib import Path

import pytest
import torch
from hostile import BACKTRACKING, CONFIG, LOOP, RECORD, WEIGHTS, Pickled, edit, leave_code, one_line
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from small_training import evaluate_params, train_params
from typer.testing import CliRunner

from forge_core.cli import app
from forge_core.evaluation.run import prompts
from forge_core.evaluation.spot import load_agent
from forge_core.evaluation.stages import load_model
from forge_core.models.adapter_folder import read_record
from forge_core.models.chat import CHAT_TEMPLATE
from forge_core.models.load import load_adapter, load_base
from forge_core.params import ReasoningParams, check
from forge_core.training.adapter import coord_format_of
from forge_core.training.stage import trainable_model


@pytest.fixture(autouse=True)
def yes(monkeypatch):
    """Who is asked says yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")


# ---------------------------------------------------------------- what is good stays good


def test_the_adapter_itself_opens(adapter_folder):
    agent = load_agent(adapter_folder)
    assert (agent.stage, agent.coord_format, agent.edge) == (1, "4-decimals", 512)


def test_an_adapter_of_an_older_or_newer_version_opens(copy):
    edit(copy / RECORD, "identity.params.coord_format", ...)  # before it was a parameter
    edit(copy / RECORD, "identity.params.train_vision", ...)
    for name in ("corda_config", "kasa_config", "use_bdlora", "target_parameters", "lora_bias"):  # before peft had them
        edit(copy / CONFIG, name, ...)
    for name, value in (("new_config", None), ("use_new", False), ("new_size", 16), ("new_names", [])):
        edit(copy / CONFIG, name, value)
    assert load_agent(copy).coord_format == "4-decimals"


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["self_attn.q_proj"]])
def test_targets_may_be_plain_names(targets, tmp_path):
    torch.manual_seed(0)
    attach = LoraConfig(r=4, target_modules=targets, task_type="CAUSAL_LM")
    get_peft_model(load_base("embedded", load_in_4bit=False), attach).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / CONFIG).read_text())["target_modules"]
    assert sorted(saved) == targets
    loaded = load_adapter(load_base("embedded", load_in_4bit=False), tmp_path)
    assert load_file(tmp_path / WEIGHTS).keys() == {
        name.replace(".default", "") for name, _ in loaded.named_parameters() if "lora_" in name
    }


def test_the_record_is_written_back_as_it_was_read(adapter_folder):
    assert read_record(adapter_folder).model_dump(exclude_unset=True) == json.loads(
        (adapter_folder / RECORD).read_text()
    )


# ---------------------------------------------------------------- damage

BROKEN = {
    "empty": (b"", "not JSON"),
    "torn": (b'{"peft_type": "LO', "not JSON"),
    "not UTF-8": (b'{"a": "\xff\xfe"}', "not JSON"),
    "a list": (b"[1, 2]", "must be an object, got [1, 2]"),
    "deep": (b'{"a":' + b"[" * 100_000, "not JSON (recursion limit"),
    "a long number": (b'{"a": ' + b"9" * 5000 + b"}", "not JSON"),
}


@pytest.mark.parametrize("name", [CONFIG, RECORD, "processor_config.json", "tokenizer_config.json", "tokenizer.json"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_that_is_no_json_object_is_named(copy, name, kind):
    content, said = BROKEN[kind]
    (copy / name).write_bytes(content)
    with pytest.raises(ValueError) as found:
        load_agent(copy)
    one_line(found, copy / name, said)


@pytest.mark.parametrize("name", [CONFIG, RECORD, WEIGHTS, "tokenizer.json", "chat_template.jinja"])
def test_a_folder_in_place_of_a_file_is_named(copy, name):
    (copy / name).unlink()
    (copy / name).mkdir()
    with pytest.raises((OSError, ValueError)) as found:
        load_agent(copy)
    one_line(found, copy / name)


@pytest.mark.parametrize("name", [CONFIG, RECORD, WEIGHTS])
def test_a_missing_file_is_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError) as found:
        load_agent(copy)
    one_line(found, copy, name)


@pytest.mark.parametrize(
    ("file", "path", "value", "said"),
    [
        (RECORD, "identity", ..., "identity is missing"),
        (RECORD, "identity", [], "identity: "),
        (RECORD, "identity.stage", 3, "identity.stage: Input should be 1 or 2, got 3"),
        (RECORD, "identity.stage", "1", "identity.stage: Input should be 1 or 2, got '1'"),
        (RECORD, "identity.base_sha256", "0", "identity.base_sha256: "),
        (RECORD, "identity.data_sha256", "a\nb", "identity.data_sha256: "),
        (RECORD, "identity.params", None, "identity.params: "),
        (RECORD, "identity.params.base_model", ..., "identity.params.base_model is missing"),
        (RECORD, "identity.params.base_model", "a\nlicense: mit", "without odd characters, got 'a\\nlicense: mit'"),
        (RECORD, "identity.params.base_model", "../../elsewhere", "a folder that is there, got '../../elsewhere'"),
        (RECORD, "identity.params.base_model", "/proc", "base_model /proc is no base: it has no config.json"),
        (RECORD, "identity.params.base_revision", "../../x", "identity.params.base_revision: "),
        (RECORD, "identity.params.coord_format", "pixels", "coord_format: Input should be '4-decimals'"),
        (RECORD, "identity.params.image_size", 10**9, "image_size: Input should be less than or equal"),
        (RECORD, "identity.params.image_size", -512, "identity.params.image_size: Input should be greater than 0"),
        (RECORD, "identity.params.lora_rank", 8.5, "identity.params.lora_rank: "),
        (RECORD, "identity.params.load_in_4bit", "no", "identity.params.load_in_4bit: "),
        (CONFIG, "peft_type", ..., "peft_type is missing"),
        (CONFIG, "peft_type", "XLORA", "peft_type: Input should be 'LORA', got 'XLORA'"),
        (CONFIG, "task_type", "SEQ_CLS", "task_type: Input should be 'CAUSAL_LM'"),
        (CONFIG, "r", 10**9, "r: Input should be less than or equal to 1024, got 1000000000"),
        (CONFIG, "r", 0, "r: Input should be greater than 0"),
        (CONFIG, "r", True, "r: Input should be a valid integer, got True"),
        (CONFIG, "lora_alpha", -16, "lora_alpha: Input should be greater than 0"),
        (CONFIG, "lora_alpha", 10**9, "lora_alpha: Input should be less than or equal to 65536"),
        (CONFIG, "lora_dropout", float("nan"), "lora_dropout: Input should be a finite number, got nan"),
        (CONFIG, "lora_dropout", 2.0, "lora_dropout: Input should be less than 1, got 2.0"),
        (CONFIG, "target_modules", BACKTRACKING, "target_modules is a pattern that is not the Forge's: '(.*.*)"),
        (CONFIG, "target_modules", "all-linear", "target_modules is a pattern that is not the Forge's"),
        (CONFIG, "target_modules", [BACKTRACKING], "target_modules"),
        (CONFIG, "target_modules", [], "target_modules"),
        (CONFIG, "target_modules", None, "target_modules"),
        ("processor_config.json", "image_seq_len", 10**9, "image_seq_len: Input should be less than or equal to 1024"),
        ("processor_config.json", "image_processor.size.longest_edge", 10**9, "image_processor.size.longest_edge: "),
        ("processor_config.json", "image_processor.max_image_size.longest_edge", 1, "more than 8 times max_image_size"),
        ("processor_config.json", "image_processor.max_image_size", 256, "image_processor.max_image_size: "),
        ("processor_config.json", "image_processor.image_std", [float("nan")] * 3, "image_std.0: "),
        ("tokenizer_config.json", "chat_template", LOOP, "line 1: a loop over something else"),
        ("tokenizer_config.json", "tokenizer_class", "BertJapaneseTokenizer", "tokenizer_class: Input should be"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named(copy, file, path, value, said):
    edit(copy / file, path, value)
    with pytest.raises(ValueError) as found:
        load_agent(copy)
    one_line(found, copy / file, said)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auto_mapping", {"base_model_class": "Evil", "parent_library": "evil"}),
        ("modules_to_save", ["lm_head"]),
        ("layer_replication", [[0, 10**9]]),
        ("trainable_token_indices", [0]),
        ("megatron_config", {"a": 1}),
        ("megatron_core", "evil"),
        ("eva_config", {"rho": 2.0}),
        ("corda_config", {"cache_file": "/tmp/evil"}),
        ("loftq_config", {"loftq_bits": 4}),
        ("arrow_config", {"top_k": 3}),
        ("init_lora_weights", "pissa_niter_999999999"),
        ("rank_pattern", {BACKTRACKING: 8}),
        ("alpha_pattern", {BACKTRACKING: 8}),
        ("exclude_modules", BACKTRACKING),
        ("layers_to_transform", [0]),
        ("target_parameters", ["weight"]),
        ("runtime_config", {"ephemeral_gpu_offload": True}),
        ("use_dora", True),
        ("use_rslora", True),
        ("bias", "all"),
        ("use_new", True),  # of a newer peft
        ("new_config", {"a": 1}),
    ],
)
def test_a_setting_that_makes_peft_do_something_else_is_refused(copy, name, value):
    edit(copy / CONFIG, name, value)
    with pytest.raises(ValueError) as found:
        load_agent(copy)
    one_line(found, copy / CONFIG, f"{name} is ", "which the Forge's adapters do not have")


def test_a_value_that_is_refused_is_said_short_and_without_control_characters(copy):
    edit(copy / CONFIG, "peft_type", "\x1b[2J" + "x" * 10_000)
    done = CliRunner().invoke(app, ["merge", str(copy), str(copy / "out")])
    assert done.exit_code == 2 and "\x1b" not in done.output and len(done.output) < 500


# ---------------------------------------------------------------- weights


def rename(weights: dict) -> dict:
    return {name.replace("text_model", "another_model"): tensor for name, tensor in weights.items()}


def narrow(weights: dict) -> dict:
    return {name: tensor[:4].contiguous() if "lora_A" in name else tensor for name, tensor in weights.items()}


def not_finite(weights: dict) -> dict:
    next(iter(weights.values()))[0, 0] = torch.inf
    return weights


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (rename, "another_model.layers.0.mlp.down_proj.lora_A.weight is not one of this base"),
        (narrow, "but adapter_config.json and the base ask for (8, "),
        (not_finite, "has a NaN or an infinity"),
        (lambda weights: dict(list(weights.items())[1:]), "is missing (1 such)"),
        (lambda weights: {name: tensor.to(torch.int8) for name, tensor in weights.items()}, " is I8 "),
        (lambda weights: {}, "is missing"),
        (lambda weights: weights | {"x\x1b[1m\ny": torch.zeros(1)}, r"x\x1b[1m\ny is not one of this base"),
    ],
)
def test_weights_of_something_else_are_named(copy, change, said):
    save_file(change(load_file(copy / WEIGHTS)), copy / WEIGHTS)
    with pytest.raises(ValueError) as found:
        load_agent(copy)
    one_line(found, copy / WEIGHTS, said)


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: b"",
        lambda whole: whole[:1000],
        lambda whole: whole[:-100],
        lambda whole: whole + b"more",
        lambda whole: struct.pack("<Q", 2**62) + whole[8:],
        lambda whole: b"PK\x03\x04" + whole,
    ],
)
def test_weights_that_are_not_whole_are_named(copy, change):
    (copy / WEIGHTS).write_bytes(change((copy / WEIGHTS).read_bytes()))
    with pytest.raises(ValueError) as found:
        load_agent(copy)
    one_line(found, copy / WEIGHTS, "not whole")


def test_a_pickle_beside_the_adapter_is_not_read(copy, tmp_path):
    torch.save(Pickled(tmp_path / "ran"), copy / "adapter_model.bin")
    load_agent(copy)
    (copy / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError) as found:
        load_agent(copy)
    one_line(found, copy / WEIGHTS, "other kinds of weights are not read")
    assert not (tmp_path / "ran").exists()


# ---------------------------------------------------------------- code and templates


@pytest.mark.parametrize(
    ("file", "path", "value"),
    [
        ("tokenizer_config.json", "auto_map", {"AutoTokenizer": ["evil.Evil", None]}),
        ("processor_config.json", "auto_map", {"AutoProcessor": "evil.Evil"}),
        ("processor_config.json", "image_processor.auto_map", {"AutoImageProcessor": "evil.Evil"}),
        ("tokenizer.json", "pre_tokenizer", {"type": "Split", "pattern": {"Regex": BACKTRACKING}}),
    ],
)
def test_an_adapter_that_asks_for_code_is_refused_and_nothing_runs(copy, tmp_path, file, path, value):
    leave_code(copy, tmp_path / "ran")
    edit(copy / file, path, value)
    with pytest.raises(ValueError) as found:
        load_agent(copy)
    one_line(found, copy / file, "is refused")
    assert not (tmp_path / "ran").exists()


def test_an_adapter_has_the_template_of_its_base(copy):
    (copy / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("Assistant:", "Assistant: click(x=0, y=0)"))
    with pytest.raises(ValueError) as found:
        load_agent(copy)
    one_line(found, copy, "its chat template is not that of embedded")
    (copy / "chat_template.jinja").write_bytes(b"\xff" * 10)
    with pytest.raises(ValueError) as found:
        load_agent(copy)
    one_line(found, copy / "chat_template.jinja", "not a chat template")


def test_more_than_one_template_is_refused(copy):
    (copy / "additional_chat_templates").mkdir()
    with pytest.raises(ValueError) as found:
        load_agent(copy)
    one_line(found, copy / "additional_chat_templates")


# ---------------------------------------------------------------- through every command


@pytest.mark.parametrize(("file", "said"), [(RECORD, "not JSON"), (CONFIG, "not JSON"), (WEIGHTS, "not whole")])
def test_each_command_says_it_in_one_line(copy, tmp_path, file, said, monkeypatch):
    screen = tmp_path / "screen.png"
    Image.new("RGB", (64, 48)).save(screen)
    (copy / file).write_bytes(b"{torn")
    spot = ("spot", "--image", screen, "--instruction", "Save", "--adapter", copy, "--out", tmp_path / "spot.png")
    for arguments in (("merge", copy, tmp_path / "out"), spot):
        done = CliRunner().invoke(app, [*map(str, arguments)])
        assert done.exit_code == 2 and done.output.count("\n") == 1, done.output
        assert f"{copy / file}: {said}" in done.output
    assert not (tmp_path / "out").exists() and not (tmp_path / "spot.png").exists()
    asked = evaluate_params(tmp_path, copy, copy, load_in_4bit=False)
    continued = train_params(tmp_path, tmp_path, ReasoningParams, parent_adapter=str(copy), load_in_4bit=False)
    uses = [lambda: load_model(asked, "stage 1"), lambda: trainable_model(continued)]
    uses += [lambda: prompts(asked), lambda: coord_format_of(copy)] if file == RECORD else []
    for use in uses:
        with pytest.raises(ValueError) as found:
            use()
        one_line(found, copy / file, said)


def test_a_parent_with_plain_names_is_no_parent_of_the_forge(copy):
    edit(copy / CONFIG, "target_modules", ["o_proj"])
    weights = {name: tensor for name, tensor in load_file(copy / WEIGHTS).items() if ".o_proj." in name}
    save_file(weights, copy / WEIGHTS)
    second = train_params(copy, copy, ReasoningParams, parent_adapter=str(copy), load_in_4bit=False, lora_dropout=0.0)
    with pytest.raises(ValueError, match="train_vision is none, but the parent adapter .* has None"):
        trainable_model(second)


@pytest.mark.parametrize(("name", "value"), [("lora_rank", 2048), ("lora_alpha", 10**6), ("image_size", 8192)])
def test_what_an_adapter_may_not_have_is_not_trained(name, value):
    values = train_params(Path("data"), Path("out")).model_dump() | {name: value}
    with pytest.raises(ValueError, match=f"{name}: Input should be less than or equal to"):
        check("03_train_grounding", values)
