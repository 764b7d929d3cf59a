"""Every distillation method on labelled tasks, beside the same student without distillation: `python benchmarks/tasks.py --help`.

Runs `potstill train` for each cell, one after the other, and writes the table as JSON and Markdown
after each one. A cell that was run already is read, not run again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from potstill.results import read_run

PLAIN = "finetune"
PRIMARY = {"mrpc": "f1", "rte": "accuracy", "cola": "matthews", "sst2": "accuracy"}


def main() -> None:
    options = _options()
    cells: list[dict[str, Any]] = []
    for task in options.tasks:
        teacher = options.out / f"{task}-teacher"
        _train(PLAIN, task, teacher, options, [f"student.model={options.model}", "training.seed=13"])
        cells.append(_cell(task, "teacher", 13, teacher))
        for seed in options.seeds:
            for method in options.methods:
                folder = options.out / f"{method}-{task}-{seed}"
                settings = [f"training.seed={seed}", *options.set]
                settings.append(f"student.model={teacher}/student" if method == PLAIN else f"teacher.model={teacher}")
                if method == PLAIN or options.layers:
                    settings.append(f"student.layers={options.layers}")
                if seed != options.seeds[0]:  # the shipped file and its cost hardly differ by seed
                    settings += ["export.onnx=false", f"evaluate=[glue/{task}]"]
                _train(method, task, folder, options, settings)
                cells.append(_cell(task, method, seed, folder))
                options.out.joinpath("table.json").write_text(json.dumps(cells, indent=2) + "\n", encoding="utf-8")
                options.out.joinpath("table.md").write_text(table(cells), encoding="utf-8")
    print(table(cells))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the pretrained encoder that the teacher is fine-tuned from")
    parser.add_argument("--data", required=True, help="folder that holds glue/ and senteval/")
    parser.add_argument("--out", type=Path, default=Path("runs/tasks"))
    parser.add_argument("--tasks", nargs="+", default=["mrpc"])
    parser.add_argument(
        "--methods", nargs="+", default=[PLAIN, "kd", "pkd-skip", "pkd-last", "distilbert", "minilm", "minilmv2", "codir-fine"]
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[13, 14, 15])
    parser.add_argument("--layers", type=int, default=3, help="of the student that is cut from the teacher; 0 leaves it to the recipe")
    parser.add_argument("--set", nargs="*", default=[], help="more settings for every run but the teacher's")
    return parser.parse_args()


def _train(method: str, task: str, folder: Path, options: argparse.Namespace, settings: list[str]) -> None:
    if (folder / "results.json").is_file():
        return
    settings = [f"data.dir={options.data}", *settings]
    command = [sys.executable, "-m", "potstill.cli", "train", f"{method}/{task}", "--out", str(folder), "--resume"]
    started = time.perf_counter()
    subprocess.run(command + [part for setting in settings for part in ("--set", setting)], check=True, stdout=subprocess.DEVNULL)
    print(f"{folder.name}: {time.perf_counter() - started:.0f} s", flush=True)


def _cell(task: str, method: str, seed: int, folder: Path) -> dict[str, Any]:
    """What stands for a run: its student's primary score, and what the shipped file scores and costs."""
    run = read_run(folder)
    records = {record.role: record for record in run.records}
    student = records["student"]
    cost = records.get("int8", student).cost
    return {
        "task": task,
        "method": method,
        "seed": seed,
        "score": student.scores[f"glue/{task}"][PRIMARY[task]],
        "int8": records["int8"].scores[f"glue/{task}"][PRIMARY[task]] if "int8" in records else None,
        "parameters": student.cost.parameters if student.cost else None,
        "bytes": cost.bytes if cost else None,
        "sentences_per_second": cost.sentences_per_second if cost else None,
        "seconds": run.training.get("seconds"),
    }


def table(cells: list[dict[str, Any]]) -> str:
    """Median and range over seeds; the verdict against the same student without distillation."""
    lines = ["| task | method | seeds | median | range | of the teacher | verdict |", "|---|---|---|---|---|---|---|"]
    for task in dict.fromkeys(cell["task"] for cell in cells):
        own = [cell for cell in cells if cell["task"] == task]
        teacher = next(cell["score"] for cell in own if cell["method"] == "teacher")
        plain = [cell["score"] for cell in own if cell["method"] == PLAIN]
        for method in dict.fromkeys(cell["method"] for cell in own):
            scores = [cell["score"] for cell in own if cell["method"] == method]
            verdict = "" if method in ("teacher", PLAIN) else _verdict(scores, plain)
            spread = f"{min(scores):.2f}–{max(scores):.2f}" if len(scores) > 1 else ""
            share = f"{100 * median(scores) / teacher:.1f} %"
            lines.append(f"| {task} | {method} | {len(scores)} | {median(scores):.2f} | {spread} | {share} | {verdict} |")
    return "\n".join(lines) + "\n"


def _verdict(scores: list[float], plain: list[float]) -> str:
    """Better when every seed is above every one without distillation; not better when the median is not; else undecided."""
    if not plain or len(scores) < 2:
        return "undecided"
    if min(scores) > max(plain):
        return "better"
    return "not better" if median(scores) <= median(plain) else "undecided"


if __name__ == "__main__":
    main()
