"""The configuration of a campaign: four tables of a TOML file.

[source]
kind = "stac"
url = "earth-search"
collections = "sentinel-2-c1-l2a"
bbox = [9.0, 47.0, 9.5, 47.5]
datetime = "2024-06"

[store]
path = "alps"
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from xcloudmask._config_fields import check_keys
from xcloudmask._version import __version__
from xcloudmask.errors import ArgumentError, ArgumentTypeError
from xcloudmask.options import Options
from xcloudmask.run._checks import check_run, check_sides, check_source, check_store, policy_of, texts_of
from xcloudmask.run._fields import build
from xcloudmask.run.options import ModelOptions, RunOptions, SourceOptions, StoreOptions
from xcloudmask.run.task import WHOLE_STEP, Job

__all__ = ["CampaignConfig", "ModelOptions", "RunOptions", "SourceOptions", "StoreOptions"]

BLOCK_PX = 2048
"""As in `stac.load` and `open_cube`: with its halo, one tile of the model."""
REGION_PX = 6144
"""38 megapixels: at some 0.3 to 1 CPU seconds for each (docs/_speed.md), a task takes 10 to 40 s."""

_CONFIG_BYTES_MAX = 1_000_000
_TABLES = ("source", "model", "store", "run")
_WEB = ("url", "collections", "bbox", "geometry", "datetime", "query", "filter", "limit", "page_size", "dedupe")
_ITEMS = ("paths", "collections", "bbox", "geometry", "datetime", "limit", "dedupe")
_LOADING = ("bands", "sensor", "resampling", "sign", "schemes", "hosts", "credential_hosts", "allow_private")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "stac": (*_WEB, "header_env", *_LOADING),
    "items": (*_ITEMS, *_LOADING),
    "cube": ("paths", "time", "version", "bands", "sensor"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignConfig:
    """What a campaign is told.

    Examples
    --------
    >>> config = CampaignConfig.from_dict({"source": {"kind": "cube", "paths": "a.zarr"}, "store": {"path": "masks"}})
    >>> config.store.kind, config.block_px, config.region_px
    ('zarr', 2048, 6144)
    """

    source: SourceOptions
    """What to mask."""
    store: StoreOptions
    """Where masks go."""
    model: ModelOptions = field(default_factory=ModelOptions)
    """What to mask with."""
    run: RunOptions = field(default_factory=RunOptions)
    """How to run."""

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> CampaignConfig:
        """Read a configuration.

        Parameters
        ----------
        path
            A TOML file. Paths in it are relative to it.

        Returns
        -------
        CampaignConfig

        Raises
        ------
        ArgumentError
            The file is missing or no TOML, or has a table, a key or a value that is not known or cannot be.

        Examples
        --------
        >>> CampaignConfig.from_toml("alps.toml").store.path  # doctest: +SKIP
        '/data/alps'
        """
        file = Path(path)
        try:
            with file.open("rb") as stream:
                data = stream.read(_CONFIG_BYTES_MAX + 1)
            if len(data) > _CONFIG_BYTES_MAX:
                raise ArgumentError(f"{file} is larger than {_CONFIG_BYTES_MAX} bytes: that is no configuration.")
            tables = tomllib.loads(data.decode())
        except (OSError, ValueError) as error:
            if isinstance(error, ArgumentError):
                raise
            raise ArgumentError(f"The configuration {file} cannot be read: {error}. Expected a TOML file.") from error
        return cls.from_dict(tables, folder=file.absolute().parent, place=str(file))

    @classmethod
    def from_dict(
        cls, tables: Mapping[str, Any], *, folder: Path | None = None, place: str = "The configuration"
    ) -> CampaignConfig:
        """Check a configuration.

        Parameters
        ----------
        tables
            As a TOML file has them.
        folder
            What paths are relative to; None for the working directory.
        place
            The file, for errors.

        Returns
        -------
        CampaignConfig

        Raises
        ------
        ArgumentError
            A table, a key or a value is not known or cannot be.
        """
        check_keys(tables, _TABLES, place=place)
        for name in ("source", "store"):
            if name not in tables:
                raise ArgumentError(f"{place} lacks the table [{name}].")
        source = _source(tables["source"], place=f"{place} [source]")
        model = _model(tables.get("model", {}), place=f"{place} [model]")
        store = build(StoreOptions, tables["store"], place=f"{place} [store]")
        run = build(RunOptions, tables.get("run", {}), place=f"{place} [run]")
        config = cls(
            source=_located(source, folder or Path.cwd()),
            model=_model_located(model, folder or Path.cwd()),
            store=replace(store, path=_path(store.path, folder or Path.cwd())),
            run=run,
        )
        config.check(place)
        return config

    @property
    def whole(self) -> bool:
        """Whether a task is a whole grid."""
        return self.store.kind == "cog" or self.model.options.get("normalize") in WHOLE_STEP

    @property
    def region_px(self) -> int:
        """Side of what a task masks, where it is not the whole grid."""
        unit = self.store.shard_px or self.store.chunk_px
        asked = self.store.region_px
        return asked if asked is not None else max(REGION_PX // unit * unit, unit)

    @property
    def block_px(self) -> int:
        """Side of what is read and predicted at once."""
        if self.store.block_px is not None or self.whole:
            return self.store.block_px or BLOCK_PX
        most, chunk = min(BLOCK_PX, self.region_px), self.store.chunk_px
        sides = [side for side in range(chunk, most + 1, chunk) if self.region_px % side == 0]
        return sides[-1] if sides else chunk

    def check(self, place: str = "The configuration") -> None:
        """Refuse what does not go together.

        Raises
        ------
        ArgumentError
            Something does not.
        """
        check_source(self.source, place=f"{place} [source]")
        check_sides(self.store, place=f"{place} [store]")
        sides = {"region_px": self.region_px, "block_px": self.block_px}
        check_store(self.store, whole=self.whole, **sides, place=f"{place} [store]")
        check_run(self.run, place=f"{place} [run]")

    def job(self) -> Job:
        """Return what all tasks share.

        Returns
        -------
        Job
            With the checksum of the model.

        Raises
        ------
        ModelError
            There is no such model.
        ArgumentError
            Its checksum is not the one in the configuration.
        """
        from xcloudmask.models.registry import get_spec

        spec = get_spec(self.model.name)
        if self.model.sha256 and self.model.sha256 != spec.sha256:
            raise ArgumentError(
                f"The model {self.model.name!r} has sha256 {spec.sha256}, and the configuration wants "
                f"{self.model.sha256}. Put the other model back, or leave sha256 out."
            )
        source, store = self.source, self.store
        options = dict(self.model.options)
        if source.kind == "cube" and source.sensor is not None:
            options["sensor"] = source.sensor
        return Job(
            store=store.path,
            kind=store.kind,
            model=self.model.name,
            model_sha256=spec.sha256,
            options=_plain(options),
            reading=_plain(_reading(source)),
            policy=_plain(policy_of(source)),
            chunk_px=store.chunk_px,
            shard_px=store.shard_px,
            block_px=self.block_px,
            storage_options=_plain(store.storage_options),
            version=__version__,
            attempts=self.run.attempts,
        )

    def tables(self) -> dict[str, Any]:
        """Return all tables as JSON has them; `from_dict` reads them back."""
        found = _plain(asdict(self))
        found["model"] |= found["model"].pop("options")
        known = {"kind", *_KEYS[self.source.kind]}
        found["source"] = {key: value for key, value in found["source"].items() if key in known}
        return {
            name: {key: value for key, value in table.items() if value is not None} for name, table in found.items()
        }

    def digest(self) -> str:
        """Return a checksum of all that decides what is masked, and how; not of `run`."""
        tables = {name: table for name, table in self.tables().items() if name != "run"}
        return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def _source(table: Any, *, place: str) -> SourceOptions:
    kind = table.get("kind") if isinstance(table, Mapping) else None
    if isinstance(kind, str) and kind in _KEYS:
        check_keys(table, ("kind", *_KEYS[table["kind"]]), place=f"{place} of kind {table['kind']!r}")
    return build(SourceOptions, table, place=place)


def _model(table: Any, *, place: str) -> ModelOptions:
    """Name and checksum, and whatever `predict` takes."""
    if not isinstance(table, Mapping):
        raise ArgumentError(f"{place} is {table!r:.80}. Expected a table.")
    own = ("name", "sha256")
    left_out = ("model", "categorise", "sensor")  # percentages are no codes; the sensor is the source's
    known = [one.name for one in fields(Options) if one.name not in left_out]
    check_keys(table, (*own, *known), place=place)
    options = {key: value for key, value in table.items() if key not in own}
    try:
        Options(**options)
    except (ArgumentError, ArgumentTypeError) as error:
        raise ArgumentError(f"{place}: {error}") from error
    found = build(ModelOptions, {key: value for key, value in table.items() if key in own}, place=place)
    return replace(found, options=options)


def _reading(source: SourceOptions) -> dict[str, Any]:
    """Arguments of `stac.load`, or of `open_cube`."""
    found: dict[str, Any] = {"bands": list(source.bands)} if source.bands else {}
    if source.kind != "cube":
        found |= {"resampling": source.resampling}
        found |= {name: getattr(source, name) for name in ("sensor", "sign") if getattr(source, name) is not None}
    return found


def _path(text: str, folder: Path) -> str:
    return text if not text or "://" in text else os.path.normpath(folder / text)


def _located(source: SourceOptions, folder: Path) -> SourceOptions:
    """Make paths absolute, so that they mean the same wherever the command is typed."""
    paths = tuple(_path(text, folder) for text in texts_of(source.paths) if text)
    collections = tuple(text for text in texts_of(source.collections) if text)
    return replace(source, paths=paths, collections=collections, geometry=_path(source.geometry, folder))


def _model_located(model: ModelOptions, folder: Path) -> ModelOptions:
    return replace(model, name=_path(model.name, folder)) if Path(model.name).suffix in (".toml", ".json") else model


def _plain(value: Any) -> Any:
    """As JSON gives it back, so that settings compare equal wherever they come from."""
    return json.loads(json.dumps(value))
