"""The record that evaluation writes and the report reads."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator

from potstill.errors import PotstillError, shown, warn
from potstill.machine.files import kind_of_place, write_text
from potstill.machine.hardware import cpuinfo, usable_cores

RECIPE_FILE = "recipe.yaml"
RESULTS_FILE = "results.json"
METRICS_FILE = "metrics.jsonl"
TEACHER_AGREEMENT = "agreement/teacher"  # in a task's place: Spearman between cosines of student and teacher, on held-out texts
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

LARGEST = 1e30
"""Larger numbers are none that was measured: arithmetic with them ends in infinity."""
MOST_LAYERS = 10_000
"""A layer's number is no larger."""

LIBRARIES = ("potstill", "torch", "transformers", "sentence-transformers", "tokenizers", "onnx", "onnxruntime", "openvino", "numpy", "mteb")


Count = Annotated[int, Field(ge=0, le=10**15)]
"""A number of things, or bytes: no more than a float holds exactly."""


class Strict(BaseModel):
    """A part of a file that is read with every key checked: an unknown one is an error."""

    model_config = ConfigDict(extra="forbid")


class Machine(Strict):
    """What the numbers were measured on. No host name: a record is meant to be published."""

    cpu: str
    cores: Count
    memory_gb: float
    system: str
    python: str


class Cost(Strict):
    """What a model costs to keep and to run; every time is taken with `threads` pinned threads."""

    parameters: Count
    embedding_parameters: Count
    encoder_parameters: Count
    bytes: Count = Field(description="weights on disk, without tokenizer and configuration")
    threads: Count
    latency_p50_ms: float = Field(description="one sentence at a time, tokenization included")
    latency_p95_ms: float
    sentences_per_second: float = Field(description="mixed lengths, the model's own batching, tokenization included")
    peak_memory_mb: float = Field(description="resident memory of a fresh process that loads the model and encodes")


class Record(Strict):
    """One model, scored."""

    name: str
    role: Role
    model: str
    documents: str | None = Field(None, description="of retrieval: the model that encoded the documents, where another than `model`")
    format: Literal["torch", "onnx"]
    scores: dict[str, dict[str, Any]] = {}
    cost: Cost | None = None
    files: dict[str, Count] = {}
    versions: dict[str, str] = {}
    machine: Machine


class Run(Strict):
    """Everything that one run measured: the content of results.json."""

    name: str
    seed: Count
    created: str
    recipe: dict[str, Any]
    training: dict[str, Any] = Field({}, description="steps, seconds, texts, best step and its dev score")
    gate: list[dict[str, Any]] = Field([], description="one row for each int8 setting tried, the last is the chosen one")
    vectors: list[dict[str, Any]] = Field([], description="scores of what ships, cut and rounded: evaluation/cheaper.py")
    cases: list[dict[str, Any]] = Field([], description="a few texts, with angles between student and teacher: training/case_study.py")
    records: list[Record] = []
    _folder: Path | None = PrivateAttr(None)

    @property
    def folder(self) -> Path | None:
        """Where it was read from or written to; None of a run in memory alone."""
        return self._folder

    @field_validator("training")
    @classmethod
    def _training_is_told(cls, training: dict[str, Any]) -> dict[str, Any]:
        best = training.get("best") or {}
        texts, figures = ("name", "stage"), ("value", "step")
        whole = (
            isinstance(best, dict)
            and all(isinstance(best.get(key), str) for key in texts)
            and all(_is_number(best.get(key)) for key in figures)
        )
        if best and not whole:
            raise ValueError(f"best is {shown(best)}: it has a name, a value, a step and a stage")
        return training

    @field_validator("gate")
    @classmethod
    def _gate_is_told(cls, gate: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for row in gate:
            if not isinstance(row.get("failed") or [], list):
                raise ValueError(f"failed is {shown(row['failed'])}, not a list")
        return gate

    @field_validator("vectors")
    @classmethod
    def _vectors_are_told(cls, vectors: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for row in vectors:
            numbers = all(type(row.get(key)) is int and row[key] > 0 for key in ("dimensions", "bytes"))
            if not numbers or not isinstance(row.get("precision"), str) or not isinstance(row.get("scores"), dict):
                raise ValueError(f"vectors are {shown(row)}: each has dimensions, a precision, bytes and scores")
        return vectors

    @field_validator("cases")
    @classmethod
    def _cases_are_told(cls, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for case in cases:
            if not isinstance(case.get("labels") or {}, dict):
                raise ValueError(f"labels are {shown(case['labels'])}, not a mapping")
            angles = case.get("angles") or []
            if not isinstance(angles, list) or not all(isinstance(row, dict) for row in angles):
                raise ValueError(f"angles are {shown(angles)}, not a list of mappings")
            for row in angles:
                if not all(type(row.get(side)) is int and 0 <= row[side] <= MOST_LAYERS for side in ("student", "teacher")):
                    raise ValueError(f"{shown(row)} does not name a layer of the student and one of the teacher")
        return cases

    def write(self, folder: str | Path) -> None:
        """Write `folder`/results.json, whole or not at all."""
        write_text(Path(folder) / RESULTS_FILE, self.model_dump_json(indent=2) + "\n")
        self._folder = Path(folder)


def run_folder(name: str, out: str | Path | None) -> Path:
    """`out`, else the folder of a run of the recipe of that name."""
    return Path(out) if out is not None else Path("runs") / name


def read_run(folder: str | Path) -> Run:
    """Read the results.json of a run folder (or the file itself).

    Raises:
        PotstillError: the file is missing or is not such a record.
    """
    path = Path(folder)
    path = path / RESULTS_FILE if kind_of_place(path) == "a folder" else path
    if kind_of_place(path) != "a file":
        raise PotstillError(path, "no such file", "name a run folder that `potstill train` has finished")
    try:
        run = Run.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError, OSError) as error:
        detail = str(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            detail = ": ".join([*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")])
        raise PotstillError(path, f"is not a run record ({detail})", "train or evaluate again with this version") from error
    run._folder = path.parent
    return run


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; an empty list where there is no such file.

    A line that a kill cut off is left out. A PotstillWarning counts those that are left out because they are no record of a
    step: no mapping, or terms or a dev score that are none.

    Raises:
        PotstillError: the file cannot be read, or is not UTF-8.
    """
    path = Path(folder) / METRICS_FILE
    found, strange = [], 0
    for text in _text_of(path).splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and all(isinstance(line.get(part) or {}, dict) for part in ("terms", "dev")):
            found.append(line)
        else:
            strange += 1
    if strange:
        warn(path, f"{strange} lines are no records of steps", "they are left out")
    return found


def read_cases(folder: str | Path) -> list[dict[str, Any]]:
    """A run's cases.json; an empty list where there is none.

    Raises:
        PotstillError: the file cannot be read, or is no list of mappings.
    """
    path = Path(folder) / CASES_FILE
    try:
        cases = json.loads(_text_of(path) or "[]")
    except (ValueError, RecursionError) as error:
        raise PotstillError(path, f"is not JSON ({error})", "delete it: the run is shown without it") from error
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        raise PotstillError(path, f"holds {shown(cases)}, not a list of cases", "delete it: the run is shown without it")
    return cases


def _text_of(path: Path) -> str:
    """The text of a file of a run, "" where there is none.

    Raises:
        PotstillError: it cannot be read, or is not UTF-8.
    """
    if kind_of_place(path) != "a file":
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PotstillError(path, f"cannot be read ({error})", "delete it: the run is shown without it") from error


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


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
