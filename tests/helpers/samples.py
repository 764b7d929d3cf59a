"""Run folders with figures as a real run has them: mpnet as teacher, a 3-layer student, its ONNX files."""

from __future__ import annotations

import copy
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from potstill.results import Cost, Machine, Record, Run

MACHINE = Machine(cpu="AMD EPYC 7B13", cores=2, memory_gb=8.3, system="Linux x86_64", python="3.11.9")
VERSIONS = {"potstill": "0.1.0", "torch": "2.13.0+cpu", "transformers": "5.23.0", "onnxruntime": "1.31.0", "numpy": "2.4.1"}
TASKS = ("sts/12", "sts/13", "sts/14", "sts/15", "sts/stsb")
SCORES = {
    "teacher": (72.63, 83.48, 78.00, 85.66, 83.42),
    "undistilled": (61.20, 64.87, 62.55, 72.31, 70.04),
    "student": (71.55, 81.48, 75.93, 84.10, 81.44),
    "onnx": (71.55, 81.48, 75.93, 84.10, 81.44),
    "int8": (71.40, 81.31, 75.77, 83.88, 81.19),
}
COSTS = {
    # embedding and encoder parameters, bytes, p50, p95, sentences a second, memory in MB
    "teacher": (23_838_720, 85_647_744, 437_967_648, 48.2, 96.7, 61.4, 1288.0),
    "undistilled": (11_918_592, 5_323_392, 68_973_056, 4.61, 7.02, 612.0, 771.0),
    "student": (11_918_592, 5_323_392, 68_973_056, 4.63, 6.98, 608.0, 772.0),
    "onnx": (11_918_592, 5_323_392, 69_104_210, 2.74, 4.31, 1102.0, 391.0),
    "int8": (11_918_592, 5_323_392, 17_493_871, 1.18, 2.02, 1987.4, 214.0),
}
NAMES = {"teacher": "all-mpnet-base-v2"}
GATE = [
    {
        "setting": "int8, per channel", "cosine_mean": 0.9921, "cosine_min": 0.8871, "invariance_min": 0.9874, "fp32_score": 78.90,
        "int8_score": 78.31, "drop": 0.59, "speedup": 1.84, "bytes": 17_301_504, "passed": False, "failed": ["cosine_min", "drop"],
    },
    {
        "setting": "int8, per channel, 2 MatMuls in fp32", "cosine_mean": 0.9967, "cosine_min": 0.9642, "invariance_min": 0.9921,
        "fp32_score": 78.90, "int8_score": 78.71, "drop": 0.19, "speedup": 1.80, "bytes": 17_493_871, "passed": True, "failed": [],
    },
]  # fmt: skip
RECIPE = {
    "name": "mpnet-to-3-layers",
    "task": "embed",
    "data": {"dir": "data", "texts": ["corpora/sentences.txt.gz"], "held_out": 1000},
    "teacher": {"model": "all-mpnet-base-v2", "cache": True},
    "student": {"kind": "transformer", "model": "all-MiniLM-L6-v2", "layers": [1, 3, 6]},
    "training": {"epochs": 3, "batch_size": 64, "learning_rate": 1e-4, "seed": 13},
    "stages": [{"name": "distil", "share": 1.0, "terms": [{"loss": "cosine"}, {"loss": "similarity", "weight": 5.0}]}],
}


def make_record(role: str, shift: float = 0.0, cost: bool = True, scale: float = 1.0) -> Record:
    embedding, encoder, size, p50, p95, speed, memory = COSTS[role]
    if role != "teacher":
        encoder, size, p50, p95, speed = round(encoder * scale), round(size * scale), p50 * scale, p95 * scale, speed / scale
    return Record(
        name=NAMES.get(role, role),
        role=role,  # type: ignore[arg-type]
        model=NAMES.get(role, f"runs/mpnet-to-3-layers/{role}"),
        format="onnx" if role in ("onnx", "int8") else "torch",
        scores={task: {"spearman": value + shift, "subsets": {}, "primary": "spearman"} for task, value in zip(TASKS, SCORES[role])},
        cost=Cost(
            parameters=embedding + encoder, embedding_parameters=embedding, encoder_parameters=encoder, bytes=size, threads=2,
            latency_p50_ms=p50, latency_p95_ms=p95, sentences_per_second=speed, peak_memory_mb=memory,
        ) if cost else None,
        versions=VERSIONS,
        machine=MACHINE,
    )  # fmt: skip


def make_run(
    name: str = "mpnet-to-3-layers", shift: float = 0.0, roles: Sequence[str] = tuple(COSTS), cost: bool = True, scale: float = 1.0
) -> Run:
    return Run(
        name=name,
        seed=13,
        created="2026-11-21T10:24:00+00:00",
        recipe={**RECIPE, "name": name},
        training={"steps": 8859, "seconds": 2161.4, "texts": 189_000, "best_step": 7040},
        gate=copy.deepcopy(GATE),  # a test may spoil its own
        records=[make_record(role, shift if role not in ("teacher", "undistilled") else 0.0, cost, scale) for role in roles],
    )


def make_metrics(stages: Sequence[str] = ("distil",), steps: int = 8800, lines: int = 200, seed: int = 0) -> list[dict[str, Any]]:
    """Falling losses with noise, a rate that warms up and decays, a dev score every twentieth line."""
    random.seed(seed)
    found: list[dict[str, Any]] = []
    for number in range(1, lines + 1):
        part, step = number / lines, number * steps // lines
        stage = min(int((number - 1) / lines * len(stages)), len(stages) - 1)
        cosine = (0.05 + 0.4 * math.exp(-9 * part)) * random.uniform(0.94, 1.06)
        terms = {"cosine": cosine, "similarity": cosine**1.4 / 9 * random.uniform(0.93, 1.07)}
        if stage:
            terms["mse"] = 0.02 * (1.4 - part) * random.uniform(0.95, 1.05)
        rate = 1e-4 * min(part / 0.05, (1 - part) / 0.95)
        loss = terms["cosine"] + 5 * terms["similarity"] + terms.get("mse", 0)
        done = {"step": step, "stage": stages[stage], "texts": step * 64, "seconds": step * 0.25}
        found.append({**done, "loss": loss, "terms": terms, "learning_rate": rate})
        if number % 20 == 0:
            dev = 84.6 - 7 * math.exp(-4 * part) + random.uniform(-0.15, 0.15)
            found.append({"step": step, "stage": stages[stage], "dev": {"name": "sts/stsb-dev", "value": dev}})
    return found


def make_cases(
    term: str = "cos_nce", shift: float = 0.0, texts: Sequence[str] = ("He left . | He went .", "Stocks fell .")
) -> list[dict[str, Any]]:
    """Angles that grow with the layer: the k-th text's at layer l are 10·l + k + shift."""
    return [
        {
            "text": text,
            "angles": [
                {"term": term, "reads": "hidden_states", "student": layer, "teacher": 3 * layer, "degrees": 10.0 * layer + number + shift}
                for layer in (1, 2)
            ],
        }
        for number, text in enumerate(texts)
    ]


def labelled(name: str, seed: int, f1: float, taught: bool = True, **student: Any) -> Run:
    """A run on MRPC with a teacher of F1 90, or on labels alone."""
    run = make_run(name, roles=("teacher", "student", "int8") if taught else ("student", "int8"))
    for record in run.records:
        score = {"teacher": 90.0, "student": f1, "int8": f1 - 0.5}[record.role]
        record.scores = {"glue/mrpc": {"f1": score, "accuracy": score - 7, "examples": 1725, "primary": "f1"}}
    recipe = copy.deepcopy(run.recipe) | {"task": "glue/mrpc", "teacher": {"model": "t"} if taught else None}
    recipe["student"] |= {"width": 384, **student}
    recipe["training"]["seed"] = seed
    return run.model_copy(update={"seed": seed, "recipe": recipe})


RUNS = [
    *(labelled("finetune", seed, f1, taught=False) for seed, f1 in ((13, 80.0), (14, 80.5), (15, 79.0))),
    *(labelled("kd", seed, f1) for seed, f1 in ((13, 82.0), (14, 81.0), (15, 84.0))),
    *(labelled("pkd", seed, f1) for seed, f1 in ((13, 80.0), (14, 79.0))),
    labelled("lrc", 13, 85.0),
]


def save_model(folder: Path, width: int = 8, layers: int = 2) -> Path:
    """A model folder with 10 × width numbers to read, a pooler and indices that do not count."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"hidden_size": width, "num_hidden_layers": layers}))
    tensors = {"embeddings.word": np.zeros((10, width), np.float32), "pooler.dense": np.zeros((width, width), np.float32)}
    save_file({**tensors, "embeddings.position_ids": np.zeros((1, 5), np.int64)}, folder / "model.safetensors")
    return folder
