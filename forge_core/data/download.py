"""Fetch AGUVIS subsets from the hub: `download(1, ["guienv"], "data/hub/raw", revision)`. A second call resumes."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError

from forge_core.data import archives, sandbox
from forge_core.data.sources import REPOSITORIES, Subset, subsets
from forge_core.params import ExploreParams
from forge_core.paths import resolve


def download(stage: int, subset_names: list[str], raw_dir: str | Path, revision: str) -> Path:
    """Fetch the JSON and image archives of the named subsets into raw_dir/stage{N} and return that folder.

    Raises ValueError for a subset that is not on the hub, ConnectionError when files could not be fetched.
    """
    chosen = subsets(stage, subset_names)
    for subset in chosen:
        if not subset.on_hub:
            raise ValueError(f"{subset.name} is not on the hub: it is drawn by forge_core.data.sandbox")
    folder = Path(raw_dir) / f"stage{stage}"
    repository, problem = REPOSITORIES[stage], "the hub answered, but the files are not in the repository"
    try:
        snapshot_download(
            repository, repo_type="dataset", revision=revision, local_dir=folder, allow_patterns=_patterns(chosen)
        )
    except (OSError, HfHubHTTPError) as error:  # offline mode, no network, no such repository or revision
        problem = str(error).strip().split("\n")[0]
    missing = _missing(folder, chosen)  # without a network the hub's client returns what lies in the folder
    if missing:
        files = ", ".join(missing)
        raise ConnectionError(f"{repository}@{revision}: could not fetch {files} into {folder} ({problem})")
    return folder


def _patterns(chosen: list[Subset]) -> list[str]:
    endings = (".zip", ".tar.gz", ".tar.gz.part_*")
    return [pattern for subset in chosen for pattern in (subset.json, *(subset.archive + end for end in endings))]


def _missing(folder: Path, chosen: list[Subset]) -> list[str]:
    missing = [subset.json for subset in chosen if not (folder / subset.json).exists()]
    for stem in dict.fromkeys(subset.archive for subset in chosen):
        try:
            archives.parts(archives.find(folder, stem))
        except (FileNotFoundError, archives.ArchiveError):
            missing.append(f"{stem}.zip or .tar.gz")
    return missing


def obtain(params: ExploreParams) -> None:
    """Put the raw data of both stages where `params` says: drawn (source "sandbox") or fetched (source "hub")."""
    raw_dir, benchmark_dir = resolve(params.raw_dir), resolve(params.benchmark_dir)
    if params.source == "sandbox":
        sandbox.write_raw(raw_dir, params.sandbox_screens, params.seed)
        sandbox.write_benchmark(benchmark_dir, params.benchmark_screens, params.seed)
    else:
        download(1, params.stage1_subsets, raw_dir, params.stage1_revision)
        download(2, params.stage2_subsets, raw_dir, params.stage2_revision)
