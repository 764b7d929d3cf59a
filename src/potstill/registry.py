"""Names in recipes → the classes behind them.

A part is found by its file: `losses/embedding_mse.py` is the loss `embedding_mse`. Listing names
reads the folder and the files' first lines only, so `potstill list` and the check of a recipe
need no torch.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

from potstill.errors import PotstillError, did_you_mean

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
