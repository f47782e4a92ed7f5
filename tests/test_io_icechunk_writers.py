"""Writers of one Icechunk repository: schedulers, clusters, and others at the same time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import processes
import pytest
import xarray as xr
from icechunk_masks import codes, lazy_mask, make_mask

from xcloudmask.errors import WriteError
from xcloudmask.io import _icechunk_commit, _icechunk_repo
from xcloudmask.io.icechunk import history, open_icechunk, to_icechunk

icechunk = pytest.importorskip("icechunk")
icechunk.set_logs_filter("error")


# -- schedulers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_any_scheduler(tmp_path, scheduler):
    with dask.config.set(scheduler=scheduler, num_workers=2):
        to_icechunk(lazy_mask([1]), tmp_path / "r")
        to_icechunk(lazy_mask([2, 1], seed=3), tmp_path / "r", append_dim="time")
    xr.testing.assert_identical(open_icechunk(tmp_path / "r").compute(), make_mask([1, 2], seed=3))


@pytest.mark.slow
def test_a_cluster_of_processes(tmp_path):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        to_icechunk(lazy_mask([1, 2]), tmp_path / "r", shards=64, chunks=32)
        to_icechunk(lazy_mask([3]), tmp_path / "r", append_dim="time")
        opened = open_icechunk(tmp_path / "r").compute()
    xr.testing.assert_identical(opened, make_mask([1, 2, 3]))


# -- others at the same time ------------------------------------------------------------------------------------------


class Interrupted:
    """A mask that lets another writer commit when its first block is computed, and counts its blocks."""

    def __init__(self, mask, other):
        self.other, self.lock, self.count = other, threading.Lock(), 0
        self.mask = mask.copy(data=mask.data.map_blocks(self.block, dtype=np.uint8, meta=np.empty((0,) * 3, np.uint8)))

    def block(self, block):
        with self.lock:
            self.count += 1
            if self.count == 1:
                self.other()
        return block


@pytest.fixture
def repo(tmp_path):
    to_icechunk(lazy_mask([1, 2]), tmp_path / "r")
    return tmp_path / "r"


def test_dates_appended_at_the_same_time_are_all_there(repo):
    writer = Interrupted(lazy_mask([3, 4]), lambda: to_icechunk(make_mask([5]), repo, append_dim="time"))
    snapshot = to_icechunk(writer.mask, repo, append_dim="time")
    xr.testing.assert_identical(open_icechunk(repo).compute(), make_mask([1, 2, 3, 4, 5]))
    assert writer.count == writer.mask.data.npartitions  # pixels are not computed again
    assert [len(commit.times) for commit in history(repo)] == [2, 1, 2, 0]
    assert history(repo)[0].snapshot == snapshot


def test_the_same_date_with_the_same_codes_is_no_conflict(repo):
    writer = Interrupted(lazy_mask([3, 4]), lambda: to_icechunk(make_mask([4]), repo, append_dim="time"))
    to_icechunk(writer.mask, repo, append_dim="time")
    xr.testing.assert_identical(open_icechunk(repo).compute(), make_mask([1, 2, 3, 4]))


@pytest.mark.parametrize("days", [[4], [2]])  # a new date, and one that was there before
def test_the_same_date_with_other_codes_is_refused(repo, days):
    writer = Interrupted(lazy_mask([2, 4]), lambda: to_icechunk(make_mask(days, seed=9), repo, append_dim="time"))
    with pytest.raises(WriteError) as caught:
        to_icechunk(writer.mask, repo, append_dim="time")
    theirs, mine = history(repo)[0].snapshot, str(caught.value).partition("is kept as snapshot ")[2][:20]
    assert f"snapshot {theirs} put other codes" in str(caught.value)
    np.testing.assert_array_equal(open_icechunk(repo, snapshot=mine).sel(time="2024-05-04")[0], codes(4))
    np.testing.assert_array_equal(open_icechunk(repo).sel(time=f"2024-05-0{days[0]}")[0], codes(days[0], 9))
    to_icechunk(lazy_mask([2, 4]), repo, append_dim="time")  # again: over theirs
    xr.testing.assert_identical(open_icechunk(repo).compute(), make_mask([1, 2, 4]))


def test_other_regions_need_no_second_write(repo):
    ours, theirs = lazy_mask(seed=4).isel(y=slice(0, 32)), make_mask(seed=5).isel(y=slice(32, 96))
    writer = Interrupted(ours, lambda: to_icechunk(theirs, repo, region="auto"))
    to_icechunk(writer.mask, repo, region="auto")
    expected = make_mask(seed=5)
    expected[:, :32] = make_mask(seed=4)[:, :32]
    np.testing.assert_array_equal(open_icechunk(repo), expected)


def test_regions_that_share_a_chunk(repo):
    ours, theirs = lazy_mask(seed=4).isel(y=slice(0, 20)), make_mask(seed=5).isel(y=slice(20, 96))
    writer = Interrupted(ours, lambda: to_icechunk(theirs, repo, region="auto"))
    to_icechunk(writer.mask, repo, region="auto")
    expected = make_mask(seed=5)
    expected[:, :20] = make_mask(seed=4)[:, :20]
    np.testing.assert_array_equal(open_icechunk(repo), expected)


def test_the_same_region_with_other_codes_is_refused(repo):
    ours, theirs = lazy_mask(seed=4).isel(y=slice(0, 40)), make_mask(seed=5).isel(y=slice(39, 96))
    writer = Interrupted(ours, lambda: to_icechunk(theirs, repo, region="auto"))
    with pytest.raises(WriteError, match=r"snapshot .* put other codes.*kept as snapshot") as caught:
        to_icechunk(writer.mask, repo, region="auto")
    assert history(repo)[0].snapshot in str(caught.value)


def test_a_region_and_new_dates(repo):
    writer = Interrupted(lazy_mask(seed=4), lambda: to_icechunk(make_mask([3]), repo, append_dim="time"))
    to_icechunk(writer.mask, repo, region="auto")
    np.testing.assert_array_equal(open_icechunk(repo)[:2], make_mask(seed=4))
    np.testing.assert_array_equal(open_icechunk(repo)[2], codes(3))


def test_two_that_replace_the_mask(repo):
    writer = Interrupted(lazy_mask([7]), lambda: to_icechunk(make_mask([8]), repo, mode="w"))
    with pytest.raises(WriteError, match="put other codes"):
        to_icechunk(writer.mask, repo, mode="w")
    same = Interrupted(lazy_mask([7]), lambda: to_icechunk(make_mask([7]), repo, mode="w"))
    to_icechunk(same.mask, repo, mode="w")
    np.testing.assert_array_equal(open_icechunk(repo)[0], codes(7))


def test_two_that_make_the_mask(tmp_path):
    writer = Interrupted(lazy_mask([1]), lambda: to_icechunk(make_mask([2]), tmp_path / "r"))
    with pytest.raises(WriteError, match=r"holds a mask.*mode='w'"):
        to_icechunk(writer.mask, tmp_path / "r")
    np.testing.assert_array_equal(open_icechunk(tmp_path / "r")[0], codes(2))


def test_other_groups_at_the_same_time(tmp_path):
    writer = Interrupted(lazy_mask([1]), lambda: to_icechunk(make_mask([2]), tmp_path / "r", group="b"))
    to_icechunk(writer.mask, tmp_path / "r", group="a")
    for group, day in [("a", 1), ("b", 2)]:
        np.testing.assert_array_equal(open_icechunk(tmp_path / "r", group=group)[0], codes(day))


def test_another_model_meanwhile_is_refused(repo):
    other = make_mask(model="other")
    writer = Interrupted(lazy_mask([3]), lambda: to_icechunk(other, repo, mode="w"))
    with pytest.raises(WriteError, match="model = 'other'"):
        to_icechunk(writer.mask, repo, append_dim="time")


def test_tries_are_bounded(repo, monkeypatch):
    monkeypatch.setattr(_icechunk_commit, "TRIES", 3)
    monkeypatch.setattr(_icechunk_commit, "_committed", lambda *args: False)
    with pytest.raises(WriteError, match=r"others committed to branch 'main' 3 times.*kept as snapshot") as caught:
        to_icechunk(lazy_mask([3]), repo, append_dim="time")
    kept = str(caught.value).partition("snapshot ")[2][:20]
    np.testing.assert_array_equal(open_icechunk(repo, snapshot=kept)[2], codes(3))


def test_a_lock_that_is_never_let_go(repo, monkeypatch):
    monkeypatch.setattr(_icechunk_repo, "LONGEST_WAIT_S", 0.05)
    target = _icechunk_repo.find_target(repo, None)
    with _icechunk_repo.alone(target), pytest.raises(WriteError, match="locked"):
        to_icechunk(make_mask([3]), repo, append_dim="time")
    opened = icechunk.Repository.open(icechunk.local_filesystem_storage(str(repo)))
    assert _icechunk_repo.find_target(opened, None).path == repo  # given as an object, it is locked as well
    with _icechunk_repo.alone(target), pytest.raises(WriteError, match="locked"):
        to_icechunk(make_mask([3]), opened, append_dim="time")


@pytest.mark.slow
def test_processes_that_append_all_at_once(tmp_path):
    """They make the repository, too; in folders they take turns with a lock."""
    days = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(processes.run_whole, "icechunk_masks:append_one_by_one", repo=str(tmp_path / "r"), days=some)
            for some in days
        ]
        for job in jobs:
            job.result()
    xr.testing.assert_identical(open_icechunk(tmp_path / "r").compute(), make_mask(range(1, 13)))
    assert len(history(tmp_path / "r")) == 13
