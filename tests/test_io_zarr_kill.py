"""Writers that are killed, at 50 random moments each.

The store opens, shows whole things, and a second run leaves the bytes of an undisturbed one.
"""

import itertools
import platform
import random
import re
import shutil
import warnings

import numpy as np
import processes
import pytest
import xarray as xr
import zarr
from zarr_masks import content, make_mask, same, write_region, write_slowly

from xcloudmask.io import open_mask, to_zarr

DATES = [f"2024-01-{day:02}" for day in range(1, 5)]
KILLS = 50
WRITE = "zarr_masks:write_slowly"


def moments(seconds, kills=KILLS):
    """Random moments of a job that takes so long: from before its first step to after its last."""
    draw = random.Random(kills)  # noqa: S311
    return [draw.uniform(0, 1.15 * seconds) for _ in range(kills)]


def undisturbed(target, before=None, job=WRITE, **arguments):
    """Run a job to its end, twice: the first also loads what is slow to load. Return its time and what it wrote."""
    for _ in range(2):
        shutil.rmtree(target, ignore_errors=True)
        if before is not None:
            shutil.copytree(before, target)
        seconds = processes.run_whole(job, target=str(target), **arguments)
    return seconds, content(target)


@pytest.mark.slow
def test_a_new_store_is_there_whole_or_not_at_all(tmp_path):
    seconds, whole = undisturbed(tmp_path / "whole.zarr", dates=DATES[:2])
    target, killed = tmp_path / "new" / "m.zarr", 0
    for moment in moments(seconds):
        killed += processes.run_killed(WRITE, after_s=moment, target=str(target), dates=DATES[:2])
        if target.exists():
            assert content(target) == whole
            shutil.rmtree(target)
        write_slowly(str(target), DATES[:2], seconds=0)
        assert content(target) == whole
        assert [path.name for path in target.parent.iterdir()] == ["m.zarr"], "what killed writers left is gone"
        shutil.rmtree(target)
    assert killed > KILLS / 2


@pytest.mark.slow
def test_a_store_that_is_replaced_is_the_old_one_or_the_new_one(tmp_path):
    to_zarr(make_mask(DATES[:1]), tmp_path / "old.zarr")
    old = content(tmp_path / "old.zarr")
    seconds, new = undisturbed(tmp_path / "w.zarr", tmp_path / "old.zarr", dates=DATES[:2], mode="w")
    target = tmp_path / "place" / "m.zarr"
    for moment in moments(seconds, 20):
        shutil.copytree(tmp_path / "old.zarr", target)
        processes.run_killed(WRITE, after_s=moment, target=str(target), dates=DATES[:2], mode="w")
        assert content(target) in (old, new)
        shutil.rmtree(target)


@pytest.mark.slow
def test_an_append_shows_old_dates_until_all_is_there(tmp_path):
    """Every other job overwrites a date as well: then it may be old or new, chunk by chunk, and is named."""
    to_zarr(make_mask(DATES[:2]), tmp_path / "old.zarr", append_dim="time", chunks={"y": 20, "x": 30})
    jobs = [{"dates": DATES[first:4], "seed": 1, "append_dim": "time"} for first in (2, 1)]
    wholes = [undisturbed(tmp_path / "whole.zarr", tmp_path / "old.zarr", **job) for job in jobs]
    target, lengths, killed, told = tmp_path / "m.zarr", set(), 0, 0
    for moment, (job, (_, whole)) in zip(
        moments(min(seconds for seconds, _ in wholes)), itertools.cycle(zip(jobs, wholes, strict=True)), strict=False
    ):
        shutil.copytree(tmp_path / "old.zarr", target)
        killed += processes.run_killed(WRITE, after_s=moment, target=str(target), **job)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            opened = open_mask(target)
        told += len(caught)
        lengths.add(opened.sizes["time"])
        assert xr.open_zarr(target).sizes == opened.sizes, "other readers see the same"
        check_dates(opened, overwritten=job["dates"][0] == DATES[1], named=[str(one.message) for one in caught])
        write_slowly(str(target), seconds=0, **job)
        assert content(target) == whole
        shutil.rmtree(target)
    assert killed > KILLS / 2
    assert lengths == {2, 4}
    assert told > 0


def check_dates(opened, *, overwritten, named):
    finished = opened.sizes["time"] == 4
    same(opened.isel(time=[0]), make_mask(DATES[:1]))
    if finished:
        same(opened.isel(time=slice(2, 4)), make_mask(DATES[2:4], seed=1))
    second = opened.isel(time=[1])
    if named:
        assert overwritten
        assert not finished
        assert DATES[1] in named[0]
        old, new = (make_mask(DATES[1:2], seed=seed).values for seed in (0, 1))
        assert np.logical_or(second.values == old, second.values == new).all()
    else:
        same(second, make_mask(DATES[1:2], seed=int(overwritten and finished)))


@pytest.mark.slow
def test_a_region_is_old_or_new_chunk_by_chunk(tmp_path):
    to_zarr(make_mask(), tmp_path / "old.zarr", chunks={"time": 1, "y": 20, "x": 30})
    job, rows = "zarr_masks:write_region", (20, 60)
    seconds, whole = undisturbed(tmp_path / "whole.zarr", tmp_path / "old.zarr", job=job, rows=rows)
    target, before, after, killed = tmp_path / "m.zarr", make_mask().values, make_mask(seed=1).values, 0
    for moment in moments(seconds):
        shutil.copytree(tmp_path / "old.zarr", target)
        killed += processes.run_killed(job, after_s=moment, target=str(target), rows=rows)
        values = open_mask(target).values
        for date, y, x in itertools.product(range(2), range(0, 70, 20), range(0, 90, 30)):
            cut = (date, slice(y, y + 20), slice(x, x + 30))
            is_new = bool((values[cut] == after[cut]).all()) and rows[0] <= y < rows[1]
            assert is_new or (values[cut] == before[cut]).all()
        write_region(str(target), rows, seconds=0)
        assert content(target) == whole
        shutil.rmtree(target)
    assert killed > KILLS / 2


@pytest.mark.slow
def test_a_cube_twenty_times_as_large_as_the_memory(tmp_path):
    limit_mb, times, side = 96, 30, 8192
    assert times * side**2 / 2**20 >= 20 * limit_mb
    target = tmp_path / "m.zarr"
    arguments = {"target": str(target), "times": times, "side": side, "chunk": 1024}
    processes.run_limited("zarr_masks:write_big", memory_mb=limit_mb, **arguments)
    opened = open_mask(target)
    assert opened.shape == (times, side, side)
    assert opened[7, 2048 + 16, 1024 + 8].values == 3


@pytest.mark.parametrize("shards", [None, {"time": 1, "y": 64, "x": 64}])
def test_leftovers_of_a_killed_append_are_overwritten_or_deleted(tmp_path, shards):
    """Chunks lie there that nothing points to, of pixels that are nodata in what is appended next."""
    store = tmp_path / "m.zarr"
    to_zarr(make_mask(DATES[:1]), store, append_dim="time", chunks=32, shards=shards)
    array = zarr.open_group(store, mode="r+", use_consolidated=False)["clouds"]
    array.resize((2, 70, 90))
    array[1] = 3
    assert open_mask(store).sizes["time"] == 1
    empty = make_mask(DATES[1:2])
    empty[:] = 255
    to_zarr(empty, store, append_dim="time")
    assert (open_mask(store)[1] == 255).all()


def test_a_writer_killed_before_it_held_its_lock_leaves_nothing_for_good(tmp_path):
    host = re.sub(r"[^A-Za-z0-9]+", "", platform.node())
    (tmp_path / f".m.zarr-xcloudmask-{host}-0ickq_3k").mkdir()
    (tmp_path / ".m.zarr-xcloudmask-elsewhere-0ickq_3k").mkdir()  # of a machine whose locks are not seen from here
    (tmp_path / ".m.zarr-mine").mkdir()  # not of a writer
    to_zarr(make_mask(DATES[:1]), tmp_path / "m.zarr")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".m.zarr-mine",
        ".m.zarr-xcloudmask-elsewhere-0ickq_3k",
        "m.zarr",
    ]
