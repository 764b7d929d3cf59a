"""Which layers of a deep encoder stand for those of a shallower one.

A student keeps these layers of its source, and its layers learn from these layers of the teacher. Both read
the same table, so that a map by name finds the layers that a student was cut from by the rule of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class LayerRule(NamedTuple):
    """A rule by name.

    Attributes:
        meaning: one line, for listing; M layers out of N.
        choose: (M, N) → M numbers of layers in rising order, for 1 ≤ M ≤ N. Layers count from 1, as hidden_states[k]
            is the output of layer k.
    """

    meaning: str
    choose: Callable[[int, int], list[int]]


def rounded(numerator: int, denominator: int) -> int:
    """The nearest whole number to a quotient; of a half the lower one.

    Not Python's `round`, which takes a half to the even number: 1.5 up and 4.5 down would space the layers of one
    student unevenly for no reason (6→4: 2 3 4 6), and whether 6→3 by `spread` is 1 3 6 or 1 4 6 would depend on
    whether layers are counted from 0 (2.5) or from 1 (3.5). Down keeps 1 3 6, and 12→3 by `spread` 1 6 12. The
    layers that DistilBERT's authors copied, 12→6, fall on no half.

    Args:
        numerator: at least 0.
        denominator: at least 1.
    """
    return -((denominator - 2 * numerator) // (2 * denominator))


def _uniform(count: int, total: int) -> list[int]:
    return [rounded(number * total, count) for number in range(1, count + 1)]


def _spread(count: int, total: int) -> list[int]:
    return [total] if count == 1 else [1 + rounded(number * (total - 1), count - 1) for number in range(count)]


def _skip(count: int, total: int) -> list[int]:
    return [number * (total // count) for number in range(1, count + 1)]


def _first(count: int, total: int) -> list[int]:
    return list(range(1, count + 1))


def _last(count: int, total: int) -> list[int]:
    return list(range(total - count + 1, total + 1))


# uniform and skip agree wherever N is a multiple of M.
LAYER_RULES: dict[str, LayerRule] = {
    "uniform": LayerRule("layer i·N/M for i = 1 to M, rounded, a half down; the last one always: 12→4 3 6 9 12", _uniform),
    "spread": LayerRule(
        "evenly from the first layer to the last, rounded, a half down, as DistilBERT's were copied: 12→6 1 3 5 8 10 12", _spread
    ),
    "skip": LayerRule(
        "every k-th layer, k = N/M rounded down; the last layers are left over where M does not divide N: 12→5 2 4 6 8 10", _skip
    ),
    "first": LayerRule("the first M layers: 12→3 1 2 3", _first),
    "last": LayerRule("the last M layers: 12→3 10 11 12", _last),
}

IMPORTANCE = "importance"  # the one rule that depends on what the layers compute, and so is no function of M and N

#: Each rule for a student's own layers with what it means, for listing.
RULES: dict[str, str] = {name: rule.meaning for name, rule in LAYER_RULES.items()} | {
    IMPORTANCE: "the M layers that change the training texts' token vectors most"
}
