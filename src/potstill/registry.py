"""Names in recipes → the classes behind them, and the options beside a name → the class's arguments.

A part is found by its file: `losses/embedding_mse.py` is the loss `embedding_mse`. Listing names
reads the folder and the files' first lines only, so `potstill list` and the check of a recipe
need no torch.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError, PotstillErrors, did_you_mean, shown

PACKAGE = Path(__file__).parent


def names(kind: str) -> dict[str, str]:
    """Names of every part of `kind` (a sub-package: "losses", "tasks") → the first line of its file's docstring."""
    found = {}
    for path in sorted((PACKAGE / kind).glob("*.py")):
        if path.stem not in ("__init__", "base"):
            docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            found[path.stem] = docstring.partition("\n")[0]
    return found


def load(kind: str, name: str, base: type, place: str) -> type:
    """The one subclass of `base` that the file `<kind>/<name>.py` defines.

    Raises:
        PotstillError: no part of this kind has that name; `place` says where the name stood.
    """
    known = names(kind)
    if name not in known:
        raise PotstillError(place, f"unknown name {name!r}", did_you_mean(name, known))
    module = importlib.import_module(f"potstill.{kind}.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(classes) != 1:
        raise TypeError(f"potstill/{kind}/{name}.py must define one subclass of {base.__name__}, found {len(classes)}")
    return classes[0]


def check_options(kind: type, options: Mapping[str, Any], place: str, what: str, beside: Iterable[str] = ()) -> None:
    """Refuse options that a recipe gives to `kind` and that its constructor's annotations do not allow.

    Strictly, but that a whole number will do for any number: what `heads: 12.0` or `normalize: 1` leads
    to would show in the middle of training, or never.

    Args:
        what: what `kind` is called, for the errors: "loss 'crd'".
        beside: keys that may stand beside the options and are no arguments, for "did you mean".

    Raises:
        PotstillErrors: unknown options, missing ones and values of another type, all at once.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = {name: one for name, one in inspect.signature(kind).parameters.items() if one.kind in named}
    hints = typing.get_type_hints(kind.__init__)  # type: ignore[misc]  # of this class, whatever its children's take
    strict = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    errors = []
    for name, value in options.items():
        if name not in known:
            errors.append(PotstillError(f"{place}.{name}", f"unknown key for {what}", did_you_mean(name, [*beside, *known])))
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
        if isinstance(value, str):  # YAML 1.1 reads 1e-3, without a point, as a word
            return f"write {float(value):g} as a number: without quotes, and with a point before an e"
    except ValueError:
        pass
    return "give it such a value" if default is inspect.Parameter.empty else f"leave it out for {default!r}"
