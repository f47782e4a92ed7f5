"""The settings of a campaign, `campaign.json` in its store: written once, compared ever after."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from xcloudmask.errors import ArgumentError, ReadError
from xcloudmask.run.objects import Objects
from xcloudmask.run.task import Job

__all__ = ["FROZEN", "Frozen", "check_job", "check_source", "differences", "read_frozen", "write_frozen"]

FROZEN = "campaign.json"
_FORMAT = 1
_LIMIT = 1_000_000
_LAYOUT = ("kind", "chunk_px", "shard_px")
"""Of a job, beside its settings: what decides where pixels lie in the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What a campaign was started with."""

    job: Job
    """How to read, what to predict, where to write."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Tables of the configuration, as JSON has them."""
    origin: str = ""
    """The campaign that this one was forked from."""
    created: str = ""
    """When, ISO 8601, UTC."""


def write_frozen(objects: Objects, frozen: Frozen) -> None:
    """Write the settings of a new campaign.

    Raises
    ------
    ArgumentError
        There is a campaign already.
    WriteError
        The store refuses it.
    """
    document = {"format": _FORMAT, **asdict(frozen)}
    data = json.dumps(document, indent=1, sort_keys=True).encode()
    if not objects.put(FROZEN, data, if_absent=True):
        raise ArgumentError(
            f"{objects.label} holds a campaign already. Type: xcloudmask run start {objects.label}, or give another "
            "store."
        )


def read_frozen(objects: Objects) -> Frozen | None:
    """Return the settings of a campaign; None where there is none.

    Raises
    ------
    ReadError
        The file is broken, or of a later version.
    """
    data = objects.get(FROZEN, limit=_LIMIT)
    if data is None:
        return None
    try:
        document = json.loads(data)
        if document["format"] != _FORMAT:
            raise ReadError(
                f"{objects.label}/{FROZEN} has format {document['format']}, and this version of xcloudmask knows "
                f"{_FORMAT}. Type: pip install --upgrade xcloudmask"
            )
        known = {one.name for one in fields(Job)}
        job = Job(**{key: value for key, value in document["job"].items() if key in known})
        texts = {key: str(document[key]) for key in ("origin", "created")}
        return Frozen(job=job, config=dict(document["config"]), **texts)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ReadError(
            f"{objects.label}/{FROZEN} is broken ({type(error).__name__}: {error}). Expected the settings that "
            "xcloudmask run plan wrote; copy them back, or start in another store."
        ) from error


def check_job(frozen: Frozen, job: Job, *, label: str) -> None:
    """Refuse to go on with another model or other settings than the campaign has.

    Parameters
    ----------
    frozen
        Of the campaign.
    job
        As the configuration would have it now.
    label
        Of the store.

    Raises
    ------
    ArgumentError
        They differ. The message says in what, and how to fork.
    """
    found = list(differences(_facts(frozen.job), _facts(job)))
    if found:
        raise ArgumentError(
            f"{label} was started with other settings. {_listed(found)} Masks of both would be mixed. Put it back, or "
            f"begin a campaign of its own: xcloudmask run fork {label} NEW_STORE --config CONFIG"
        )


def check_source(frozen: Mapping[str, Any], source: Mapping[str, Any], *, label: str) -> None:
    """Refuse to go on where the configuration asks for other scenes than were planned.

    Raises
    ------
    ArgumentError
        It does.
    """
    found = list(differences(dict(frozen), dict(source)))
    if found:
        raise ArgumentError(
            f"{label} was planned for other scenes. {_listed(found)} Type --update to search again and add what is "
            "new, or put it back."
        )


def differences(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield where two JSON documents differ: key, old value, new value.

    Examples
    --------
    >>> list(differences({"a": {"b": 1, "c": [2]}}, {"a": {"b": 3, "c": (2,)}}))
    [('a.b', 1, 3)]
    """
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from differences(old.get(key), new.get(key), f"{place}.{key}" if place else str(key))
    elif _plain(old) != _plain(new):
        yield place, old, new


def _facts(job: Job) -> dict[str, Any]:
    return job.settings() | {name: getattr(job, name) for name in _LAYOUT}


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _listed(found: list[tuple[str, Any, Any]]) -> str:
    texts = [f"{place}: it has {_short(old)}, and now asks for {_short(new)}." for place, old, new in found[:5]]
    more = f" And {len(found) - 5} more." if len(found) > 5 else ""
    return " ".join(texts) + more


def _short(value: Any) -> str:
    text = "nothing" if value is None else _plain(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
