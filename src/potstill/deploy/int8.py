"""The fp32 graph rewritten with int8 weights and embedding tables, in standard operators.

Before each MatMul stand QuantizeLinear and DequantizeLinear, which say that its input may be
rounded, and its weights come out of a DequantizeLinear. onnxruntime turns the group into one int8
product when it loads the file; other runtimes know the form too. onnxruntime's own tool would
calibrate again for every setting, cannot smooth, and gives a whole embedding table one scale.

The standard LSTM operator has no int8 form: its weights are stored as int8 and computed with as fp32. So are those of
dense layers behind a pooling, which are run once a text and not once a token.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from potstill.deploy import int4
from potstill.deploy.calibration import Calibration, array, initializers, round_weights, shared_inputs
from potstill.runtime.folder import OUTPUT

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

INT8, INT4, FP32 = "int8", "int4", "fp32"  # of a table

TABLE = 1 << 16  # numbers: a smaller table is not worth the operators
LARGE = 1 << 20  # numbers: of a smaller table int4 would save less than half a megabyte, and it may be that of the positions


def write_int8(
    source: Path, target: Path, calibration: Calibration, weight_levels: int, *, spared: Collection[str] = (), tables: str = INT8
) -> None:
    """Write the int8 form of an fp32 graph.

    Args:
        source: the fp32 graph.
        target: the file to write.
        calibration: of the same graph, with the roundings of its inputs.
        weight_levels: greatest rounded weight; the same as in `calibrate`.
        spared: names of MatMuls that stay in fp32.
        tables: what embedding tables become: "int8", "int4" (the large ones, the others int8), or "fp32". Each row has a
            scale of its own: one for the whole table would follow its largest number.
    """
    import onnx

    model = onnx.load(str(source))
    _round_matmuls(model, calibration, weight_levels, spared)
    _round_stored(model)
    _round_tables(model, tables)
    _drop_unread(model)
    onnx.save(model, str(target))


def _round_matmuls(model: ModelProto, calibration: Calibration, levels: int, spared: Collection[str]) -> None:
    from onnx import helper

    weights = initializers(model)
    before: dict[str, list[NodeProto]] = {}  # the first reader's name → what must come before it
    for name, nodes in shared_inputs(model).items():
        readers = [node for node in nodes if node.name not in spared]
        if not readers:
            continue
        entry = calibration.inputs[name]
        inverse = _constant(model, f"{name}_inverse_scale", 1 / entry.scale)
        step, zero = _constant(model, f"{name}_step", np.float32(entry.step)), _constant(model, f"{name}_zero", np.uint8(entry.zero))
        new = [
            helper.make_node("Mul", [name, inverse], [f"{name}_smooth"]),
            helper.make_node("QuantizeLinear", [f"{name}_smooth", step, zero], [f"{name}_int8"]),
            helper.make_node("DequantizeLinear", [f"{name}_int8", step, zero], [f"{name}_rounded"]),
        ]
        for node in readers:
            # The MatMul's name is in it: layers that share weights have inputs, and so scales, of their own.
            own = f"{node.input[1]}_{node.name}"
            rounded, unit = round_weights(array(weights[node.input[1]]), entry.scale, levels)
            parts = [
                _constant(model, f"{own}_int8", rounded),
                _constant(model, f"{own}_unit", unit),
                _constant(model, f"{own}_zero", np.zeros(len(unit), dtype=np.int8)),
            ]
            new.append(helper.make_node("DequantizeLinear", parts, [f"{own}_rounded"], axis=1))
            node.input[0], node.input[1] = f"{name}_rounded", f"{own}_rounded"
        before[readers[0].name] = new
    _replace_nodes(model, lambda node: [*before.get(node.name, []), node])


def _round_stored(model: ModelProto) -> None:
    """Weights of LSTMs, and of dense layers (Gemm) beside an LSTM or behind a pooling → int8 × a scale for each row.

    What they read stays in fp32. They are written as Cast and Mul, which onnxruntime computes once when it loads the
    file. A DequantizeLinear of a constant is computed in every call, and then one text takes twice the time.
    """
    import onnx
    from onnx import helper

    of_vectors = any(output.name == OUTPUT for output in model.graph.output)
    if not of_vectors and not any(node.op_type == "LSTM" for node in model.graph.node):
        return  # a head's one dense layer above a transformer's stack is a small part of its file
    weights = initializers(model)

    def rounded(node: NodeProto) -> list[NodeProto]:
        new = []
        for place in {"LSTM": (1, 2), "Gemm": (1,)}.get(node.op_type, ()):
            name = node.input[place]
            if name not in weights or np.prod(weights[name].dims) < TABLE:
                continue
            values = array(weights[name])  # (2, 4 · width, d) of an LSTM, (out, in) of a Gemm
            unit = (np.maximum(np.abs(values).max(-1, keepdims=True), 1e-12) / 127).astype(np.float32)
            parts = [_constant(model, f"{name}_int8", np.round(values / unit).astype(np.int8)), _constant(model, f"{name}_unit", unit)]
            new.append(helper.make_node("Cast", parts[:1], [f"{name}_steps"], to=onnx.TensorProto.FLOAT))
            new.append(helper.make_node("Mul", [f"{name}_steps", parts[1]], [f"{name}_rounded"]))
            node.input[place] = f"{name}_rounded"
        return [*new, node]

    _replace_nodes(model, rounded)


def _round_tables(model: ModelProto, kind: str) -> None:
    """Gather(table) → Gather(int8 table) × Gather(scale of the row); of int4 `int4.unpacking` stands between."""
    import onnx
    from onnx import helper

    weights, forms = initializers(model), table_forms(model, kind)

    def rounded(node: NodeProto) -> list[NodeProto]:
        if node.op_type != "Gather" or node.name not in forms:
            return [node]
        table = weights[node.input[0]]
        values = array(table)  # (rows, d)
        own, out = f"{table.name}_{node.name}", node.output[0]
        if forms[node.name] == INT4:
            levels, unit = int4.round_rows(values)
            numbers, units = _constant(model, f"{own}_int4", int4.pack(levels)), _constant(model, f"{own}_unit", unit)
            constants = _constant(model, f"{own}_all", np.float32(int4.LEVELS)), _constant(model, f"{own}_middle", np.float32(int4.MIDDLE))
            return [
                helper.make_node("Gather", [numbers, node.input[1]], [f"{out}_row_int4"]),
                helper.make_node("Gather", [units, node.input[1]], [f"{out}_row_unit"]),
                *int4.unpacking(f"{out}_row_int4", f"{out}_row_unit", out, constants),
            ]
        unit = (np.maximum(np.abs(values).max(1, keepdims=True), 1e-12) / 127).astype(np.float32)  # (rows, 1)
        numbers, units = _constant(model, f"{own}_int8", np.round(values / unit).astype(np.int8)), _constant(model, f"{own}_unit", unit)
        return [
            # A MatMul may read the rows, and then has rounded them under names of its own.
            helper.make_node("Gather", [numbers, node.input[1]], [f"{out}_row_int8"]),
            helper.make_node("Gather", [units, node.input[1]], [f"{out}_row_unit"]),
            helper.make_node("Cast", [f"{out}_row_int8"], [f"{out}_row_steps"], to=onnx.TensorProto.FLOAT),
            helper.make_node("Mul", [f"{out}_row_steps", f"{out}_row_unit"], [out]),
        ]

    _replace_nodes(model, rounded)


def table_forms(model: ModelProto, kind: str) -> dict[str, str]:
    """Name of each node that reads rows of an embedding table of `TABLE` numbers or more → INT8 or INT4, what the table becomes.

    Args:
        model: the fp32 graph.
        kind: as the `tables` of `write_int8`; of "fp32" there are none.
    """
    import onnx

    if kind == FP32:
        return {}
    tables = {
        name: entry
        for name, entry in initializers(model).items()
        if entry.data_type == onnx.TensorProto.FLOAT and len(entry.dims) == 2 and np.prod(entry.dims) >= TABLE
    }
    read = {node.name: tables[node.input[0]] for node in model.graph.node if node.op_type == "Gather" and node.input[0] in tables}
    return {name: INT4 if kind == INT4 and np.prod(t.dims) >= LARGE and t.dims[1] % 2 == 0 else INT8 for name, t in read.items()}


def _replace_nodes(model: ModelProto, replacement: Callable[[NodeProto], list[NodeProto]]) -> None:
    nodes = [new for node in model.graph.node for new in replacement(node)]
    del model.graph.node[:]
    for node in nodes:
        node.name = node.name or f"{node.output[0]}_node"
    model.graph.node.extend(nodes)


def _constant(model: ModelProto, name: str, values: np.ndarray | np.generic) -> str:
    from onnx import numpy_helper

    model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
    return name


def _drop_unread(model: ModelProto) -> None:
    """Remove the fp32 weights that nothing reads any more."""
    read = {name for node in model.graph.node for name in node.input}
    kept = [entry for entry in model.graph.initializer if entry.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
