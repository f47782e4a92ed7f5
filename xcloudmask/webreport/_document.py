"""The frame of a page: a policy that lets a browser load nothing and run nothing, and the style sheet."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources

from xcloudmask.webreport._html import Html, join, tag

__all__ = ["document", "headline", "listed", "percent"]

_MOST_LISTED = 100


def document(title: str, parts: Html, *, before: Html | None = None) -> str:
    """Return a page of its own.

    Parameters
    ----------
    title
        Of the page.
    parts
        What it shows.
    before
        What comes before it, such as patterns.
    """
    style = resources.files("xcloudmask.webreport").joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    # Escaping comes first; should it ever fail, this still keeps scripts from running and anything from being loaded.
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html(style)),
    )
    body = join(before, tag("main", parts))
    page = tag("html", head, tag("body", body, _footer(len(body) + len(head))), lang="en")
    return f"<!doctype html>\n{page}\n"


def headline(label: str, value: str, note: str) -> Html:
    """Return one of the large figures at the head of a page."""
    return tag("div", tag("dt", label), tag("dd", value, tag("small", note)))


def listed(title: str, texts: list[str]) -> list[Html]:
    """Return a list under its title, cut where it is long; nothing where there is nothing to list."""
    if not texts:
        return []
    entries = [tag("li", text[:600]) for text in texts[:_MOST_LISTED]]
    if len(texts) > _MOST_LISTED:
        entries.append(tag("li", f"and {len(texts) - _MOST_LISTED:,} more"))
    return [tag("p", f"{title}:"), tag("ul", *entries)]


def percent(share: float) -> str:
    """Return a share in percent.

    Examples
    --------
    >>> percent(0.5)
    '50.0 %'
    """
    return f"{share:.1%}".replace("%", " %")


def _footer(size: int) -> Html:
    return tag("footer", f"One file of {size / 1e6:.1f} MB. It loads nothing from elsewhere and runs no script.")
