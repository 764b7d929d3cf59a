"""Where the model lies that a name means: a folder, or one among the user's models."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import NoReturn

from potstill.errors import PotstillError, did_you_mean, shown
from potstill.machine.cache import expanded
from potstill.machine.files import kind_of_place, require_nameable

MODELS = "POTSTILL_MODELS"
"""The variable of the environment that names the folder of the user's models."""


def place_of_model(name: str | Path) -> Path:
    """The place that a model's name means on this machine: what lies there, else the folder of that name in POTSTILL_MODELS.

    Where there is none, it is the only model there that has the name with an owner more, or without its owner. An owner that is
    a folder here is none: the name is then a path at which nothing lies.

    Args:
        name: a path, or a name such as `all-MiniLM-L6-v2` or `sentence-transformers/all-MiniLM-L6-v2`.

    Returns:
        A path at which there need not be anything.

    Raises:
        PotstillError: it is neither text nor a path, or names nothing.
    """
    if not isinstance(name, (str, os.PathLike)):
        raise PotstillError("model", f"is {shown(name)}, not a path", "name a folder")
    if not str(name).strip() or "\0" in str(name):
        raise PotstillError("model", f"{shown(str(name))} names no model", "name a folder, or a model on the hub")
    place = expanded(name)
    own = models_folder()
    if own is None or kind_of_place(place) is not None or not _is_plain(str(name)):
        return place
    if kind_of_place(own / name) == "a folder":
        return own / name
    owner, _, last = str(name).rpartition("/")
    if owner:
        alike = [last] if kind_of_place(owner) is None and last in _models_in(own) else []
    else:
        alike = [model for model in _models_in(own) if model.endswith(f"/{last}")]
    return own / alike[0] if len(alike) == 1 else place


def models_folder() -> Path | None:
    """The folder that POTSTILL_MODELS names; None where it names none.

    Raises:
        PotstillError: it names something that is no folder.
    """
    named = os.environ.get(MODELS)
    if not named:
        return None
    folder = expanded(named, MODELS)
    if kind_of_place(folder) != "a folder":
        raise PotstillError(MODELS, f"{named} is no folder", "name the folder that holds your models, or unset it")
    return folder


def refuse_model(name: str | Path, problem: str, remedy: str) -> NoReturn:
    """Say that nothing has the name of a model, and what in POTSTILL_MODELS is like it.

    Args:
        name: as the user gave it.
        problem: where it was looked for.
        remedy: what to do, where the name does not look like a text.

    Raises:
        PotstillError: always.
    """
    text = str(name)
    if is_text(text):
        raise PotstillError(shown(text)[1:-1], "is no folder; it looks like a text", "name the model's folder; texts go to `encode`")
    if not _is_plain(text):
        raise PotstillError(shown(text, 300)[1:-1], problem, remedy)
    own = models_folder()
    if own is None:
        raise PotstillError(text, problem, f"{remedy}, or set {MODELS} to the folder that holds it")
    there = _models_in(own)
    lasts = {model.rpartition("/")[2]: model for model in there}
    near = difflib.get_close_matches(text.rpartition("/")[2][:100], lasts, n=1)
    known = f"did you mean {lasts[near[0]]!r}?" if near else did_you_mean(text, there)
    raise PotstillError(text, f"{problem}, and {MODELS} ({own}) has none of that name", f"{remedy}; {known}")


def _models_in(folder: Path) -> list[str]:
    """The models in a folder and in those in it, as `model` or `owner/model`; what lies within a model is a part of it."""
    models = {path.parent.name for path in folder.glob("*/config.json")}
    deeper = (path.parent.relative_to(folder) for path in folder.glob("*/*/config.json"))
    return sorted(models | {path.as_posix() for path in deeper if path.parent.name not in models})


def as_path(value: object, place: str) -> Path:
    """A path that was given in Python.

    Args:
        value: text or a path.
        place: the argument's name, for errors.

    Raises:
        PotstillError: it is neither, or no file could have that name.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise PotstillError(place, f"is {shown(value)}, not a path", "name a folder or a file")
    require_nameable(os.fspath(value))
    return Path(value)


def is_text(name: str) -> bool:
    """Whether what stands where a path is wanted looks like a text of several words; a path with spaces begins as paths do."""
    return len(name.split()) > 1 and not name.startswith((".", "/", "~"))


def _is_plain(name: str) -> bool:
    """Whether a name can mean a model by itself, and is not the path of one: `model`, `owner/model`."""
    return not (name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or ".." in name.split("/"))
