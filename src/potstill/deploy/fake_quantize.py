"""A torch model that computes as its int8 file will, with gradients, so that it can be trained under the rounding.

The gradient of rounding is zero nearly everywhere. Instead it is taken to be 1, the straight-through
estimator (Bengio et al. 2013, "Estimating or propagating gradients through stochastic neurons";
Jacob et al. 2018, section 3, for weights and activations). An input beyond its range is clipped, and
gets no gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from potstill.deploy import int4

INPUT_LEVELS = 255  # steps of an unsigned 8-bit input
TABLE_LEVELS = 127  # greatest number of a table
LEAST = 1e-12  # greatest magnitude that a channel of zeros is taken to have


@contextmanager
def fake_quantized(
    model: nn.Module, inputs: Mapping[str, tuple[np.ndarray, float, int]], tables: Mapping[str, str], weight_levels: int
) -> Iterator[None]:
    """While the block runs, some modules of `model` round as an int8 file does, in training and in eval mode alike.

    Nothing is wrapped: the parameters keep their names and their fp32 values, which the optimizer updates and a
    checkpoint holds.

    Args:
        model: holds the modules.
        inputs: path of an nn.Linear in `model` → scale (k,), step and zero of its input x, which becomes x / scale
            rounded to whole steps within 0 … 255 around zero. The weights times the scale are rounded too, each output
            channel in a unit of its own, computed from the weights in every call.
        tables: path of an nn.Embedding → "int8" or "int4". Each row is rounded in a unit of its own.
        weight_levels: greatest rounded weight.
    """
    changed: list[nn.Module] = []
    try:
        for path, (scale, step, zero) in inputs.items():
            linear = model.get_submodule(path)
            assert isinstance(linear, nn.Linear)
            _set_forward(linear, _RoundedLinear(linear, torch.from_numpy(scale), step, zero, weight_levels), changed)
        for path, form in tables.items():
            table = model.get_submodule(path)
            assert isinstance(table, nn.Embedding)
            _set_forward(table, _RoundedTable(table, form), changed)
        yield
    finally:
        for module in changed:
            del module.forward


def _set_forward(module: nn.Module, forward: _RoundedLinear | _RoundedTable, changed: list[nn.Module]) -> None:
    module.forward = forward  # type: ignore[method-assign, assignment]  # of this one instance
    changed.append(module)


class _RoundedLinear:
    """The forward of a Linear, (…, k) → (…, n), with input and weights rounded."""

    def __init__(self, linear: nn.Linear, scale: Tensor, step: float, zero: int, levels: int) -> None:
        self.linear, self.scale, self.step, self.zero, self.levels = linear, scale, step, zero, levels

    def __call__(self, x: Tensor) -> Tensor:
        self.scale = self.scale.to(x.device)
        weight = self.linear.weight * self.scale  # (n, k)
        unit = weight.detach().abs().amax(1).clamp_min(LEAST) / self.levels
        zeros = torch.zeros_like(unit, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(weight, unit, zeros, 0, -self.levels, self.levels)
        x = torch.fake_quantize_per_tensor_affine(x / self.scale, self.step, self.zero, 0, INPUT_LEVELS)
        return nn.functional.linear(x, weight, self.linear.bias)


class _RoundedTable:
    """The forward of an Embedding, token ids (…) → rows (…, d), with the rows that are read rounded."""

    def __init__(self, table: nn.Embedding, form: str) -> None:
        self.table, self.round = table, {"int8": _int8_rows, "int4": _int4_rows}[form]

    def __call__(self, numbers: Tensor) -> Tensor:
        rows = nn.functional.embedding(numbers, self.table.weight, self.table.padding_idx)
        exact = rows.detach()
        return rows + (self.round(exact) - exact)


def _int8_rows(rows: Tensor) -> Tensor:
    unit = rows.abs().amax(-1, keepdim=True).clamp_min(LEAST) / TABLE_LEVELS
    return (rows / unit).round() * unit


def _int4_rows(rows: Tensor) -> Tensor:
    """As deploy.int4.round_rows, (…, d) → (…, d)."""
    widest = rows.abs().amax(-1, keepdim=True).clamp_min(int4.LEAST) / (int4.LEVELS / 2)
    best = torch.full_like(widest, torch.inf)
    found = rows
    for fraction in int4.FRACTIONS:
        unit = widest * fraction
        rounded = ((rows / unit + int4.MIDDLE).round().clamp(0, int4.LEVELS - 1) - int4.MIDDLE) * unit
        error = (rounded - rows).square().sum(-1, keepdim=True)
        found = torch.where(error < best, rounded, found)
        best = torch.minimum(best, error)
    return found
