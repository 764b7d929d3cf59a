"""An ONNX file opened in onnxruntime, on the CPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from potstill.errors import PotstillError, shown
from potstill.runtime.folder import AGAIN, ATTENTION_MASK, EMBED, INPUT_IDS, LOGITS, OUTPUT, TOKEN_TYPES, ExportConfig

# onnxruntime's fused skip + normalisation runs several times slower on the CPU than the two operators that it replaces.
SLOW_FUSIONS = ["SkipLayerNormFusion"]


def open_session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the CPU.

    Args:
        file: the graph.
        threads: of one call into it.

    Raises:
        PotstillError: onnxruntime cannot load the file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # A pattern is kept for each shape, and here nearly every batch has a new one: 50 MB for no gain.
    options.enable_mem_pattern = False
    # Threads that wait by spinning take the core from whoever else works: a third slower on a busy machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"], disabled_optimizers=SLOW_FUSIONS)
    except Exception as error:  # onnxruntime has a class for each of a dozen reasons, with no parent of their own
        raise PotstillError(file, f"cannot be loaded by onnxruntime ({shown(str(error), 160)})", AGAIN) from error


def output_name(config: ExportConfig) -> str:
    """Name of the graph's output: embeddings, or the logits of a head."""
    return OUTPUT if config.head == EMBED else LOGITS


def require_graph(session: onnxruntime.InferenceSession, file: Path, config: ExportConfig) -> None:
    """Check that a graph has the inputs and the output that its folder's configuration says.

    Raises:
        PotstillError: it reads something else, or gives another output or another width.
    """
    wanted = output_name(config)
    outputs = {entry.name: entry.shape for entry in session.get_outputs()}
    unknown = {entry.name for entry in session.get_inputs()} - {INPUT_IDS, ATTENTION_MASK, TOKEN_TYPES}
    if wanted not in outputs or unknown:
        raise PotstillError(file, f"is not a text encoder with the output {wanted} (it has {', '.join(outputs)})", AGAIN)
    width = outputs[wanted][-1]
    if isinstance(width, int) and width != config.outputs:
        what = "vectors of {} numbers" if config.head == EMBED else "{} logits"
        raise PotstillError(file, f"gives {what.format(width)} and the folder's description says {config.outputs}", AGAIN)
