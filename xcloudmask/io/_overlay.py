"""A Zarr store that shows what is written when it is complete: chunks first, coordinates and metadata last.

The metadata of all arrays lie in one object at the root of the store (consolidated metadata). Writing that object is
the one step in which new dates appear, together with their coordinates.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from xcloudmask.errors import WriteError, XCloudMaskError
from xcloudmask.io._targets import reason

__all__ = ["ROOT", "HeldStore"]

ROOT = "zarr.json"


class HeldStore(Store):
    """Passes the chunks of one array on, and holds back all else until `commit`.

    Nothing but empty chunks is ever deleted. Errors of the store become a `WriteError` that names it, while those of
    the pixels pass as they are.
    """

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(self, store: Store, *, name: str, label: str) -> None:
        super().__init__()
        self.store = store
        self.name = name
        self.label = label
        self.token = uuid.uuid4().hex
        self.held: dict[str, Buffer] = {}
        """What is held back, by key."""
        self.seen: bytes | None = None
        """The root as it was read; `commit` refuses to write over another one."""
        self.alone = False
        """Whether nobody else may change the root, from before the first chunk on."""

    # -- what is committed -------------------------------------------------------------------------------------------

    def load_root(self) -> dict[str, Any] | None:
        """Read what the store shows: its root with the metadata of all arrays; None where there is no store."""
        self.seen = self._fetch(ROOT)
        if self.seen is None:
            return None
        root: dict[str, Any] = json.loads(self.seen)
        if not root.get("consolidated_metadata"):
            root["consolidated_metadata"] = _inline(self._array_metadata())
        self.hold_root(root)
        return root

    def hold_root(self, root: dict[str, Any]) -> None:
        """Hold a root, and the metadata of the arrays that stand in it."""
        self._hold(ROOT, root)
        for name, metadata in root["consolidated_metadata"]["metadata"].items():
            self._hold(f"{name}/{ROOT}", metadata)

    def root(self) -> dict[str, Any]:
        """Return the root that would be committed."""
        content: dict[str, Any] = json.loads(self.held[ROOT].to_bytes())
        return content

    def consolidate(self) -> None:
        """Put the metadata of all arrays into the root of a new store."""
        names = sorted(key.removesuffix(f"/{ROOT}") for key in self.held if key.endswith(f"/{ROOT}"))
        arrays = {name: json.loads(self.held[f"{name}/{ROOT}"].to_bytes()) for name in names}
        self._hold(ROOT, self.root() | {"consolidated_metadata": _inline(arrays)})

    def is_version_2(self) -> bool:
        """Whether a store of Zarr v2 lies here."""
        return any(self._fetch(key) is not None for key in (".zgroup", ".zarray"))

    def probe(self) -> None:
        """Fail now if the store cannot be written: write metadata of the array, which show nothing by themselves."""
        self._put([f"{self.name}/{ROOT}"])

    def commit(self) -> None:
        """Write what is held back: the root last."""
        self._check_seen(self._fetch(ROOT))
        self._put(sorted((key for key in self.held if key != ROOT), key=lambda key: key.endswith(ROOT)))
        self._put([ROOT])
        self.seen = self.held[ROOT].to_bytes()

    def remove_root(self) -> None:
        """Take the store away, as far as readers see, before its chunks are replaced."""
        with self._named("replaced"):
            sync(self.store.delete(ROOT))
            sync(self.store.delete_dir(""))

    def _check_seen(self, found: bytes | None) -> None:
        if found != self.seen:
            raise WriteError(
                f"{self.label} was changed by another writer meanwhile. Nothing of this write is visible. Only one "
                "process at a time may add dates: type the same again."
            )

    def _fetch(self, key: str) -> bytes | None:
        with self._named("read"):
            found = sync(self.store.get(key, default_buffer_prototype()))
        return None if found is None else found.to_bytes()

    def _put(self, keys: Iterable[str]) -> None:
        with self._named("written"):
            for key in keys:
                sync(self.store.set(key, self.held[key]))

    def _hold(self, key: str, content: dict[str, Any]) -> None:
        self.held[key] = default_buffer_prototype().buffer.from_bytes(json.dumps(content, indent=2).encode())

    def _array_metadata(self) -> dict[str, Any]:
        async def names() -> list[str]:
            return sorted([name async for name in self.store.list_dir("")])

        with self._named("read"):
            found = {name: self._fetch(f"{name}/{ROOT}") for name in sync(names()) if "." not in name}
        return {name: json.loads(content) for name, content in found.items() if content is not None}

    # -- the protocol of Zarr ----------------------------------------------------------------------------------------

    def passes(self, key: str) -> bool:
        """Whether a key is a chunk of the mask, however chunks are named."""
        return key.startswith(f"{self.name}/") and key != f"{self.name}/{ROOT}"

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return what is held back, else what is there."""
        if key in self.held:
            return await MemoryStore(self.held).get(key, prototype, byte_range)
        with self._named("read"):
            return await self.store.get(key, prototype, byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of several keys."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """Whether a key is held back or there."""
        if key in self.held:
            return True
        with self._named("read"):
            return await self.store.exists(key)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a chunk of the mask; hold back all else."""
        if not self.passes(key):
            self.held[key] = value
            return
        with self._named("written"):
            if self.alone:
                root = await self.store.get(ROOT, default_buffer_prototype())
                self._check_seen(None if root is None else root.to_bytes())
                self.alone = False
            await self.store.set(key, value)

    async def delete(self, key: str) -> None:
        """Delete a chunk that has become empty."""
        if not self.passes(key):
            self.held.pop(key, None)
            return
        with self._named("written"):
            await self.store.delete(key)

    async def delete_dir(self, prefix: str) -> None:
        """Delete nothing: a new store overwrites what it needs."""

    async def list(self) -> AsyncIterator[str]:
        """List all keys."""
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """List the keys with a prefix."""
        for key in self.held:
            if key.startswith(prefix):
                yield key
        with self._named("listed"):
            there = [key async for key in self.store.list_prefix(prefix)] if self.seen is not None else []
        for key in there:
            if key not in self.held:
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """List names under a prefix; what a killed writer left where there is no store is not seen."""
        names = {name async for name in MemoryStore(self.held).list_dir(prefix)}
        if self.seen is not None:
            with self._named("listed"):
                names |= {name async for name in self.store.list_dir(prefix)}
        for name in sorted(names):
            yield name

    def with_read_only(self, read_only: bool = False) -> HeldStore:  # noqa: ARG002, FBT001, FBT002  # as zarr calls it
        """Return itself: it is written by whoever holds it."""
        return self

    def __dask_tokenize__(self) -> str:
        return self.token  # without pickling what a store in memory holds, or the credentials of another

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.label

    @contextmanager
    def _named(self, done: str) -> Iterator[None]:
        try:
            yield
        except XCloudMaskError:
            raise
        except Exception as error:
            raise WriteError(f"{self.label} cannot be {done}: {reason(error)}.") from error


def _inline(arrays: dict[str, Any]) -> dict[str, Any]:
    """Consolidated metadata as zarr-python writes them."""
    return {"kind": "inline", "must_understand": False, "metadata": arrays}
