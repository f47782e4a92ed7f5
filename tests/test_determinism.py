"""With lattice and scene normalisation the bits do not depend on threads, batches, layout, order, or the process.

`test_backends_threads` changes the number of torch's threads inside one process, with a tiny model. Here processes
start with one and two OpenMP threads, the network is the default one, and int8 and the device engine take part.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xcloudmask._optional import available

ENGINES = {
    "torch-fp32": {"precision": "fp32"},
    "torch-bf16": {"precision": "bf16"},
    "device-fp32": {"precision": "fp32"},
    "device-bf16": {"precision": "bf16"},
    "openvino-int8": {"precision": "int8", "backend": "openvino"},
}
NORMALIZATIONS = ("lattice", "scene")
# Chunks along y and x, batch, threads of the scheduler, and the seed of the order in which chunks are computed.
RUNS = [((136, 150), 4, 1, 0), ((72, 72), 1, 2, 1), ((40, 104), 3, 2, 2)]


def missing(engine):
    return [name for name in ("openvino", "nncf") if engine.endswith("int8") and not available(name)]


@pytest.fixture(scope="module")
def hashes():
    """Of probabilities and labels: engine, normalisation, run, from two processes with one and two OpenMP threads."""
    folder = Path(__file__).parent
    found = []
    for threads in (1, 2):
        environment = os.environ | {
            **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
            "OMP_WAIT_POLICY": "passive",  # waiting threads that spin would take the cores of others
            "PYTHONPATH": os.pathsep.join([str(folder.parent), os.environ.get("PYTHONPATH", "")]),
            "PYTHONWARNINGS": "ignore",
        }
        command = [sys.executable, str(Path(__file__)), *(engine for engine in ENGINES if not missing(engine))]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(done.stdout.splitlines()[-1]))
        assert found[-1].pop("threads") == threads
    return found


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_bits_repeat_in_processes_with_any_number_of_threads(hashes, engine):
    if missing(engine):
        pytest.skip(f"{' and '.join(missing(engine))} is not installed")
    for normalize in NORMALIZATIONS:
        each = [one for process in hashes for one in process[engine][normalize]]
        assert len(each) == 2 * len(RUNS)
        assert len(set(each)) == 1, each
    # What is hashed is no constant.
    assert len({process[engine][normalize][0] for process in hashes for normalize in NORMALIZATIONS}) == 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_device_engine_gives_the_bits_of_the_numpy_path(hashes, precision):
    for process in hashes:
        assert process[f"device-{precision}"] == process[f"torch-{precision}"]


def main(*engines):
    """Predict in every way, and print the hashes."""
    from dataclasses import replace

    import dask
    import torch

    from xcloudmask.models.backends import int8
    from xcloudmask.models.registry import get_spec
    from xcloudmask.simulate.scene import simulate_sentinel2

    found = {"threads": torch.get_num_threads()}
    # Fewer and smaller scenes to calibrate on: the ranges are others, but they too must be the same each time.
    int8._SCENES_PER_SENSOR, int8._TILE_PX = 1, 64
    model = replace(get_spec("default"), tile_px=64)
    cube = simulate_sentinel2(size_px=150, times=2, chunks=150).isel(y=slice(0, 136)).compute()
    for engine in engines:
        dask.config.set({"xcloudmask.device_engine": "always" if engine.startswith("device") else "never"})
        given = {"model": model, "device": "cpu"} | ENGINES[engine]
        found[engine] = {
            normalize: [digest(cube, *run, normalize=normalize, **given) for run in RUNS]
            for normalize in NORMALIZATIONS
        }
    print(json.dumps(found))  # noqa: T201 - for the process that asked


def digest(cube, chunks, batch, workers, seed, **given):
    """Hash of the probabilities and labels of a run."""
    import dask

    lazy = cube.chunk(time=1, y=chunks[0], x=chunks[1]).cloudmask.predict_proba(**given, batch_size=batch)
    with dask.config.set(scheduler="threads" if workers > 1 else "synchronous", num_workers=workers):
        pixels = in_order(lazy.data, seed=seed)
    labels = np.where(np.isnan(pixels[:, 0]), 255, pixels.argmax(axis=1)).astype(np.uint8)
    assert len(np.unique(labels)) > 2
    return hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()


def in_order(array, *, seed):
    """Compute some chunks at a time, in a random order."""
    import dask

    blocks = list(np.ndindex(array.numblocks))
    np.random.default_rng(seed).shuffle(blocks)
    edges = [np.concatenate([[0], np.cumsum(sizes)]) for sizes in array.chunks]
    result = np.empty(array.shape, array.dtype)
    for first in range(0, len(blocks), 3):
        some = [tuple(map(int, block)) for block in blocks[first : first + 3]]
        for block, values in zip(some, dask.compute(*(array.blocks[block] for block in some)), strict=True):
            where = tuple(slice(edge[i], edge[i + 1]) for edge, i in zip(edges, block, strict=True))
            result[where] = values
    return result


if __name__ == "__main__":
    main(*sys.argv[1:])
