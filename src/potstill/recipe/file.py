"""Reading a recipe: its file, the recipe that it is like, overrides of the command line, and every mistake in it as a line."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from potstill.errors import PotstillError, PotstillErrors, did_you_mean, shown
from potstill.recipe.known import unknown_names
from potstill.recipe.recipe import Recipe
from potstill.recipe.yaml_text import UNREADABLE, dump, dump_inline, load

RECIPES = Path(__file__).parent / "shipped"
LIKE = "like"
Model = TypeVar("Model", bound=BaseModel)


def shipped() -> dict[str, Path]:
    """The recipes inside the package: name, which is `<method>/<task>` → file."""
    return {path.relative_to(RECIPES).with_suffix("").as_posix(): path for path in sorted(RECIPES.rglob("*.yaml"))}


def find_recipe(name: str) -> Path:
    """Find the file of a recipe.

    Args:
        name: a path, or the name of a shipped recipe. A path that exists goes first.

    Raises:
        PotstillError: neither exists.
    """
    path = Path(name)
    if len(name) < 1024 and path.is_file():
        return path
    known = shipped()
    if name in known:
        return known[name]
    raise PotstillError(name[:100], "no such recipe file, and no shipped recipe of that name", did_you_mean(name, known))


def read_recipe(name: str, overrides: tuple[str, ...] | list[str] = ()) -> Recipe:
    """Read a recipe, apply overrides, and check it as a whole.

    A recipe that says `like: OTHER` (path or shipped name) is that one with its own values laid over it:
    mappings key by key, anything else as a whole. A PotstillError comes through for a file that is missing or
    no mapping, and for an override that leads nowhere; PotstillErrors with everything wrong in the recipe.

    Args:
        name: a path, or the name of a shipped recipe.
        overrides: `a.b=c` each, where c is YAML. They are applied in their order.
    """
    path = find_recipe(name)
    content = _load(path)
    for setting in overrides:
        content = _overridden(content, setting)
    return parse_recipe(content, str(path))


def open_recipe(recipe: Recipe | dict[str, Any] | str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Make a Recipe of a recipe in any form. PotstillErrors come through with everything wrong in it.

    Args:
        recipe: a path, a shipped name, plain data, or a Recipe.
        overrides: `a.b=c` each, as for `read_recipe`.
    """
    if isinstance(recipe, (str, Path)):
        return read_recipe(str(recipe), tuple(overrides))
    if isinstance(recipe, Recipe) and not overrides:
        return recipe
    content = recipe.model_dump(mode="json") if isinstance(recipe, Recipe) else recipe
    for setting in overrides:
        content = _overridden(content, setting)
    return parse_recipe(content)


def _load(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The content of a recipe's file, laid over what it is like.

    Raises:
        PotstillError: it is like itself, or like no recipe.
    """
    if path in above:
        raise PotstillError(path, f"is like itself, by way of {above[-1]}", f"drop one `{LIKE}`")
    content = mapping(path, "start from a shipped recipe: potstill list recipes")
    other = content.pop(LIKE, None)
    if other is None:
        return content
    if not isinstance(other, str):
        raise PotstillError(f"{path}: {LIKE}", f"{shown(other)} is no recipe's name", "give a path or a shipped name")
    return _laid_over(_load(find_recipe(other), (*above, path)), content)


def mapping(path: Path, remedy: str) -> dict[str, Any]:
    """Read a YAML file that must hold a mapping.

    Args:
        path: the file.
        remedy: what the error advises where the file holds something else.

    Raises:
        PotstillError: the file cannot be read, is not YAML, or holds no mapping.
    """
    try:
        content = load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PotstillError(path, f"cannot be read ({error.strerror})", "check its permissions") from error
    except UNREADABLE as error:
        raise PotstillError(path, f"is not YAML ({error})", "mend that line") from error
    if not isinstance(content, dict):
        raise PotstillError(path, f"holds {type(content).__name__}, not a mapping", remedy)
    return content


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = _laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def parse_recipe(content: dict[str, Any], place: str = "recipe") -> Recipe:
    """Make a Recipe of plain data.

    Args:
        content: as YAML or JSON gives it.
        place: what the recipe is called in errors.

    Raises:
        PotstillErrors: every mistake in keys and values, and beside them every unknown name of a loss, a layer map, a
            layer rule, a pooling or a task. A recipe that is wrong in names alone is made: `potstill check` refuses
            it, together with what else is wrong.
    """
    try:
        return checked(Recipe, content, place)
    except PotstillErrors as wrong:
        told = {error.place for error in wrong.errors}
        names = [error for error in unknown_names(content, place) if error.place not in told]
        raise PotstillErrors([*wrong.errors, *names]) from None


def checked(model: type[Model], content: Any, place: str) -> Model:
    """Make a pydantic model of plain data.

    Args:
        model: the class.
        content: as YAML or JSON gives it.
        place: what the content is called in errors.

    Raises:
        PotstillErrors: every mistake, with its path, its value and the remedy.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        details = [(_location(detail, content), detail) for detail in error.errors()]
        # Of a union pydantic reports every member; only the one that got deepest is what was meant.
        deepest = [
            (location, detail)
            for location, detail in details
            if not any(other != location and other[: len(location)] == location for other, _ in details)
        ]
        raise PotstillErrors([_explain(model, place, location, detail) for location, detail in deepest]) from None


def resolved(recipe: Recipe) -> str:
    """The recipe with every default written out, as YAML that `read_recipe` reads back to an equal recipe."""
    return dump(recipe.model_dump(mode="json"))


def override(key: str, value: Any) -> str:
    """The override `key=value` for `read_recipe`, of any plain value: a string stays a string, whatever it looks like."""
    return f"{key}={dump_inline(value)}"


def _overridden(content: dict[str, Any], setting: str) -> dict[str, Any]:
    path, equals, text = setting.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise PotstillError(f"--set {setting}", "is not of the form a.b=c", "for example --set training.epochs=2")
    try:
        value = load(text)
    except UNREADABLE as error:
        raise PotstillError(f"--set {setting}", f"the value is not YAML ({error})", "quote it") from error
    content = copy.deepcopy(content)
    place: Any = content
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(place, list):
            if not key.isdecimal() or int(key) >= len(place):
                raise PotstillError(f"--set {setting}", f"{'.'.join(keys[:depth])} is a list of {len(place)}", "give a position from 0")
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
            if not last and not isinstance(place.get(key), (dict, list)):
                place[key] = {}
        else:
            raise PotstillError(f"--set {setting}", f"{'.'.join(keys[:depth])} is {shown(place)}, it has no parts", "name an existing key")
        if last:
            place[index] = value
        else:
            place = place[index]
    return content


def _location(detail: Any, content: Any) -> list[int | str]:
    """Keys and positions of a pydantic error in the content, without the names of types that pydantic puts among them.

    What the content does not have is a type's name, but for the key that is missing itself. A list of types would have
    to be kept for that, and would take a user's key of such a name for a type.
    """
    *above, last = detail["loc"] or [None]
    found = []
    for part in above:
        if _has(content, part):
            content = content[part]
            found.append(part)
    return [*found, last] if detail["type"] == "missing" or _has(content, last) else found


def _has(content: Any, part: int | str) -> bool:
    return part in content if isinstance(content, dict) else isinstance(content, (list, tuple)) and isinstance(part, int)


def _explain(model: type[BaseModel], place: str, location: list[int | str], detail: Any) -> PotstillError:
    """One pydantic error as the user should read it."""
    where = f"{place}: {'.'.join(map(str, location))}" if location else place
    kind, value = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        return PotstillError(where, "unknown key", did_you_mean(str(location[-1]), _keys_at(model, detail["loc"][:-1])))
    if kind == "missing":
        return PotstillError(where, "is missing", "add it")
    if kind == "union_tag_invalid":
        context = detail["ctx"]
        return PotstillError(f"{where}.kind", f"{shown(context['tag'])} is not among {context['expected_tags']}")
    if kind == "value_error":
        return PotstillError(where, str(detail["ctx"]["error"]))
    if kind == "literal_error":
        return PotstillError(where, f"{shown(value)} is not among {detail['ctx']['expected']}")
    unquoted = kind == "string_type" and isinstance(value, (bool, int, float, date))
    return PotstillError(where, f"{shown(value)}: {detail['msg'][0].lower()}{detail['msg'][1:]}", "quote it" if unquoted else "")


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
