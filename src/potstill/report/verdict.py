"""Whether distillation helped: one rule, for the comparison and for the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

BETTER, NOT_BETTER, UNDECIDED = "better", "not better", "undecided"


def verdict(scores: Sequence[float], plain: Sequence[float]) -> str:
    """Scores over seeds against those of the same student without distillation; more is better.

    Better when every seed is above every one without; not better when the median is not above theirs; else, and with a
    single run on either side, undecided: one seed of a small task moves a score further than most methods do.
    """
    if len(plain) < 2 or len(scores) < 2:
        return UNDECIDED
    if min(scores) > max(plain):
        return BETTER
    return NOT_BETTER if median(scores) <= median(plain) else UNDECIDED
