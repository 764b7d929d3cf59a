"""What a model costs: measured in a fresh process with pinned threads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from pydantic import ValidationError

from potstill.errors import PotstillError
from potstill.machine.progress import progress
from potstill.results import Cost, machine
from potstill.runtime.folder import ONNXRUNTIME

TIME_LIMIT = 600  # seconds; a probe takes some ten, and a machine that swaps must not hang the run
PASS_LIMIT = 7200  # of a pass; a BERT-base on a slow core takes some minutes


def measure_cost(
    model: str | Path,
    precision: str = "auto",
    threads: int | None = None,
    *,
    pooling: str | None = None,
    max_length: int | None = None,
    engine: str = ONNXRUNTIME,
    brief: bool = False,
) -> Cost:
    """Parameters, bytes, latency, throughput and peak memory of a model, as results.Cost defines them.

    Args:
        model: anything `open_subject` takes.
        precision: as `open_subject` takes it.
        threads: default all usable cores.
        pooling, max_length, engine: as `open_subject` takes them, so that what is timed is what is scored.
        brief: time a few sentences alone, for a trial whose figures nobody keeps.

    Raises:
        PotstillError: the model cannot be opened, or its process died (out of memory, mostly).
    """
    more = ["--pooling", pooling] if pooling is not None else []
    more += ["--max-length", str(max_length)] if max_length is not None else []
    more += ["--engine", engine] if engine != ONNXRUNTIME else []
    more += ["--brief"] if brief else []
    told, said = _probe(f"cost of {model}", model, precision, threads, more, TIME_LIMIT)
    try:
        return Cost.model_validate_json(told)
    except ValidationError as error:
        raise PotstillError(model, f"its cost cannot be measured: {said}", "evaluate it without the task `cost`") from error


def measure_pass(model: str | Path, task: str, folder: str | Path, precision: str = "auto", threads: int | None = None) -> float:
    """Seconds that a model takes for every text of a task, one at a time, each as often as it occurs, tokenization included.

    Args:
        task: such as "sts/stsb", of which both sentences of every pair are run.
        folder: holds the task's data.
        model, precision, threads: as of `measure_cost`.

    Raises:
        PotstillError: the model or the task cannot be opened, or the process died.
    """
    told, said = _probe(f"{task} with {model}", model, precision, threads, ["--pass-of", task, "--data", str(folder)], PASS_LIMIT)
    try:
        return float(json.loads(told))
    except (ValueError, TypeError) as error:
        raise PotstillError(model, f"its pass over {task} cannot be timed: {said}") from error


def _probe(title: str, model: str | Path, precision: str, threads: int | None, more: list[str], limit: float) -> tuple[str, str]:
    """Run the probe; its answer, and for when that is none what it complained of.

    Raises:
        PotstillError: it took too long, or was killed.
    """
    command = [sys.executable, "-m", "potstill.evaluation.probe", str(model), "--precision", precision]
    command += ["--threads", str(threads or machine().cores), *more]
    with progress(title, 1, "models") as advance:
        try:
            probe = subprocess.run(command, check=False, capture_output=True, text=True, encoding="utf-8", timeout=limit)
        except subprocess.TimeoutExpired as error:
            raise PotstillError(model, f"its cost took more than {limit} s to measure", "try a quieter machine") from error
        advance()
    if probe.returncode < 0:
        raise PotstillError(model, f"the process that measured its cost was killed (signal {-probe.returncode})", "free some memory")
    complaints = [line for line in probe.stderr.splitlines() if line.strip()] or [f"exit status {probe.returncode}"]
    # Libraries may write lines of their own before it.
    return (probe.stdout.splitlines() or [""])[-1], complaints[-1]
