"""JSON documents of catalogues, local or over the web, within limits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from xcloudmask._optional import require
from xcloudmask.errors import ArgumentError, CatalogueError
from xcloudmask.stac.addresses import private_host
from xcloudmask.stac.hrefs import HrefPolicy, check_href, redact

__all__ = ["is_web", "link_policy", "read_json", "resolve_link"]

MAX_BYTES = 64 * 2**20
"""Largest document that is read."""
_TIMEOUT_S = 30


def is_web(href: str) -> bool:
    """Whether an href is a web address.

    Examples
    --------
    >>> is_web("https://example.org/a.json"), is_web("a.json")
    (True, False)
    """
    return href.startswith(("https://", "http://"))


def link_policy(root: str) -> HrefPolicy:
    """What the links of a catalogue may lead to: private hosts only where the user typed one."""
    private = is_web(root) and private_host(urlsplit(root).hostname or "")
    return HrefPolicy(schemes=("https", "http"), allow_private=private, allow_files=not is_web(root))


def read_json(href: str, *, policy: HrefPolicy) -> dict[str, Any]:
    """Read one document.

    Parameters
    ----------
    href
        Web address, or path of a file.
    policy
        What a redirect may lead to.

    Returns
    -------
    dict

    Raises
    ------
    CatalogueError
        It cannot be read, is too large, or is no JSON object.
    """
    try:
        text = _download(href, policy=policy) if is_web(href) else _read(href)
        document = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, CatalogueError | ArgumentError):
            raise
        raise CatalogueError(f"{redact(href)} cannot be read as JSON: {error}") from error
    if not isinstance(document, dict):
        raise CatalogueError(f"{redact(href)} holds a JSON {type(document).__name__}. Expected an item or a catalogue.")
    return document


def _read(path: str) -> bytes:
    if Path(path).stat().st_size > MAX_BYTES:
        raise CatalogueError(f"{path} is larger than {MAX_BYTES / 2**20:.0f} MiB. Expected the JSON of items.")
    return Path(path).read_bytes()


def _download(href: str, *, policy: HrefPolicy) -> bytes:
    requests = require("requests", extra="stac")
    for _ in range(5):
        try:
            with requests.get(href, timeout=_TIMEOUT_S, stream=True, allow_redirects=False) as answer:
                if answer.is_redirect:
                    href = check_href(
                        urljoin(href, answer.headers["Location"]), item="catalogue", asset="link", policy=policy
                    )
                    continue
                answer.raise_for_status()
                return b"".join(_limited(answer, href))
        except requests.RequestException as error:
            raise CatalogueError(f"{redact(href)} cannot be read: {error}") from error
    raise CatalogueError(f"{redact(href)} redirects more than 5 times.")


def _limited(answer: Any, href: str) -> list[bytes]:
    parts, size = [], 0
    for part in answer.iter_content(2**16):
        size += len(part)
        if size > MAX_BYTES:
            raise CatalogueError(f"{redact(href)} is larger than {MAX_BYTES / 2**20:.0f} MiB.")
        parts.append(part)
    return parts


def resolve_link(href: str, *, base: str, policy: HrefPolicy) -> str:
    """Return the address that a link of a document leads to, checked.

    Raises
    ------
    HrefError
        It is refused: what comes from the web leads to no file of this machine.
    """
    item = {"id": base, "links": [{"rel": "self", "href": base if is_web(base) else str(Path(base).absolute())}]}
    found = check_href(href, item=item, asset="link", policy=policy)
    return found if "://" in found else os.path.normpath(found)
