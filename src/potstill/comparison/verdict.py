"""Whether distillation helped: one rule for the comparison and for the benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

BETTER, NOT_BETTER, UNDECIDED = "better", "not better", "undecided"


def verdict(scores: Sequence[float], plain: Sequence[float]) -> str:
    """Whether a method's scores are better than those of the same student without distillation.

    It is better where every seed scores above every seed without distillation. It is not better where its median is not
    above theirs. Else it is undecided, and so it is with a single run on either side: on a small task the seed moves a
    score further than most methods do.

    Args:
        scores: the method's, one for each seed; more is better.
        plain: those without distillation, one for each seed.

    Returns:
        BETTER, NOT_BETTER or UNDECIDED.
    """
    if len(plain) < 2 or len(scores) < 2:
        return UNDECIDED
    if min(scores) > max(plain):
        return BETTER
    return NOT_BETTER if median(scores) <= median(plain) else UNDECIDED
