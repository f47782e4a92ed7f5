"""The S3 server of the tests, a process of its own, as processes find it: through their environment."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from http_server import started


@contextmanager
def serve_s3() -> Iterator[str]:
    """Serve an empty S3 until the context ends; host and port."""
    command = [sys.executable, str(Path(__file__).with_name("s3_server_process.py"))]
    with started(command) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


def use_s3(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell this process and its children where the server is, and make fsspec look anew."""
    given = {
        "AWS_ENDPOINT_URL": f"http://{endpoint}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "geheim",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    forget_file_systems()


def forget_file_systems() -> None:
    """Make fsspec look at the environment again: it keeps file systems, with the address of a server that is gone."""
    with suppress(ImportError):
        import s3fs

        s3fs.S3FileSystem.clear_instance_cache()
