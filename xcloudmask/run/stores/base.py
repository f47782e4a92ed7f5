"""What all stores of a campaign have in common: `Sink`, and `open_sink`, which finds the one of a job."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt
import xarray as xr

from xcloudmask._version import __version__
from xcloudmask.classes import NODATA, get_style, mask_attrs
from xcloudmask.errors import ArgumentError, InputError
from xcloudmask.run.task import Cell, Job, Record, Task

__all__ = ["BaseSink", "Codes", "Sink", "Steps", "class_shares", "digest_of", "mask_attributes", "open_sink"]

Codes = npt.NDArray[np.uint8]
Steps = Sequence[str] | Mapping[str, Sequence[str]]
"""Times of a cell, as in `Task.time`; or these with the ids of the items of each."""

_OWN = ("output_style", "normalize")
"""Options that have an attribute of their own."""
_NO_SETTING = ("device", "batch_size", "categorise", "sign")
"""Arguments that change no code of a mask."""


class Sink(Protocol):
    """Takes the masks of a campaign.

    What is written with `write` is there when it returns. A transactional sink can do the same, in a commit of its
    own; for many tasks there is `begin`, `write` with a token in any process, and one `commit` where `begin` was.
    """

    transactional: bool
    """Whether what is written is seen only after a commit."""
    job: Job
    """Where and what."""

    def prepare(self, cells: Iterable[tuple[Cell, Steps]], attrs: Mapping[str, Any] | None = None) -> None:
        """Make the stores of cells with all their times, or add times that they lack; the coordinator's part."""

    @overload
    def write(self, task: Task, codes: Codes) -> str: ...
    @overload
    def write(self, task: Task, codes: Codes, token: Any) -> tuple[str, Any]: ...
    def write(self, task: Task, codes: Codes, token: Any = None) -> Any:
        """Write the (y, x) codes of a task; return their digest, and the token with the change where one was given."""

    def read(self, what: Task | Record) -> Codes:
        """Return what the store holds for a task, or for the task of a record."""

    def masks(self, cell: Cell | str) -> xr.DataArray:
        """Open the mask of a cell, lazily."""

    def begin(self) -> Any:
        """Return a token for `write`, which any process can use; None where there are no transactions."""

    def commit(self, tokens: Iterable[Any], records: Sequence[Record]) -> str:
        """Make all that tokens hold visible in one step, and return the snapshot; empty without transactions."""


def open_sink(job: Job) -> Sink:
    """Return the store of a campaign; nothing is read or written yet.

    Parameters
    ----------
    job
        Its `store` and `kind` say where the masks go, the rest how they are cut and described.

    Returns
    -------
    Sink
        May be used by many threads; travels to other processes as its job.

    Raises
    ------
    ArgumentError
        The job asks for something else than codes, or its shards are no multiple of its chunks.

    Examples
    --------
    >>> open_sink(Job(store="campaign", kind="zarr", model="default", model_sha256="ab")).transactional
    False
    """
    if job.kind == "zarr":
        from xcloudmask.run.stores.zarr import ZarrSink

        return ZarrSink(job)
    if job.kind == "cog":
        from xcloudmask.run.stores.cog import CogSink

        return CogSink(job)
    if job.kind == "icechunk":
        from xcloudmask.run.stores.icechunk import IcechunkSink

        return IcechunkSink(job)
    raise ArgumentError(f"kind={job.kind!r} is unknown. Expected 'zarr', 'cog' or 'icechunk'.")


class BaseSink:
    """What the sinks share: checks, and that a write without transactions is there at once.

    Parameters
    ----------
    job
        As given to `open_sink`.
    """

    transactional = False

    def __init__(self, job: Job) -> None:
        if job.options.get("categorise", True) is not True:
            raise ArgumentError(
                "categorise=False gives percentages, and a campaign writes codes. Leave it out of the options."
            )
        if job.shard_px is not None and job.shard_px % job.chunk_px:
            raise ArgumentError(
                f"shard_px={job.shard_px} is no multiple of chunk_px={job.chunk_px}. Type: shard_px = "
                f"{-(-job.shard_px // job.chunk_px) * job.chunk_px}"
            )
        self.job = job

    def __reduce__(self) -> Any:
        return open_sink, (self.job,)

    @overload
    def write(self, task: Task, codes: Codes) -> str: ...
    @overload
    def write(self, task: Task, codes: Codes, token: Any) -> tuple[str, Any]: ...
    def write(self, task: Task, codes: Codes, token: Any = None) -> Any:
        """Write the codes of a task; see `Sink`."""
        self._put(task, checked_codes(task, codes))
        return digest_of(codes) if token is None else (digest_of(codes), token)

    def _put(self, task: Task, codes: Codes) -> None:
        raise NotImplementedError

    def begin(self) -> Any:
        """Return None: there are no transactions."""
        return None

    def commit(self, tokens: Iterable[Any], records: Sequence[Record]) -> str:  # noqa: ARG002  # as `Sink` has it
        """Do nothing: all is there already."""
        return ""


def checked_codes(task: Task, codes: Codes) -> Codes:
    """Refuse what are no codes of the region of a task."""
    if codes.dtype != np.uint8 or codes.shape != task.region.shape:
        raise InputError(
            f"{task.name}: the codes are {codes.dtype} {codes.shape}. Expected uint8 {task.region.shape}, the pixels "
            "of the region."
        )
    return codes


def digest_of(codes: Codes) -> str:
    """Return the sha256 of codes, row by row.

    Parameters
    ----------
    codes
        (y, x) uint8.

    Returns
    -------
    str

    Examples
    --------
    >>> digest_of(np.zeros((2, 3), np.uint8)) == digest_of(np.zeros((3, 2), np.uint8).T)
    True
    """
    return hashlib.sha256(np.ascontiguousarray(codes).data).hexdigest()


def class_shares(codes: Codes, *, style: str = "4-class") -> dict[str, float]:
    """Return the share of each class among all pixels, and that of nodata.

    Parameters
    ----------
    codes
        uint8, any shape.
    style
        Output style of the codes.

    Returns
    -------
    dict
        They add up to 1.

    Raises
    ------
    InputError
        There is a code that is neither a class nor nodata, or no pixel.

    Examples
    --------
    >>> class_shares(np.array([[0, 0], [3, 255]], np.uint8))
    {'clear': 0.5, 'thick_cloud': 0.0, 'thin_cloud': 0.0, 'cloud_shadow': 0.25, 'nodata': 0.25}
    """
    meanings = get_style(style).meanings
    # np.bincount would make eight bytes of each code.
    counts = {name: int(np.count_nonzero(codes == code)) for code, name in enumerate(meanings)}
    counts["nodata"] = int(np.count_nonzero(codes == NODATA))
    if sum(counts.values()) != codes.size or not codes.size:
        raise InputError(
            f"{codes.size - sum(counts.values())} of {codes.size} pixels have a code that is no class of {style!r}. "
            f"Expected 0 to {len(meanings) - 1}, or {NODATA} for nodata."
        )
    return {name: count / codes.size for name, count in counts.items()}


def mask_attributes(job: Job) -> dict[str, Any]:
    """Return the attributes of the masks of a campaign: what they are, and how they were made.

    Parameters
    ----------
    job
        Of the campaign.

    Returns
    -------
    dict
        As `xcloudmask.predict` gives them to a mask; ``settings`` holds the options of the campaign.

    Examples
    --------
    >>> job = Job(store="campaign", kind="zarr", model="default", model_sha256="ab", options={"normalize": "lattice"})
    >>> [mask_attributes(job)[key] for key in ("output_style", "model", "normalize", "settings")]
    ['4-class', 'default', 'lattice', '{"block_px":2048}']
    """
    settings = {key: value for key, value in job.options.items() if key not in _OWN + _NO_SETTING}
    reading = {key: value for key, value in job.reading.items() if key not in _NO_SETTING}
    settings |= {"block_px": job.block_px} | ({"reading": reading} if reading else {})
    return mask_attrs(get_style(job.options.get("output_style", "4-class"))) | {
        # The path of a card is of no use on another machine; the sha256 tells which model it is.
        "model": job.model if not job.model.endswith(".json") else PurePath(job.model).stem,
        "model_sha256": job.model_sha256,
        "normalize": job.options.get("normalize", "chunk"),
        "settings": json.dumps(settings, sort_keys=True, separators=(",", ":")),
        "xcloudmask_version": job.version or __version__,
    }
