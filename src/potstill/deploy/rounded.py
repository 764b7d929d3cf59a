"""Which modules of the torch model an int8 graph rounds, and how, for a training under the same rounding."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from potstill.deploy.calibration import Array, Calibration, shared_inputs
from potstill.deploy.int8 import table_gathers

if TYPE_CHECKING:
    from onnx import NodeProto

SCOPES = "pkg.torch.onnx.name_scopes"  # torch's exporter says there which modules a node stands in, the outermost first
ROOT = "model."  # the model's name in the module that is exported


@dataclass(frozen=True)
class Roundings:
    """The arguments of deploy.fake_quantize.fake_quantized.

    Attributes:
        setting: name of the ladder's setting.
        inputs: path of a Linear → scale (k,), step and zero of its input.
        tables: paths of the embedding tables.
        weight_levels: greatest rounded weight.
    """

    setting: str
    inputs: dict[str, tuple[Array, float, int]]
    tables: list[str]
    weight_levels: int


def roundings(
    file: Path, calibration: Calibration, weight_levels: int, setting: str, *, spared: Collection[str] = (), embedding: bool = True
) -> Roundings | None:
    """The roundings that write_int8 gives an exported graph, by the modules of the torch model.

    Args:
        file: the fp32 graph.
        calibration: of the graph.
        weight_levels: greatest rounded weight.
        setting: its name.
        spared: names of MatMuls that stay in fp32.
        embedding: whether embedding tables are rounded.

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
                paths.append(_module(node))
                inputs[paths[-1] or ""] = (entry.scale, entry.step, entry.zero)
    tables = [_module(node) for node in table_gathers(model)] if embedding else []
    known = [path for path in (*paths, *tables) if path]
    if not inputs or len(set(known)) < len(paths) + len(tables):
        return None
    return Roundings(setting, inputs, [path for path in tables if path], weight_levels)


def _module(node: NodeProto) -> str | None:
    """Path in the torch model of the module that a node was exported from: the innermost one; after it stands the node's own name."""
    said = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
    scopes = ast.literal_eval(said)
    return scopes[-2].removeprefix(ROOT) if len(scopes) > 1 and scopes[-2].startswith(ROOT) else None
