"""Campaigns into Icechunk: nothing is seen before its commit, and whoever dies before it leaves nothing."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import icechunk
import numpy as np
import processes
import pytest
import xarray as xr
from store_cells import CELL, OTHER, codes_of, make_job, make_task, make_tasks, prepared, whole, write_all

from xcloudmask.errors import ArgumentError, ReadError, WriteError
from xcloudmask.io.icechunk import history, open_icechunk, to_icechunk
from xcloudmask.run.stores import digest_of, open_sink
from xcloudmask.run.stores._icechunk_options import s3_keywords
from xcloudmask.run.stores.icechunk import REPOSITORY
from xcloudmask.run.task import Record


@pytest.fixture
def job(tmp_path):
    return make_job(tmp_path / "campaign", "icechunk")


def repository(job):
    return Path(job.store) / REPOSITORY


def records_of(tasks):
    return [
        Record(
            key=task.key,
            status="ok",
            name=task.name,
            cell=task.cell.name,
            time=task.time,
            region=task.region,
            ids=task.ids,
        )
        for task in tasks
    ]


def write_in_fork(job_store: str, token: bytes, first: int, step: int, target: str) -> None:
    """Job: a worker, which is sent a fork and sends it back."""
    job = make_job(job_store, "icechunk")
    sink, fork = open_sink(job), pickle.loads(token)  # noqa: S301
    for task in make_tasks(job, (CELL, OTHER))[first::step]:
        _, fork = sink.write(task, codes_of(task), fork)
    Path(target).write_bytes(pickle.dumps(fork))


def write_and_never_commit(job_store: str) -> None:
    """Job: a coordinator that is killed before it commits."""
    job = make_job(job_store, "icechunk")
    sink = open_sink(job)
    while True:
        token = sink.begin()
        for task in make_tasks(job, (CELL, OTHER)):
            sink.write(task, codes_of(task), token)


def commit_for_ever(job_store: str) -> None:
    """Job: a coordinator that is killed somewhere among its commits."""
    job = make_job(job_store, "icechunk")
    sink = open_sink(job)
    while True:
        for task in make_tasks(job, (CELL, OTHER)):
            _, fork = sink.write(task, codes_of(task), sink.begin())
            sink.commit([fork], records_of([task]))


def test_nothing_is_seen_before_the_commit(job):
    sink = prepared(job, CELL, OTHER)
    tasks = make_tasks(job, (CELL, OTHER))
    before = history(repository(job))
    token = sink.begin()
    forks = [sink.write(task, codes_of(task), token)[1] for task in tasks]
    reader = open_sink(job)
    assert all((reader.read(task) == 255).all() for task in tasks)
    assert [one.snapshot for one in history(repository(job))] == [one.snapshot for one in before]
    snapshot = sink.commit(forks, records_of(tasks))
    for task in tasks:
        np.testing.assert_array_equal(reader.read(task), codes_of(task))
    newest = history(repository(job))[0]
    assert newest.snapshot == snapshot
    assert newest.message == f"Campaign: {len(tasks)} tasks in 2 cells, 2024-01-01 to 2024-01-11"
    assert (newest.model, newest.model_sha256, newest.version) == ("default", job.model_sha256, "1.2.3")
    assert newest.settings["block_px"] == 64
    # What was there before the commit can still be opened.
    old = open_icechunk(repository(job), group=CELL.name, snapshot=before[0].snapshot)
    assert (old == 255).all()


def test_forks_come_back_from_processes(job, tmp_path):
    sink = prepared(job, CELL, OTHER)
    token = pickle.dumps(sink.begin())
    with ThreadPoolExecutor(2) as pool:
        done = [
            pool.submit(
                processes.run_whole,
                "test_run_stores_icechunk:write_in_fork",
                job_store=job.store,
                token=token,
                first=first,
                step=2,
                target=str(tmp_path / f"fork{first}"),
            )
            for first in range(2)
        ]
        for one in done:
            one.result()
    forks = [pickle.loads((tmp_path / f"fork{first}").read_bytes()) for first in range(2)]  # noqa: S301
    sink.commit(forks, records_of(make_tasks(job, (CELL, OTHER))))
    for cell in (CELL, OTHER):
        np.testing.assert_array_equal(open_sink(job).masks(cell), whole(cell, job))
    assert len(history(repository(job))) == 3  # of Icechunk, of the cells, of the masks


def test_threads_that_are_given_the_same_fork(job):
    """As in a cluster of threads, where nothing is pickled on the way."""
    sink = prepared(job, CELL, OTHER)
    tasks = make_tasks(job, (CELL, OTHER))
    token = sink.begin()
    with ThreadPoolExecutor(4) as pool:
        forks = [fork for _, fork in pool.map(lambda task: sink.write(task, codes_of(task), token), tasks)]
    sink.commit([*forks, forks[0], None], records_of(tasks))
    for cell in (CELL, OTHER):
        np.testing.assert_array_equal(sink.masks(cell), whole(cell, job))


@pytest.mark.parametrize("after_s", [0.3, 0.9])
def test_a_coordinator_that_is_killed_before_it_commits(job, after_s):
    prepared(job, CELL, OTHER)
    before = [one.snapshot for one in history(repository(job))]
    assert processes.run_killed("test_run_stores_icechunk:write_and_never_commit", job_store=job.store, after_s=after_s)
    assert [one.snapshot for one in history(repository(job))] == before
    assert (open_sink(job).masks(CELL) == 255).all()
    write_all(prepared(job, CELL, OTHER), make_tasks(job, (CELL, OTHER)))
    np.testing.assert_array_equal(open_sink(job).masks(CELL), whole(CELL, job))


@pytest.mark.parametrize("after_s", [0.4, 0.6, 0.8])
def test_a_coordinator_that_is_killed_while_it_commits(job, after_s):
    """What is seen is what was committed; doing it again makes it whole, and equal."""
    prepared(job, CELL, OTHER)
    processes.run_killed("test_run_stores_icechunk:commit_for_ever", job_store=job.store, after_s=after_s)
    reader = open_sink(job)
    for task in make_tasks(job, (CELL, OTHER)):
        found = reader.read(task)
        assert (found == 255).all() or digest_of(found) == digest_of(codes_of(task))
    write_all(prepared(job, CELL, OTHER), make_tasks(job, (CELL, OTHER)))
    for cell in (CELL, OTHER):
        np.testing.assert_array_equal(open_sink(job).masks(cell), whole(cell, job))


def test_two_coordinators_commit_the_same_tasks(job):
    """The lease forbids it; where it happens all the same, nothing is lost."""
    one, other = prepared(job, CELL, OTHER), open_sink(job)
    tasks = make_tasks(job, (CELL, OTHER))
    ours, theirs = one.begin(), other.begin()
    here = [one.write(task, codes_of(task), ours)[1] for task in tasks[:9]]
    there = [other.write(task, codes_of(task), theirs)[1] for task in tasks[5:]]
    one.commit(here, records_of(tasks[:9]))
    other.commit(there, records_of(tasks[5:]))
    for cell in (CELL, OTHER):
        np.testing.assert_array_equal(open_sink(job).masks(cell), whole(cell, job))


def test_a_task_that_commits_alone_while_a_window_is_open(job):
    """As one that killed its worker, and is done again in a process of its own."""
    sink = prepared(job)
    first, *others = make_tasks(job)
    token = sink.begin()
    forks = [sink.write(task, codes_of(task), token)[1] for task in others]
    open_sink(job).write(first, codes_of(first))
    sink.commit(forks, records_of(others))
    np.testing.assert_array_equal(open_sink(job).masks(CELL), whole(CELL, job))


def test_a_window_of_nodata_makes_no_commit(job):
    sink = prepared(job)
    task = make_task(job, "2024-01-11")
    before = history(repository(job))[0].snapshot
    _, fork = sink.write(task, np.full(task.region.shape, 255, np.uint8), sink.begin())
    assert sink.commit([fork], records_of([task])) == before or len(history(repository(job))) == 3
    assert sink.commit([sink.begin()], []) == history(repository(job))[0].snapshot
    assert (sink.read(task) == 255).all()


def test_codes_that_become_nodata(job):
    sink = prepared(job)
    task = make_task(job, "2024-01-11")
    sink.write(task, codes_of(task))
    sink.write(task, np.full(task.region.shape, 255, np.uint8))
    assert (open_sink(job).read(task) == 255).all()


def test_a_commit_without_begin(job):
    with pytest.raises(WriteError, match="begin"):
        prepared(job).commit([], [])


def test_cells_live_beside_other_masks(job, tmp_path):
    """`to_icechunk` and a campaign can share a repository; each keeps to its groups."""
    sink = prepared(job)
    write_all(sink, make_tasks(job))
    mask = sink.masks(CELL).compute()
    to_icechunk(mask, repository(job), group="mine", chunks=32)
    write_all(prepared(job, CELL, OTHER), make_tasks(job, (OTHER,)))
    xr.testing.assert_identical(open_icechunk(repository(job), group="mine").compute(), mask)
    xr.testing.assert_identical(sink.masks(CELL).compute(), mask)


def test_damaged_chunks_are_errors(job):
    """Chunks have names of their own: each file of them is damaged. Small ones would lie among the metadata."""
    job = replace(job, chunk_px=64)
    sink = prepared(job)
    tasks = make_tasks(job)
    write_all(sink, tasks)
    files = list((repository(job) / "chunks").iterdir())
    assert len(files) > 3
    for file in files:
        file.write_bytes(b"x" * file.stat().st_size)
    errors = []
    for task in tasks:
        try:
            # Those at the corner have few pixels, and lie among the metadata after all.
            assert digest_of(open_sink(job).read(task)) == digest_of(codes_of(task))
        except ReadError as error:
            errors.append(str(error))
    assert len(errors) == len(files)
    assert all("masks.icechunk" in text and "cannot be read" in text for text in errors)
    write_all(sink, tasks)
    np.testing.assert_array_equal(open_sink(job).masks(CELL), whole(CELL, job))


def test_a_folder_that_is_no_repository(job):
    repository(job).mkdir(parents=True)
    (repository(job) / "letter.txt").write_text("mine")
    with pytest.raises(WriteError, match="no Icechunk repository"):
        prepared(job)


def test_options_of_s3fs_are_understood(monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    assert s3_keywords({}) == {}
    assert s3_keywords({"anon": True, "config_kwargs": {"read_timeout": 3}}) == {"anonymous": True}
    local = {"endpoint_url": "http://host:9000", "allow_http": True, "force_path_style": True, "region": "us-east-1"}
    assert s3_keywords({"client_kwargs": {"endpoint_url": "http://host:9000"}}) == local
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://host:9000")
    assert s3_keywords({}) == local
    icechunk.s3_storage(bucket="b", prefix="p", **s3_keywords({"key": "a", "secret": "b"}))
    with pytest.raises(ArgumentError, match=r"'colour'.*'endpoint_url'"):
        s3_keywords({"colour": "red"})
