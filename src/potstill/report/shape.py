"""A model's width, depth and parameters out of its folder, where no cost was measured: headers are read, no weights."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.machine.files import kind_of_place
from potstill.results import Run
from potstill.runtime.architecture import layers_of, width_of
from potstill.runtime.folder import STUDENT


@dataclass(frozen=True)
class Shape:
    """What is known of a model's size; None where it is not known.

    Attributes:
        width: of a hidden state.
        layers: their number, 0 of a static model.
        parameters: floating-point numbers in the weight files.
    """

    width: int | None = None
    layers: int | None = None
    parameters: int | None = None


def at_home(path: str | Path) -> Path:
    """A path with `~` replaced by the home folder; as it is where nobody has that name, since it stands in a record."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def model_shape(folder: Path | None) -> Shape:
    """The shape of a model folder, or of the student in a run folder; nothing known where it is gone.

    The figures stand beside others in a table: what cannot be read becomes a dash there, and is no error.
    """
    if folder is None:
        return Shape()
    folder = at_home(folder)
    folder = folder / STUDENT if kind_of_place(folder / STUDENT) == "a folder" else folder
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Shape()
    width = width_of(config) if isinstance(config, dict) else 0
    # A configuration that names its width names its layers: 0 of them is a static model's.
    return Shape(width or None, layers_of(config) if width else None, _parameters(folder))


def student_shape(run: Run, folder: Path | None) -> Shape:
    """The shape of a run's student: of its folder, and what that does not say of its recipe."""
    shape = model_shape(folder / STUDENT if folder is not None else None)
    student = run.recipe.get("student")
    student = student if isinstance(student, dict) else {}
    layers = student.get("layers")
    return Shape(
        _whole(student.get("width")) if shape.width is None else shape.width,
        # 0 layers, a static student's, are known ones.
        (len(layers) if isinstance(layers, list) else _whole(layers)) if shape.layers is None else shape.layers,
        shape.parameters,
    )


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None


def _parameters(folder: Path) -> int | None:
    """Numbers in the weight files but for BERT's pooler, which stays in the folder of an encoder and is read by no vector."""
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError:  # the runtime alone is installed
        return None
    total = 0
    try:
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="numpy") as weights:
                tensors = [weights.get_slice(name) for name in weights.keys() if not name.startswith("pooler.")]
                total += sum(math.prod(tensor.get_shape()) for tensor in tensors if tensor.get_dtype().startswith(("F", "BF")))
    except (OSError, SafetensorError):
        return None
    return total or None
