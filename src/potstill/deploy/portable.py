"""A graph as it ships: without what torch's exporter says of the machine it was made on, and readable by old runtimes."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

SCOPES = "pkg.torch.onnx.name_scopes"  # torch's exporter says there which modules a node stands in, the outermost first
ROOT = "model."  # the model's name in the module that is exported
NOTES = ("metadata_props", "doc_string")  # stack traces among them: paths and source lines of whoever exported


def make_portable(model: ModelProto) -> None:
    """Take all notes out of a graph, in place, and ask for the lowest IR version that its operators allow.

    Each node is named after its module first, by which `module_of` finds it again.

    Args:
        model: as torch's exporter made it.
    """
    from onnx import helper

    for node in model.graph.node:
        said = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "[]")
        scopes = ast.literal_eval(said)  # the innermost module is the last but one; behind it stands the node's own name
        if len(scopes) > 1 and scopes[-2].startswith(ROOT):
            node.name = f"{scopes[-2]}/{node.name}"
    _strip(model)
    # The exporter asks for the version in which notes on nodes came, which onnxruntime reads from 1.18 on.
    model.ir_version = min(model.ir_version, helper.find_min_ir_version_for(list(model.opset_import)))


def module_of(node: NodeProto) -> str | None:
    """Path in the torch model of the module that a node was exported from; None where its name does not tell."""
    path, named, _ = node.name.rpartition("/")
    return path.removeprefix(ROOT) if named and path.startswith(ROOT) else None


def _strip(message: Any) -> None:
    """Clear every note in a protobuf message and in all below it."""
    from onnx import TensorProto

    for name in NOTES:
        if name in message.DESCRIPTOR.fields_by_name:
            message.ClearField(name)
    if isinstance(message, TensorProto):  # nothing but numbers, which reading would copy
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else value:
                _strip(part)
