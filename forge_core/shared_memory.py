"""/dev/shm, where a data loader's workers put their batches: what a training needs of it, and what there is.

A container has 64 MB of it unless it is started with more; a worker that finds it full dies of a bus error.
"""

import shutil
from pathlib import Path

from forge_core.params import TrainParams

FOLDER = Path("/dev/shm")
PREFETCH = 2  # batches that each worker has ready
WHOLE = 512  # px, side of the largest tile that a known base has: the whole screenshot, beside its parts


def needed(params: TrainParams) -> int:
    """Bytes in flight at most: of each row three bytes a pixel (`Collator.compact`), three int64 a token."""
    row = 3 * (params.image_size**2 + WHOLE**2) + 3 * 8 * params.max_length
    return params.num_workers * PREFETCH * params.batch_size * row


def problem(params: TrainParams) -> str:
    """Why the workers that `params` ask for would run out of shared memory, and what to do; "" where they would not."""
    if not FOLDER.is_dir() or needed(params) <= (free := shutil.disk_usage(FOLDER).free):
        return ""
    fits = int(params.num_workers * free / needed(params))
    return (
        f"{FOLDER} has {free / 1e6:,.0f} MB free, {params.num_workers} data loader workers need "
        f"{needed(params) / 1e6:,.0f} MB; start the container with more (docker run --shm-size=2g, or --ipc=host), or "
        f"set num_workers: {fits}"
    )
