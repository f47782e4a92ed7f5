"""Evaluations as Markdown tables, in percent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from xcloudmask.classes import CloudClass
from xcloudmask.evaluate.bootstrap import Estimate
from xcloudmask.evaluate.counts import set_name
from xcloudmask.evaluate.difference import Difference
from xcloudmask.evaluate.measures import TARGETS
from xcloudmask.evaluate.summary import POOLED, Evaluation, Group

__all__ = ["class_table", "confusion_table", "difference_table", "markdown", "source_table"]

_COLUMNS: Mapping[str, str] = {
    "agreement": "OA of 4 classes",
    "cloud_oa": "cloud OA",
    "cloud_ba": "cloud BA",
    "cloud_f1": "cloud F1",
    "cloud_shadow_precision": "shadow P",
    "cloud_shadow_recall": "shadow R",
    "cloud_shadow_f1": "shadow F1",
    "mean_f1": "mean F1",
    "mean_iou": "mean IoU",
}


def markdown(
    results: Mapping[str, Evaluation], *, title: str = "Evaluation", note: str = "", intervals: bool = True
) -> str:
    """Write evaluations down: the sources with intervals, then the classes and the confusion of each.

    Parameters
    ----------
    results
        Evaluations by what was done, such as "known" and "unknown" level. See `source_table`.
    title
        Heading.
    note
        Text below the heading.
    intervals
        False leaves the intervals out.

    Returns
    -------
    str
        Markdown that ends in a line break.

    Examples
    --------
    >>> import numpy as np
    >>> from xcloudmask.evaluate import compare
    >>> result = compare(np.array([[[0, 1]]]), np.array([[[0, 1]]]))
    >>> markdown({"known": result}).splitlines()[0]
    '# Evaluation'
    """
    first = next(iter(results.values()))
    how = first.bootstrap
    parts = [
        f"# {title}",
        *([note] if note else []),
        source_table(results, intervals=intervals),
        "OA: overall accuracy. BA: balanced accuracy, the mean of the recalls. P, R: precision, recall. In percent. "
        "A dash: no pixel is known to be of the class. Pixels count where their labels decide."
        + (
            f" In brackets: {how.confidence:.0%} interval of {how.draws} bootstrap draws of patches; what rests on "
            "one patch has none."
            if intervals
            else ""
        ),
    ]
    for name, result in results.items():
        for source, group in _groups(result):
            parts += [f"## {source}, {name}", class_table(group, intervals=intervals), confusion_table(group)]
    return "\n\n".join(parts) + "\n"


def source_table(results: Mapping[str, Evaluation], *, intervals: bool = True) -> str:
    """Lay the sources of evaluations out as one table.

    Parameters
    ----------
    results
        Evaluations by what was done: the second column.
    intervals
        False leaves the intervals out.

    Returns
    -------
    str
        A row for each source and evaluation, then pooled, then the mean over the sources where there are several.

    Examples
    --------
    >>> import numpy as np
    >>> from xcloudmask.evaluate import compare
    >>> result = compare(np.array([[[0, 1]]]), np.array([[[0, 0]]]))
    >>> source_table({"known": result}).splitlines()[2]
    '| all | known | 1 | 50.0 | 50.0 | 50.0 | - | - | - | - | 66.7 | 50.0 |'
    """
    rows = [["source", "level", "patches", *_COLUMNS.values()]]
    order = dict.fromkeys(source for result in results.values() for source, _ in _rows(result))
    for source in order:
        for name, result in results.items():
            found = dict(_rows(result)).get(source)
            if found is not None:
                patches, measured = found
                rows.append(
                    [source, name, patches, *(_text(measured.get(key), intervals=intervals) for key in _COLUMNS)]
                )
    return _table(rows)


def difference_table(results: Mapping[str, Difference]) -> str:
    """Lay differences out as one table, in percentage points.

    Parameters
    ----------
    results
        Differences by what was done, such as "known" and "unknown" level.

    Returns
    -------
    str
        A row for each source and level; an interval on one side of 0 speaks for a difference.
    """
    rows = [["source", "level", *_COLUMNS.values()]]
    for name, result in results.items():
        for source, measured in result.sources.items():
            texts = (_text(measured.get(key), intervals=True, sign="+") for key in _COLUMNS)
            rows.append([source, name, *texts])
    return _table(rows)


def _rows(result: Evaluation) -> Iterator[tuple[str, tuple[str, Mapping[str, Estimate]]]]:
    for source, group in _groups(result):
        yield source, (str(group.patches), group.estimates)
    if len(result.sources) > 1:
        yield "mean over sources", (f"{len(result.sources)} sources", result.mean)


def _groups(result: Evaluation) -> list[tuple[str, Group]]:
    several = len(result.sources) > 1
    return [*result.sources.items(), *([(POOLED, result.pooled)] if several else [])]


def class_table(group: Group, *, intervals: bool = True) -> str:
    """Lay the measures of each class out.

    Parameters
    ----------
    group
        A source, or all.
    intervals
        False leaves the intervals out.

    Returns
    -------
    str
        A row for cloud, for each of the four classes, and for their mean.
    """
    rows = [["class", "precision", "recall", "F1", "IoU", "pixels"]]
    for name in (*TARGETS, "mean"):
        values = [
            _text(group.estimates.get(f"{name}_{key}"), intervals=intervals)
            for key in ("precision", "recall", "f1", "iou")
        ]
        support = "" if name == "mean" else f"{group.estimates[f'{name}_support'].value:.0f}"
        label = "mean of the four" if name == "mean" else name.replace("_", " ")
        rows.append([label, *values, support])
    return _table(rows)


def confusion_table(group: Group) -> str:
    """Lay the counts out: what the labels allow, by what the mask says.

    Parameters
    ----------
    group
        A source, or all.

    Returns
    -------
    str
        Rows of single classes, then of sets of classes; pixels. Rows without a pixel are left out, and those of which
        nothing is known.
    """
    counts = group.confusion.counts
    singles = [1 << code for code in CloudClass]
    sets = [code for code in range(1, len(counts) - 1) if code not in singles]
    rows = [["labels \\ mask", *(member.name.lower().replace("_", " ") for member in CloudClass)]]
    rows += [
        [set_name(code).replace("_", " "), *(str(value) for value in counts[code].tolist())]
        for code in (*singles, *sets)
        if counts[code].any()
    ]
    return _table(rows)


def _text(estimate: Estimate | None, *, intervals: bool, sign: str = "") -> str:
    if estimate is None or math.isnan(estimate.value):
        return "-"
    text = f"{100 * estimate.value:{sign}.1f}"
    if not intervals or estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({100 * estimate.low:{sign}.1f} to {100 * estimate.high:{sign}.1f})"


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([head, "|" + "---|" * len(rows[0]), *body])
