"""Records and stores for tests of campaigns: in memory, in a folder, on an S3 server of this machine."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from s3_server import use_s3

from xcloudmask.run.objects import Objects
from xcloudmask.run.task import Record, Region, Status

_NUMBERS = itertools.count()


def record_of(key: str, status: Status = "ok", **changes: Any) -> Record:
    """Return a record as a worker makes it."""
    fields: dict[str, Any] = {
        "region": Region(y=(0, 8), x=(0, 16)),
        "name": f"32TPS-{key}",
        "cell": "32TPS",
        "time": "2024-01-01T00:00:00",
        "ids": ("a",),
    }
    return Record(key=key, status=status, **(fields | changes))


def memory_url() -> str:
    """Return a place in memory that nobody has used."""
    return f"memory://xcloudmask-tests/{next(_NUMBERS)}"


class Killed(BaseException):
    """The process ends here."""


class Mortal:
    """Objects that kill the process before their nth change, or after it."""

    def __init__(self, objects: Objects, number: int, *, after: bool) -> None:
        self._objects, self._left, self._after = objects, number, after

    def __getattr__(self, name):
        return getattr(self._objects, name)

    def put(self, name, data, *, if_absent=False):
        return self._act(lambda: self._objects.put(name, data, if_absent=if_absent))

    def delete(self, names):
        for name in names:
            self._act(lambda name=name: self._objects.delete([name]))

    def _act(self, change):
        self._left -= 1
        if self._left == 0:
            if self._after:
                change()
            raise Killed
        return change()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of an empty bucket; the credentials are in the environment."""
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("s3fs")
    use_s3(s3_endpoint, monkeypatch)
    client = boto3.client("s3")
    name = f"campaigns-{next(_NUMBERS)}"
    client.create_bucket(Bucket=name)
    return f"s3://{name}"
