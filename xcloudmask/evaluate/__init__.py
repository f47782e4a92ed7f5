"""Measures of a mask against labels that may be partial: a pixel carries the set of classes it may have (numpy only).

`compare` does all of it. The parts: `sets_from_labels` and `confusion` count, `scores` measures, `summarise` adds
bootstrap intervals over patches, `markdown` and `Evaluation.to_dict` write the result down.
"""

from xcloudmask.evaluate.bootstrap import Bootstrap, Estimate
from xcloudmask.evaluate.counts import Confusion, Kind, confusion, pool, set_name, sets_from_labels
from xcloudmask.evaluate.difference import Difference, difference, evaluation_from_dict
from xcloudmask.evaluate.measures import Binary, Scores, measures, scores
from xcloudmask.evaluate.paired import Compared, Pairs, compared_tables
from xcloudmask.evaluate.summary import Counted, Evaluation, Group, compare, summarise
from xcloudmask.evaluate.tables import difference_table, markdown, source_table

__all__ = [
    "Binary",
    "Bootstrap",
    "Compared",
    "Confusion",
    "Counted",
    "Difference",
    "Estimate",
    "Evaluation",
    "Group",
    "Kind",
    "Pairs",
    "Scores",
    "compare",
    "compared_tables",
    "confusion",
    "difference",
    "difference_table",
    "evaluation_from_dict",
    "markdown",
    "measures",
    "pool",
    "scores",
    "set_name",
    "sets_from_labels",
    "source_table",
    "summarise",
]
