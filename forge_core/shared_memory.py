"""/dev/shm, where a data loader's workers put their batches: what a training needs of it, and what there is.

A container has 64 MB of it unless it is started with more; a worker that finds it full dies of a bus error.
"""

import math
import os
import shutil
from pathlib import Path

from forge_core.params import TrainParams

FOLDER = Path("/dev/shm")
PREFETCH = 2  # batches that each worker has ready
WHOLE = 512  # px, side of the largest tile that a known base has: the whole screenshot, beside its parts


def needed(params: TrainParams, processes: int = 1) -> int:
    """Bytes in flight at most: of each row three bytes a pixel (`Collator.compact`), three int64 a token."""
    row = 3 * (params.image_size**2 + WHOLE**2) + 3 * 8 * params.max_length
    return processes * params.num_workers * PREFETCH * params.batch_size * row


def problem(params: TrainParams) -> str:
    """Why the workers that `params` ask for would run out of shared memory, and what to do; "" where they would not.

    Each process that trains on this machine, one for a GPU, has so many.
    """
    if not FOLDER.is_dir():
        return ""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 0)) or _gpus()
    size, free = needed(params, processes), shutil.disk_usage(FOLDER).free
    if size <= free:
        return ""
    workers, fits = processes * params.num_workers, int(params.num_workers * free / size)
    return (
        f"{FOLDER} has {free / 1e6:,.0f} MB free, {workers} data loader workers need {size / 1e6:,.0f} MB; start the "
        f"container with more (docker run --shm-size={math.ceil(1.5 * size / 1e9)}g, or --ipc=host), or set "
        f"num_workers: {fits}"
    )


def _gpus() -> int:
    """GPUs in sight, at least one: on the CPU there is one process too."""
    import torch  # seconds, which a command that only looks should not take where it need not

    return max(1, torch.cuda.device_count())
