"""Reading a recipe: its file, the recipe that it is like, overrides of the command line, and every mistake in it as a line."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from potstill.errors import MANY, PotstillError, PotstillErrors, did_you_mean, shown
from potstill.machine.files import kind_of_place
from potstill.recipe.explained import explained, location_of, named
from potstill.recipe.known import unknown_names
from potstill.recipe.recipe import Recipe
from potstill.recipe.yaml_text import NotYaml, dump, dump_inline, load
from potstill.registry import CLASSIFICATION, MULTILABEL, REGRESSION, TAGGING

RECIPES = Path(__file__).parent / "shipped"
LIKE = "like"
BASE = "/mrpc"  # ending of a method's recipe that others of it are like
KINDS = {
    CLASSIFICATION: "one label a text, or a pair of texts",
    REGRESSION: "a score of each text, or pair of texts",
    TAGGING: "a tag for each word",
    MULTILABEL: "any number of labels a text, or a pair of texts",
}
"""Kinds of own data → what they are."""
STUDENT_ALONE = ("bilstm", "dualtrain", "finetune")  # methods without a teacher
# Kind of own data → methods that cannot do it as they stand; `check` says why.
NO_MEANING: dict[str, tuple[str, ...]] = {
    CLASSIFICATION: (),
    REGRESSION: ("mukherjee",),
    TAGGING: ("bilstm", "mukherjee", "tang"),
    MULTILABEL: ("codir-fine", "distilbert", "lrc-bert", "mukherjee", "pkd-last", "pkd-skip", "tinybert"),
}
_SURROGATE = re.compile("[\ud800-\udfff]")
Model = TypeVar("Model", bound=BaseModel)


def shipped() -> dict[str, str]:
    """The recipes inside the package: name, which is `<method>/<task>` → its YAML.

    A method's recipe for MRPC serves other tasks as well. Where such a task has no file of its own, its recipe is made here:
    `like` that one, with another task.
    """
    files = {path.relative_to(RECIPES).with_suffix("").as_posix(): path.read_text(encoding="utf-8") for path in RECIPES.rglob("*.yaml")}
    methods = sorted(name.removesuffix(BASE) for name in files if name.endswith(BASE))
    made = {f"{method}/{name}": text for method in methods for name, text in _made(method).items()}
    return dict(sorted((made | files).items()))


def _made(method: str) -> dict[str, str]:
    """The recipes of a method that differ from its recipe for MRPC in the task alone: the task's name → YAML."""
    base = f"{method}{BASE}"
    found = {short: f"# {base} on glue/{short}.\nlike: {base}\ntask: glue/{short}\n" for short in ("cola", "rte")}
    for kind, what in KINDS.items():
        if method not in NO_MEANING[kind]:
            call = f"potstill train {method}/{kind} --set data.file=FILE --set data.text=COLUMN --set data.label=COLUMN"
            call = call.partition(" --set data.text")[0] if kind == TAGGING else call
            model = "--set student.model=MODEL" if method in STUDENT_ALONE else "--set teacher.model=TEACHER"
            found[kind] = f"# {base} on your own data: {what}.\n#   {call} {model}\nlike: {base}\ntask: {kind}\ndata: {{dir: .}}\n"
    return found


def find_recipe(name: str) -> tuple[str, str]:
    """Find a recipe.

    Args:
        name: a path, or the name of a shipped recipe. A path that exists goes first.

    Returns:
        Where it is, for errors: the path, or the shipped name; and its YAML.

    Raises:
        PotstillError: neither exists, or the file cannot be read.
    """
    kind, known = kind_of_place(name) if name else None, shipped()  # no name is the working folder to pathlib
    if kind == "a file":
        return str(Path(name)), _text_of(Path(name))
    if name in known:
        return name, known[name]
    if kind is not None:
        raise PotstillError(name, f"is {kind}, not the file of a recipe", "name a file, or a shipped recipe (potstill list recipes)")
    remedy, base = did_you_mean(name, known), f"{name.partition('/')[0]}{BASE}"
    remedy = "potstill list recipes names them" if remedy.startswith("known: ") else remedy  # more than a line holds
    more = f"; another task: {base} --set task=glue/…" if base in known else ""
    raise PotstillError(name[:100], "no such recipe file, and no shipped recipe of that name", f"{remedy}{more}")


def read_recipe(name: str, overrides: tuple[str, ...] | list[str] = ()) -> Recipe:
    """Read a recipe, apply overrides, and check it as a whole.

    A recipe that says `like: OTHER` (path or shipped name) is that one with its own values laid over it:
    mappings key by key, anything else as a whole. Afterwards it follows its task: `{task}` in its name and in the models of
    both sides is the task's last part, and a labelled task without `evaluate` is scored, with its cost. A PotstillError comes
    through for a file that is missing or no mapping, and for an override that leads nowhere; PotstillErrors with everything wrong
    in the recipe.

    Args:
        name: a path, or the name of a shipped recipe.
        overrides: `a.b=c` each, where c is YAML. They are applied in their order.
    """
    content = whole(name)
    for setting in overrides:
        content = _overridden(content, setting)
    return parse_recipe(content, str(Path(name)))


def open_recipe(recipe: Recipe | Mapping[str, Any] | str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Make a Recipe of a recipe in any form. PotstillErrors come through with everything wrong in it.

    Args:
        recipe: a path, a shipped name, plain data, or a Recipe.
        overrides: `a.b=c` each, as for `read_recipe`.
    """
    if isinstance(recipe, (str, Path)):
        return read_recipe(str(recipe), tuple(overrides))
    if isinstance(recipe, Recipe) and not overrides:
        return recipe
    content = content_of(recipe)
    for setting in overrides:
        content = _overridden(content, setting)
    return parse_recipe(content)


def content_of(recipe: Recipe | Mapping[str, Any] | str | Path) -> dict[str, Any]:
    """A recipe in any form as plain data, laid over what it is like. A PotstillError from `read_recipe` comes through.

    Args:
        recipe: a path, a shipped name, plain data, or a Recipe.

    Raises:
        PotstillError: it is something else.
    """
    if isinstance(recipe, (str, Path)):
        return whole(str(recipe))
    if isinstance(recipe, Recipe):
        return recipe.model_dump(mode="json")
    if not isinstance(recipe, Mapping):
        raise PotstillError("recipe", f"is {shown(recipe)}", "give a path, a shipped name, a mapping or a Recipe")
    return dict(recipe)


def whole(name: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """The content of a recipe, laid over what it is like.

    Args:
        name: a path, or the name of a shipped recipe.
        above: the recipes that led here by their `like`.

    Raises:
        PotstillError: there is no such recipe, it is no mapping, or it is like itself, or like no recipe.
    """
    place, text = find_recipe(name)
    if place in above:
        raise PotstillError(place, f"is like itself, by way of {above[-1]}", f"drop one `{LIKE}`")
    content = _mapping_of(text, place, "start from a shipped recipe: potstill list recipes")
    other = content.pop(LIKE, None)
    if other is None:
        return content
    if not isinstance(other, str):
        raise PotstillError(f"{place}: {LIKE}", f"{shown(other)} is no recipe's name", "give a path or a shipped name")
    return laid_over(whole(other, (*above, place)), content)


def mapping(path: Path, remedy: str) -> dict[str, Any]:
    """Read a YAML file that must hold a mapping.

    Args:
        path: the file.
        remedy: what the error advises where the file holds something else.

    Raises:
        PotstillError: the file cannot be read, is not YAML, or holds no mapping.
    """
    return _mapping_of(_text_of(path), str(path), remedy)


def _text_of(path: Path) -> str:
    """The text of a file.

    Raises:
        PotstillError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PotstillError(path, f"cannot be read ({error.strerror})", "check its permissions") from error
    except UnicodeDecodeError as error:
        raise PotstillError(path, f"is not a text ({error.reason} at byte {error.start:,})", "save it in UTF-8") from error


def _mapping_of(text: str, place: str, remedy: str) -> dict[str, Any]:
    try:
        content = load(text)
    except NotYaml as error:
        where = place if error.line is None else f"{place}:{error.line}"
        raise PotstillError(where, f"is not YAML ({error.problem})", "mend that line" if error.line else "mend it") from error
    if not isinstance(content, dict):
        raise PotstillError(place, f"holds {type(content).__name__}, not a mapping", remedy)
    return content


def laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Two recipes' contents in one: mappings key by key, anything else as `above` has it."""
    both = dict(below)
    for key, value in above.items():
        old = both.get(key)
        both[key] = laid_over(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
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
        raise PotstillErrors(wrong.errors if len(wrong.errors) > MANY else first([*wrong.errors, *names], place)) from None


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
        broken = first(list(islice(_broken_texts(content, place), MANY + 1)), place)
    except RecursionError as error:
        raise PotstillErrors([PotstillError(place, "is nested too deep, or holds itself", "write it out flat")]) from error
    if broken:
        raise PotstillErrors(broken)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        details = [(location_of(detail, content), detail) for detail in error.errors()]
        # Of a union pydantic reports every member; only the one that got deepest is what was meant, or that took the value's type.
        above = {location[:depth] for location, _ in details for depth in range(len(location))}
        valued = {location for location, detail in details if not detail["type"].endswith("_type")}
        deepest = [
            (location, detail)
            for location, detail in details
            if location not in above and (location not in valued or not detail["type"].endswith("_type"))
        ]
        told = [explained(model, place, location, detail) for location, detail in deepest[:MANY]]
        raise PotstillErrors(first(told, place, len(deepest))) from None


def first(errors: Sequence[PotstillError], place: str, found: int | None = None) -> list[PotstillError]:
    """The first MANY of some errors, and behind them a line that says how many more there are.

    Args:
        errors: all that were worded.
        place: of that line.
        found: how many there are in all; None: as many as `errors`.
    """
    left = (len(errors) if found is None else found) - MANY
    more = [PotstillError(place, f"{left:,} more mistakes", "mend these first")] if left > 0 else []
    return [*errors[:MANY], *more]


def _broken_texts(content: Any, place: str, keys: tuple[Any, ...] = ()) -> Iterator[PotstillError]:
    """Texts that no file could be named by, and none written with."""
    if isinstance(content, str):
        wrong = "a NUL character" if "\0" in content else "half of a surrogate pair" if _SURROGATE.search(content) else None
        if wrong:
            yield PotstillError(named(place, keys), f"{shown(content)} holds {wrong}", "take that character out")
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _broken_texts(key, place, keys)
            yield from _broken_texts(value, place, (*keys, key))
    elif isinstance(content, (list, tuple)):
        for number, value in enumerate(content):
            yield from _broken_texts(value, place, (*keys, number))


def resolved(recipe: Recipe) -> str:
    """The recipe with every default written out, as YAML that `read_recipe` reads back to an equal recipe."""
    return dump(recipe.model_dump(mode="json"))


def override(key: str, value: Any) -> str:
    """The override `key=value` for `read_recipe`, of any plain value: a string stays a string, whatever it looks like."""
    return f"{key}={dump_inline(value)}"


def _overridden(content: dict[str, Any], setting: str) -> dict[str, Any]:
    path, equals, text = setting.partition("=")
    keys, where = path.strip().split("."), f"--set {setting[:100]}"
    if not equals or not all(keys):
        raise PotstillError(where, "is not of the form a.b=c", "for example --set training.epochs=2")
    try:
        value = load(text)
    except NotYaml as error:
        raise PotstillError(where, f"the value is not YAML ({error.problem})", "quote it") from error
    content = copy.deepcopy(content)
    place: Any = content
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(place, list):
            if not key.isdecimal() or len(key) > 9 or int(key) >= len(place):
                raise PotstillError(where, f"{'.'.join(keys[:depth])} is a list of {len(place)}", "give a position from 0")
            index: Any = int(key)
        elif isinstance(place, dict):
            index = key
            if not last and not isinstance(place.get(key), (dict, list)):
                place[key] = {}
        else:
            raise PotstillError(where, f"{'.'.join(keys[:depth])} is {shown(place)}, it has no parts", "name an existing key")
        if last:
            place[index] = value
        else:
            place = place[index]
    return content
