"""Reading a recipe: its file, what it is like, what the command overrides, and every mistake in it as a line."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from potstill.errors import PotstillError, PotstillErrors, did_you_mean, shown
from potstill.recipe import Recipe
from potstill.registry import PACKAGE

RECIPES = PACKAGE / "recipes"
LIKE = "like"
Model = TypeVar("Model", bound=BaseModel)
# Beside its own error PyYAML lets through what a value breaks: a date of month 99, a thousand nested brackets.
UNREADABLE = (yaml.YAMLError, ValueError, RecursionError)


def shipped() -> dict[str, Path]:
    """Recipes inside the package: `<method>/<task>` → file."""
    return {path.relative_to(RECIPES).with_suffix("").as_posix(): path for path in sorted(RECIPES.rglob("*.yaml"))}


def find(name: str) -> Path:
    """The file of a recipe: a path, or a shipped name."""
    path = Path(name)
    if len(name) < 1024 and path.is_file():
        return path
    known = shipped()
    if name in known:
        return known[name]
    raise PotstillError(name[:100], "no such recipe file, and no shipped recipe of that name", did_you_mean(name, known))


def read(name: str, overrides: tuple[str, ...] | list[str] = ()) -> Recipe:
    """Read a recipe (path or shipped name), apply `a.b=c` overrides, check it whole.

    A recipe that says `like: OTHER` (path or shipped name) is that one with its own values laid over it:
    mappings key by key, anything else as a whole.

    Raises:
        PotstillErrors: everything wrong in it, at once.
    """
    path = find(name)
    content = _load(path)
    for override in overrides:
        content = _override(content, override)
    return check(content, str(path))


def _load(path: Path, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The content of a recipe's file, laid over what it is like."""
    if path in above:
        raise PotstillError(path, f"is like itself, by way of {above[-1]}", f"drop one `{LIKE}`")
    content = mapping(path, "start from a shipped recipe: potstill list recipes")
    other = content.pop(LIKE, None)
    if other is None:
        return content
    if not isinstance(other, str):
        raise PotstillError(f"{path}: {LIKE}", f"{shown(other)} is no recipe's name", "give a path or a shipped name")
    return _laid_over(_load(find(other), (*above, path)), content)


def mapping(path: Path, remedy: str) -> dict[str, Any]:
    """The mapping in a YAML file; `remedy` is what an error says where it holds something else."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
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


def check(content: dict[str, Any], place: str = "recipe") -> Recipe:
    """Make a Recipe of plain data, or raise PotstillErrors with every problem, its path, value and way out."""
    return checked(Recipe, content, place)


def checked(model: type[Model], content: Any, place: str) -> Model:
    """Plain data as `model` has it, or PotstillErrors with every problem, its path, value and way out."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        details = [(_location(detail["loc"]), detail) for detail in error.errors()]
        # Of a union pydantic reports every member; only the one that got deepest is what was meant.
        deepest = [
            (location, detail)
            for location, detail in details
            if not any(other != location and other[: len(location)] == location for other, _ in details)
        ]
        raise PotstillErrors([_explain(model, place, location, detail) for location, detail in deepest]) from None


def resolved(recipe: Recipe) -> str:
    """The recipe with every default written out, as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _override(content: dict[str, Any], override: str) -> dict[str, Any]:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise PotstillError(f"--set {override}", "is not of the form a.b=c", "for example --set training.epochs=2")
    try:
        value = yaml.safe_load(text)
    except UNREADABLE as error:
        raise PotstillError(f"--set {override}", f"the value is not YAML ({error})", "quote it") from error
    if isinstance(value, str):
        value = number(value)
    content = copy.deepcopy(content)
    place: Any = content
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(place, list):
            if not key.isdecimal() or int(key) >= len(place):
                raise PotstillError(f"--set {override}", f"{'.'.join(keys[:depth])} is a list of {len(place)}", "give a position from 0")
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
            if not last and not isinstance(place.get(key), (dict, list)):
                place[key] = {}
        else:
            raise PotstillError(f"--set {override}", f"{'.'.join(keys[:depth])} is {shown(place)}, it has no parts", "name an existing key")
        if last:
            place[index] = value
        else:
            place = place[index]
    return content


def number(text: str) -> str | float:
    """The number that a text is, else the text."""
    # YAML 1.1 reads 1e-4 as a string (it wants 1.0e-4); nobody who types it means one.
    try:
        return float(text)
    except ValueError:
        return text


def _location(parts: tuple[int | str, ...]) -> list[int | str]:
    """Keys and positions of an error, without the names of types that pydantic puts among them."""
    types = ("str", "int", "float", "bool", "constrained-int", "TextSource", "Int8", "Perturb", "Range", "transformer", "bilstm", "static")
    return [part for part in parts if not (isinstance(part, str) and (part in types or part.startswith(("function-", "list["))))]


def _explain(model: type[BaseModel], place: str, location: list[int | str], detail: Any) -> PotstillError:
    """One pydantic error as the user should read it."""
    where = f"{place}: {'.'.join(map(str, location))}" if location else place
    kind, value = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        key = str(detail["loc"][-1])
        parents = location[:-1] if location[-1:] == [key] else location
        return PotstillError(
            f"{place}: {'.'.join(map(str, [*parents, key]))}", "unknown key", did_you_mean(key, _keys_at(model, detail["loc"][:-1]))
        )
    if kind == "missing":
        return PotstillError(where, "is missing", "add it")
    if kind == "union_tag_invalid":
        context = detail["ctx"]
        return PotstillError(f"{where}.kind", f"{shown(context['tag'])} is not among {context['expected_tags']}")
    if kind == "value_error":
        return PotstillError(where, str(detail["ctx"]["error"]))
    if kind == "literal_error":
        return PotstillError(where, f"{shown(value)} is not among {detail['ctx']['expected']}")
    return PotstillError(where, f"{shown(value)}: {detail['msg'][0].lower()}{detail['msg'][1:]}")


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
