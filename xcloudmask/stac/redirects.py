"""Where a URL leads before GDAL opens it: redirects, and names that resolve to private addresses.

GDAL follows redirects and has no setting against it, so they are followed here first, one by one, each checked like an
href. A request carries nothing but the URL, and the name that GDAL gives itself. A server that answers this request and
GDAL's differently gets GDAL's request through; against such servers only a list of hosts helps.
"""

from __future__ import annotations

import http.client
import ssl
import time
from functools import lru_cache
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import HTTPErrorProcessor, HTTPSHandler, Request, build_opener, getproxies, proxy_bypass

from xcloudmask._optional import available
from xcloudmask.errors import HrefError, ReadError
from xcloudmask.stac.addresses import address_of, resolved_private
from xcloudmask.stac.hrefs import HrefPolicy, check_href, redact, where

__all__ = ["USER_AGENT", "hosts_of"]

USER_AGENT = "xcloudmask"
"""What requests say they come from, here and in GDAL."""

_MAX_HOPS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_TIMEOUT_S = 20
_ATTEMPTS = 3
_REMEMBER_S = 600


def hosts_of(url: str, *, item: str, asset: str, policy: HrefPolicy, again: bool = False) -> tuple[str, ...]:
    """Follow a checked web URL to its end and return the hosts on the way, the first included.

    What is found is remembered for some minutes, so that the chunks of a scene do not ask again, but where they are to
    ask `again`: what GDAL says does not tell a server that is gone from a file that is broken.

    Raises
    ------
    HrefError
        A redirect, or the address of a name, is refused.
    ReadError
        A server does not answer.
    """
    period = int(time.monotonic() // _REMEMBER_S)
    if again:
        return _hosts_of.__wrapped__(url, item, asset, policy, period)
    return _hosts_of(url, item, asset, policy, period)


@lru_cache(maxsize=4096)
def _hosts_of(url: str, item: str, asset: str, policy: HrefPolicy, period: int) -> tuple[str, ...]:  # noqa: ARG001
    place, seen, waiting, hosts = where(item, asset), [url], [url], []
    while waiting:
        current = waiting.pop(0)
        hosts.append(_checked_host(current, place=place, policy=policy))
        # GDAL sends both, and a server need not send both the same way.
        for target in sorted({found for verb in ("HEAD", "GET") if (found := _location(current, verb, place=place))}):
            found = _checked_target(urljoin(current, target), first=url, item=item, asset=asset, policy=policy)
            if found in seen or len(seen) > _MAX_HOPS:
                raise HrefError(
                    f"{place}: {redact(url)!r} redirects in a circle, or more than {_MAX_HOPS} times. Expected the "
                    "file's own address."
                )
            seen.append(found)
            waiting.append(found)
    return tuple(hosts)


def _checked_target(target: str, *, first: str, item: str, asset: str, policy: HrefPolicy) -> str:
    place = where(item, asset)
    if urlsplit(target).scheme not in ("https", "http"):
        raise HrefError(f"{place}: {redact(first)!r} redirects to {redact(target)!r}. Expected a web address.")
    try:
        return check_href(target, item=item, asset=asset, policy=policy)
    except HrefError as error:
        raise HrefError(f"{place}: {redact(first)!r} redirects to what is refused. {error}") from error


def _checked_host(url: str, *, place: str, policy: HrefPolicy) -> str:
    """Host of a URL; its name must resolve to public addresses, unless a proxy does the resolving."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxied = parts.scheme in getproxies() and not proxy_bypass(host)
    if policy.allow_private or proxied or address_of(host) is not None:
        return host
    try:
        private = resolved_private(host)
    except OSError as error:
        raise ReadError(f"{place}: the host {host!r} of {redact(url)!r} cannot be found ({error}).") from error
    if private:
        raise HrefError(
            f"{place}: the host {host!r} of {redact(url)!r} resolves to the private address {private[0]}. Expected a "
            "host of the public internet. If you trust the items, type: HrefPolicy(allow_private=True)"
        )
    return host


class _AsItIs(HTTPErrorProcessor):
    """Hands back every answer, redirects and errors too."""

    def http_response(self, request: Request, response: Any) -> Any:  # noqa: ARG002 - the base class names them
        return response

    https_response = http_response


def _location(url: str, verb: str, *, place: str) -> str | None:
    """Where an answer redirects to, or None. Answers with an error are left to GDAL, which tries some again."""
    headers = {"Range": "bytes=0-0", "User-Agent": USER_AGENT}
    request = Request(url, headers=headers, method=verb)  # noqa: S310 - http, checked
    opener = build_opener(_AsItIs, HTTPSHandler(context=_tls()))
    for attempt in range(_ATTEMPTS):
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                if answer.status in _REDIRECTS:
                    return str(answer.headers["Location"])
                answer.read(1)  # headers alone can come from a server that then breaks off
                return None
        except (OSError, http.client.HTTPException) as error:
            if attempt == _ATTEMPTS - 1:
                raise ReadError(
                    f"{place}: the server of {redact(url)!r} does not answer ({error}). Check the address and the "
                    "network."
                ) from error
            time.sleep(0.2 * 2**attempt)
    return None


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """The system's certificates and those of certifi, which rasterio's wheels use."""
    context = ssl.create_default_context()
    if available("certifi"):
        import certifi

        context.load_verify_locations(certifi.where())
    return context
