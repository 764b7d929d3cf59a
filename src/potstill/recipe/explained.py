"""What pydantic finds wrong with a recipe, as the user should read it: the place, the value, the way out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from pydantic import BaseModel

from potstill.errors import PotstillError, did_you_mean, shown

# Beginning of pydantic's name of a mistake → what to do about it; the context of the mistake fills the braces.
_REMEDIES = {
    "missing": "add it",
    "string_too_short": "write one, or leave the key out",
    "string_too_long": "shorten it",
    "string_pattern": "choose another name",
    "string": "write a text",
    "int": "write a whole number",
    "float": "write a number",
    "finite_number": "write a finite number",
    "bool": "write true or false",
    "greater_than_equal": "write at least {ge}",
    "greater_than": "write more than {gt}",
    "less_than_equal": "write at most {le}",
    "less_than": "write less than {lt}",
    "too_short": "write at least {min_length}",
    "list": "write a list",
    "dict": "write a mapping",
    "model": "write a mapping",
    "invalid_key": "quote it",
}
_OTHERWISE = "see how a shipped recipe has it (potstill list recipes)"


def named(place: str, keys: Sequence[Any]) -> str:
    """A place in a recipe's content.

    Args:
        place: what the recipe is called.
        keys: keys and positions that lead there; none: the whole of it.
    """
    return f"{place}: {'.'.join(shown(str(key))[1:-1] for key in keys)}" if keys else place


def location_of(detail: Any, content: Any) -> tuple[int | str, ...]:
    """Keys and positions of a pydantic error in the content, without the names of types that pydantic puts among them.

    What the content does not have is a type's name, but for the key that is missing itself. A list of types would have
    to be kept for that, and would take a user's key of such a name for a type.

    Args:
        detail: one of pydantic's errors.
        content: what was validated.
    """
    *above, last = detail["loc"] or [None]
    found = []
    for part in above:
        if _has(content, part):
            content = content[part]
            found.append(part)
    return (*found, last) if detail["type"] == "missing" or _has(content, last) else tuple(found)


def _has(content: Any, part: int | str) -> bool:
    return part in content if isinstance(content, dict) else isinstance(content, (list, tuple)) and isinstance(part, int)


def explained(model: type[BaseModel], place: str, location: Sequence[int | str], detail: Any) -> PotstillError:
    """One pydantic error as the user should read it.

    Args:
        model: the class that the content should have become.
        place: what the recipe is called.
        location: as `location_of` gives it.
        detail: one of pydantic's errors.
    """
    where, kind, value, context = named(place, location), detail["type"], detail.get("input"), detail.get("ctx", {})
    if kind == "extra_forbidden":
        return PotstillError(where, "unknown key", did_you_mean(str(location[-1]), _keys_at(model, detail["loc"][:-1])))
    if kind == "missing":
        return PotstillError(where, "is missing", _REMEDIES[kind])
    if kind == "union_tag_invalid":
        return PotstillError(
            f"{where}.kind", f"{shown(context['tag'])} is not among {context['expected_tags']}", _choose(context["tag"], context)
        )
    if kind == "value_error":
        problem, _, remedy = str(context["error"]).rpartition("; ")
        return PotstillError(where, problem or remedy, remedy if problem else _OTHERWISE)
    if kind == "literal_error":
        return PotstillError(where, f"{shown(value)} is not among {context['expected']}", _choose(value, context))
    limits = {name: int(limit) if isinstance(limit, float) and limit.is_integer() else limit for name, limit in context.items()}
    remedy = next((remedy for name, remedy in _REMEDIES.items() if kind.startswith(name)), _OTHERWISE).format(**limits)
    if kind == "string_type" and isinstance(value, (bool, int, float, date)):
        remedy = "quote it"
    return PotstillError(where, f"{shown(value)}: {detail['msg'][0].lower()}{detail['msg'][1:]}", remedy)


def _choose(value: Any, context: dict[str, Any]) -> str:
    """What to do about a value that is not among those that pydantic expected."""
    known = re.findall(r"'([^']*)'", str(context.get("expected") or context.get("expected_tags")))
    close = difflib.get_close_matches(str(value), known, n=1) if isinstance(value, str) else []
    return f"did you mean {close[0]!r}?" if close else "choose one of these"


def _keys_at(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    """Keys that may stand at `location`, found by walking the models' fields; of a student's kinds, that kind's."""
    models: list[type[BaseModel]] = [model]
    for part in location:
        if isinstance(part, str):
            models = [model for model in models if "kind" in model.model_fields and model.model_fields["kind"].default == part] or models
            inside = [inner for model in models if part in model.model_fields for inner in _models_in(model.model_fields[part].annotation)]
            models = inside or models  # a key that the user chose is no field
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in getattr(annotation, "__args__", ()) for model in _models_in(inner)]
