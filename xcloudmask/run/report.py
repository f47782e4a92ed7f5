"""One page on a campaign."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xcloudmask._files import partial_file
from xcloudmask._version import __version__
from xcloudmask.errors import ArgumentError
from xcloudmask.run._page import Content, html_page, markdown_page
from xcloudmask.run._settle import cut_text
from xcloudmask.run.index import LedgerIndex
from xcloudmask.run.manifest import Manifest
from xcloudmask.run.place import Campaign, current_records, open_campaign
from xcloudmask.run.state import status_of
from xcloudmask.run.tally import tally

if TYPE_CHECKING:
    from xcloudmask.run.config import CampaignConfig

__all__ = ["report"]

Store = str | PathLike[str]

_SUFFIXES = (".html", ".htm", ".md")
_LONGEST = 400


def report(
    campaign: Store | CampaignConfig,
    path: Store,
    *,
    title: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Path:
    """Write one page on a campaign: counts, a map of its cells, pace, failures and their reasons.

    Parameters
    ----------
    campaign
        Configuration, or store. It may be running.
    path
        The page, ``.html`` or ``.md``; one that exists is replaced.
    title
        Of the page.
    storage_options
        For fsspec, where `campaign` is a URL.

    Returns
    -------
    pathlib.Path
        The page. It loads nothing from elsewhere and runs no script.

    Raises
    ------
    ArgumentError
        The name ends in something else.
    ReadError, WriteError
        There is no campaign, or the page cannot be written.

    Examples
    --------
    >>> report("campaign", "campaign.html")  # doctest: +SKIP
    """
    place = Path(fspath(path))
    if place.suffix.lower() not in _SUFFIXES:
        raise ArgumentError(f"{path}: expected a name that ends in .html or .md.")
    found = open_campaign(campaign, storage_options)
    with found.manifest() as manifest, found.index(contents=True) as index:
        content = _content(found, manifest, index, title)
    text = markdown_page(content) if place.suffix.lower() == ".md" else html_page(content)
    with partial_file(place) as partial:
        partial.write_text(text, encoding="utf-8")
    return place


def _content(found: Campaign, manifest: Manifest, index: LedgerIndex, title: str | None) -> Content:
    status = status_of(found, manifest, index, reasons=False)
    counted = tally(current_records(manifest, index))
    numbers = manifest.tally()
    return Content(
        title=title or f"Campaign {found.label}",
        facts=[*_facts(found), ("Scenes", f"{numbers.sources:,}, in {numbers.steps:,} time steps"), *_notes(manifest)],
        status=status,
        tally=counted,
        cells=[cell for cell, _ in manifest.cells()],
    )


def _facts(found: Campaign) -> Iterator[tuple[str, str]]:
    job, frozen = found.job, found.frozen
    yield "Store", found.label
    yield "Format", job.kind
    if frozen.origin:
        yield "Forked from", frozen.origin
    yield "Model", job.model
    yield "Weights (sha256)", job.model_sha256
    yield "Settings", _text(job.options) or "as the model has them"
    source = dict(frozen.config.get("source", {}))
    yield "Source", _text(source)
    yield "Planned", f"{frozen.created} UTC" if frozen.created else "unknown"
    yield "Masked with", f"xcloudmask {job.version or 'of an unknown version'}"
    yield "Reported with", f"xcloudmask {__version__}"


def _notes(manifest: Manifest) -> Iterator[tuple[str, str]]:
    count = manifest.tally().skips
    if count:
        first = next(iter(manifest.skipped()))
        yield "Not planned", f"{count:,} scenes, such as {first.name}: {first.why}"
    if cut := cut_text(manifest):
        yield "Cut", cut


def _text(values: Mapping[str, Any]) -> str:
    parts = (f"{key} = {json.dumps(value)}" for key, value in values.items() if value not in (None, "", [], {}))
    text = ", ".join(parts)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
