"""The graph of an ONNX file, opened by an engine on the CPU: onnxruntime, or OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from potstill.errors import PotstillError, shown
from potstill.runtime.folder import (
    AGAIN,
    ATTENTION_MASK,
    EMBED,
    INPUT_IDS,
    LOGITS,
    ONNXRUNTIME,
    OPENVINO,
    OUTPUT,
    TOKEN_TYPES,
    ExportConfig,
    require_engine,
)

# Fusions that are slower on the CPU than the operators that they replace (benchmarks/operators.py): skip + normalisation by a fifth of
# a whole call. GELU without a bias has wider vector instructions than with one, and gives the same numbers: 2 to 3 %.
SLOW_FUSIONS = ["SkipLayerNormFusion", "BiasGeluFusion"]


class Graph(Protocol):
    """A graph that an engine has opened.

    Attributes:
        name: of the engine, for people.
        inputs: their names.
        outputs: name → shape; of a size that is free something else than a number.
    """

    name: str
    inputs: list[str]
    outputs: dict[str, list[Any]]

    def run(self, output: str, feeds: Mapping[str, NDArray[np.int64]]) -> Any:
        """One output of the graph for one batch; of the engine's own exceptions any may be raised.

        Args:
            output: its name.
            feeds: input → values.
        """


class OnnxRuntime:
    """A graph in onnxruntime, which any number of threads may call at once: see `Graph`.

    A PotstillError comes through where it cannot load the file.

    Args:
        file: the graph.
        threads: of one call into it.
    """

    name = ONNXRUNTIME

    def __init__(self, file: Path, threads: int) -> None:
        self._session = open_session(file, threads)
        self.inputs: list[str] = [entry.name for entry in self._session.get_inputs()]
        self.outputs: dict[str, list[Any]] = {entry.name: entry.shape for entry in self._session.get_outputs()}

    def run(self, output: str, feeds: Mapping[str, NDArray[np.int64]]) -> Any:
        """One output of the graph for one batch.

        Args:
            output: its name.
            feeds: input → values.
        """
        return self._session.run([output], feeds)[0]


def open_graph(file: Path, threads: int, engine: str = ONNXRUNTIME) -> Graph:
    """Open an ONNX file on the CPU.

    Args:
        file: the graph.
        threads: of one call into it.
        engine: one of ENGINES.

    Raises:
        PotstillError: there is no such engine, it is not installed, or it cannot load the file.
    """
    require_engine(engine)
    if engine == OPENVINO:
        from potstill.runtime.openvino import OpenVINO

        return OpenVINO(file, threads)
    return OnnxRuntime(file, threads)


def open_session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open an ONNX file in onnxruntime, on the CPU.

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


def require_graph(graph: Graph, file: Path, config: ExportConfig) -> None:
    """Check that a graph has the inputs and the output that its folder's configuration says.

    Raises:
        PotstillError: it reads something else, or gives another output or another width.
    """
    wanted = output_name(config)
    if wanted not in graph.outputs or set(graph.inputs) - {INPUT_IDS, ATTENTION_MASK, TOKEN_TYPES}:
        raise PotstillError(file, f"is not a text encoder with the output {wanted} (it has {', '.join(graph.outputs)})", AGAIN)
    width = graph.outputs[wanted][-1]
    if isinstance(width, int) and width != config.outputs:
        what = "vectors of {} numbers" if config.head == EMBED else "{} logits"
        raise PotstillError(file, f"gives {what.format(width)} and the folder's description says {config.outputs}", AGAIN)
