"""Names in recipes → what stands behind them, and the options beside a name → the class's arguments.

A loss and a family of tasks are found by their file: `losses/embedding_mse.py` is the loss `embedding_mse`.
Listing such names reads the files and imports none of them. Other names stand in a table of their own module.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import sys
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from potstill.errors import MANY, PotstillError, PotstillErrors, did_you_mean, shown

EMBED, MLM = "embed", "mlm"
"""The tasks that read unlabelled texts: vectors of texts, and masked words. Every other task is a labelled one."""

CLASSIFICATION, MULTILABEL, REGRESSION, TAGGING = "classification", "multilabel", "regression", "tagging"
"""Kinds of labels, which are families of tasks and kinds of heads too."""

DEV = "-dev"
"""Ending of a task's name: its rows to choose by, instead of those to report on."""

OUTSIDE = "O"
"""The tag of a word that is in no entity."""

COST = "cost"
"""What stands among the tasks to evaluate and is none: size, latency, throughput and memory."""

PACKAGE = Path(__file__).parent
# Kind of name → the module that knows its names, and there the table of names and meanings, or a function that makes it.
TABLES = {
    "layers": ("potstill.objective.layer_map", "MAPS"),
    "poolings": ("potstill.models.pooling", "describe"),
    "rules": ("potstill.models.layer_rules", "RULES"),
    "tasks": ("potstill.tasks.base", "task_names"),
}


def names(kind: str) -> dict[str, str]:
    """List the parts of a kind without importing them.

    Args:
        kind: a sub-package with one file a part: "losses", "tasks".

    Returns:
        The name of every part → the first line of its file's docstring.
    """
    found = {}
    for path in sorted((PACKAGE / kind).glob("*.py")):
        if path.stem != "base" and not path.stem.startswith("_"):
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            found[path.stem] = docstring.partition("\n")[0]
    return found


def table(kind: str) -> dict[str, str]:
    """Every name of a kind of TABLES → what it means. Imports the module that knows them."""
    module, attribute = TABLES[kind]
    found = getattr(importlib.import_module(module), attribute)
    return dict(found() if callable(found) else found)


def load(kind: str, name: str, base: type, place: str) -> type:
    """Import the one subclass of `base` that the file `<kind>/<name>.py` defines.

    Args:
        kind: a sub-package with one file a part: "losses", "tasks".
        name: of the part.
        base: the class that every part of this kind derives from.
        place: where the name stands, for errors.

    Raises:
        PotstillError: no part of this kind has that name.
        TypeError: the file does not define exactly one subclass of `base`.
    """
    known = names(kind)
    if name not in known:
        raise PotstillError(place, f"unknown name {name!r}", did_you_mean(name, known))
    module = importlib.import_module(f"potstill.{kind}.{name}")
    classes = [
        value
        for value in vars(module).values()
        # To Python 3.10 an alias such as list[int] is a type, too.
        if isinstance(value, type) and typing.get_origin(value) is None and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise TypeError(f"potstill/{kind}/{name}.py must define one subclass of {base.__name__}, found {len(classes)}")
    return classes[0]


def is_own(name: str) -> bool:
    """Whether a name in a recipe means a class of the user's own: `package.module:Class`."""
    return ":" in name


def load_own(name: str, base: type, place: str) -> type:
    """Import a class of the user's own from the Python path, at the end of which the working folder is looked at.

    Args:
        name: `package.module:Class`.
        base: the class that it must derive from.
        place: where the name stands, for errors.

    Raises:
        PotstillError: the name has another form; there is no such module, or it cannot be imported; it has no such class; or
            the class does not derive from `base`, or leaves a method of it undefined.
    """
    module_name, _, class_name = name.partition(":")
    if not all(part.isidentifier() for part in [*module_name.split("."), class_name]):
        raise PotstillError(place, f"{shown(name)} names no class", "write package.module:Class")
    if (here := str(Path.cwd())) not in sys.path:  # the installed command does not look there, `python -m` does
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and f"{module_name}.".startswith(f"{error.name}."):
            remedy = "install its package, add its folder to PYTHONPATH, or start from the folder that holds it"
            raise PotstillError(place, f"{name}: there is no module {error.name!r}", remedy) from error
        raise PotstillError(place, f"{name}: {module_name} needs the module {error.name!r}", "install it") from error
    except Exception as error:  # a user's module may raise anything
        said = f"{type(error).__name__}: {error}"
        raise PotstillError(place, f"{name}: {module_name} cannot be imported ({said})", "mend it") from error
    found = getattr(module, class_name, None)
    classes = [key for key, value in vars(module).items() if isinstance(value, type) and issubclass(value, base) and value is not base]
    if found is None:
        raise PotstillError(place, f"{name}: {module_name} has no {class_name!r}", did_you_mean(class_name, classes))
    if not (isinstance(found, type) and issubclass(found, base)):
        problem = f"{name}: {class_name} is no {base.__name__}"
        raise PotstillError(place, problem, f"derive it from {base.__module__}.{base.__name__}")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise PotstillError(place, f"{name}: {class_name} does not define {missing[0]}", "write it (docs/add_a_loss.md)")
    return found


def check_options(kind: type, options: Mapping[str, Any], place: str, what: str, beside: Iterable[str] = ()) -> None:
    """Check the options that a recipe gives to a part against the annotations of the part's constructor.

    The check is strict: a whole number is accepted for a float, and nothing else is converted. The consequence of
    `heads: 12.0` or `normalize: 1` would otherwise show in the middle of training, or never.

    Args:
        kind: the part's class.
        options: name → value, as the recipe says.
        place: where the options stand, for errors.
        what: what `kind` is called in errors: "loss 'crd'".
        beside: keys that may stand beside the options and are no arguments, for "did you mean".

    Raises:
        PotstillErrors: unknown options, missing ones and values of another type, all at once.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {name: one for name, one in inspect.signature(kind).parameters.items() if one.kind in named}
    hints = typing.get_type_hints(kind.__init__)  # type: ignore[misc]  # of this class, whatever its children's take
    strict = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    errors: list[PotstillError] = []
    for name, value in options.items():
        if len(errors) == MANY:  # what is wrong with so many is told by the first ones
            break
        if name not in known:
            errors.append(PotstillError(f"{place}.{shown(name)[1:-1]}", f"unknown key for {what}", did_you_mean(name, [*beside, *known])))
            continue
        try:
            TypeAdapter(hints.get(name, Any), config=strict).validate_python(value)
        except ValidationError as error:
            problem = error.errors()[0]["msg"].replace("Input", shown(value), 1)
            errors.append(PotstillError(f"{place}.{name}", f"{problem} for {what}", _way_out(value, known[name].default)))
    errors += [
        PotstillError(f"{place}.{name}", f"is missing, and {what} needs it", "add it")
        for name, one in known.items()
        if one.default is one.empty and name not in options
    ]
    if errors:
        raise PotstillErrors(errors)


def _way_out(value: object, default: object) -> str:
    try:
        if isinstance(value, str) and math.isfinite(float(value)):
            return f"write {float(value):g} as a number, without quotes"
    except ValueError:
        pass
    return "give it such a value" if default is inspect.Parameter.empty else f"leave it out for {default!r}"
