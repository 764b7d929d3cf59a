"""What a model costs: measured in a fresh process with pinned threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pydantic import ValidationError

from potstill.errors import PotstillError
from potstill.progress import progress
from potstill.results import Cost, machine

TIME_LIMIT = 600  # seconds; a probe takes some ten, and a machine that swaps must not hang the run


def measure_cost(model: str | Path, precision: str = "auto", threads: int | None = None) -> Cost:
    """Parameters, bytes, latency, throughput and peak memory of a model, as results.Cost defines them.

    Args:
        model: anything `open_subject` takes.
        precision: of an ONNX model.
        threads: default all usable cores.

    Raises:
        PotstillError: the model cannot be opened, or its process died (out of memory, mostly).
    """
    command = [sys.executable, "-m", "potstill.evaluation.probe", str(model), "--precision", precision]
    command += ["--threads", str(threads or machine().cores)]
    with progress(f"cost of {model}", 1, "models") as advance:
        try:
            probe = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8", timeout=TIME_LIMIT)
        except subprocess.TimeoutExpired as error:
            raise PotstillError(model, f"its cost took more than {TIME_LIMIT} s to measure", "try a quieter machine") from error
        advance()
    if probe.returncode < 0:
        raise PotstillError(model, f"the process that measured its cost was killed (signal {-probe.returncode})", "free some memory")
    lines = probe.stdout.splitlines()
    try:
        # Libraries may write lines of their own before it.
        return Cost.model_validate_json(lines[-1] if lines else "")
    except ValidationError as error:
        said = [line for line in probe.stderr.splitlines() if line.strip()] or [f"exit status {probe.returncode}"]
        raise PotstillError(model, f"its cost cannot be measured: {said[-1]}", "evaluate it without the task `cost`") from error
