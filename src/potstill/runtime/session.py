"""An ONNX file in onnxruntime, on the CPU."""

from __future__ import annotations

import os
from pathlib import Path

import onnxruntime

from potstill.errors import PotstillError, shown
from potstill.runtime.folder import AGAIN, ATTENTION_MASK, EMBED, INPUT_IDS, LOGITS, OUTPUT, TOKEN_TYPES, Card

# onnxruntime's fused skip + normalisation runs several times slower on the CPU than the two operators that it replaces.
SLOW_FUSIONS = ["SkipLayerNormFusion"]


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """An ONNX file on the CPU, with pinned threads.

    Raises:
        PotstillError: onnxruntime does not take the file.
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


def output_name(card: Card) -> str:
    return OUTPUT if card.task == EMBED else LOGITS


def require_graph(session: onnxruntime.InferenceSession, file: Path, card: Card) -> None:
    """Raise a PotstillError where a graph is not what its folder's description says."""
    wanted = output_name(card)
    outputs = {entry.name: entry.shape for entry in session.get_outputs()}
    unknown = {entry.name for entry in session.get_inputs()} - {INPUT_IDS, ATTENTION_MASK, TOKEN_TYPES}
    if wanted not in outputs or unknown:
        raise PotstillError(file, f"is not a text encoder with the output {wanted} (it has {', '.join(outputs)})", AGAIN)
    width = outputs[wanted][-1]
    if isinstance(width, int) and width != card.outputs:
        what = "vectors of {} numbers" if card.task == EMBED else "{} logits"
        raise PotstillError(file, f"gives {what.format(width)} and the folder's description says {card.outputs}", AGAIN)
