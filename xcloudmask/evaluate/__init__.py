"""Measures of a mask against labels that may be partial: a pixel carries the set of classes it may have (numpy only).

`compare` does all of it: counts, measures with intervals, tables. The parts: `sets_from_labels` and `confusion` count,
`scores` measures, `summarise` adds bootstrap intervals over patches, `markdown` and `Evaluation.to_dict` write it down.
"""

from xcloudmask.evaluate.bootstrap import Bootstrap, Estimate
from xcloudmask.evaluate.counts import Confusion, Kind, confusion, pool, set_name, sets_from_labels
from xcloudmask.evaluate.measures import Binary, Scores, measures, scores

__all__ = [
    "Binary",
    "Bootstrap",
    "Confusion",
    "Estimate",
    "Kind",
    "Scores",
    "confusion",
    "measures",
    "pool",
    "scores",
    "set_name",
    "sets_from_labels",
]
