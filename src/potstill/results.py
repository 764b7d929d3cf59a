"""The record that evaluation writes and the report reads."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from potstill.errors import PotstillError
from potstill.files import write_text

RESULTS_FILE = "results.json"
METRICS_FILE = "metrics.jsonl"
CASES_FILE = "cases.json"
REPORT_FILE = "report.html"

LIBRARIES = ("potstill", "torch", "transformers", "sentence-transformers", "tokenizers", "onnx", "onnxruntime", "numpy")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Machine(Strict):
    """What the numbers were measured on. No host name: a record is meant to be published."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str


class Cost(Strict):
    """What a model costs to keep and to run; every time is taken with `threads` pinned threads."""

    parameters: int
    embedding_parameters: int
    encoder_parameters: int
    bytes: int = Field(description="weights on disk, without tokenizer and configuration")
    threads: int
    latency_p50_ms: float = Field(description="one sentence at a time, tokenization included")
    latency_p95_ms: float
    sentences_per_second: float = Field(description="mixed lengths, the model's own batching, tokenization included")
    peak_memory_mb: float = Field(description="resident memory of a fresh process that loads the model and encodes")


class Record(Strict):
    """One model, scored."""

    name: str
    role: Literal["teacher", "undistilled", "student", "onnx", "int8", "torch-int8", "model"]
    model: str
    format: Literal["torch", "onnx"]
    scores: dict[str, dict[str, Any]] = {}
    cost: Cost | None = None
    files: dict[str, int] = {}
    versions: dict[str, str] = {}
    machine: Machine


class Run(Strict):
    """Everything that one run measured: the content of results.json."""

    name: str
    seed: int
    created: str
    recipe: dict[str, Any]
    training: dict[str, Any] = Field({}, description="steps, seconds, texts, best step and its dev score")
    gate: list[dict[str, Any]] = Field([], description="one row for each int8 setting tried, the last is the chosen one")
    cases: list[dict[str, Any]] = Field([], description="a few texts and the angles between student and teacher, see training/cases.py")
    records: list[Record] = []

    def write(self, folder: str | Path) -> None:
        write_text(Path(folder) / RESULTS_FILE, self.model_dump_json(indent=2) + "\n")


def run_folder(name: str, out: str | Path | None) -> Path:
    """`out`, else the folder of a run of the recipe of that name."""
    return Path(out) if out is not None else Path("runs") / name


def read_run(folder: str | Path) -> Run:
    """Read the results.json of a run folder (or the file itself).

    Raises:
        PotstillError: it is missing or is not such a record.
    """
    path = Path(folder)
    path = path / RESULTS_FILE if path.is_dir() else path
    if not path.is_file():
        raise PotstillError(path, "no such file", "name a run folder that `potstill train` has finished")
    try:
        return Run.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        detail = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            detail = ": ".join([*map(str, first["loc"]), first["msg"]])
        raise PotstillError(path, f"is not a run record ({detail})", "train or evaluate again with this version") from error


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; an empty list where there is none. A line that a kill cut off is left out."""
    path = Path(folder) / METRICS_FILE
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def read_cases(folder: str | Path) -> list[dict[str, Any]]:
    """A run's cases.json; an empty list where there is none."""
    path = Path(folder) / CASES_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []


def versions() -> dict[str, str]:
    """Versions of the libraries that decide a number, of those installed."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def cpu_flags() -> frozenset[str]:
    """Instruction-set flags of the processor as Linux names them; empty elsewhere."""
    for key, value in _cpuinfo():
        if key == "flags":
            return frozenset(value.split())
    return frozenset()


def machine() -> Machine:
    """This machine: processor, usable cores, memory."""
    cpu = next((value for key, value in _cpuinfo() if key == "model name"), platform.processor() or platform.machine())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError, AttributeError):
        memory = 0.0
    return Machine(
        cpu=cpu,
        cores=cores,
        memory_gb=round(memory, 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )


def _cpuinfo() -> list[tuple[str, str]]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [(key.strip(), value.strip()) for key, _, value in pairs]
