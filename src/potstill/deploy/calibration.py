"""The inputs of a graph's MatMuls on real texts: their ranges, and the error that int8 makes of them.

One scale serves a whole input, so one channel with large values costs all others their precision.
Such channels are divided, and the weights' rows multiplied, by a scale of their own, which changes
nothing in fp32 (SmoothQuant, Xiao et al. 2023, eq. 4).

The input's range is fixed here once. Taking it anew from each batch, as dynamic quantisation does,
makes a text's embedding depend on its neighbours. Measured on all-MiniLM-L6-v2, mean cosine to fp32:
dynamic .9917, dynamic and smoothed .9937, fixed and smoothed .9975; lowest cosine of a text alone
and in a batch: .972, .983, 1.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import ATTENTION_MASK
from potstill.runtime.session import open_session
from potstill.runtime.tokens import Text, suited

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

Array = NDArray[np.float32]

STRENGTH = 0.7  # SmoothQuant's alpha: 0 leaves the input as it is, 1 makes all its channels equally wide
ROWS = 16  # texts of a batch while inner tensors are watched
TOKENS = 1024  # rows of an input on which errors are measured
LEVELS = 255  # steps of an unsigned 8-bit input
# What corpora seldom hold and users do send: without them their values would lie outside the ranges.
ODD = (
    "",
    "a",
    "!!!!!!!",
    "12345 67890 3.14159",
    "https://example.org/a?b=c&d=e",
    "ALL IN CAPITALS",
    "日本語のテキスト",
    "def f(x): return x[0]",
)


@dataclass(frozen=True)
class Input:
    """How an input of MatMuls is rounded: round(x / scale / step) + zero, within 0 … 255.

    Attributes:
        scale: (k,) smooths the channels.
        step, zero: of all channels.
    """

    scale: Array
    step: float
    zero: int


@dataclass(frozen=True)
class Calibration:
    """What was measured on texts.

    Attributes:
        inputs: name of each tensor that MatMuls read → its rounding.
        errors: name of each MatMul with constant weights → the mean over tokens of |int8 - fp32| / |fp32| of its output.
    """

    inputs: dict[str, Input]
    errors: dict[str, float]

    def sensitive(self) -> list[str]:
        """The MatMuls, the largest error first."""
        return sorted(self.errors, key=lambda name: -self.errors[name])


def calibrate(file: Path, encoder: Encoder, texts: Sequence[Text], weight_levels: int) -> Calibration:
    """Run an fp32 graph on `texts` and find the rounding of each MatMul's input, and the error that it makes.

    Args:
        file: the graph.
        encoder: of the same folder; it makes the graph's inputs.
        texts: like those that the model will read; a few odd ones are added.
        weight_levels: greatest rounded weight, 127 or 63.

    Returns:
        The roundings and errors; none for a graph without such MatMuls.
    """
    import onnx

    model = onnx.load(str(file))
    groups, weights = shared_inputs(model), initializers(model)
    if not groups:  # a BiLSTM has none
        return Calibration({}, {})
    seen = _watch(model, list(groups), encoder, [*suited(ODD, encoder.head), *texts])
    inputs: dict[str, Input] = {}
    errors: dict[str, float] = {}
    for name, nodes in groups.items():
        matrices = [array(weights[node.input[1]]) for node in nodes]
        low, high, sample = seen[name]
        inputs[name] = rounding(low, high, matrices)
        for node, matrix in zip(nodes, matrices, strict=True):
            errors[node.name] = output_error(sample, matrix, inputs[name], weight_levels)
    return Calibration(inputs, errors)


def rounding(low: Array, high: Array, matrices: Sequence[Array]) -> Input:
    """Smoothing scale and range of an input (SmoothQuant, Xiao et al. 2023, eq. 4).

    Args:
        low: (k,) least value of each channel.
        high: (k,) greatest value of each channel.
        matrices: the weights that read the input, each (k, n).
    """
    wide = np.maximum(np.maximum(np.abs(low), np.abs(high)), 1e-5) ** STRENGTH
    heavy = np.maximum(np.max([np.abs(matrix).max(1) for matrix in matrices], axis=0), 1e-5) ** (1 - STRENGTH)
    scale = wide / heavy
    scale = (scale / np.exp(np.log(scale).mean())).astype(np.float32)
    # Zero must have a number of its own: it is what most of GELU's outputs are near.
    least, greatest = min(float((low / scale).min()), 0.0), max(float((high / scale).max()), 0.0)
    step = max((greatest - least) / LEVELS, 1e-12)
    return Input(scale, step, round(-least / step))


def round_weights(matrix: Array, scale: Array, levels: int) -> tuple[NDArray[np.int8], Array]:
    """Round weights, times their input's scale, each output column in a unit of its own.

    Args:
        matrix: (k, n) weights.
        scale: (k,) of the input.
        levels: greatest rounded weight.

    Returns:
        The rounded weights (k, n), and the columns' units (n,).
    """
    heavy = matrix * scale[:, None]
    unit = (np.maximum(np.abs(heavy).max(0), 1e-12) / levels).astype(np.float32)
    return np.round(heavy / unit).astype(np.int8), unit


def output_error(sample: Array, matrix: Array, entry: Input, levels: int) -> float:
    """Mean over tokens of |int8 - fp32| / |fp32| of sample @ matrix.

    The error is relative to each token's own norm: else a few tokens with huge values would decide, and every token has
    the same share in a pooled embedding.

    Args:
        sample: (t, k) values of the input.
        matrix: (k, n) weights.
        entry: the input's rounding.
        levels: greatest rounded weight.
    """
    steps = np.clip(np.round(sample / entry.scale / entry.step) + entry.zero, 0, LEVELS) - entry.zero
    weights, unit = round_weights(matrix, entry.scale, levels)
    exact = sample @ matrix
    wrong = (steps * entry.step).astype(np.float32) @ (weights * unit) - exact
    return float(np.mean(np.linalg.norm(wrong, axis=1) / np.maximum(np.linalg.norm(exact, axis=1), 1e-12)))


def shared_inputs(model: ModelProto) -> dict[str, list[NodeProto]]:
    """Name of a tensor → the MatMuls with constant weights (k, n) that read it; query, key and value share their input."""
    constants = initializers(model)
    groups: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants and len(constants[node.input[1]].dims) == 2:
            groups.setdefault(node.input[0], []).append(node)
    return groups


def initializers(model: ModelProto) -> dict[str, TensorProto]:
    """The graph's constants by name."""
    return {entry.name: entry for entry in model.graph.initializer}


def array(tensor: TensorProto) -> Array:
    """A constant's values, in its own shape."""
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def _watch(model: ModelProto, names: list[str], encoder: Encoder, texts: Sequence[Text]) -> dict[str, tuple[Array, Array, Array]]:
    """Inner tensors of the graph on `texts`, at tokens only: name → least (k,), greatest (k,), some values (t, k)."""
    import onnx

    given = {output.name for output in model.graph.output}  # a layer before the pooling reads what is given out, too
    watched = [name for name in names if name not in given]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in watched)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "watched.onnx"
        onnx.save(model, str(file))
        session = open_session(file, encoder.threads)
    low: dict[str, Array] = {}
    high: dict[str, Array] = {}
    samples: dict[str, list[Array]] = {name: [] for name in names}
    kept = 0
    for start in range(0, len(texts), ROWS):
        feeds = encoder.feeds(texts[start : start + ROWS])
        mask = feeds[ATTENTION_MASK].astype(bool)  # (b, l)
        for name, padded in zip(names, session.run(names, feeds), strict=True):
            # (b, l, k) → (tokens, k). What a head reads of a whole text has no axis of tokens, (b, k), what tells of distances no axis of
            # texts, (2 l, k), and an expert may read no token at all.
            values = padded[mask] if padded.shape[:2] == mask.shape and padded.ndim == 3 else padded.reshape(-1, padded.shape[-1])
            values = values if len(values) else np.zeros((1, padded.shape[-1]), padded.dtype)
            low[name] = np.minimum(low.get(name, np.inf), values.min(0))
            high[name] = np.maximum(high.get(name, -np.inf), values.max(0))
            if kept < TOKENS:
                samples[name].append(values)
        kept += int(mask.sum())
    return {name: (low[name], high[name], np.concatenate(samples[name])[:TOKENS]) for name in names}
