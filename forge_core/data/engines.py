"""Run a function over tasks on all cores of this machine, or on a Ray cluster; results come in the tasks' order."""

import multiprocessing
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

Task, Result = TypeVar("Task"), TypeVar("Result")
Map = Callable[[Callable[[Task], Result], Iterable[Task]], Iterator[Result]]
AHEAD = 4  # tasks under way for each worker


@contextmanager
def local(workers: int = 0) -> Iterator[Map]:
    """A map over `workers` processes, 0 for one on each core; 1 works in this process.

    Raises ChildProcessError where a worker is killed.
    """
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        yield map
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads (torch, Jupyter) may hang
    with ProcessPoolExecutor(workers, context, initializer=_end_with_parent) as pool:

        def ordered(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
            tasks = iter(tasks)
            under_way = deque(pool.submit(function, task) for task in islice(tasks, AHEAD * workers))
            while under_way:
                result = under_way.popleft().result()
                under_way.extend(pool.submit(function, task) for task in islice(tasks, 1))
                yield result

        try:
            yield ordered
        except BrokenProcessPool:
            hint = "if memory is short, fewer workers help; the next run goes on from here"
            raise ChildProcessError(f"one of {workers} worker processes was killed; {hint}") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def ray(address: str | None = None) -> Iterator[Map]:
    """A map over a Ray cluster (extra `cluster`) with Ray Data; without an address over a Ray started here.

    Every machine must see the files under the same paths, as on a shared disk.
    """
    import ray

    def ordered(function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        def run(row: dict) -> dict:
            return {"result": pickle.dumps(function(pickle.loads(row["task"])))}

        packed = [{"task": pickle.dumps(task)} for task in tasks]
        if packed:
            for row in ray.data.from_items(packed, override_num_blocks=len(packed)).map(run).iter_rows():
                yield pickle.loads(row["result"])

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    here = {} if address else {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    ray.init(address=address, log_to_driver=False, **here)
    try:
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        yield ordered
    finally:
        ray.shutdown()


def _end_with_parent() -> None:
    """A killed parent can't stop its workers; so each of them watches it."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
