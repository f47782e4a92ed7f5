"""Clusters: what their processes find in their environment, and which GPUs are counted."""

import importlib.machinery
import os
import stat
import sys
import types

import pytest
from cubes import odc_dataset

from xcloudmask import errors
from xcloudmask._optional import available
from xcloudmask.cluster import gpu_cluster, local_cluster, visible_gpus

distributed = pytest.importorskip("distributed")

LISTED = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5d5ba0d6-d33d-2b2c-524d-9e3d8d2b8a77)
  MIG 1g.5gb      Device  0: (UUID: MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f)
  MIG 1g.5gb      Device  1: (UUID: MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-1d4d0f3e-b51a-4040-96e3-bf380f7c5728)
"""


def environment():
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MINE")
    return {name: os.environ.get(name) for name in names}


def torch_threads():
    import torch

    from xcloudmask.models.process import share_of_cores

    share = share_of_cores()
    return share.tasks, share.threads, torch.get_num_threads()


@pytest.fixture
def kept_environment():
    """Nannies leave in this process what they set for theirs."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator is that of glibc")
def test_a_local_cluster_is_set_up_for_inference(tiny_model, kept_environment, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    cube = odc_dataset(shape=(96, 80), times=1, chunks=48)
    mask = cube.cloudmask.predict(model=tiny_model, device="cpu", normalize="lattice")
    with (
        local_cluster(workers=1, threads=2, memory_limit="1GiB", env={"MINE": 5}) as cluster,
        distributed.Client(cluster) as client,
    ):
        (worker,) = client.scheduler_info()["workers"].values()
        assert (worker["nthreads"], worker["memory_limit"]) == (2, 2**30)
        (found,) = client.run(environment).values()
        assert found == {
            "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "OMP_NUM_THREADS": "1",
            "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
            "MALLOC_MMAP_MAX_": "0",
            "MINE": "5",
        }
        assert client.submit(torch_threads).result() == (2, 1, 1)
        there = mask.compute()
    assert (there == mask.compute(scheduler="synchronous")).all()


def test_each_gpu_has_a_process_that_sees_it_alone(kept_environment, monkeypatch):
    if available("dask_cuda"):
        pytest.skip("dask-cuda starts the processes")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,3")
    with gpu_cluster(threads=3, env={"MINE": "6"}) as cluster, distributed.Client(cluster) as client:
        assert {one["nthreads"] for one in client.scheduler_info()["workers"].values()} == {3}
        found = list(client.run(environment).values())
    assert sorted(one["CUDA_VISIBLE_DEVICES"] for one in found) == ["3", "5"]
    assert {one["MINE"] for one in found} == {"6"}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,3"


def test_dask_cuda_is_used_where_it_is_installed(monkeypatch):
    module = types.ModuleType("dask_cuda")
    module.__spec__ = importlib.machinery.ModuleSpec("dask_cuda", None)
    module.LocalCUDACluster = lambda **arguments: arguments
    monkeypatch.setitem(sys.modules, "dask_cuda", module)
    given = gpu_cluster(devices=["GPU-1d4d0f3e", 1], threads=2, protocol="ucx")
    assert given == {
        "CUDA_VISIBLE_DEVICES": "GPU-1d4d0f3e,1",
        "threads_per_worker": 2,
        "memory_limit": "auto",
        "protocol": "ucx",
        "dashboard_address": "127.0.0.1:0",
        "scheduler_kwargs": {"dashboard": False},
    }
    assert gpu_cluster(devices=[0], dashboard_address=":8787")["dashboard_address"] == ":8787"


@pytest.mark.parametrize(
    ("value", "names"),
    [("2,0", ["2", "0"]), (" 1 ", ["1"]), ("", []), ("-1", []), ("0,-1,1", ["0"]), ("GPU-1,MIG-2", ["GPU-1", "MIG-2"])],
)
def test_the_environment_says_which_gpus_are_visible(monkeypatch, value, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == names


def program(folder, text):
    path = folder / "nvidia-smi"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_nvidia_smi_says_which_gpus_there_are(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    program(tmp_path, f"cat <<'END'\n{LISTED}END")
    # A GPU that is split is seen by its parts.
    assert visible_gpus() == [
        "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f",
        "MIG-cba663e8-9bed-5b25-b243-5985ef7c9beb",
        "GPU-1d4d0f3e-b51a-4040-96e3-bf380f7c5728",
    ]


def test_where_nvidia_smi_fails_torch_counts(monkeypatch, tmp_path):
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    program(tmp_path, "exit 9")
    assert visible_gpus() == [str(number) for number in range(torch.cuda.device_count())]


def test_without_a_gpu_the_error_says_what_to_type(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(errors.ArgumentError, match=r"No GPU was found.*local_cluster\(\)"):
        gpu_cluster()


@pytest.mark.parametrize("devices", [[], "01", ["0,1"], [0, "0"], [True], [-1], ["all"]])
def test_devices_are_checked(devices):
    with pytest.raises(errors.ArgumentError, match=r"Type devices=\[0, 1\]"):
        gpu_cluster(devices=devices)


@pytest.mark.parametrize("given", [{"workers": 0}, {"workers": True}, {"threads": 0}, {"threads": 1.5}])
def test_counts_are_checked(given):
    with pytest.raises(errors.ArgumentError, match="Expected a positive integer"):
        local_cluster(**given)


def test_without_distributed_the_error_names_the_pip_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    for start in (local_cluster, lambda: gpu_cluster(devices=[0])):
        with pytest.raises(errors.MissingPackageError, match=r"'xcloudmask\[distributed\]'"):
            start()


def test_the_environment_of_this_process_stays_its_own():
    before = dict(os.environ)
    with local_cluster(workers=1) as cluster, distributed.Client(cluster) as client:
        assert dict(os.environ) == before
        assert {found["OMP_NUM_THREADS"] for found in client.run(environment).values()} == {"1"}
