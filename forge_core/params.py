"""The parameters of each notebook: one strict pydantic model per notebook, one flat YAML file per profile and notebook.

`forge run` checks every file of a profile with `load` before it starts; each notebook's setup cell checks the values
it really got, however it was started: `params = check("03_train_grounding", cell_values(globals()))`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from forge_core.actions.coordinates import CoordFormat
from forge_core.data.screenspot import LAYOUTS
from forge_core.results import read_results

Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Rank = Annotated[int, Field(gt=0, le=1024)]
Alpha = Annotated[int, Field(gt=0, le=2**16)]
Edge = Annotated[int, Field(gt=0, le=4096)]  # px; transformers makes larger screenshots smaller than that first
Text = Annotated[str, StringConstraints(min_length=1)]
Model = TypeVar("Model", bound=BaseModel)
RunName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class ParamsError(ValueError):
    """Wrong parameters; `problems` has one line each, naming file, field and value."""

    def __init__(self, problems: list[str]):
        super().__init__("\n".join(problems))
        self.problems = problems


class NotebookParams(BaseModel):
    """What every notebook takes. Strict: no unknown name, no string for a number; an int may stand for a float."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    run: RunName  # names runs/<run>/ and checkpoints/<run>/
    seed: Count


class ExploreParams(NotebookParams):
    """01: where the raw AGUVIS archives come from, and a look at them."""

    source: Literal["sandbox", "capture", "aguvis", "smolagents"]  # drawn; captured before; the others: downloaded
    mirror: str  # folder that stands in for the hub, <mirror>/<owner>/<name>/...; "" = the hub
    raw_dir: Text  # the raw archives, stage1/ and stage2/ below it
    data_dir: Text  # their images are unpacked below it
    stage1_subsets: list[Text]
    stage2_subsets: list[Text]
    stage1_revision: Text  # commit of the stage-1 data set (not for the sandbox)
    stage2_revision: Text
    sandbox_screens: Positive  # screens drawn per platform and stage (sandbox only)
    benchmark_dir: Text  # ScreenSpot-v2 layout
    benchmark_screens: Positive  # screens drawn per platform (sandbox only)
    base_model: Text  # for what a screenshot costs in tokens, and for special tokens
    base_revision: Text  # commit of the base model (hub only)
    image_size: Edge  # px, longest edge after resizing


class PreprocessParams(NotebookParams):
    """02: raw archives to Example rows."""

    raw_dir: Text
    data_dir: Text  # stage1.jsonl, stage2.jsonl and images/ are written here
    stage1_subsets: list[Text]
    stage2_subsets: list[Text]
    max_turns: Positive  # instructions in one stage-1 example; a screenshot with more gives several
    max_rows: Count  # rows read of each subset; 0 = all
    max_rejected_share: Share  # above this share of broken turns in a subset preprocessing stops
    use_shares: bool  # take the share of each subset's rows that AGUVIS takes (data/sources.py)
    drop_near_duplicates: bool  # same screenshot, same instruction but for case and punctuation
    drop_off_screen: bool  # targets whose box leaves the screen
    max_target_share: Share  # of the screen; targets with a larger box are dropped; 1 = none
    min_target_px: Count  # targets with a shorter side in the resized image are dropped; 0 = none
    max_platform_share: Share  # of all turns; a platform with more is thinned out; 1 = none
    max_action_share: Share  # of all turns; a kind of action with more is thinned out; 1 = none
    workers: Count  # processes; 0 = one for each core
    usd_per_hour: Annotated[float, Field(ge=0)]  # price of the machine that will train; 0 = unknown
    base_model: Text  # for token counts, and for the special tokens that rows must not hold
    base_revision: Text  # commit of the base model (hub only)
    image_size: Edge  # px, longest edge after resizing


class TrainParams(NotebookParams):
    """03 and 04: one stage of QLoRA training."""

    base_model: Text  # hub name or folder; "embedded" = the tiny VLM shipped with the package
    base_revision: Text  # commit of the base model (hub only)
    parent_adapter: str  # adapter folder to continue from; "" = a new adapter
    data_dir: Text
    output_dir: Text  # checkpoints, and final/ when done
    image_size: Edge  # px, longest edge
    coord_format: CoordFormat  # how prompts and answers write places; rows on disk stay fractions
    load_in_4bit: bool  # NF4 base weights (QLoRA); false = plain LoRA
    lora_rank: Rank
    lora_alpha: Alpha
    lora_dropout: Annotated[float, Field(ge=0, lt=1)]
    train_vision: Literal["none", "connector", "lora"]  # LoRA on the connector too, or on it and the tower
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_steps: Annotated[float, Field(ge=0)]  # optimizer steps; below 1 = share of all steps
    batch_size: Positive  # examples per device and step
    gradient_accumulation: Positive  # steps per optimizer step
    epochs: Annotated[float, Field(gt=0)]
    max_steps: Count  # optimizer steps; 0 = by epochs
    max_length: Positive  # tokens per example, image tokens included
    pad_to_multiple_of: Positive  # tokens
    logging_steps: Positive
    save_steps: Positive  # a killed run continues from the last of these
    held_out: Count  # screenshots kept from training; clicks on them, scored at each save, choose the best; 0 = none
    eval_batch_size: Positive  # held-out screenshots per generate call
    activation_checkpointing: bool  # less memory, slower
    num_workers: Count  # data loader processes
    wandb: bool  # log to Weights & Biases; the key comes from WANDB_API_KEY
    usd_per_hour: Annotated[float, Field(ge=0)]  # price of the machine, for the projection; 0 = unknown


class GroundingParams(TrainParams):
    """03: stage 1, instruction to click."""

    stage: ClassVar[int] = 1


class ReasoningParams(TrainParams):
    """04: stage 2, think, then act."""

    stage: ClassVar[int] = 2


class EvaluateParams(NotebookParams):
    """05: base, stage 1, stage 2 and what stands beside them on the benchmark."""

    benchmark: Literal[*LAYOUTS]  # in which layout it lies: data/screenspot.py
    benchmark_dir: Text
    base_model: Text
    base_revision: Text
    grounding_adapter: Text  # adapter folder of 03
    reasoning_adapter: Text  # adapter folder of 04
    image_size: Edge  # px, longest edge
    load_in_4bit: bool
    batch_size: Positive  # targets per generate call
    grounding_tokens: Positive  # max_new_tokens of base and stage 1
    reasoning_tokens: Positive  # max_new_tokens of stage 2
    limit: Count  # targets scored, drawn by platform and kind; 0 = all
    baselines: list[Literal["centre", "random", "ocr"]]  # ocr needs the extra `baselines`
    merged_model: str  # folder that `forge merge` wrote, scored too; "" = none
    zoom: bool  # a second look round each click of the trained models, scored beside the first
    votes: Count  # answers drawn from the trained models that vote on a click; 0 = none
    wandb: bool  # log tables, figures and samples to Weights & Biases


class OwnAppParams(NotebookParams):
    """06: an app captured, stage 2 continued on it, where it hesitates; what else it takes is as the run had it."""

    places: list[Text]  # folders of HTML files, or addresses of pages
    capture_dir: Text  # screens, rows and the test set; kept, so pages that changed need another folder
    viewports: list[Text]  # WIDTHxHEIGHT in px, or desktop, tablet, phone
    themes: list[Literal["light", "dark"]]
    pages: Positive  # of each place, at most
    test_share: Annotated[float, Field(gt=0, lt=1)]  # of the pages, kept from training; `seed` draws them
    output_dir: Text  # checkpoints, and final/ when done
    learning_rate: Annotated[float, Field(gt=0)]
    epochs: Annotated[float, Field(gt=0)]
    instruction: Text  # what it is told when it acts live, and on each page of the flow
    flow: list[Text]  # "page: name of the element that leads on"
    draws: Positive  # answers drawn to a question, to see whether they agree
    live_steps: Positive  # actions on the live page, at most


MODELS: dict[str, type[NotebookParams]] = {
    "01_explore_data": ExploreParams,
    "02_preprocess": PreprocessParams,
    "03_train_grounding": GroundingParams,
    "04_train_reasoning": ReasoningParams,
    "05_evaluate_screenspot": EvaluateParams,
    "06_your_own_app": OwnAppParams,
}
OPTIONAL = ("06_your_own_app",)  # a profile may lack its file, and a machine what it needs


class Rent(BaseModel):
    """What `forge vast up` asks of a machine; units and meaning are Vast.ai's. Its disk follows from `data.disk`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    gpu_ram_gb: Positive  # a card of "24 GB" may show 23
    compute_cap: Positive  # compute capability times 100: 800 and more multiply in bf16
    inet_down_mbps: Count
    reliability: Share
    max_usd_per_hour: Annotated[float, Field(gt=0)]


class Profile(BaseModel):
    """`params/<profile>/profile.yaml`: the machine, its price, and how long each notebook takes there."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    machine: Text
    usd_per_hour: Annotated[float, Field(ge=0)] | None  # null = not measured
    minutes: dict[Literal[*MODELS], Annotated[float, Field(ge=0)] | None]  # null = not measured
    rent: Rent | None = None  # for forge vast up; without it the profile is not for rented machines


def cell_values(namespace: dict) -> dict:
    """The parameters in a notebook's `globals()`: public scalars and lists.

    The first call, in the cell after the parameters, notes their names in `namespace`: so the cell can be run again
    when later cells have made other names.
    """
    flat = [
        name
        for name, value in namespace.items()
        if isinstance(value, (bool, int, float, str, list)) and not name.startswith("_") and name != "In"
    ]
    names = namespace.setdefault("_parameter_names", flat)
    return {name: namespace[name] for name in names if name in namespace}


def check(notebook: str, values: Mapping, where: str | None = None) -> NotebookParams:
    """The notebook's parameters as its model; `where` names the file in errors (default: the notebook).

    Raises:
        ParamsError: unknown or missing name, wrong type or range; one line per problem.
    """
    return _validate(MODELS[notebook], values, where or notebook)


def load(path: str | Path) -> NotebookParams:
    """Read and check `params/<profile>/<notebook>.yaml`; the file's name says which notebook it is for.

    Raises:
        ParamsError: missing file, broken YAML, or whatever `check` finds.
    """
    path = Path(path)
    if path.stem not in MODELS:
        raise ParamsError([f"{_name(path)}: no notebook of this name; known: {', '.join(MODELS)}"])
    return check(path.stem, _read_yaml(path), _name(path))


def of_run(run: str, notebook: str, **changes: object) -> NotebookParams:
    """The parameters with which a notebook finished in `run`, with some changed.

    Raises:
        FileNotFoundError: it has not finished.
        ParamsError: whatever `check` finds.
    """
    try:
        return check(notebook, read_results(run, notebook)["params"] | changes)
    except ParamsError as error:
        again = f"of run '{run}', which another version finished; forge run it again with --only {notebook[:2]}"
        raise ParamsError([f"{problem} ({again})" for problem in error.problems]) from None


def load_profile(path: Path) -> Profile:
    """Read and check `params/<profile>/profile.yaml`. Raises ParamsError."""
    return _validate(Profile, _read_yaml(path), _name(path))


def _name(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def _validate(model: type[Model], values: Mapping, where: str) -> Model:
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ParamsError([f"{where}: {_line(problem)}" for problem in error.errors()]) from None


def _read_yaml(path: Path) -> dict:
    where = _name(path)
    if not path.is_file():
        raise ParamsError([f"{where}: file is missing"])
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ParamsError([f"{where}: not valid YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(values, dict):
        raise ParamsError([f"{where}: must be 'name: value' lines, got {type(values).__name__}"])
    return values


def _line(problem: dict) -> str:
    """One pydantic error as `name: what is wrong`."""
    name = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{name}: unknown parameter"
    if problem["type"] == "missing":
        return f"{name}: missing"
    return f"{name}: {problem['msg']}, got {problem['input']!r}{_hint(problem)}"


def _hint(problem: dict) -> str:
    """YAML reads 1e-4, without a dot, as a string."""
    value = problem["input"]
    if problem["type"] not in ("float_type", "int_type") or not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return " (a string; YAML needs the dot: 1.0e-4)" if "e" in value.lower() else " (a string; write it without quotes)"
