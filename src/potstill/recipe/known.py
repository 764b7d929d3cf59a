"""Names in a recipe that nothing has: losses, layer maps, layer rules, poolings and tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import chain, islice
from typing import Any

from potstill.errors import MANY, PotstillError, unknown
from potstill.recipe.recipe import AGREEMENT, LAST, OWN_KINDS
from potstill.registry import COST, EMBED, MLM, is_own, names, table

OWN = "<name>"  # stands in the list of tasks for the name of a user's own data set


def unknown_names(content: Any, place: str) -> list[PotstillError]:
    """Find the first MANY unknown names in a recipe that may also be wrong otherwise.

    A recipe whose keys and values are right needs no such reading: `potstill check` finds the same names, and what else
    depends on them. This reading serves a recipe that cannot be made, so that its names are told together with its keys.

    Args:
        content: the recipe as plain data, of any shape. What has not the shape of a recipe is left out.
        place: what the recipe is called in errors.
    """
    return list(islice(chain(_unknown_parts(content, place, cache(table)), _unknown_tasks(content, place, cache(table))), MANY))


def _unknown_parts(content: Any, place: str, table: Callable[[str], dict[str, str]]) -> Iterator[PotstillError]:
    for side in ("teacher", "student"):
        if (pooling := _text_at(content, side, "pooling")) and pooling not in (known := table("poolings")):
            yield unknown("pooling", pooling, known, f"{place}: {side}.pooling")
    if (rule := _text_at(content, "student", "rule")) and rule not in (known := table("rules")):
        yield unknown("rule", rule, known, f"{place}: student.rule")
    losses = cache(names)
    for number, stage in enumerate(_list_at(content, "stages")):
        name = _text_at(stage, "name") or number
        for row, term in enumerate(_list_at(stage, "terms")):
            where = f"{place}: stages.{name}.terms.{row}"
            if (loss := _text_at(term, "loss")) and not is_own(loss) and loss not in (known := losses("losses")):
                yield unknown("name", loss, known, where)
            if (layers := _text_at(term, "layers")) and layers not in (known := table("layers")):
                yield unknown("layer map", layers, known, f"{where}.layers")


def _unknown_tasks(content: Any, place: str, table: Callable[[str], dict[str, str]]) -> Iterator[PotstillError]:
    asked: list[tuple[str, str | None, Iterable[str]]] = [
        ("task", _text_at(content, "task"), (EMBED, MLM, *OWN_KINDS)),
        ("training.select", _text_at(content, "training", "select"), (AGREEMENT, LAST)),
        *(("evaluate", name, (COST,)) for name in _list_at(content, "evaluate") if isinstance(name, str)),
    ]
    for where, name, beside in asked:
        if name and name not in beside:
            known = table("tasks")
            family, _, variant = name.partition("/")
            if name not in known and not (variant and f"{family}/{OWN}" in known):
                yield unknown("task", name, [*known, *beside], f"{place}: {where}")


def _text_at(content: Any, *keys: str) -> str | None:
    for key in keys:
        content = content.get(key) if isinstance(content, dict) else None
    return content if isinstance(content, str) else None


def _list_at(content: Any, key: str) -> list[Any]:
    found = content.get(key) if isinstance(content, dict) else None
    return found if isinstance(found, list) else []
