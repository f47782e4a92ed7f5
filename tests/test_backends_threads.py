"""Cores are shared by the tasks that run at once, and results do not depend on who computes what."""

import json
import subprocess
import sys
import time
from itertools import product

import dask
import numpy as np
import pytest
from cubes import odc_dataset

from xcloudmask._optional import available

SHARES = """
import json, threading
import dask, torch
from xcloudmask.models.process import limit_torch_threads, share_of_cores

torch.set_num_threads(8)
seen = {}

def task(workers):
    limit_torch_threads()
    share = share_of_cores()
    seen.setdefault(workers, []).append((share.tasks, share.threads, torch.get_num_threads()))

for workers in (1, 2, 3, 4, 16):
    dask.config.set(num_workers=workers)
    for _ in range(3):
        thread = threading.Thread(target=task, args=(workers,))
        thread.start()
        thread.join()
main = share_of_cores()
print(json.dumps([seen, main.tasks, main.threads, torch.get_num_threads()]))
"""


def test_every_thread_of_a_scheduler_gets_its_share_and_the_main_thread_all():
    done = subprocess.run([sys.executable, "-c", SHARES], capture_output=True, text=True, check=True)
    seen, *main = json.loads(done.stdout)
    assert seen == {
        str(workers): [[workers, threads, threads]] * 3
        for workers, threads in ((1, 8), (2, 4), (3, 2), (4, 2), (16, 1))
    }
    assert main == [1, 8, 8]


@pytest.mark.parametrize("backend", ["torch", "openvino", "onnxruntime"])
def test_several_tasks_do_not_oversubscribe_the_cores(tiny_model, backend):
    if not available(backend):
        pytest.skip(f"{backend} is not installed")
    cube = odc_dataset(shape=(256, 256), times=4).chunk(time=1, y=-1, x=-1)
    mask = cube.cloudmask.predict(model=tiny_model, device="cpu", backend=backend, precision="fp32")
    taken = {}
    for scheduler, workers in (("synchronous", 1), ("threads", 2)):
        with dask.config.set(scheduler=scheduler, num_workers=workers):
            mask.compute()
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(3):
                mask.compute()
            taken[scheduler] = time.process_time() - cpu, time.perf_counter() - wall
    # Two tasks at once of one thread each keep no more than two cores busy, and a little for the rest.
    cpu, wall = taken["threads"]
    assert cpu / wall < 2.6
    # Threads that get in each other's way spin: the same work would cost many times the CPU seconds.
    assert cpu < 3 * taken["synchronous"][0] + 0.5


EXACT = [
    pytest.param("torch", "fp32", id="torch-fp32"),
    pytest.param("torch", "bf16", id="torch-bf16"),
    *(
        pytest.param(
            backend,
            precision,
            id=f"{backend}-{precision}",
            marks=pytest.mark.skipif(not available(backend), reason=f"{backend} is not installed"),
        )
        for backend, precision in (("openvino", "fp32"), ("openvino", "bf16"), ("onnxruntime", "fp32"))
    ),
]


@pytest.mark.parametrize(("backend", "precision"), EXACT)
def test_lattice_runs_repeat_bit_for_bit(tiny_model, backend, precision):
    """At any batch size, number of threads, layout of chunks and order of tasks."""
    import torch

    cube = odc_dataset(shape=(100, 130), times=2)
    given = {"model": tiny_model, "normalize": "lattice", "device": "cpu", "backend": backend, "precision": precision}
    before = torch.get_num_threads()
    results = []
    try:
        for batch_size, threads in product((1, 2, 4), (1, 2)):
            chunk = 72 if batch_size == 2 else 200
            torch.set_num_threads(threads)
            lazy = cube.chunk(time=1, y=chunk, x=chunk).cloudmask.predict_proba(**given, batch_size=batch_size)
            with dask.config.set(scheduler="threads" if threads > 1 else "synchronous", num_workers=2):
                results.append(_in_another_order(lazy, seed=batch_size + chunk))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def _in_another_order(lazy, *, seed):
    """Compute block by block, in a random order."""
    blocks = [(t, y, x) for t, y, x in np.ndindex(lazy.data.numblocks[0], *lazy.data.numblocks[2:])]
    np.random.default_rng(seed).shuffle(blocks)
    result = np.full(lazy.shape, -1.0, np.float32)
    starts = [np.concatenate([[0], np.cumsum(sizes)]) for sizes in lazy.chunks]
    for t, y, x in blocks:
        where = tuple(slice(starts[axis][i], starts[axis][i + 1]) for axis, i in ((0, t), (1, 0), (2, y), (3, x)))
        result[where] = lazy.data.blocks[t, 0, y, x].compute()
    return result
