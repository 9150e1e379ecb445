"""Params are strict: every shipped file is valid, and each kind of mistake is named in one line."""

import pytest
import yaml

from forge_core import paths
from forge_core.params import MODELS, OPTIONAL, ParamsError, cell_values, check, load, load_profile

FILES = sorted((paths.ROOT / "params").glob("*/[0-9]*.yaml"))
PROFILES = ["embedded", "capture", "vast-16gb", "vast-24gb", "vast-80gb"]
GOOD = yaml.safe_load((paths.ROOT / "params/embedded/03_train_grounding.yaml").read_text())


def test_every_profile_has_every_file():
    found = {(file.parent.name, file.stem) for file in FILES}
    needed = {(p, name) for p in PROFILES for name in MODELS if name not in OPTIONAL}
    assert needed <= found and {name for _, name in found} == set(MODELS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_shipped_params_are_valid_and_named_after_their_profile(file):
    assert load(file).run == file.parent.name


@pytest.mark.parametrize("profile", PROFILES)
def test_stages_of_a_profile_fit_together(profile):
    explore, preprocess, grounding, reasoning, evaluate = (
        load(paths.ROOT / "params" / profile / f"{name}.yaml") for name in MODELS if name not in OPTIONAL
    )
    assert explore.raw_dir == preprocess.raw_dir
    assert explore.stage1_subsets == preprocess.stage1_subsets and explore.stage2_subsets == preprocess.stage2_subsets
    assert explore.data_dir == preprocess.data_dir == grounding.data_dir == reasoning.data_dir
    assert explore.benchmark_dir == evaluate.benchmark_dir
    assert grounding.parent_adapter == ""
    assert reasoning.parent_adapter == evaluate.grounding_adapter == f"{grounding.output_dir}/final"
    assert grounding.coord_format == reasoning.coord_format
    assert evaluate.reasoning_adapter == f"{reasoning.output_dir}/final"
    same = ("base_model", "base_revision", "image_size", "load_in_4bit")
    assert len({tuple(getattr(params, name) for name in same) for params in (grounding, reasoning, evaluate)}) == 1
    assert preprocess.image_size == grounding.image_size and preprocess.base_model == grounding.base_model
    load_profile(paths.ROOT / "params" / profile / "profile.yaml")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"learning_rate": "1e-4"}, "learning_rate: Input should be a valid number, got '1e-4' (a string; YAML needs"),
        ({"lr": 1}, "lr: unknown parameter"),
        ({"lora_rank": 8.0}, "lora_rank: Input should be a valid integer, got 8.0"),
        ({"lora_rank": True}, "lora_rank: Input should be a valid integer, got True"),
        ({"wandb": "yes"}, "wandb: Input should be a valid boolean, got 'yes'"),
        ({"learning_rate": float("inf")}, "learning_rate: Input should be a finite number, got inf"),
        ({"image_size": 0}, "image_size: Input should be greater than 0, got 0"),
        (
            {"coord_format": "3-decimals"},
            "coord_format: Input should be '4-decimals', '2-decimals' or '0-1000', got '3-decimals'",
        ),
        ({"run": "../x"}, "run: String should match pattern"),
    ],
)
def test_a_wrong_value_is_named(change, line):
    with pytest.raises(ParamsError) as caught:
        check("03_train_grounding", GOOD | change)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"03_train_grounding: {line}")


def test_all_problems_are_reported_one_a_line():
    values = {name: value for name, value in GOOD.items() if name != "seed"} | {"lr": 1, "epochs": "two"}
    with pytest.raises(ParamsError) as caught:
        check("03_train_grounding", values)
    assert sorted(line.split(": ")[1] for line in caught.value.problems) == ["epochs", "lr", "seed"]


def test_an_integer_stands_for_a_float():
    params = check("03_train_grounding", GOOD | {"epochs": 2})
    assert params.epochs == 2.0 and isinstance(params.epochs, float)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "p/03_train_grounding.yaml: file is missing"),
        ("a: [1", "p/03_train_grounding.yaml: not valid YAML: "),
        ("- a", "p/03_train_grounding.yaml: must be 'name: value' lines, got list"),
        ("", "p/03_train_grounding.yaml: must be 'name: value' lines, got NoneType"),
    ],
)
def test_a_broken_file_is_named(tmp_path, text, line):
    file = tmp_path / "p" / "03_train_grounding.yaml"
    if text is not None:
        file.parent.mkdir()
        file.write_text(text)
    with pytest.raises(ParamsError) as caught:
        load(file)
    assert len(caught.value.problems) == 1 and caught.value.problems[0].startswith(line)
    assert "\n" not in str(caught.value)


def test_a_profile_names_only_known_notebooks(tmp_path):
    file = tmp_path / "profile.yaml"
    file.write_text("machine: m\nusd_per_hour: null\nminutes: {06_more: 1.0}\n")
    with pytest.raises(ParamsError, match="06_more"):
        load_profile(file)


def test_cell_values_are_what_a_parameters_cell_sets():
    namespace = {"__name__": "__main__", "In": ["x"], "_ih": [], "Out": {}, "exit": object(), "yaml": yaml}
    assert cell_values(namespace | GOOD) == GOOD
    with pytest.raises(ParamsError, match="lr: unknown parameter"):
        check("03_train_grounding", cell_values(namespace | GOOD | {"lr": 1e-4}))


def test_the_setup_cell_can_be_run_again_after_later_cells():
    namespace = dict(GOOD)
    assert cell_values(namespace) == GOOD
    namespace |= {"tokens": ["a"], "count": 3, "lora_rank": 8}  # later cells, and a parameter changed by hand
    assert cell_values(namespace) == GOOD | {"lora_rank": 8}
