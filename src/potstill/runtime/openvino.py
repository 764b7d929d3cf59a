"""An ONNX file opened in OpenVINO, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.errors import PotstillError, install, shown
from potstill.machine.hardware import bf16_is_faster
from potstill.runtime.folder import AGAIN


class OpenVINO:
    """A graph in OpenVINO: see `potstill.runtime.session.Graph`.

    What is no int8 operator is computed in bf16 where the processor is faster in it, else in fp32. Left to itself, OpenVINO
    takes bf16 on every processor that knows it.

    Args:
        file: the graph.
        threads: of one call into it.

    Raises:
        PotstillError: OpenVINO is not installed, or cannot load the file.
    """

    name = "OpenVINO"

    def __init__(self, file: Path, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise PotstillError("engine", "openvino is not installed", install("openvino")) from error
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "bf16" if bf16_is_faster() else "f32",
            "ENABLE_HYPER_THREADING": True,  # else a core with two threads counts once, and fewer are taken than asked
            "ENABLE_CPU_PINNING": False,  # two processes would be bound to the same cores
        }
        try:
            compiled = openvino.Core().compile_model(str(file), "CPU", settings)
        except Exception as error:  # a RuntimeError for each reason, with lines of its own source in the text
            raise PotstillError(file, f"cannot be loaded by OpenVINO ({shown(_reason(error), 160)})", AGAIN) from error
        self.inputs: list[str] = [entry.any_name for entry in compiled.inputs]
        self.outputs: dict[str, list[Any]] = {entry.any_name: _shape(entry) for entry in compiled.outputs}
        self._request, self._lock = compiled.create_infer_request(), Lock()

    def run(self, output: str, feeds: Mapping[str, NDArray[np.int64]]) -> Any:
        """One output of the graph for one batch. Calls from several threads wait for each other.

        Args:
            output: its name.
            feeds: input → values.
        """
        with self._lock:
            return self._request.infer(dict(feeds))[output]


def _shape(entry: Any) -> list[int | None]:
    return [size.get_length() if size.is_static else None for size in entry.partial_shape]


def _reason(error: Exception) -> str:
    """The last line of what OpenVINO says: those before it are places in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
