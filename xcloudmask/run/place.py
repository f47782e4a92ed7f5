"""A campaign found in its store: settings, ledger, manifest. For everything that comes after planning."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from xcloudmask.errors import ArgumentError, ReadError, WriteError
from xcloudmask.run.frozen import Frozen, read_frozen
from xcloudmask.run.index import LedgerIndex, open_index
from xcloudmask.run.ledger import Ledger
from xcloudmask.run.manifest import Manifest
from xcloudmask.run.objects import Objects, open_objects
from xcloudmask.run.stores.base import Sink, open_sink
from xcloudmask.run.task import Cell, Job, Record

if TYPE_CHECKING:
    from xcloudmask.run.config import CampaignConfig

__all__ = [
    "MANIFEST",
    "Campaign",
    "Place",
    "bad_keys",
    "campaign_of",
    "chosen_cells",
    "current_records",
    "find_place",
    "manifest_of",
    "open_campaign",
    "progress_of",
    "save_manifest",
]

MANIFEST = "manifest.sqlite"
"""In a local store."""
PACKED = "manifest.sqlite.gz"
"""In a remote one."""
_MANIFEST_BYTES = 8 * 2**30
_PROGRESS = """
SELECT c.name, coalesce(l.status, ''), count(*) FROM tasks AS t JOIN steps AS s ON s.id = t.step
JOIN cells AS c ON c.id = s.cell LEFT JOIN ledger.states AS l ON l.key = t.key GROUP BY 1, 2
"""
_BAD = """
SELECT t.key FROM tasks AS t JOIN ledger.states AS l ON l.key = t.key WHERE l.status IN ({marks}) ORDER BY t.key
"""

Store = str | PathLike[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a campaign is, or will be."""

    store: str
    """Folder or URL."""
    objects: Objects
    """The same, to read and write."""
    config: CampaignConfig | None
    """Where a configuration was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """A campaign that was planned."""

    place: Place
    """Where."""
    frozen: Frozen
    """Its settings, with the place where it lies now."""

    @property
    def job(self) -> Job:
        """What its tasks share."""
        return self.frozen.job

    @property
    def ledger(self) -> Ledger:
        """Its records."""
        return Ledger(self.place.objects)

    @property
    def label(self) -> str:
        """Folder or URL, for people."""
        return self.place.objects.label

    @contextmanager
    def manifest(self) -> Iterator[Manifest]:
        """Open its manifest; that of a remote store is fetched first."""
        with manifest_of(self.place, store=self.job.store) as path, Manifest.open(path, store=self.job.store) as found:
            found.job = replace(found.job, storage_options=self.job.storage_options, attempts=self.job.attempts)
            yield found

    def prepare(self, manifest: Manifest) -> Sink:
        """Make the stores of all cells with all their times, before the first task; return them."""
        sink = open_sink(self.job)
        sink.prepare(_cells(manifest))
        return sink

    @contextmanager
    def index(self, *, contents: bool = False) -> Iterator[LedgerIndex]:
        """Open the index of its ledger, up to date."""
        ledger = self.ledger
        with open_index(ledger) as index:
            index.refresh(ledger, contents=contents)
            yield index


def find_place(campaign: Store | CampaignConfig, storage_options: Mapping[str, Any] | None = None) -> Place:
    """Tell where a campaign is from its configuration, or from its store; nothing is asked of the store yet.

    Parameters
    ----------
    campaign
        A TOML file, its content, or the folder or URL of a campaign.
    storage_options
        For fsspec, where that is a URL; a configuration brings its own.

    Raises
    ------
    ArgumentError
        It is neither.
    """
    from xcloudmask.run.config import CampaignConfig

    config: CampaignConfig | None = None
    if isinstance(campaign, CampaignConfig):
        config = campaign
    elif not isinstance(campaign, str | PathLike):
        raise ArgumentError(f"{campaign!r:.80} is no campaign. Expected a TOML file, or the folder or URL of a store.")
    elif os.fspath(campaign).endswith(".toml"):
        config = CampaignConfig.from_toml(campaign)
    if config is None:
        store = os.fspath(campaign)  # type: ignore[arg-type]  # a configuration was taken out above
        return Place(store=store, objects=open_objects(store, storage_options), config=None)
    objects = open_objects(config.store.path, config.store.storage_options)
    return Place(store=config.store.path, objects=objects, config=config)


def open_campaign(campaign: Store | CampaignConfig, storage_options: Mapping[str, Any] | None = None) -> Campaign:
    """Open a campaign that was planned.

    Raises
    ------
    ReadError
        There is none.
    """
    place = find_place(campaign, storage_options)
    place.objects.check()
    frozen = read_frozen(place.objects)
    if frozen is None:
        raise ReadError(
            f"{place.objects.label} holds no campaign. Expected the store of one. Type: xcloudmask run start "
            "CONFIG.toml"
        )
    return campaign_of(place, frozen)


def campaign_of(place: Place, frozen: Frozen) -> Campaign:
    """Return the campaign of a place: a store may have been moved, and its options may differ from here to there."""
    options, attempts = dict(frozen.job.storage_options), frozen.job.attempts
    if place.config is not None:
        options, attempts = dict(place.config.store.storage_options), place.config.run.attempts
    objects = open_objects(place.store, options) if options and place.objects.folder is None else place.objects
    job = replace(frozen.job, store=_whole(place.store), storage_options=options, attempts=attempts)
    return Campaign(place=replace(place, objects=objects), frozen=replace(frozen, job=job))


@contextmanager
def manifest_of(place: Place, *, store: str) -> Iterator[Path]:
    """Yield the manifest of a store as a local file.

    Raises
    ------
    ReadError
        There is none.
    """
    if place.objects.folder is not None:
        yield place.objects.folder / MANIFEST
        return
    data = place.objects.get(PACKED, limit=_MANIFEST_BYTES)
    if data is None:
        raise ReadError(f"{store}/{PACKED} is missing. Type: xcloudmask run plan CONFIG.toml --update")
    with tempfile.TemporaryDirectory(prefix="xcloudmask-manifest-") as folder:
        path = Path(folder) / MANIFEST
        try:
            path.write_bytes(gzip.decompress(data))
        except (OSError, EOFError) as error:
            raise ReadError(f"{store}/{PACKED} is broken: {error}") from error
        yield path


def save_manifest(place: Place, path: Path) -> None:
    """Put a manifest into a store, whole or not at all.

    Parameters
    ----------
    place
        Of the campaign.
    path
        A local file, which may be moved away.

    Raises
    ------
    WriteError
        The store refuses it.
    """
    if place.objects.folder is None:
        # mtime=0: the same manifest is the same object.
        place.objects.put(PACKED, gzip.compress(path.read_bytes(), 6, mtime=0))
        return
    target = place.objects.folder / MANIFEST
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise WriteError(f"{target} cannot be written: {error}") from error


def progress_of(manifest: Manifest, index: LedgerIndex) -> dict[str, dict[str, int]]:
    """Return how many tasks of each cell have which status; ``""`` is no record yet.

    Only tasks of the manifest count: records of scenes that were processed anew since then stay in the ledger.
    """
    found: dict[str, dict[str, int]] = {}
    with closing(_joined(manifest, index)) as database:
        for cell, status, count in database.execute(_PROGRESS):
            found.setdefault(cell, {})[status] = count
    return found


def bad_keys(manifest: Manifest, index: LedgerIndex, statuses: Sequence[str]) -> list[str]:
    """Return the keys of the manifest's tasks whose record has one of these statuses."""
    query = _BAD.format(marks=", ".join("?" * len(statuses)))
    with closing(_joined(manifest, index)) as database:
        return [key for (key,) in database.execute(query, tuple(statuses))]


def chosen_cells(manifest: Manifest, cells: Collection[str] | None) -> list[str]:
    """Return the names of cells that were asked for, or of all; an unknown one is refused."""
    names = [cell.name for cell, _ in manifest.cells()]
    unknown = sorted(set(cells or ()) - set(names))
    if unknown:
        shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise ArgumentError(f"The cell {unknown[0]!r} is unknown. Expected some of: {shown}.")
    return names if cells is None else [name for name in names if name in set(cells)]


def current_records(
    manifest: Manifest, index: LedgerIndex, *, cells: Collection[str] | None = None
) -> Iterator[Record]:
    """Yield the records that count of the manifest's tasks, cell by cell; the index has read them.

    Only tasks of the manifest: see `progress_of`.
    """
    with closing(sqlite3.connect(_address(manifest), uri=True)) as database:
        for (name,) in database.execute("SELECT name FROM cells ORDER BY name").fetchall():
            if cells is not None and name not in cells:
                continue
            for record in index.records(cells=[name]):
                if database.execute("SELECT 1 FROM tasks WHERE key = ?", (record.key,)).fetchone() is not None:
                    yield record


def _address(manifest: Manifest) -> str:
    return f"file:{quote(str(manifest.path.absolute()))}?mode=ro"


def _joined(manifest: Manifest, index: LedgerIndex) -> sqlite3.Connection:
    database = sqlite3.connect(_address(manifest), uri=True)
    index.attach(database)
    return database


def _whole(store: str) -> str:
    """Return a path that means the same in another folder; URLs stay as they are."""
    return store if "://" in store else str(Path(store).absolute())


def _cells(manifest: Manifest) -> Iterator[tuple[Cell, Mapping[str, tuple[str, ...]]]]:
    """Yield each cell with its times and the ids of their scenes."""
    for cell, times in manifest.cells():
        ids = {step.time: step.ids for step in manifest.steps(cell.name)}
        yield cell, {time: ids[time] for time in times}
