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
from potstill.machine.files import write_text
from potstill.machine.hardware import cpuinfo, usable_cores

RESULTS_FILE = "results.json"
METRICS_FILE = "metrics.jsonl"
CASES_FILE = "cases.json"
REPORT_FILE = "report.html"

Role = Literal["teacher", "undistilled", "student", "onnx", "int8", "torch-int8", "model"]
"""What a record's model is to its run; "model" is one that belongs to no run."""

ROLES: dict[str, str] = {
    "teacher": "teacher",
    "undistilled": "undistilled cut",
    "student": "student",
    "onnx": "ONNX fp32",
    "int8": "ONNX int8",
    "torch-int8": "torch int8",
    "model": "model",
}
"""Each role's name on the page and on the terminal."""

SHIPPED: tuple[Role, ...] = ("int8", "onnx", "student", "model")
"""Roles in the order in which they claim to be what a run ships."""

CONVERTED: tuple[Role, ...] = ("onnx", "int8", "torch-int8")
"""Roles of the student's weights in another form."""

LIBRARIES = ("potstill", "torch", "transformers", "sentence-transformers", "tokenizers", "onnx", "onnxruntime", "numpy")


class Strict(BaseModel):
    """A part of a file that is read with every key checked: an unknown one is an error."""

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
    role: Role
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
    cases: list[dict[str, Any]] = Field([], description="a few texts, with angles between student and teacher: training/case_study.py")
    records: list[Record] = []

    def write(self, folder: str | Path) -> None:
        """Write `folder`/results.json, whole or not at all."""
        write_text(Path(folder) / RESULTS_FILE, self.model_dump_json(indent=2) + "\n")


def run_folder(name: str, out: str | Path | None) -> Path:
    """`out`, else the folder of a run of the recipe of that name."""
    return Path(out) if out is not None else Path("runs") / name


def read_run(folder: str | Path) -> Run:
    """Read the results.json of a run folder (or the file itself).

    Raises:
        PotstillError: the file is missing or is not such a record.
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
    """The lines of a run's metrics.jsonl; an empty list where there is no such file. A line that a kill cut off is left out."""
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
    """Version of each installed library that decides a number."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine() -> Machine:
    """This machine: processor, usable cores, memory."""
    cpu = next((value for key, value in cpuinfo() if key == "model name"), platform.processor() or platform.machine())
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError, AttributeError):
        memory = 0.0
    return Machine(
        cpu=cpu,
        cores=usable_cores(),
        memory_gb=round(memory, 1),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
    )
