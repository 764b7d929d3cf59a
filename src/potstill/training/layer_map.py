"""Which teacher layer teaches which student layer, by name or by list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from potstill.errors import PotstillError, did_you_mean, shown

Pairs = list[tuple[int, int]]

# Name → (what it means, the map of a student of m layers and a teacher of n). Layers count from 1; 0 is the embedding output.
# uniform, skip and TinyBERT's g(i) = k·i agree wherever n is a multiple of m; last and top, first and bottom always do, and
# both names are known because papers use both.
_RULES: dict[str, tuple[str, Callable[[int, int], Pairs]]] = {
    "uniform": (
        "student layer i from layer i·N/M, rounded (a half to the even number), so the last from the last: 12→4 3 6 9 12",
        lambda m, n: [(i, round(i * n / m)) for i in range(1, m + 1)],
    ),
    "skip": (
        "every k-th layer, k = N/M rounded down; the teacher's last layers are left over where M does not divide N: 12→5 2 4 6 8 10",
        lambda m, n: [(i, i * (n // m)) for i in range(1, m + 1)],
    ),
    "last": ("the teacher's last M layers: 12→3 10 11 12", lambda m, n: [(i, i + n - m) for i in range(1, m + 1)]),
    "first": ("the teacher's first M layers: 12→3 1 2 3", lambda m, n: [(i, i) for i in range(1, m + 1)]),
    "top": ("TinyBERT's name for `last`", lambda m, n: [(i, i + n - m) for i in range(1, m + 1)]),
    "bottom": ("TinyBERT's name for `first`", lambda m, n: [(i, i) for i in range(1, m + 1)]),
    "pkd-skip": (
        "`skip` without the student's last layer, which the soft labels teach: 12→6 2 4 6 8 10",
        lambda m, n: [(i, i * (n // m)) for i in range(1, m)],
    ),
    "pkd-last": (
        "`last` without the student's last layer, so the teacher's last but one backwards: 12→6 7 8 9 10 11",
        lambda m, n: [(i, i + n - m) for i in range(1, m)],
    ),
    # The released script lists 12→6 alone; the first to the last layer, rounded, gives that list and extends it to other depths.
    "distilbert": (
        "evenly from the first layer to the last, rounded, as DistilBERT's weights are copied: 12→6 1 3 5 8 10 12",
        lambda m, n: [(i, 1 + round((i - 1) * (n - 1) / (m - 1)) if m > 1 else n) for i in range(1, m + 1)],
    ),
    "final": ("the last layer from the last, no other: MiniLM, DistilBERT's cosine", lambda m, n: [(m, n)]),
    "embedding": ("the embedding output from the embedding output, no layer", lambda m, n: [(0, 0)]),
}

#: Each name with what it means, for listing.
MAPS: dict[str, str] = {name: meaning for name, (meaning, _) in _RULES.items()}

_ANY_DEPTH = ("final", "embedding")


def layer_map(wanted: str | Sequence[int] | Sequence[Sequence[int]], student: int, teacher: int, place: str = "layers") -> Pairs:
    """Pairs (student layer, teacher layer). Layers count from 1, as hidden_states[k] is the output of layer k; 0 is the embedding output.

    Args:
        wanted: a name of MAPS; a list of teacher layers, one for each student layer 1 to `student`;
            or a list of [student layer, teacher layer].
        student, teacher: layers of each.
        place: where the recipe says so, for errors.

    Raises:
        PotstillError: an unknown name, a layer that a side lacks, a list of the wrong length, a pair
            twice, or a student too deep (or, for the pkd maps, too shallow) for the name.
    """
    if isinstance(wanted, str):
        return _named(wanted, student, teacher, place)
    if not isinstance(wanted, Sequence):
        raise PotstillError(place, f"{shown(wanted)} is neither a name nor a list", f"names: {', '.join(MAPS)}")
    pairs = _listed(wanted, student, place)
    for ours, theirs in pairs:
        for side, layer, total in (("student", ours, student), ("teacher", theirs, teacher)):
            if not 0 <= layer <= total:
                raise PotstillError(place, f"the {side} has no layer {layer}", f"its layers are 1 to {total}, and 0 the embedding output")
    doubled = next((pair for number, pair in enumerate(pairs) if pair in pairs[:number]), None)
    if doubled:
        raise PotstillError(place, f"the pair {list(doubled)} is there twice", "give the term more weight instead")
    return pairs


def _named(name: str, student: int, teacher: int, place: str) -> Pairs:
    if name not in _RULES:
        raise PotstillError(place, f"unknown layer map {name!r}", did_you_mean(name, MAPS))
    if student > teacher and name not in _ANY_DEPTH:
        raise PotstillError(
            place,
            f"{name!r} needs a student no deeper than its teacher, here {student} layers against {teacher}",
            "list [student layer, teacher layer] pairs",
        )
    pairs = _RULES[name][1](student, teacher)
    if not pairs:
        raise PotstillError(place, f"{name!r} leaves out the last layer, and the student has no other", "use skip, last or final")
    return pairs


def _listed(wanted: Sequence[Any], student: int, place: str) -> Pairs:
    if not wanted:
        raise PotstillError(place, "an empty list maps no layer", "leave the term out, or list a layer")
    if all(_is_number(item) for item in wanted):
        if len(wanted) != student:
            raise PotstillError(
                place,
                f"{shown(list(wanted))} lists {len(wanted)} teacher layers for a student of {student}",
                f"list {student}, or [student layer, teacher layer] pairs",
            )
        return [(number + 1, int(layer)) for number, layer in enumerate(wanted)]
    pairs: Pairs = []
    for item in wanted:
        if not isinstance(item, Sequence) or isinstance(item, str) or len(item) != 2 or not all(_is_number(layer) for layer in item):
            raise PotstillError(
                place, f"{shown(item)} is not a [student layer, teacher layer] pair", "list teacher layers alone, or pairs alone"
            )
        pairs.append((int(item[0]), int(item[1])))
    return pairs


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
