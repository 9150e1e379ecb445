"""Merge an adapter into its base in bf16 and measure what was written; send a folder to the Hugging Face hub.

The merge takes the base unquantised, as merging into NF4 weights loses accuracy. But the adapter was trained on the NF4
base, and scores there are not the merged model's, so `merge` measures anew. Torch is loaded by `merge` only.
"""

import glob
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from huggingface_hub import HfApi, constants, get_token
from huggingface_hub.errors import BadRequestError
from huggingface_hub.utils import DEFAULT_IGNORE_PATTERNS, filter_repo_objects, validate_repo_id

from forge_core import __version__
from forge_core.data.download_errors import DownloadError, clear_errors
from forge_core.models.adapter_folder import RECORD, WEIGHTS, Identity, Params, Record, read_record
from forge_core.models.base_files import base_folder
from forge_core.paths import locate
from forge_core.remote.leaks import find
from forge_core.results import digest, write_json
from forge_core.text import code, front_matter, printable

NEW_TOKENS = {1: 32, 2: 256}  # at most, in an answer of each stage
PICKLES = (".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth")


class PushError(DownloadError):
    """What could not be sent: which repository, why, and what to do. `clear_errors` lets it pass as it is."""


# ---------------------------------------------------------------- merge


def merge(adapter: Path, out: Path, benchmark: Path | None = None, limit: int = 0) -> dict:
    """Write `adapter` merged into its base to the folder `out`, in bf16, and return its record (forge.json).

    `benchmark`, a folder in ScreenSpot-v2's layout, scores the folder as written, on `limit` targets (0: all). `out`
    appears when all is done. Raises FileNotFoundError where `adapter` is no adapter folder, FileExistsError where `out`
    has something in it, ValueError where the base is not the one of the training, or a weight is no number.
    """
    adapter, out = adapter.absolute(), out.absolute()
    checked = checked_record(adapter)
    identity = checked.identity
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"{out} is there already; remove it, or name another folder")
    targets = _targets(benchmark, limit, identity.params.seed) if benchmark else []
    draft = out.with_name(f"{out.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    _write_merged(adapter, identity.params, draft)
    record = checked.model_dump(exclude_unset=True)
    record |= {"merged": True, "merged_by": __version__, "dtype": "bfloat16"}
    record["adapter_sha256"] = digest(adapter / WEIGHTS)
    record["score"] = None
    if benchmark:
        record["score"] = {"benchmark": benchmark.absolute().name, **_score(draft, identity, targets)}
    write_json(draft / RECORD, record)
    (draft / "README.md").write_text(merged_card(record, identity))
    draft.rename(out)
    print(f"{out}: merged, bfloat16; {score_line(record)}", flush=True)
    return record


def checked_record(adapter: Path) -> Record:
    """forge.json of an adapter folder whose base is still the one that it was trained on."""
    from forge_core.models.load import read_lora

    read_lora(adapter)
    record = read_record(adapter)
    base, trained_on = record.identity.params.base_model, record.identity.base_sha256
    folder = base_folder(base, record.identity.params.base_revision)
    if not (folder / "config.json").is_file():  # a folder of anything else is not even read
        raise ValueError(f"{adapter / RECORD}: base_model {base} is no base: it has no config.json")
    if trained_on and digest(locate(base)) != trained_on:
        raise ValueError(f"the base {base} has changed since {adapter} was trained on it; bring back that base")
    return record


def _targets(benchmark: Path, limit: int, seed: int) -> list:
    from forge_core.data.screenspot import load_v2
    from forge_core.evaluation.stages import choose

    targets = choose(load_v2(benchmark), limit, seed)
    if not targets:
        raise ValueError(f"{benchmark}: the benchmark has no targets")
    return targets


def _write_merged(adapter: Path, params: Params, folder: Path) -> None:
    """Model and processor of the merge: summed in fp32 and rounded once, so the same on every machine."""
    import torch

    from forge_core.models.load import adapter_processor, load_adapter, load_base

    processor = adapter_processor(adapter, params.base_model, params.base_revision)
    base = load_base(params.base_model, params.base_revision, load_in_4bit=False)
    model = load_adapter(base.float(), adapter).merge_and_unload(safe_merge=True)  # safe: a NaN is an error
    for part in model.config.sub_configs:
        getattr(model.config, part).dtype = torch.bfloat16  # `to` leaves it, and loading would believe it
    model.to(torch.bfloat16).save_pretrained(folder)
    processor.save_pretrained(folder)  # with the image size of the training


def _score(folder: Path, identity: Identity, targets: list) -> dict:
    """Hits of the model in `folder`, its 95% Wilson interval `low` to `high`, and what they depend on."""
    from forge_core.evaluation.predict import predict
    from forge_core.evaluation.score import score, table
    from forge_core.models.load import compute_dtype, load_base, load_processor

    stage, coord_format = identity.stage, identity.params.coord_format
    model, processor = load_base(str(folder), load_in_4bit=False), load_processor(str(folder))
    options = {"max_new_tokens": NEW_TOKENS[stage], "coord_format": coord_format, "batch_size": 8, "name": "merged"}
    with TemporaryDirectory() as answers:
        found = predict(model, processor, targets, stage, Path(answers) / "answers.jsonl", "merged", **options)
    total = table(score(targets, found, coord_format))[0]
    return {
        **{"hits": total.k, "n": total.n, "wrong_format": total.wrong_format, "low": total.low, "high": total.high},
        **{"dtype": "bfloat16", "computed_in": str(compute_dtype()), "max_new_tokens": NEW_TOKENS[stage]},
    }


def score_line(record: dict) -> str:
    """The score of a merged model in words."""
    score = record["score"]
    if not score:
        return "click accuracy not measured"
    return (
        f"click accuracy on {printable(score['benchmark'])}: {score['hits']} of {score['n']}, "
        f"{score['hits'] / score['n']:.1%} "
        f"[{score['low']:.1%}, {score['high']:.1%}] (95% Wilson interval), bfloat16 weights computed in "
        f"{score['computed_in'].removeprefix('torch.')}"
    )


def merged_card(record: dict, identity: Identity) -> str:
    """The README of a merged folder, with the metadata that the hub reads; a base of the hub is named there."""
    params, stage = identity.params, {1: "grounding", 2: "reasoning"}[identity.stage]
    origin = {} if identity.base_sha256 else {"base_model": params.base_model}
    return (
        f"{front_matter(**origin, library_name='transformers', pipeline_tag='image-text-to-text')}"
        f"# Churninator, stage {identity.stage}: {stage}, merged\n\n"
        f"{code(params.base_model)}, revision {code(params.base_revision)}, with its LoRA adapter (rank "
        f"{params.lora_rank}) merged into the unquantised weights and saved in bfloat16 by the Churninator Forge "
        f"{record['merged_by']}.\n\n"
        f"- This very folder: {score_line(record)}\n"
        f"- Base in 4 bits during training: {params.load_in_4bit}; scores of the adapter on that base are others\n"
        f"- Image size (longest edge): {params.image_size} px; the processor here has it set\n"
        f"- Coordinates in prompts and answers: {params.coord_format}\n"
        f"- Adapter sha256: {record['adapter_sha256']}\n"
        f"- Data sha256: {identity.data_sha256}\n"
    )


# ---------------------------------------------------------------- push


def sendable(folder: Path) -> dict[str, int]:
    """What `push` would send: name in the repository -> bytes.

    Raises NotADirectoryError, and ValueError where there is nothing, or something that must not leave this machine.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is no folder")
    found = (path.relative_to(folder).as_posix() for path in sorted(folder.glob("**/*")) if _is_no_folder(path))
    names = list(filter_repo_objects(found, ignore_patterns=DEFAULT_IGNORE_PATTERNS))  # .git and the hub's cache
    leaks = find(names, str(folder))
    refused = [f"{leak.place} ({leak.kind})" for leak in leaks]
    others = [name for name in names if name not in {leak.file for leak in leaks}]
    refused += [f"{printable(name)} ({reason})" for name in others if (reason := _objection(folder / name))]
    if refused or not names:
        reason = f"remove {', '.join(refused)}" if refused else "it is empty"
        raise ValueError(f"{folder}: nothing is sent; {reason}")
    return {name: (folder / name).stat().st_size for name in names}


def _is_no_folder(path: Path) -> bool:
    return path.is_symlink() or not path.is_dir()


def _objection(path: Path) -> str:
    """Why a file must not be sent, besides secrets; "" where it may."""
    if path.is_symlink():
        return "a link; what it leads to is not sent"
    if not path.is_file():
        return "no file"
    return "may be a pickle; weights go as safetensors" if path.name.lower().endswith(PICKLES) else ""


def plan(folder: Path, repo: str, files: dict[str, int], private: bool) -> str:
    """What is about to be sent, and where to, for a person to read; sizes in bytes."""
    total = sum(files.values())
    lines = [f"{size:>15,}  {printable(name)}" for name, size in files.items()]
    lines.append(f"{total:>15,}  bytes ({total / 2**20:.1f} MiB) in {len(files)} files of {folder}")
    return "\n".join([*lines, f"to {constants.ENDPOINT}/{repo}, {'private' if private else 'PUBLIC'}"])


def check_target(repo: str) -> None:
    """Raise ValueError where `repo` is no OWNER/NAME, PushError where there is no token; the hub is not asked."""
    validate_repo_id(repo)
    if "/" not in repo:
        raise ValueError(f"{repo!r}: name the owner too, as in OWNER/{repo}")
    if not get_token():
        raise PushError(f"{repo}: no token; set HF_TOKEN to one that may write, or run `hf auth login`")


def push(folder: Path, repo: str, names: Iterable[str], private: bool) -> str:
    """Send the files `names` of `folder` to `repo`, made if it is not there, and return the commit's address.

    Raises PushError or DownloadError with one line to mend it by; among others where `repo` is there already and not as
    `private` says: its visibility is its owner's to change.
    """
    with clear_errors(repo, "main", folder), _refusals(repo):
        api = HfApi()
        api.create_repo(repo, private=private, exist_ok=True)
        if api.model_info(repo).private != private:
            there, option = ("public", "--public") if private else ("private", "--private")
            raise PushError(f"{repo}: it is there already and {there}; add {option}, or change it on its settings page")
        patterns = [glob.escape(name) for name in names]
        commit = api.upload_folder(
            repo_id=repo, folder_path=folder, allow_patterns=patterns, commit_message=f"Churninator Forge {__version__}"
        )
        return commit.commit_url


@contextmanager
def _refusals(repo: str) -> Iterator[None]:
    """Raise as PushError what the hub says only to those who write; the rest is for `clear_errors`."""
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        # of a large file the upload raises RuntimeError from what happened
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        reason = _refusal(cause)
        if not reason:
            raise cause from None
        raise PushError(f"{repo}: {reason.replace(get_token() or ' ', 'HF_TOKEN')}") from None


def _refusal(error: BaseException) -> str:
    """Why the hub does not let us write; "" where it is something else."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    said = " ".join((getattr(error, "server_message", None) or str(error)).split())
    if isinstance(error.__cause__, BadRequestError):  # the metadata of README.md
        return said
    if status == 401:
        return "the hub does not take the token; set HF_TOKEN to a valid one that may write"
    if status in (403, 404):
        return f"the hub refuses: {said}; take a token that may write there, or another OWNER/NAME"
    return said if isinstance(error, RuntimeError) else ""
