"""What does not go together in the configuration of a campaign."""

from __future__ import annotations

from typing import Any

from xcloudmask.errors import ArgumentError
from xcloudmask.run.options import RunOptions, SourceOptions, StoreOptions

__all__ = ["check_run", "check_sides", "check_source", "check_store", "policy_of", "texts_of"]

_SECRETS = ("key", "secret", "token", "password", "sas_token", "account_key", "connection_string")


def check_source(source: SourceOptions, *, place: str) -> None:
    """Refuse a source without an address or an area, and what cannot be read as an area or a date."""
    from xcloudmask.stac.read import check_bbox, parse_range

    if source.kind == "stac" and not (source.url and source.collections):
        raise ArgumentError(f"{place} lacks url or collections. Type: url = 'earth-search', collections = '...'")
    if source.kind != "stac" and not source.paths:
        raise ArgumentError(f"{place} lacks paths. Type: paths = ['...']")
    if source.bbox and source.geometry:
        raise ArgumentError(f"{place} has bbox and geometry. Expected one of them.")
    if source.kind == "stac" and not (source.bbox or source.geometry or source.query or source.filter):
        raise ArgumentError(f"{place} has no area: that is the whole Earth. Type: bbox = [west, south, east, north]")
    if source.bbox:
        check_bbox(source.bbox)
    if source.datetime:
        parse_range(source.datetime)
    if (source.limit is not None and source.limit < 1) or not 1 <= source.page_size <= 10_000:
        raise ArgumentError(f"{place}: limit and page_size are 1 or more, page_size at most 10000.")
    if source.kind != "cube":
        from xcloudmask.stac.hrefs import HrefPolicy

        HrefPolicy(**policy_of(source))


def check_sides(store: StoreOptions, *, place: str) -> None:
    """Refuse sides of less than a pixel."""
    for name in ("chunk_px", "shard_px", "region_px", "block_px"):
        side = getattr(store, name)
        if side is not None and side < 1:
            raise ArgumentError(f"{place} {name} = {side}. Expected a positive number of pixels.")


def check_store(store: StoreOptions, *, whole: bool, region_px: int, block_px: int, place: str) -> None:
    """Refuse sides that do not fit into one another, secrets, and formats that do not suit the layout."""
    _check_format(store, whole=whole, place=place)
    if secret := next((key for key in store.storage_options if key in _SECRETS), None):
        raise ArgumentError(
            f"{place} storage_options has {secret!r}: it would lie in the store for all to read. Set it in the "
            "environment of each worker, such as AWS_SECRET_ACCESS_KEY."
        )
    chunk, shard = ("chunk_px", store.chunk_px), ("shard_px", store.shard_px or store.chunk_px)
    region, block = ("region_px", region_px), ("block_px", block_px)
    inside = [] if whole else [(region, block), (region, shard), (block, chunk)]
    for (large, size), (small, part) in [(shard, chunk), *inside]:
        if size % part:
            fitting = -(-size // part) * part
            raise ArgumentError(
                f"{place} {large} = {size} is no multiple of {small} = {part}. Type: {large} = {fitting}"
            )


def _check_format(store: StoreOptions, *, whole: bool, place: str) -> None:
    if store.kind != "zarr" and store.shard_px is not None:
        raise ArgumentError(f"{place} shard_px is for kind = 'zarr'. Leave it out.")
    if store.layout == "utm" and store.kind == "cog":
        raise ArgumentError(f"{place}: layout = 'utm' with kind = 'cog' would be one file for a whole zone. Type: grid")
    if store.layout == "utm" and whole:
        raise ArgumentError(
            f"{place}: layout = 'utm' with normalize = 'scene' or 'ocm' would read a whole zone at once. Type: "
            "layout = 'grid', or normalize = 'lattice'"
        )
    if store.resolution_m is not None and (store.layout != "utm" or store.resolution_m <= 0):
        raise ArgumentError(f"{place} resolution_m is a positive number, for layout = 'utm'.")


def check_run(run: RunOptions, *, place: str) -> None:
    """Refuse numbers that are none."""
    for name in ("workers", "threads", "window", "attempts", "timeout_s", "metrics_port", "read_mb_per_s"):
        value = getattr(run, name)
        if value is not None and not value > 0:
            raise ArgumentError(f"{place} {name} = {value}. Expected a positive number.")
    if isinstance(run.memory_limit, str) and run.memory_limit != "auto":
        import dask.utils

        try:
            dask.utils.parse_bytes(run.memory_limit)
        except ValueError as error:
            raise ArgumentError(f"{place} memory_limit = {run.memory_limit!r}. Expected such as '4 GiB'.") from error


def policy_of(source: SourceOptions) -> dict[str, Any]:
    """Arguments of `HrefPolicy`: files of this machine only where the user named some."""
    from xcloudmask.stac._json import is_web

    if source.kind == "cube":
        return {}
    names = ("schemes", "hosts", "credential_hosts", "allow_private")
    files = source.kind == "items" and any(not is_web(path) for path in texts_of(source.paths))
    return {name: getattr(source, name) for name in names} | ({"allow_files": True} if files else {})


def texts_of(value: tuple[str, ...] | str) -> tuple[str, ...]:
    """One text, or several, as several."""
    return (value,) if isinstance(value, str) else value
