"""The package runs no code that it reads, and docs/security.md names tests that exist."""

import ast
import re

import pytest
from small_profile import ROOT

MODULES = sorted((ROOT / "forge_core").rglob("*.py"))
OWN_PICKLES = {"data/engines.py"}  # between the processes of one Ray job


def calls(path) -> list[tuple[str, dict[str, str]]]:
    """Each call of a module: what is called, as written, and its keyword arguments."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return [(ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords if k.arg}) for node in nodes]


def problem(name: str, options: dict[str, str]) -> bool:
    return (
        name in ("eval", "exec", "os.system", "pickle.load", "pickle.loads", "yaml.load", "joblib.load")
        or (name.endswith("torch.load") and options.get("weights_only") != "True")
        or options.get("allow_pickle", "False") != "False"
        or options.get("shell", "False") != "False"
        or options.get("trust_remote_code", "False") != "False"
        or unsafe_load(name, options)
    )


def unsafe_load(name: str, options: dict[str, str]) -> bool:
    """Whether a call lets files decide what is loaded: their code, pickles, or peft's settings."""
    if name == "PeftModel.from_pretrained":
        return "config" not in options
    if name.endswith((".from_pretrained", ".from_config")):
        is_model = "Model" in name and name.endswith("pretrained")
        return "trust_remote_code" not in options or (is_model and options.get("use_safetensors") != "True")
    return name.endswith("get_processor_dict")  # it loads the audio tokenizer that a processor names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT / "forge_core").as_posix())
def test_the_package_runs_no_code_that_it_reads(path):
    found = [name for name, options in calls(path) if problem(name, options)]
    if path.relative_to(ROOT / "forge_core").as_posix() in OWN_PICKLES:
        found = [name for name in found if name != "pickle.loads"]
    assert found == []


def test_pictures_are_opened_in_one_place_by_formats_that_run_nothing():
    """PIL reads EPS by running Ghostscript, whatever the file is called."""
    opening = re.compile(r"(\bImage\.open|\bimread|\bload_image)$")
    modules = [*MODULES, *(ROOT / "benchmarks").rglob("*.py")]
    found = [(path.name, call[1].get("formats")) for path in modules for call in calls(path) if opening.search(call[0])]
    assert found == [("images.py", "FORMATS")]
    assert not any("from PIL.Image import" in path.read_text() for path in modules)


@pytest.mark.parametrize(
    ("call", "refused"),
    [
        ("AutoTokenizer.from_pretrained(folder)", True),
        ("AutoTokenizer.from_pretrained(folder, trust_remote_code=None)", True),
        ("AutoTokenizer.from_pretrained(folder, trust_remote_code=False)", False),
        ("AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=False)", True),
        ("AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=False, use_safetensors=True)", False),
        ("AutoModel.from_config(config)", True),
        ("PeftModel.from_pretrained(model, folder)", True),
        ("torch.load(file)", True),
    ],
)
def test_a_call_that_lets_files_decide_is_seen(call, refused, tmp_path):
    (tmp_path / "module.py").write_text(call)
    assert [problem(*each) for each in calls(tmp_path / "module.py")] == [refused]


@pytest.mark.parametrize("document", ["security.md", "CONTRIBUTING.md"])
def test_tests_that_documents_name_are_there(document):
    text = (ROOT / "docs" / document).read_text()
    for file, name in re.findall(r"`([\w/]+\.py)::(test_\w+)`", text):
        assert f"def {name}(" in (ROOT / "tests" / file).read_text(), f"{file}::{name}"
    everywhere = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", text):
        assert f"def {name}(" in everywhere, name
