"""Which Zarr chunks and shards a mask gets, and which dask chunks write each of them whole: integers only."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xcloudmask.errors import ArgumentError, ArgumentTypeError

__all__ = ["ChunkChoice", "WritePlan", "plan_write"]

ChunkChoice = Mapping[Any, int] | Sequence[int] | int | None
"""Sizes by dimension, one per dimension, one for y and x, or None for the default."""

EAGER_CHUNK_PX = 2048
INNER_CHUNK_PX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class WritePlan:
    """How an array is cut when it is written."""

    chunks: tuple[int, ...]
    """Zarr chunk; the inner one where there are shards."""
    shards: tuple[int, ...] | None
    """Zarr shard, a multiple of the chunk; None without sharding."""
    dask_chunks: tuple[tuple[int, ...], ...] | None
    """What dask has to rechunk to, so that each task writes whole shards or chunks; None where it fits already."""


def plan_write(
    sizes: Mapping[Hashable, int],
    *,
    spatial: tuple[str, str],
    dask_chunks: tuple[tuple[int, ...], ...] | None,
    chunks: ChunkChoice = None,
    shards: ChunkChoice = None,
    single: Hashable | None = None,
) -> WritePlan:
    """Plan the chunks of a Zarr array.

    A dask chunk that ends inside a Zarr chunk or shard makes two tasks write one file: what they leave behind depends
    on who comes last. So dask chunks are kept where they end on the borders, and planned anew where they do not.

    Parameters
    ----------
    sizes
        Length of each dimension, in order.
    spatial
        Names of (y, x).
    dask_chunks
        Chunks of the data; None for a numpy array.
    chunks, shards
        What the user asks for.
    single
        A dimension that is cut into single entries unless the user asks for something else: new ones can be appended
        without touching a chunk that is there.

    Returns
    -------
    WritePlan

    Raises
    ------
    ArgumentError
        An unknown dimension, a size below 1, or a shard that is no multiple of the chunk.
    ArgumentTypeError
        A size that is no whole number.

    Examples
    --------
    >>> plan_write({"y": 100, "x": 100}, spatial=("y", "x"), dask_chunks=((60, 40), (100,)), chunks=40)
    WritePlan(chunks=(40, 40), shards=None, dask_chunks=((80, 20), (100,)))
    """
    natural = _natural_chunks(sizes, spatial, dask_chunks)
    if single is not None:
        natural[single] = 1
    wanted_chunks = _by_dim(chunks, sizes, spatial, "chunks")
    wanted_shards = _by_dim(shards, sizes, spatial, "shards")
    chosen: dict[Hashable, int] = {}
    for dim, size in sizes.items():
        if dim in wanted_chunks:
            chosen[dim] = min(wanted_chunks[dim], size)
        elif wanted_shards:
            chosen[dim] = _inner_chunk(wanted_shards.get(dim, natural[dim]), is_spatial=dim in spatial)
        else:
            chosen[dim] = natural[dim]
    chunk = tuple(chosen.values())
    shard = None
    if wanted_shards:
        shard = tuple(_shard(dim, wanted_shards.get(dim, natural[dim]), chosen[dim], sizes[dim]) for dim in sizes)
    return WritePlan(
        chunks=chunk,
        shards=shard,
        dask_chunks=None if dask_chunks is None else _aligned(dask_chunks, shard or chunk),
    )


def _natural_chunks(
    sizes: Mapping[Hashable, int], spatial: tuple[str, str], dask_chunks: tuple[tuple[int, ...], ...] | None
) -> dict[Hashable, int]:
    """Return the chunks of the data themselves: the largest one where they are irregular."""
    if dask_chunks is not None:
        return {dim: max(1, *axis) for dim, axis in zip(sizes, dask_chunks, strict=True)}
    whole = {
        dim: 1 if sizes[dim] and dim not in spatial and index == 0 else sizes[dim] for index, dim in enumerate(sizes)
    }
    return {dim: max(1, min(size, EAGER_CHUNK_PX)) for dim, size in whole.items()}


def _inner_chunk(shard: int, *, is_spatial: bool) -> int:
    """Return the largest divisor of a shard that makes a handy chunk."""
    limit = INNER_CHUNK_PX if is_spatial else shard
    return max(size for size in range(1, min(limit, shard) + 1) if shard % size == 0)


def _shard(dim: Hashable, shard: int, chunk: int, size: int) -> int:
    """Cut a shard down to the axis, and refuse one that its chunks do not fill."""
    if shard % chunk and shard < size:
        raise ArgumentError(
            f"shards={shard} along {dim!r} is no multiple of chunks={chunk}. "
            f"Type: shards={{{str(dim)!r}: {-(-shard // chunk) * chunk}}}"
        )
    return -(-min(shard, size) // chunk) * chunk


def _aligned(dask_chunks: tuple[tuple[int, ...], ...], unit: tuple[int, ...]) -> tuple[tuple[int, ...], ...] | None:
    """Return chunks whose inner borders are multiples of the unit, or None where they are already."""
    planned = tuple(_aligned_axis(axis, step) for axis, step in zip(dask_chunks, unit, strict=True))
    return None if planned == dask_chunks else planned


def _aligned_axis(axis: tuple[int, ...], step: int) -> tuple[int, ...]:
    if all(size % step == 0 for size in axis[:-1]):
        return axis
    total, size = sum(axis), step * max(1, round(max(axis) / step))
    rest = total % size
    return (size,) * (total // size) + ((rest,) if rest else ())


def _by_dim(
    choice: ChunkChoice, sizes: Mapping[Hashable, int], spatial: tuple[str, str], name: str
) -> dict[Hashable, int]:
    """Turn what the user typed into sizes by dimension."""
    if choice is None:
        return {}
    if isinstance(choice, Mapping):
        chosen: dict[Hashable, int] = dict(choice)
    elif isinstance(choice, int):
        chosen = dict.fromkeys(spatial, choice)
    elif isinstance(choice, Sequence) and not isinstance(choice, str) and len(choice) == len(sizes):
        chosen = dict(zip(sizes, choice, strict=True))
    else:
        raise ArgumentTypeError(f"{name}={choice!r} is not understood. Type: {name}={{'y': 2048, 'x': 2048}}")
    for dim, size in chosen.items():
        if dim not in sizes:
            raise ArgumentError(f"{name}: the mask has no dimension {dim!r}. It has {', '.join(map(str, sizes))}.")
        if isinstance(size, bool) or not isinstance(size, int):
            raise ArgumentTypeError(f"{name}[{dim!r}]={size!r} is a {type(size).__name__}. Expected a whole number.")
        if size < 1:
            raise ArgumentError(f"{name}[{dim!r}]={size} is too small. Expected 1 or more.")
    return chosen
