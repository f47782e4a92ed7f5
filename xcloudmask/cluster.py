"""Dask clusters on one machine, set up as inference wants them: on processors, or one process per GPU.

Both need ``distributed``, which is imported when they are called. A script that starts processes needs the guard ``if
__name__ == "__main__":``, because each of them imports the script again.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from xcloudmask._optional import available, require
from xcloudmask.errors import ArgumentError
from xcloudmask.models.process import malloc_environment

__all__ = ["gpu_cluster", "local_cluster", "visible_gpus"]

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_GPU_THREADS_MAX = 8
"""Threads per GPU that read and decode while one of them has the GPU; more hold blocks in memory and wait."""
_ASKED_S = 120
"""Seconds that another program may take to say which GPUs there are."""
_QUIET = {"dashboard": False, "silence_logs": logging.WARNING}


def local_cluster(
    *,
    workers: int | None = None,
    threads: int = 1,
    memory_limit: str | float | None = "auto",
    dashboard_address: str | None = None,
    **kwargs: Any,
) -> Any:
    """Start worker processes on this machine for inference on its processor.

    Parameters
    ----------
    workers
        Processes; None for one per `threads` cores.
    threads
        Threads of each process. Each computes with one thread of torch.
    memory_limit
        Of each process, as `distributed.LocalCluster` takes it.
    dashboard_address
        Such as ``":8787"``; None for no dashboard.
    **kwargs
        Passed on to `distributed.LocalCluster`.

    Returns
    -------
    distributed.LocalCluster
        Works as a context manager; ``distributed.Client(cluster)`` connects to it.

    Raises
    ------
    ArgumentError
        `workers` or `threads` is no positive integer.
    MissingPackageError
        distributed is not installed.

    Notes
    -----
    A nanny of distributed tells the allocator of its process to hand memory back early, and takes the number of OpenMP
    threads from the environment of its parent. Here the allocator keeps what is freed (``XCLOUDMASK_MALLOC=system``
    leaves it alone), and there is one OpenMP thread, whatever the parent has. ``env={"NAME": "value"}`` goes before
    both. Like those of every nanny, the variables stay in the environment of this process.

    Examples
    --------
    >>> with local_cluster(workers=1) as cluster:  # doctest: +SKIP
    ...     client = distributed.Client(cluster)
    """
    _check_count("threads", threads)
    if workers is not None:
        _check_count("workers", workers)
    distributed = require("distributed", extra="distributed")
    if kwargs.get("processes", True):
        kwargs.setdefault("worker_class", _nanny_with(_ONE_THREAD | malloc_environment()))
    if memory_limit != "auto":
        # Left out, it is an equal share of the memory; "auto" would be a share by cores.
        kwargs["memory_limit"] = memory_limit
    with _own_environment():
        return distributed.LocalCluster(
            n_workers=workers, threads_per_worker=threads, **_dashboard(dashboard_address, kwargs), **kwargs
        )


def gpu_cluster(
    *,
    devices: Sequence[int | str] | None = None,
    threads: int | None = None,
    memory_limit: str | float | None = "auto",
    dashboard_address: str | None = None,
    **kwargs: Any,
) -> Any:
    """Start one worker process for each GPU of this machine.

    Parameters
    ----------
    devices
        GPUs as ``CUDA_VISIBLE_DEVICES`` takes them: numbers or UUIDs. None for all that this process may see.
    threads
        Threads of each process: one has the GPU, the others read and decode. None for the cores over the GPUs, at most
        8.
    memory_limit
        Memory of the host for each process; ``"auto"`` for an equal share.
    dashboard_address
        Such as ``":8787"``; None for no dashboard.
    **kwargs
        Passed on to `dask_cuda.LocalCUDACluster` where dask-cuda is installed, else to `distributed.Nanny`.

    Returns
    -------
    distributed.SpecCluster
        Works as a context manager; ``distributed.Client(cluster)`` connects to it.

    Raises
    ------
    ArgumentError
        No GPU is visible, or an argument is not what it should be.
    MissingPackageError
        distributed is not installed.

    Notes
    -----
    Each process gets a ``CUDA_VISIBLE_DEVICES`` with one device, so ``device="auto"`` and ``device="cuda"`` are the
    right one in all of them. Without dask-cuda it is set when the process has started and before it imports torch: a
    script must not use CUDA outside of its ``if __name__ == "__main__":``.

    Examples
    --------
    >>> with gpu_cluster() as cluster, distributed.Client(cluster):  # doctest: +SKIP
    ...     mask.cloudmask.to_zarr("masks.zarr")
    """
    if threads is not None:
        _check_count("threads", threads)
    names = _names(devices) if devices is not None else visible_gpus()
    if not names:
        raise ArgumentError(
            "No GPU was found: neither CUDA_VISIBLE_DEVICES, nor nvidia-smi, nor torch names one. Expected at least "
            "one. Type local_cluster() for workers on the processor, or gpu_cluster(devices=[0]) if you know better."
        )
    distributed = require("distributed", extra="distributed")
    from dask.system import CPU_COUNT

    threads = threads or max(1, min(_GPU_THREADS_MAX, CPU_COUNT // len(names)))
    if available("dask_cuda"):
        return require("dask_cuda").LocalCUDACluster(
            CUDA_VISIBLE_DEVICES=",".join(names),
            threads_per_worker=threads,
            memory_limit=memory_limit,
            **_dashboard(dashboard_address, kwargs),
            **kwargs,
        )
    if memory_limit == "auto":
        memory_limit = distributed.system.MEMORY_LIMIT // len(names)
    own = {"host": "127.0.0.1", "nthreads": threads, "memory_limit": memory_limit} | _QUIET
    # What is set before a process starts would be set in this one too, and another nanny's process could get it.
    specs = {
        f"gpu-{name}": {
            "cls": distributed.Nanny,
            "options": own | kwargs | {"env": {**kwargs.get("env", {}), "CUDA_VISIBLE_DEVICES": name}},
        }
        for name in names
    }
    scheduler = {
        "cls": distributed.Scheduler,
        "options": {"host": own["host"], "port": 0, "dashboard_address": dashboard_address or "127.0.0.1:0"}
        | {"dashboard": dashboard_address is not None},
    }
    with _own_environment():
        return distributed.SpecCluster(
            workers=specs, scheduler=scheduler, name="gpu-cluster", silence_logs=logging.WARNING
        )


def visible_gpus() -> list[str]:
    """Name the GPUs that a process started here would see, without importing torch.

    Returns
    -------
    list of str
        Numbers or UUIDs as ``CUDA_VISIBLE_DEVICES`` takes them: what it holds where it is set, else what ``nvidia-smi``
        lists, else as many as torch counts in a process of its own.

    Examples
    --------
    >>> isinstance(visible_gpus(), list)
    True
    """
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        names = [name.strip() for name in given.split(",")]
        # CUDA ignores what follows a device that does not exist.
        end = next((index for index, name in enumerate(names) if name in {"", "-1"}), len(names))
        return names[:end]
    listed = _answer("nvidia-smi", "-L")
    if listed is not None:
        return _listed(listed)
    counted = _answer(sys.executable, "-c", "import torch; print(torch.cuda.device_count())")
    return [str(number) for number in range(int(counted))] if counted and counted.strip().isdigit() else []


def _listed(text: str) -> list[str]:
    """UUIDs of GPUs as ``nvidia-smi -L`` lists them; the parts of a GPU that is split (MIG) instead of itself."""
    names: list[str] = []
    whole: str | None = None
    for uuid in re.findall(r"UUID: ((?:GPU|MIG)-[^)\s]+)", text):
        if uuid.startswith("MIG") and whole is not None:
            names.remove(whole)
        whole = uuid if uuid.startswith("GPU") else None
        names.append(uuid)
    return names


def _answer(*command: str) -> str | None:
    """What a program prints; None where it is missing, fails or hangs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ASKED_S)  # noqa: S603 - ours
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _names(devices: Sequence[int | str]) -> list[str]:
    names = [str(device).strip() for device in devices]
    wrong = [
        device
        for device, name in zip(devices, names, strict=True)
        if isinstance(device, bool) or not re.fullmatch(r"\d+|(GPU|MIG)-[\w/-]+", name)
    ]
    if isinstance(devices, str) or wrong or not names or len(set(names)) < len(names):
        raise ArgumentError(
            f"devices={devices!r}. Expected different GPUs, as numbers or UUIDs. Type devices=[0, 1], or leave it out "
            "for all."
        )
    return names


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ArgumentError(f"{name}={value!r}. Expected a positive integer. Type {name}=1.")


def _dashboard(address: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a LocalCluster: without a dashboard it still wants a port, and would take one that others use."""
    if address is not None:
        return {"dashboard_address": address}
    options = {"dashboard": False} | (given.pop("scheduler_kwargs", None) or {})
    return {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": options}


@contextmanager
def _own_environment() -> Iterator[None]:
    """Give this process its environment back: nannies change it for those that they start, and leave it so."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def _nanny_with(environment: dict[str, str]) -> Any:
    """A nanny whose process starts in an environment; variables given to it go before."""
    from distributed import Nanny

    class QuietNanny(Nanny):
        def __init__(self, *args: Any, env: dict[str, Any] | None = None, **kwargs: Any) -> None:
            wanted = environment | {name: str(value) for name, value in (env or {}).items()}
            super().__init__(*args, **kwargs | {"env": wanted})
            # The allocator reads its variables when a process starts; `env` comes later.
            self.pre_spawn_env.update({name: wanted[name] for name in environment})

    return QuietNanny
