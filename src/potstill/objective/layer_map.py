"""Which teacher layer teaches which student layer, by name or by list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from potstill.errors import PotstillError, shown, unknown
from potstill.models.layer_rules import LAYER_RULES

Pairs = list[tuple[int, int]]


def _each(rule: str) -> Callable[[int, int], Pairs]:
    """The map of a student that has the layers of a rule: each student layer from one teacher layer."""
    return lambda student, teacher: list(enumerate(LAYER_RULES[rule].choose(student, teacher), start=1))


def _all_but_last(rule: str) -> Callable[[int, int], Pairs]:
    """The same without the student's last layer."""
    return lambda student, teacher: _each(rule)(student, teacher)[:-1]


# Name → (what it means, the map of a student of M layers and a teacher of N). Layers count from 1; 0 is the embedding output.
# Some maps have two names because papers use both.
_MAPS: dict[str, tuple[str, Callable[[int, int], Pairs]]] = {
    **{name: (rule.meaning, _each(name)) for name, rule in LAYER_RULES.items()},
    "distilbert": ("DistilBERT's name for `spread`", _each("spread")),
    "top": ("TinyBERT's name for `last`", _each("last")),
    "bottom": ("TinyBERT's name for `first`", _each("first")),
    "pkd-skip": ("`skip` without the student's last layer, which the soft labels teach: 12→6 2 4 6 8 10", _all_but_last("skip")),
    "pkd-last": (
        "`last` without the student's last layer, so the teacher's last but one backwards: 12→6 7 8 9 10 11",
        _all_but_last("last"),
    ),
    "final": ("the last layer from the last, no other: MiniLM, DistilBERT's cosine", lambda student, teacher: [(student, teacher)]),
    "embedding": ("the embedding output from the embedding output, no layer", lambda student, teacher: [(0, 0)]),
}

#: Each name with what it means, for listing.
MAPS: dict[str, str] = {name: meaning for name, (meaning, _) in _MAPS.items()}

_ANY_DEPTH = ("final", "embedding")


def layer_map(wanted: str | Sequence[int] | Sequence[Sequence[int]], student: int, teacher: int, place: str = "layers") -> Pairs:
    """The pairs of layers that a recipe's `layers` means.

    Args:
        wanted: a name of MAPS; a list of teacher layers, one for each student layer 1 to `student`;
            or a list of [student layer, teacher layer].
        student: number of the student's layers.
        teacher: number of the teacher's layers.
        place: where the recipe says so, for errors.

    Returns:
        (student layer, teacher layer) of each pair. Layers count from 1, as hidden_states[k] is the output of
        layer k; 0 is the embedding output.

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
    if name not in MAPS:
        raise unknown("layer map", name, MAPS, place)
    if student > teacher and name not in _ANY_DEPTH:
        raise PotstillError(
            place,
            f"{name!r} needs a student no deeper than its teacher, here {student} layers against {teacher}",
            "list [student layer, teacher layer] pairs",
        )
    pairs = _MAPS[name][1](student, teacher)
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
