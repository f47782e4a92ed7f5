"""Campaigns in processes of their own, as a user starts them, and how they are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from s3_server import use_s3

import xcloudmask
from xcloudmask.run.ledger import open_ledger


def make_bucket(name, endpoint, monkeypatch):
    """Make a bucket on the server of the tests, and tell this process and its children how to get there."""
    import s3fs

    use_s3(endpoint, monkeypatch)
    given = {
        "NO_PROXY": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(xcloudmask.__file__).parents[1]),
    }
    for variable, value in given.items():
        monkeypatch.setenv(variable, value)
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(name)


def command(*arguments):
    return [sys.executable, "-m", "xcloudmask", "run", *map(str, arguments)]


def finish(*arguments, code):
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def records(store):
    """Records by key."""
    ledger = open_ledger(store)
    return {one.key: one for one in ledger.records()}


def kill_after(store, number, *arguments, whole):
    """Start a run, and kill it when so many tasks have a record: the coordinator alone, or its workers too."""
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 240
        while len(records(store)) < number:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.3)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL) if whole else process.kill()
        process.wait()
        process.stderr.close()
    if not whole:
        gone(process.pid)
    return records(store)


def gone(group):
    """Wait until the workers have noticed that their coordinator is no more."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.5)
    os.killpg(group, signal.SIGKILL)
    pytest.fail("workers outlive their coordinator")
