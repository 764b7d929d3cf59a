"""Rows of an embedding table in 16 levels, two numbers a byte, in standard operators.

Of a student's int8 file the table is the larger part, and its rows are only looked up: what a level costs there is little. A row's
levels are (q - 7.5) × unit for q = 0 … 15, so that none is wasted on one side of zero. The unit is the one of `FRACTIONS` by which the
row's squared error is least: the greatest number of a row is rare, and what is cut off of it buys finer steps for all others.

The operators are arithmetic on whole numbers in fp32, which every runtime has; ONNX has a type of 4 bits, and Gather does not take it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import NodeProto

LEVELS = 16
MIDDLE = (LEVELS - 1) / 2
FRACTIONS = tuple(round(0.3 + 0.05 * step, 2) for step in range(15))  # of a row's greatest magnitude, which the outer levels reach
LEAST = 1e-12  # greatest magnitude that a row of zeros is taken to have


def round_rows(values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The levels of each row, and its unit.

    Args:
        values: (rows, d)

    Returns:
        q as (rows, d), 0 … 15, and the units as (rows, 1).
    """
    widest = np.maximum(np.abs(values).max(1, keepdims=True), LEAST) / (LEVELS / 2)  # (rows, 1)
    best = np.full_like(widest, np.inf)
    numbers, units = np.zeros(values.shape, dtype=np.uint8), widest
    for fraction in FRACTIONS:
        unit = (widest * np.float32(fraction)).astype(np.float32)
        levels = np.clip(np.round(values / unit + MIDDLE), 0, LEVELS - 1)
        error = np.square((levels - MIDDLE) * unit - values).sum(1, keepdims=True)
        better = error < best
        numbers, units = np.where(better, levels, numbers).astype(np.uint8), np.where(better, unit, units)
        best = np.minimum(best, error)
    return numbers, units.astype(np.float32)


def pack(numbers: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two numbers in a byte, the first half of a row above the second: (rows, d) of 0 … 15 → (rows, d / 2)."""
    half = numbers.shape[1] // 2
    return (numbers[:, :half] * LEVELS + numbers[:, half:]).astype(np.uint8)


def unpacking(rows: str, units: str, out: str, constants: tuple[str, str]) -> list[NodeProto]:
    """The nodes that make vectors of packed rows.

    Args:
        rows: name of the bytes that were looked up, (…, d / 2).
        units: name of their units, (…, 1).
        out: name of the result, (…, d); its beginning is that of all names between.
        constants: names of LEVELS and of MIDDLE in fp32.
    """
    import onnx
    from onnx import helper

    levels, middle = constants
    return [
        helper.make_node("Cast", [rows], [f"{out}_bytes"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Div", [f"{out}_bytes", levels], [f"{out}_shifted"]),
        helper.make_node("Floor", [f"{out}_shifted"], [f"{out}_first"]),
        helper.make_node("Mul", [f"{out}_first", levels], [f"{out}_above"]),
        helper.make_node("Sub", [f"{out}_bytes", f"{out}_above"], [f"{out}_second"]),
        helper.make_node("Concat", [f"{out}_first", f"{out}_second"], [f"{out}_levels"], axis=-1),
        helper.make_node("Sub", [f"{out}_levels", middle], [f"{out}_steps"]),
        helper.make_node("Mul", [f"{out}_steps", units], [out]),
    ]
