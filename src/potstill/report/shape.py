"""A model's width, depth and parameters out of its folder, where no cost was measured: two headers are read, no weights."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.results import Run
from potstill.runtime.folder import STUDENT

WIDTHS = ("hidden_size", "dim", "d_model")
DEPTHS = ("num_hidden_layers", "n_layers", "num_layers")
HEADER_LIMIT = 100_000_000  # bytes; the format's own


@dataclass(frozen=True)
class Shape:
    """None where it is not known."""

    width: int | None = None
    layers: int | None = None
    parameters: int | None = None


def model_shape(folder: Path | None) -> Shape:
    """The shape of a model folder, or of the student in a run folder; nothing known where it is gone.

    A figure beside others: what cannot be read costs the table a dash, never the table.
    """
    if folder is None:
        return Shape()
    folder = folder.expanduser()
    folder = folder / STUDENT if (folder / STUDENT).is_dir() else folder
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Shape()
    return Shape(_number(config, WIDTHS), _number(config, DEPTHS), _parameters(folder))


def student_shape(run: Run, folder: Path | None) -> Shape:
    """The shape of a run's student: of its folder, else what its recipe says."""
    shape = model_shape(folder / STUDENT if folder is not None else None)
    student = run.recipe.get("student")
    student = student if isinstance(student, dict) else {}
    layers = student.get("layers")
    told = Shape(_number(student, ("width",)), len(layers) if isinstance(layers, list) else _number(student, ("layers",)))
    return Shape(
        told.width if shape.width is None else shape.width,
        told.layers if shape.layers is None else shape.layers,  # a static student has 0
        shape.parameters,
    )


def _number(said: Any, keys: tuple[str, ...]) -> int | None:
    found = (said.get(key) for key in keys) if isinstance(said, dict) else ()
    return next((value for value in found if isinstance(value, int) and not isinstance(value, bool)), None)


def _parameters(folder: Path) -> int | None:
    """Numbers in the weight files but for BERT's pooler, which stays in the folder of an encoder and is read by no vector."""
    total = 0
    try:
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(length)) if length <= HEADER_LIMIT else {}
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__" and not name.startswith("pooler.")}
            total += sum(math.prod(entry["shape"]) for entry in tensors.values() if str(entry["dtype"]).startswith(("F", "BF")))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return total or None
