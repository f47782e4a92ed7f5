"""The helpers that kill jobs and hold them to so much memory."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import processes
import pytest


def write_after(path: str, seconds: float) -> None:
    time.sleep(seconds)
    Path(path).write_text("done")


def fail() -> None:
    raise ValueError("as wished")


def allocate(mb: int) -> None:
    np.ones(mb * 2**20, np.uint8)


def test_a_job_runs_to_its_end(tmp_path):
    assert processes.run_whole("test_processes:write_after", path=str(tmp_path / "a"), seconds=0.05) >= 0.05
    assert (tmp_path / "a").read_text() == "done"


def test_a_job_is_killed(tmp_path):
    assert processes.run_killed("test_processes:write_after", after_s=0.05, path=str(tmp_path / "a"), seconds=60)
    assert not (tmp_path / "a").exists()


def test_a_job_that_is_faster_is_not_killed(tmp_path):
    assert not processes.run_killed("test_processes:write_after", after_s=30, path=str(tmp_path / "a"), seconds=0)
    assert (tmp_path / "a").exists()


def test_errors_arrive():
    with pytest.raises(AssertionError, match="ValueError: as wished"):
        processes.run_whole("test_processes:fail")


def test_memory_is_limited():
    processes.run_limited("test_processes:allocate", memory_mb=100, mb=60)
    with pytest.raises(AssertionError, match="MemoryError"):
        processes.run_limited("test_processes:allocate", memory_mb=100, mb=140)
