"""Active learning: which unlabelled chips are worth labelling."""

from __future__ import annotations

from xcloudmask.training.selection.chips import Chip, cut_cube, patch_chips
from xcloudmask.training.selection.choose import Choice, choose
from xcloudmask.training.selection.rank import RankedChip, rank_chips

__all__ = ["Chip", "Choice", "RankedChip", "choose", "cut_cube", "patch_chips", "rank_chips"]
