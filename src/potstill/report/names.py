"""What runs are called: their recipe's name, and where two have the same one, the settings that differ."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

SHOWN = 3
"""Differences that a name tells; of more it tells how many."""
LISTS = ("stages", "terms")
"""Parts of a path that a name leaves out: the stage's and the loss's own names follow."""


def key_title(key: str) -> str:
    """`training.learning_rate` → learning rate."""
    return key.rpartition(".")[2].replace("_", " ")


def key_names(keys: Sequence[str]) -> dict[str, str]:
    """Each key → its title; → its whole path where another key has the same title."""
    titles = [key_title(key) for key in keys]
    return {key: title if titles.count(title) == 1 else key for key, title in zip(keys, titles)}


def value_title(value: Any) -> str:
    """A setting's value as a person writes it: 1e-4, 0.25, true."""
    if isinstance(value, float) and value and not 1e-3 <= abs(value) < 1e5:
        mantissa, _, power = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(power)}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's settings by dotted path; stages and terms stand in it by their names. What is not set (null) is left out."""
    return dict(_flat(recipe, ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value, start=1):
            yield from _flat(item, f"{path}.{item.get('name') or item.get('loss') or number}")
    elif value is not None:
        yield path, value


def told_apart(names: Sequence[str], recipes: Sequence[Mapping[str, Any]]) -> list[str]:
    """A name for each run, no two alike.

    Where a name occurs again, the settings are added that differ from those of the first of that name. Where these are
    the same too, a number is added. Two runs of one recipe, the second with `--set training.epochs=5`, are "kd-mrpc"
    and "kd-mrpc, epochs 5".

    Args:
        names: of the recipes.
        recipes: each run's recipe as results.Run has it.
    """
    titles = list(names)
    for name in (name for name, count in Counter(names).items() if count > 1):
        first, *others = [place for place, other in enumerate(names) if other == name]
        base = flat(recipes[first])
        for place in others:
            said = _differences(base, flat(recipes[place]))
            more = [f"{len(said) - SHOWN} more"] if len(said) > SHOWN else []
            titles[place] = ", ".join([name, *said[:SHOWN], *more])
    seen: Counter[str] = Counter()
    for place, title in enumerate(titles):
        seen[title] += 1
        titles[place] = title if seen[title] == 1 else f"{title} ({seen[title]})"
    return titles


def _differences(base: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What `own` sets otherwise, in words, each once; of a loss that only one of the two has, its name alone."""
    keys = [key for key in dict.fromkeys([*base, *own]) if base.get(key) != own.get(key)]
    losses = [key for key in keys if key.endswith(".loss")]
    keys = [key for key in keys if key in losses or not key.startswith(tuple(loss.removesuffix("loss") for loss in losses))]
    parts = {key: [part for part in key.split(".") if part not in LISTS] for key in {**base, **own}}
    words = (_said(_short(parts[key], list(parts.values())), key in losses, base.get(key), own.get(key)) for key in keys)
    return list(dict.fromkeys(words))


def _short(path: Sequence[str], others: Sequence[Sequence[str]]) -> str:
    """So much of a path's end that no other one ends alike."""
    length = next((size for size in range(1, len(path)) if sum(other[-size:] == path[-size:] for other in others) == 1), len(path))
    return " ".join([*path[-length:-1], key_title(path[-1])])


def _said(title: str, is_loss: bool, base: Any, own: Any) -> str:
    if is_loss:
        return f"without {base}" if own is None else f"with {own}"
    if own is None or own is False:
        return f"no {title}"
    if own is True:
        return title
    text = value_title(own)
    # Of a run's student the run's own name says more.
    return f"{title} {PurePath(text.removesuffix('/student')).name if '/' in text else text}"
