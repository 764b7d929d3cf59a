"""Vectors: fewer dimensions and fewer bits a number, so that they cost less to keep, and how alike two of them are."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError, did_you_mean, shown
from potstill.runtime.folder import COSINE

Precision = Literal["float32", "int8", "binary", "ubinary"]
PRECISIONS: dict[str, int] = {"float32": 32, "int8": 8, "binary": 1, "ubinary": 1}
"""Names, as sentence-transformers has them → bits of a number."""

Floats = NDArray[np.float32]


def require_dimensions(place: object, dimensions: int | None, width: int) -> int:
    """How many dimensions of a vector are kept; all of them for None.

    Args:
        place: that errors name.
        dimensions: asked for.
        width: of the model's vectors.

    Raises:
        PotstillError: they are fewer than one, or more than there are.
    """
    if dimensions is not None and not 1 <= dimensions <= width:
        raise PotstillError(place, f"dimensions is {dimensions}, and its vectors have {width}", f"give 1 to {width}, or leave it out")
    return dimensions or width


def cut(vectors: Floats, dimensions: int, unit: bool) -> Floats:
    """The first dimensions of each vector (Kusupati et al. 2022, Matryoshka representation learning, section 3).

    Args:
        vectors: (n, d).
        dimensions: m ≤ d.
        unit: whether they are scaled to unit length again.

    Returns:
        (n, m); `vectors` itself where m = d.
    """
    if dimensions == vectors.shape[1]:
        return vectors
    kept = np.ascontiguousarray(vectors[:, :dimensions])
    return at_unit_length(kept) if unit else kept


def at_unit_length(vectors: Floats) -> Floats:
    """Vectors (n, d) scaled to Euclidean length 1; one of zeros stays so."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def quantize(vectors: Floats, precision: str) -> NDArray[Any]:
    """Vectors with fewer bits a number, to be compared by cosine.

    "int8": each vector divided by its largest absolute value and multiplied by 127, rounded. The scale is its own, which a
    cosine does not see: nothing is calibrated, and a text has the same vector in whatever company. (sentence-transformers
    takes the least and the greatest value of each dimension over the texts of the call.)
    "binary": the sign of each number, eight in a byte: NumPy's packbits of v > 0, less 128. "ubinary": without the 128. Both are
    sentence-transformers' own.

    Args:
        vectors: (n, d).
        precision: a name of PRECISIONS.

    Returns:
        float32 (n, d), int8 (n, d), int8 (n, d / 8) or uint8 (n, d / 8).

    Raises:
        PotstillError: there is no such precision, or d is no multiple of 8 where eight signs are a byte.
    """
    if precision not in PRECISIONS:
        raise PotstillError("precision", f"unknown value {shown(precision)}", did_you_mean(precision, list(PRECISIONS)))
    if precision == "float32":
        return vectors
    if precision == "int8":
        scale = 127 / np.maximum(np.abs(vectors).max(axis=1, keepdims=True, initial=0), 1e-12)
        return np.rint(vectors * scale).astype(np.int8)
    if vectors.shape[1] % 8:
        raise PotstillError("precision", f"{precision} takes a multiple of 8 dimensions, and there are {vectors.shape[1]}", "cut them")
    bits = np.packbits(vectors > 0, axis=1)  # (n, d / 8) uint8
    return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)


def as_floats(vectors: NDArray[Any], width: int) -> Floats:
    """Vectors to compute with, of whatever precision: signs become -1 and 1.

    Args:
        vectors: (n, width) floats or int8, or (n, width / 8) signs in bytes.
        width: how many dimensions they have.

    Returns:
        float32 (n, width).

    Raises:
        PotstillError: their shape and type are none that `quantize` gives.
    """
    packed = vectors.ndim == 2 and vectors.shape[1] * 8 == width and vectors.dtype in (np.int8, np.uint8)
    if packed:
        bits = vectors if vectors.dtype == np.uint8 else (vectors.astype(np.int16) + 128).astype(np.uint8)
        return np.unpackbits(bits, axis=1).astype(np.float32) * 2 - 1
    if vectors.ndim != 2 or vectors.shape[1] != width or (vectors.dtype.kind != "f" and vectors.dtype != np.int8):
        problem = f"{vectors.dtype} {vectors.shape} are no vectors of {width} dimensions"
        raise PotstillError("vectors", problem, "give what encode gives, with the same dimensions")
    return vectors.astype(np.float32)


def similarities(name: str, a: Floats, b: Floats) -> Floats:
    """How alike each of `a` is to each of `b`: more is more alike, so that distances are negative.

    Args:
        name: of runtime.folder.SIMILARITIES.
        a: (n, d).
        b: (m, d).

    Returns:
        (n, m).
    """
    if name in (COSINE, "dot"):
        a, b = (at_unit_length(side) if name == COSINE else side for side in (a, b))
        return a @ b.T
    order = 1 if name == "manhattan" else 2
    found = np.zeros((len(a), len(b)), dtype=np.float32)
    for row, vector in enumerate(a):  # row by row: all differences at once would be d times as large as the answer
        found[row] = -np.linalg.norm(vector - b, ord=order, axis=1)
    return found
