"""Writers of an Icechunk repository that are killed, or that have little memory."""

from __future__ import annotations

import shutil

import numpy as np
import processes
import pytest
import xarray as xr
from icechunk_masks import append, append_twice, large_mask

from xcloudmask.io.icechunk import history, open_icechunk

icechunk = pytest.importorskip("icechunk")
icechunk.set_logs_filter("error")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_killed_writer_leaves_the_last_commit(tmp_path, seed):
    """Four times 13 kills, at random points of two commits; half of them where there is no repository yet."""
    job = {"first": [2, 3], "then": [4]}
    template, undisturbed, repo = (tmp_path / name for name in ("template", "undisturbed", "r"))
    before = 0 if seed % 2 else 1
    if before:
        append(str(template), [1], size_px=64)
        shutil.copytree(template, undisturbed)
    seconds = processes.run_whole("icechunk_masks:append_twice", repo=str(undisturbed), **job)
    expected = open_icechunk(undisturbed).compute()
    rng, states = np.random.default_rng(seed), set()
    for _ in range(13):
        if before:
            shutil.copytree(template, repo)
        processes.run_killed(
            "icechunk_masks:append_twice", after_s=rng.uniform(0, 1.1 * seconds), repo=str(repo), **job
        )
        assert repo.exists() or not before
        if repo.exists():
            commits = len(history(repo)) - 1
            states.add(commits)
            if commits:
                found = open_icechunk(repo).compute()
                assert found.sizes["time"] == [0, 1, 3, 4][commits] if before else [0, 2, 3][commits]
                xr.testing.assert_identical(found, expected.isel(time=slice(found.sizes["time"])))
        append_twice(str(repo), **job)
        xr.testing.assert_identical(open_icechunk(repo).compute(), expected)
        shutil.rmtree(repo)
    assert len(states) > 1, "every kill came at the same point"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
def test_a_mask_20_times_larger_than_the_memory(tmp_path):
    times, size_px, memory_mb = 20, 8192, 64
    assert times * size_px**2 >= 20 * memory_mb * 2**20
    repo = tmp_path / "r"
    processes.run_limited(
        "icechunk_masks:write_large", memory_mb=memory_mb, repo=str(repo), times=times, size_px=size_px
    )
    opened = open_icechunk(repo)
    assert opened.shape == (times, size_px, size_px)
    part = {"time": 7, "y": slice(1000, 1100), "x": slice(7168, 8192)}
    np.testing.assert_array_equal(opened.isel(part), large_mask(times, size_px).isel(part))
