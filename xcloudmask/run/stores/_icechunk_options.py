"""Options of fsspec in the words of Icechunk, so that one setting serves the ledger and the masks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from xcloudmask.errors import ArgumentError
from xcloudmask.io._targets import local_path
from xcloudmask.run.task import Job

__all__ = ["icechunk_options", "s3_keywords"]


def s3_keywords(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords of `icechunk.s3_storage` for options of s3fs, so that one setting serves both.

    Parameters
    ----------
    options
        For fsspec.

    Returns
    -------
    dict
        What they do not name comes from the environment: ``AWS_ENDPOINT_URL``, ``AWS_REGION``.

    Raises
    ------
    ArgumentError
        An option that Icechunk has nothing for.

    Examples
    --------
    >>> s3_keywords({"endpoint_url": "http://127.0.0.1:9000", "client_kwargs": {"region_name": "eu-central-1"}})[
    ...     "region"
    ... ]
    'eu-central-1'
    """
    given = {**options, **options.get("client_kwargs", {})}
    names = {
        "endpoint_url": "endpoint_url",
        "region_name": "region",
        "key": "access_key_id",
        "secret": "secret_access_key",
        "token": "session_token",
        "anon": "anonymous",
        "requester_pays": "requester_pays",
    }
    unknown = sorted(set(given) - set(names) - {"client_kwargs", "config_kwargs"})
    if unknown:
        raise ArgumentError(
            f"storage_options: {unknown[0]!r} has no meaning for Icechunk. Expected some of "
            f"{', '.join(map(repr, names))}, as s3fs knows them."
        )
    found = {new: given[old] for old, new in names.items() if old in given}
    endpoint = found.get("endpoint_url") or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        found |= {"endpoint_url": endpoint, "allow_http": endpoint.startswith("http://"), "force_path_style": True}
        regions = (found.get("region"), os.environ.get("AWS_REGION"), os.environ.get("AWS_DEFAULT_REGION"))
        found["region"] = next(filter(None, regions), "us-east-1")
    return found


def icechunk_options(job: Job) -> dict[str, Any] | None:
    """Return what `xcloudmask.io` takes for the repository of a job; None for a folder.

    Parameters
    ----------
    job
        Of the campaign.

    Returns
    -------
    dict or None

    Raises
    ------
    ArgumentError
        An option that Icechunk has nothing for.
    """
    if local_path(job.store) is not None:
        return None
    is_s3 = job.store.partition("://")[0] in ("s3", "s3a")
    return s3_keywords(job.storage_options) if is_s3 else dict(job.storage_options)
