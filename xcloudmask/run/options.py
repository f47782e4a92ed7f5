"""The tables of a campaign's configuration, with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from xcloudmask.run.task import StoreKind

__all__ = ["ModelOptions", "RunOptions", "SourceOptions", "StoreOptions"]

SourceKind = Literal["stac", "items", "cube"]
Layout = Literal["grid", "utm"]
Resampling = Literal["nearest", "bilinear", "cubic", "average", "mode"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """What to mask."""

    kind: SourceKind
    """``"stac"``: a search; ``"items"``: files of items and catalogues; ``"cube"``: what `open_cube` opens."""
    url: str = ""
    """Of the API, or the name of a known one."""
    paths: tuple[str, ...] | str = ()
    """Of items and catalogues; or of cubes, each with time steps and a grid of its own."""
    collections: tuple[str, ...] | str = ()
    """Ids of collections."""
    bbox: tuple[float, ...] = ()
    """West, south, east, north in degrees."""
    geometry: str = ""
    """Path of a GeoJSON file with one geometry, or one feature, in degrees; instead of `bbox`."""
    datetime: str = ""
    """A date, an instant or a range, as for `xcloudmask.stac.search`."""
    query: Mapping[str, Any] = field(default_factory=dict)
    """Conditions on properties, for APIs that know the query extension."""
    filter: str | Mapping[str, Any] = ""
    """CQL2, for APIs that know the filter extension."""
    limit: int | None = None
    """Most items; None for all."""
    page_size: int = 250
    """Items asked for at a time."""
    dedupe: bool = True
    """Whether the newest processing of each scene is kept alone."""
    header_env: Mapping[str, Any] = field(default_factory=dict)
    """HTTP header of the search -> environment variable that holds it, such as a token."""
    time: str = ""
    """Of cubes without a time axis."""
    version: str = ""
    """Of cubes: another one when their pixels are other ones, which nothing else tells of a Zarr store."""
    bands: tuple[str, ...] = ()
    """Names of the bands to read; empty for those of the model."""
    sensor: str | None = None
    """Of all scenes; None where they tell."""
    resampling: Resampling = "nearest"
    """How bands get onto another grid."""
    sign: Literal["planetary-computer"] | None = None
    """How hrefs are signed."""
    schemes: tuple[str, ...] = ("https", "s3", "gs", "az")
    """Schemes that hrefs may have: see `xcloudmask.stac.HrefPolicy`."""
    hosts: tuple[str, ...] = ()
    """Hosts that hrefs may lead to; empty for any public one."""
    credential_hosts: tuple[str, ...] = ()
    """Hosts that credentials may go to."""
    allow_private: bool = False
    """Whether hrefs may lead to private addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What to mask with."""

    name: str = "default"
    """Of the model, or the path of its card."""
    sha256: str = ""
    """Of its weights, to refuse others; empty for whatever the name stands for now."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `xcloudmask.predict`: in the file they stand beside the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Where masks go."""

    path: str
    """Folder, or a URL such as ``"s3://bucket/prefix"``."""
    kind: StoreKind = "zarr"
    """``"zarr"``, ``"cog"`` or ``"icechunk"``."""
    layout: Layout = "grid"
    """``"grid"``: a store for each grid of the product. ``"utm"``: one for each UTM zone, a time step a day."""
    chunk_px: int = 512
    """Side of a chunk."""
    shard_px: int | None = None
    """Side of a shard; None for none."""
    region_px: int | None = None
    """Side of what a task masks; None for 6144, or the whole grid where format or model want it."""
    block_px: int | None = None
    """Side of what is read and predicted at once; None for 2048, or the region where that is smaller."""
    resolution_m: float | None = None
    """Pixel of the UTM layout; None for the finest of the scenes."""
    storage_options: Mapping[str, Any] = field(default_factory=dict)
    """For fsspec, such as ``{ endpoint_url = "https://..." }``. No secrets: they come from the environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How to run. Nothing here changes a mask: all of it may be changed between two runs."""

    workers: int | None = None
    """Processes; None for one for each core, or each `threads` cores."""
    threads: int = 1
    """Of each process: tasks that it has at once."""
    memory_limit: str | float | None = None
    """Of each process, such as ``"4 GiB"``; None for an equal share of what there is."""
    window: int = 1000
    """Tasks in flight; with Icechunk also the tasks of a commit."""
    attempts: int = 4
    """Most tries of a read that fails for the moment."""
    timeout_s: float | None = None
    """Longest that a task may take; None for any time."""
    metrics: str = ""
    """File for Prometheus."""
    metrics_port: int | None = None
    """Port on 127.0.0.1 that serves the same."""
    scheduler: str | None = None
    """Address of a Dask cluster; None to start one here."""
    dashboard: str | None = None
    """Address of Dask's dashboard on a cluster that is started here."""
    read_mb_per_s: float | None = None
    """Decoded megabytes that one reader gets from the source in a second, for the estimate of the plan."""
