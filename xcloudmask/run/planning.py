"""When a campaign is planned, when it is planned again, and when that is refused."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path

from xcloudmask.errors import ArgumentError
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.frozen import FROZEN, Frozen, check_job, check_source, read_frozen, write_frozen
from xcloudmask.run.ledger import Ledger
from xcloudmask.run.manifest import Manifest
from xcloudmask.run.place import MANIFEST, Campaign, Place, campaign_of, find_place, manifest_of, save_manifest
from xcloudmask.run.plan import PlanSummary, make_plan, update_plan

__all__ = ["configured", "now_text", "planned", "replan"]


def configured(config: str | PathLike[str] | CampaignConfig) -> tuple[Place, CampaignConfig]:
    """Return the place of a configuration; a store alone is refused."""
    place = find_place(config)
    if place.config is None:
        raise ArgumentError(f"{config} is no configuration. Expected a TOML file, such as campaign.toml.")
    return place, place.config


def planned(place: Place, *, update: bool) -> Campaign:
    """Return the campaign of a place; planned now where it was not, or is to be searched for again."""
    frozen = read_frozen(place.objects)
    if frozen is None or update:
        replan(place, update=update, measure=False)
        frozen = read_frozen(place.objects)
    elif place.config is not None:
        _check_same(place, frozen, place.config)
    if frozen is None:
        raise _no_campaign(place)
    return campaign_of(place, frozen)


def replan(place: Place, *, update: bool, sample: bool = False, measure: bool = True) -> PlanSummary:
    """Search, and put the manifest into the store; to a campaign that has begun only add.

    Raises
    ------
    ArgumentError
        It has begun, and is not to be updated; or its settings are others.
    """
    frozen = read_frozen(place.objects)
    config = _config(place, frozen)
    with tempfile.TemporaryDirectory(prefix="xcloudmask-plan-") as folder:
        path = Path(folder) / MANIFEST
        if frozen is not None and (update or _begun(place)):
            return _extend(place, frozen, config, path, update=update, sample=sample)
        summary = make_plan(config, out=path, sample=sample, measure=measure)
        _note(path, config)
        if frozen is not None:
            place.objects.delete([FROZEN])
        # The settings last: without them there is no campaign.
        save_manifest(place, path)
        write_frozen(place.objects, Frozen(job=config.job(), config=config.tables(), created=now_text()))
    return summary


def now_text() -> str:
    """Return the time, ISO 8601, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _extend(
    place: Place, frozen: Frozen, config: CampaignConfig, path: Path, *, update: bool, sample: bool
) -> PlanSummary:
    label = place.objects.label
    check_job(frozen, config.job(), label=label)
    if not update:
        _check_same(place, frozen, config)
        raise ArgumentError(
            f"{label} was planned and has begun. Type: xcloudmask run start {label}, xcloudmask run status {label}, or "
            "--update to search again."
        )
    with manifest_of(place, store=label) as old:
        shutil.copyfile(old, path)
    summary = update_plan(config, path, sample=sample)
    _note(path, config)
    save_manifest(place, path)
    return summary


def _check_same(place: Place, frozen: Frozen, config: CampaignConfig) -> None:
    """Refuse another model, other settings, or other scenes than were planned."""
    check_job(frozen, config.job(), label=place.objects.label)
    with manifest_of(place, store=place.store) as path, Manifest.open(path) as manifest:
        source = manifest.fact("source") or frozen.config.get("source", {})
    check_source(source, config.tables()["source"], label=place.objects.label)


def _config(place: Place, frozen: Frozen | None) -> CampaignConfig:
    if place.config is not None:
        return place.config
    if frozen is None:
        raise _no_campaign(place)
    return CampaignConfig.from_dict(frozen.config, place=f"{place.objects.label}/{FROZEN}")


def _no_campaign(place: Place) -> ArgumentError:
    return ArgumentError(
        f"{place.objects.label} holds no campaign. Expected the store of one, or a configuration. Type: xcloudmask run "
        "start CONFIG.toml"
    )


def _note(path: Path, config: CampaignConfig) -> None:
    with Manifest.open(path, write=True) as manifest:
        manifest.note("source", config.tables()["source"])
        # The same settings, and what is none: where files may come from, how often a read is tried.
        manifest.note("job", asdict(config.job()))


def _begun(place: Place) -> bool:
    """Whether anything was written for a campaign: then its settings stay."""
    there = place.objects.folders("")
    return bool(Ledger(place.objects).prefixes()) or bool({"masks", "masks.icechunk"} & set(there))
