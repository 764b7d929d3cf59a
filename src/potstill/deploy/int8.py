"""One int8 file out of the fp32 one: what is scaled, what is rounded, what is spared.

onnxruntime rounds the weights of a MatMul once, each output column by its own scale, and its
input anew at every call, the whole batch by one scale. So one input channel with large values
costs all others their precision. Such channels are scaled down and the weights' rows up by as
much, which changes nothing in fp32 (SmoothQuant, Xiao et al. 2023, eq. 4); the strength is chosen
for each input by the error that it leaves.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from potstill.deploy.quiet import quiet
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import ATTENTION_MASK

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

Array = NDArray[np.float32]

STRENGTHS = (0.0, 0.7)  # alpha: 0 leaves the input as it is, 1 makes all its channels equally wide
TOKENS = 2048  # rows of an input on which errors are measured
ROWS = 16  # texts of a batch while inner tensors are watched
TABLE = 1 << 16  # numbers: smaller tables are not worth two more operators


@dataclass(frozen=True)
class Analysis:
    """What int8 would do to each MatMul of a graph.

    Attributes:
        scales: input tensor → (k,) its channels are divided by these.
        sensitive: names of the MatMuls with constant weights, the worst relative output error first.
        errors: MatMul → that error, |int8 - fp32| / |fp32| over all outputs.
    """

    scales: dict[str, Array]
    sensitive: list[str]
    errors: dict[str, float]


def analyse(file: Path, encoder: Encoder, texts: Sequence[str], reduce_range: bool = False) -> Analysis:
    """Measure, on `texts`, the error that int8 leaves in every MatMul of an fp32 graph.

    Args:
        encoder: of the same folder; it makes the inputs.
        reduce_range: weights of 7 bits.
    """
    import onnx

    model = onnx.load(str(file))
    groups = _groups(model)
    weights = _initializers(model)
    scales: dict[str, Array] = {}
    errors: dict[str, float] = {}
    for name, values in _activations(model, list(groups), encoder, texts).items():
        matrices = [_array(weights[node.input[1]]) for node in groups[name]]
        tried = []
        for strength in STRENGTHS:
            scale = _smoothing(values, matrices, strength)
            tried.append((scale, [_error(values, matrix, scale, reduce_range) for matrix in matrices]))
        scales[name], found = min(tried, key=lambda pair: sum(pair[1]))
        errors |= {node.name: error for node, error in zip(groups[name], found, strict=True)}
    return Analysis(scales, sorted(errors, key=lambda name: -errors[name]), errors)


def write_int8(source: Path, target: Path, analysis: Analysis, *, spared: Sequence[str] = (), embedding: bool = True, reduce_range: bool = False) -> None:
    """Write the int8 form of the fp32 graph `source`.

    Args:
        spared: MatMuls that stay in fp32.
        embedding: whether the embedding tables become int8, each row by its own scale. (One scale
            for a table, as onnxruntime's own tool does it, follows the table's one largest number.)
        reduce_range: weights of 7 bits, for processors whose 8-bit products overflow 16 bits.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(str(source))
    _smooth(model, analysis.scales, set(spared))
    if embedding:
        _round_tables(model)
    with quiet():
        quantize_dynamic(
            model,
            str(target),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(spared),
        )


def _groups(model: ModelProto) -> dict[str, list[NodeProto]]:
    """Input tensor → the MatMuls with constant weights (k, n) that read it: query, key and value share one."""
    constants = {entry.name: entry for entry in model.graph.initializer}
    groups: dict[str, list[NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants and len(constants[node.input[1]].dims) == 2:
            groups.setdefault(node.input[0], []).append(node)
    return groups


def _activations(model: ModelProto, names: Sequence[str], encoder: Encoder, texts: Sequence[str]) -> dict[str, Array]:
    """Values of inner tensors on `texts`, real tokens only: name → (tokens, k)."""
    import onnx
    import onnxruntime

    outputs = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names]
    model.graph.output.extend(outputs)
    collected: dict[str, list[Array]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "watched.onnx"
        onnx.save(model, str(file))
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    del model.graph.output[-len(outputs) :]
    tokens = 0
    for start in range(0, len(texts), ROWS):
        feeds = encoder.feeds(texts[start : start + ROWS])
        mask = feeds[ATTENTION_MASK].astype(bool)  # (b, l)
        for name, values in zip(names, session.run(list(names), feeds), strict=True):
            collected[name].append(values[mask])  # (b, l, k) → (tokens, k)
        tokens += int(mask.sum())
        if tokens >= TOKENS:
            break
    return {name: np.concatenate(values)[:TOKENS] for name, values in collected.items()}


def _smoothing(values: Array, matrices: Sequence[Array], strength: float) -> Array:
    """SmoothQuant's scale of each input channel, their geometric mean 1. values (t, k), matrices (k, n) → (k,)."""
    if strength == 0:
        return np.ones(values.shape[1], dtype=np.float32)
    wide = np.maximum(np.abs(values).max(0), 1e-5) ** strength
    heavy = np.maximum(np.max([np.abs(matrix).max(1) for matrix in matrices], axis=0), 1e-5) ** (1 - strength)
    scale = wide / heavy
    return (scale / np.exp(np.log(scale).mean())).astype(np.float32)


def _error(values: Array, matrix: Array, scale: Array, reduce_range: bool) -> float:
    """|int8 - fp32| / |fp32| of values @ matrix. values (t, k), matrix (k, n), scale (k,)."""
    exact = values @ matrix
    smooth = values / scale
    low, high = min(float(smooth.min()), 0.0), max(float(smooth.max()), 0.0)
    step = max((high - low) / 255, 1e-12)
    rounded = np.round(smooth / step) * step
    heavy = matrix * scale[:, None]
    unit = np.maximum(np.abs(heavy).max(0), 1e-12) / (63 if reduce_range else 127)  # (n,)
    wrong = rounded @ (np.round(heavy / unit) * unit) - exact
    # Token by token: a few with huge values would decide for all others, which have as large a part in a pooled vector.
    return float(np.mean(np.linalg.norm(wrong, axis=1) / np.maximum(np.linalg.norm(exact, axis=1), 1e-12)))


def _smooth(model: ModelProto, scales: dict[str, Array], spared: set[str]) -> None:
    """Put one multiplication before the MatMuls that share an input, and its inverse into their weights."""
    import onnx

    weights = _initializers(model)
    for name, nodes in _groups(model).items():
        readers = [node for node in nodes if node.name not in spared]
        scale = scales[name]
        if not readers or bool((scale == 1).all()):
            continue
        for node in readers:
            # Under a new name: layers that share weights have inputs of their own.
            scaled = f"{node.input[1]}_{node.name}_scaled"
            model.graph.initializer.append(onnx.numpy_helper.from_array(_array(weights[node.input[1]]) * scale[:, None], scaled))
            node.input[0], node.input[1] = f"{name}_smooth", scaled
        model.graph.initializer.append(onnx.numpy_helper.from_array(1 / scale, f"{name}_scale"))
        smooth = onnx.helper.make_node("Mul", [name, f"{name}_scale"], [f"{name}_smooth"], name=f"{name}_smooth")
        first = next(number for number, node in enumerate(model.graph.node) if node.name == readers[0].name)
        model.graph.node.insert(first, smooth)
    _drop_unread(model)


def _round_tables(model: ModelProto) -> None:
    """Gather(table) → Gather(int8 table) × Gather(scale of the row), for every large table."""
    import onnx

    tables = _initializers(model)
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        table = tables.get(node.input[0]) if node.op_type == "Gather" else None
        if table is None or table.data_type != onnx.TensorProto.FLOAT or len(table.dims) != 2 or int(np.prod(table.dims)) < TABLE:
            model.graph.node.append(node)
            continue
        values = _array(table)  # (rows, d)
        scale = (np.maximum(np.abs(values).max(1, keepdims=True), 1e-12) / 127).astype(np.float32)  # (rows, 1)
        rows, units = f"{table.name}_int8", f"{table.name}_scale"
        if rows not in _initializers(model):
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.round(values / scale).astype(np.int8), rows))
            model.graph.initializer.append(onnx.numpy_helper.from_array(scale, units))
        out = node.output[0]
        model.graph.node.extend(
            [
                onnx.helper.make_node("Gather", [rows, node.input[1]], [f"{out}_int8"], name=f"{node.name}_int8"),
                onnx.helper.make_node("Gather", [units, node.input[1]], [f"{out}_scale"], name=f"{node.name}_scale"),
                onnx.helper.make_node("Cast", [f"{out}_int8"], [f"{out}_cast"], name=f"{node.name}_cast", to=onnx.TensorProto.FLOAT),
                onnx.helper.make_node("Mul", [f"{out}_cast", f"{out}_scale"], [out], name=f"{node.name}_scaled"),
            ]
        )
    _drop_unread(model)


def _drop_unread(model: ModelProto) -> None:
    read = {name for node in model.graph.node for name in node.input}
    kept = [entry for entry in model.graph.initializer if entry.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    # Types that the exporter noted for tensors that are gone.
    made = {name for node in model.graph.node for name in node.output}
    noted = [entry for entry in model.graph.value_info if entry.name in made]
    del model.graph.value_info[:]
    model.graph.value_info.extend(noted)


def _initializers(model: ModelProto) -> dict[str, TensorProto]:
    return {entry.name: entry for entry in model.graph.initializer}


def _array(tensor: TensorProto) -> Array:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))
