"""Campaigns that would write into one another's stores are refused."""

from __future__ import annotations

from pathlib import Path

from xcloudmask.errors import ArgumentError, XCloudMaskError
from xcloudmask.run.config import CampaignConfig
from xcloudmask.run.objects import open_objects

__all__ = ["check_place"]

_FROZEN = "campaign.json"
_LIMIT = 1_000_000


def check_place(config: CampaignConfig) -> None:
    """Refuse a store that lies in that of another campaign, or around one, or holds the source.

    Parameters
    ----------
    config
        The campaign.

    Raises
    ------
    ArgumentError
        It does. A campaign in the very same store is another matter: its settings are compared where it is continued.
    """
    path = config.store.path
    _check_source(config)
    for above in _above(path):
        if _holds_campaign(above, config):
            raise ArgumentError(
                f"The store {path} lies in that of another campaign, {above}. Expected a place of its own. Type: "
                f"path = {str(above).rstrip('/') + '-2'!r}"
            )
    if "://" not in path:
        folder = Path(path)
        inside = next((found for found in folder.glob(f"*/{_FROZEN}")), None) if folder.is_dir() else None
        if inside is not None:
            raise ArgumentError(
                f"The store {path} has another campaign in it, {inside.parent}. Expected a place of its own. Type: "
                f"path = {str(folder / 'new')!r}"
            )


def _holds_campaign(place: str, config: CampaignConfig) -> bool:
    """Where a place may not be read, such as the root of a bucket, nothing can be said."""
    try:
        objects = open_objects(place, dict(config.store.storage_options))
        return objects.get(_FROZEN, limit=_LIMIT) is not None
    except XCloudMaskError:
        return False


def _check_source(config: CampaignConfig) -> None:
    """Masks beside the pixels of a cube, in its very folder, would be taken for a part of it."""
    if config.source.kind != "cube":
        return
    for cube in config.source.paths:
        if f"{config.store.path.rstrip('/')}/".startswith(f"{cube.rstrip('/')}/"):
            raise ArgumentError(f"The store {config.store.path} lies in the cube {cube}. Expected a place of its own.")


def _above(path: str) -> list[str]:
    """Places above a store; of a URL, down to the bucket."""
    scheme, mark, rest = path.partition("://")
    if mark:
        parts = rest.rstrip("/").split("/")
        return [f"{scheme}://{'/'.join(parts[:count])}" for count in range(len(parts) - 1, 0, -1)]
    return [str(parent) for parent in Path(path).parents]
