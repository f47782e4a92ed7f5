"""What a campaign is made of: `Task`, one region of one time step, and `Record`, what became of it. Plain data.

Tasks travel to workers, records lie in the ledger as JSON. Both stand for themselves: whoever has a task can process
it, whoever has a record can tell what it is of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from xcloudmask.errors import ReadError

__all__ = ["WHOLE_STEP", "Cell", "Job", "Record", "Region", "Status", "StoreKind", "Task", "is_final", "task_key"]

Status = Literal["ok", "nodata", "failed", "quarantined"]
StoreKind = Literal["zarr", "cog", "icechunk"]

WHOLE_STEP = ("scene", "ocm")
"""Ways to normalise that need the whole time step: regions of it cannot be done one by one."""

_KEY_DIGITS = 32
_RECORD_BYTES = 64_000
"""More than any record has: what is larger is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Pixels of a cell; whole chunks of its store."""

    y: tuple[int, int]
    """First row, and one past the last."""
    x: tuple[int, int]
    """First column, and one past the last."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.y[1] - self.y[0], self.x[1] - self.x[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A grid that many time steps share, with a store of its own."""

    name: str
    """Unique in the campaign, and a file name: ``"32TPS"``, ``"utm32n"``."""
    crs: str
    """As ``"EPSG:32632"``, or WKT 2."""
    transform: tuple[float, float, float, float, float, float]
    """Affine: x = a * column + b * row + c, y = d * column + e * row + f."""
    shape: tuple[int, int]
    """Rows and columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What all tasks of a campaign share: how to read, what to predict, where to write."""

    store: str
    """Folder or URL of the campaign; `masks/`, `ledger/` and the manifest lie in it."""
    kind: StoreKind
    """Format of the masks."""
    model: str
    """Name of a model, or the path of its card."""
    model_sha256: str
    """Of its weights: a worker whose model has another refuses the task."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `xcloudmask.predict` but for the model, as JSON has them."""
    reading: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `xcloudmask.stac.load` (bands, sensor, resampling, sign), or of `open_cube`."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of `xcloudmask.stac.HrefPolicy`. No part of the key: it changes no mask."""
    chunk_px: int = 512
    """Side of a chunk of the store."""
    shard_px: int | None = None
    """Side of a shard; None for none. Regions are whole shards."""
    block_px: int = 2048
    """Side of what is read and predicted at once inside a region."""
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    """For fsspec, where the store is a URL. Never secrets: these come from the environment of each worker."""
    version: str = ""
    """Of xcloudmask: part of the key."""
    attempts: int = 4
    """How often a task tries to read and to write where an error may go away; no part of the key."""

    def settings(self) -> dict[str, Any]:
        """Return what changes the bytes of a mask, for keys and for comparison."""
        return {
            "model_sha256": self.model_sha256,
            "options": dict(self.options),
            "reading": dict(self.reading),
            "block_px": self.block_px,
            "version": self.version,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One region of one time step of a cell."""

    key: str
    """From `task_key`."""
    cell: Cell
    time: str
    """ISO 8601, UTC, without zone: the coordinate of the mask."""
    region: Region
    sources: tuple[Mapping[str, Any], ...]
    """STAC items as JSON, the first on top; or one ``{"cube": path or URL, "time": ...}``."""
    ids: tuple[str, ...]
    """Of the items, or the cube's name."""
    job: Job

    @property
    def name(self) -> str:
        """For people and dashboards: cell, time and upper left corner."""
        return f"{self.cell.name}-{self.time[:19].replace(':', '')}-y{self.region.y[0]}-x{self.region.x[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What became of a task: the line of the ledger."""

    key: str
    status: Status
    name: str
    cell: str
    time: str
    region: Region
    ids: tuple[str, ...]
    reason: str = ""
    """Why it failed; the class of the error and its text, without addresses that carry tokens."""
    attempts: int = 1
    digest: str = ""
    """sha256 of the codes (C order), for `verify`; empty where nothing was written."""
    fractions: Mapping[str, float] = field(default_factory=dict)
    """Class (``"clear"``, ``"thick_cloud"``, ..., ``"nodata"``) -> share of the pixels of the region."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """``"read"``, ``"predict"``, ``"write"``, ``"total"``."""
    finished: str = ""
    """When, ISO 8601, UTC."""
    worker: str = ""
    """Where."""
    snapshot: str = ""
    """Of Icechunk, which holds it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """`Job.settings`."""

    def to_json(self) -> bytes:
        """Return the record as a JSON document."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Record:
        """Read a record.

        Parameters
        ----------
        data
            As `to_json` made it; not trusted.

        Returns
        -------
        Record

        Raises
        ------
        ReadError
            It is no record.
        """
        try:
            fields = _bounded(data)
            region = Region(y=_pair(fields["region"]["y"]), x=_pair(fields["region"]["x"]))
            status: Status = {name: name for name in get_args(Status)}[fields["status"]]
            record = cls(**fields | {"region": region, "ids": tuple(map(str, fields["ids"])), "status": status})
        except (ValueError, TypeError, KeyError) as error:
            raise ReadError(f"This is no record of a campaign ({error}): {data[:80]!r}") from error
        return record


def task_key(
    *, job: Job, cell: Cell, time: str, region: Region, ids: tuple[str, ...], fingerprints: tuple[str, ...]
) -> str:
    """Return the key of a task: equal where everything that decides on its mask is equal.

    Parameters
    ----------
    job, cell, time, region, ids
        As in `Task`.
    fingerprints
        Of each source: etag, checksum, or what else changes when it is processed anew.

    Returns
    -------
    str
        32 hexadecimal digits.

    Examples
    --------
    >>> job = Job(store="masks", kind="zarr", model="default", model_sha256="ab")
    >>> cell = Cell(name="a", crs="EPSG:32632", transform=(10.0, 0.0, 0.0, 0.0, -10.0, 0.0), shape=(8, 8))
    >>> region = Region(y=(0, 8), x=(0, 8))
    >>> keys = [
    ...     task_key(job=job, cell=cell, time="2024-01-01", region=region, ids=("s",), fingerprints=(etag,))
    ...     for etag in ("1", "1", "2")
    ... ]
    >>> keys[0] == keys[1] != keys[2], len(keys[0])
    (True, 32)
    """
    parts = {
        "settings": job.settings(),
        "cell": asdict(cell),
        "time": time,
        "region": asdict(region),
        "ids": ids,
        "fingerprints": fingerprints,
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_DIGITS]


def is_final(status: Status) -> bool:
    """Whether a task with this status is not run again on its own.

    Examples
    --------
    >>> is_final("nodata"), is_final("failed")
    (True, False)
    """
    return status != "failed"


def _bounded(data: bytes) -> dict[str, Any]:
    if len(data) > _RECORD_BYTES:
        raise ValueError(f"{len(data)} bytes")
    fields: dict[str, Any] = json.loads(data)
    return fields


def _pair(values: Any) -> tuple[int, int]:
    first, last = values
    return int(first), int(last)
