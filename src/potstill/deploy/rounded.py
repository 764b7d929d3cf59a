"""Which modules of the torch model an int8 graph rounds, and how, for a training under the same rounding."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from potstill.deploy.calibration import Array, Calibration, shared_inputs
from potstill.deploy.int8 import INT8, table_forms
from potstill.deploy.portable import module_of


@dataclass(frozen=True)
class Roundings:
    """The arguments of deploy.fake_quantize.fake_quantized.

    Attributes:
        setting: name of the ladder's setting.
        inputs: path of a Linear → scale (k,), step and zero of its input.
        tables: path of an embedding table → what it becomes, as int8.table_forms says.
        weight_levels: greatest rounded weight.
    """

    setting: str
    inputs: dict[str, tuple[Array, float, int]]
    tables: dict[str, str]
    weight_levels: int


def roundings(
    file: Path, calibration: Calibration, weight_levels: int, setting: str, *, spared: Collection[str] = (), tables: str = INT8
) -> Roundings | None:
    """The roundings that write_int8 gives an exported graph, by the modules of the torch model.

    Args:
        file: the fp32 graph.
        calibration: of the graph.
        weight_levels: greatest rounded weight.
        setting: its name.
        spared: names of MatMuls that stay in fp32.
        tables: what embedding tables become, as in `write_int8`.

    Returns:
        The roundings; None where a node's module is not known. So it is where something else than torch wrote the file,
        and where layers share their weights: each has a rounding of its own in the graph, and they are one module in torch.
    """
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    inputs: dict[str, tuple[Array, float, int]] = {}
    paths: list[str | None] = []
    for name, nodes in shared_inputs(model).items():
        entry = calibration.inputs[name]
        for node in nodes:
            if node.name not in spared:
                paths.append(module_of(node))
                inputs[paths[-1] or ""] = (entry.scale, entry.step, entry.zero)
    forms = table_forms(model, tables)
    rows = [(module_of(node), forms[node.name]) for node in model.graph.node if node.name in forms]
    known = [path for path in (*paths, *(path for path, _ in rows)) if path]
    if not inputs or len(set(known)) < len(paths) + len(rows):
        return None
    return Roundings(setting, inputs, {path: form for path, form in rows if path}, weight_levels)
