"""Another campaign over the same source, with another model or other settings, in a store of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from xcloudmask.errors import ArgumentError
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.frozen import FROZEN, Frozen, differences, read_frozen, write_frozen
from xcloudmask.run.lease import hold_lease
from xcloudmask.run.place import MANIFEST, Campaign, find_place, open_campaign, save_manifest
from xcloudmask.run.plan import PlanSummary, make_plan
from xcloudmask.run.planning import now_text

__all__ = ["fork"]

Store = str | PathLike[str]


def fork(
    campaign: Store | CampaignConfig,
    new_store: Store,
    *,
    config: Store | CampaignConfig | None = None,
    model: str | None = None,
    options: Mapping[str, Any] | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> PlanSummary:
    """Begin a campaign like another one, with changes. The other one stays as it is.

    Parameters
    ----------
    campaign
        Store of the other one.
    new_store
        Folder or URL of the new one.
    config
        TOML file, or its content, to take everything from but the store; None for the settings of the other one.
    model
        Name or card of another model.
    options
        Arguments of `predict` that are to change, such as ``{"normalize": "lattice"}``; None as a value takes one out.
    storage_options
        For fsspec, where `campaign` is a URL.

    Returns
    -------
    PlanSummary
        Of the new campaign, which is planned: the source is searched again.

    Raises
    ------
    ArgumentError
        Nothing would be different, or the new store holds a campaign, or lies in that of another one.
    XCloudMaskError
        What `plan` raises.

    Examples
    --------
    >>> fork("alps", "alps-lattice", options={"normalize": "lattice"})  # doctest: +SKIP
    """
    found = open_campaign(campaign, storage_options)
    wanted = _config(found, fspath(new_store), config=config, model=model, options=dict(options or {}))
    place = find_place(wanted)
    place.objects.check()
    if read_frozen(place.objects) is not None:
        raise ArgumentError(f"{place.objects.label} holds a campaign already. Expected a store that is free.")
    job = wanted.job()
    before, after = (replace(one, store="", storage_options={}) for one in (found.job, job))
    source = differences(found.frozen.config.get("source", {}), wanted.tables()["source"])
    if before == after and not list(source):
        raise ArgumentError(
            "Nothing would be different: model, settings and source are those of the other campaign. Type: "
            f"xcloudmask run start {found.label}"
        )
    with hold_lease(place.objects), tempfile.TemporaryDirectory(prefix="xcloudmask-fork-") as folder:
        path = Path(folder) / MANIFEST
        summary = make_plan(wanted, out=path)
        save_manifest(place, path)
        frozen = Frozen(job=job, config=wanted.tables(), origin=found.label, created=now_text())
        write_frozen(place.objects, frozen)
    return summary


def _config(
    found: Campaign, store: str, *, config: Store | CampaignConfig | None, model: str | None, options: dict[str, Any]
) -> CampaignConfig:
    """Return the configuration of the new campaign."""
    if config is None:
        tables = dict(found.frozen.config)
        place = f"{found.label}/{FROZEN}"
    else:
        given = config if isinstance(config, CampaignConfig) else CampaignConfig.from_toml(config)
        tables, place = given.tables(), str(config) if not isinstance(config, CampaignConfig) else "The configuration"
    settings = dict(tables.get("model", {}))
    if model is not None:
        # The checksum was that of the other model.
        settings = {key: value for key, value in settings.items() if key != "sha256"} | {"name": model}
    settings |= options
    tables["model"] = {key: value for key, value in settings.items() if value is not None}
    tables["store"] = dict(tables["store"]) | {"path": store}
    return CampaignConfig.from_dict(tables, place=place)
