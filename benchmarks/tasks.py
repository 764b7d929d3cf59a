"""Every distillation method on labelled tasks, beside the same student without distillation: `python benchmarks/tasks.py --help`.

Runs `potstill train` for each cell, one after the other, all with the same number of passes, and writes
the table as JSON and Markdown after each one. A cell that was run already is read, not run again.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from potstill.comparison.verdict import verdict
from potstill.recipe.file import RECIPES
from potstill.results import read_run

PLAIN, ABLATED = "finetune", "lrc-bert"
METHODS = [PLAIN, "kd", "pkd-skip", "pkd-last", "distilbert", "tinybert", "minilm", "minilmv2", "codir-fine", ABLATED]
PRIMARY = {"mrpc": "f1", "rte": "accuracy", "cola": "matthews", "sst2": "accuracy"}


def main() -> None:
    options = _options()
    for task in options.tasks:
        teacher = options.out / f"{task}-{options.teacher}"
        _train(PLAIN, task, teacher, options, [f"student.model={options.model}", "training.seed=13", *options.teacher_set])
        for seed in options.seeds:
            for method in options.methods:
                recipe, extra = _method(method)
                folder = options.out / f"{task}-{options.student}-{method}-{seed}"
                _train(recipe, task, folder, options, [f"training.seed={seed}", *_settings(recipe, teacher, options), *extra])
                _tabulate(task, teacher, options)
        print(_tabulate(task, teacher, options))


def _tabulate(task: str, teacher: Path, options: argparse.Namespace) -> str:
    """The table of every finished run of this task and student, earlier calls' too; written, and returned as Markdown."""
    stem = f"{task}-{options.student}"
    finished = sorted(path.parent for path in options.out.glob(f"{stem}-*/results.json"))
    order = {method: number for number, method in enumerate(METHODS)}
    named = [(*folder.name.removeprefix(f"{stem}-").rpartition("-")[::2], folder) for folder in finished]
    cells = [_cell(task, method, seed, folder) for method, seed, folder in named]
    cells.sort(key=lambda cell: (order.get(cell["method"], len(order)), cell["method"], cell["seed"]))
    cells.insert(0, _cell(task, "teacher", "13", teacher))
    table = markdown(task, cells)
    (options.out / f"{stem}.json").write_text(json.dumps(cells, indent=2) + "\n", encoding="utf-8")
    (options.out / f"{stem}.md").write_text(table, encoding="utf-8")
    return table


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the pretrained encoder that the teacher is fine-tuned from")
    parser.add_argument("--data", required=True, help="folder that holds glue/ and senteval/")
    parser.add_argument("--out", type=Path, default=Path("runs/tasks"))
    parser.add_argument("--tasks", nargs="+", default=["mrpc"])
    parser.add_argument("--methods", nargs="+", default=METHODS, help="recipes; an ablation of LRC-BERT as lrc-bert-g and so on")
    parser.add_argument("--seeds", nargs="+", type=int, default=[13, 14, 15])
    parser.add_argument("--epochs", type=float, default=3, help="passes of every student, whatever its recipe says")
    parser.add_argument("--teacher", default="teacher", help="what this teacher is called in names of runs")
    parser.add_argument("--student", default="cut", help="what this student is called in names of runs and tables")
    parser.add_argument("--cut", default="[1, 3, 6]", help="layers of the fine-tuned teacher that the student keeps")
    parser.add_argument("--start", type=Path, help="a run whose student every method starts from, instead of a cut")
    parser.add_argument("--set", nargs="*", default=[], help="more settings for every student")
    parser.add_argument("--teacher-set", nargs="*", default=[], help="more settings for the teacher")
    return parser.parse_args()


def _method(name: str) -> tuple[str, list[str]]:
    """The recipe of a method; of an ablation the settings that the recipe's header names too."""
    if name in METHODS:
        return name, []
    header = (RECIPES / ABLATED / "mrpc.yaml").read_text(encoding="utf-8")
    ablations = re.findall(r"^#   (-?\w)  +(--set .*?)(?:   .*)?$", header, re.MULTILINE)
    settings = {letter.lstrip("-"): words for letter, words in ablations}[name.removeprefix(f"{ABLATED}-")]
    return ABLATED, [word for word in shlex.split(settings) if word != "--set"]


def _settings(method: str, teacher: Path, options: argparse.Namespace) -> list[str]:
    """What makes the comparison fair: the same student from the same weights, and as many passes."""
    settings = [f"training.epochs={options.epochs}", "student.width=null", "student.heads=null", "student.ffn=null"]
    if method == "tinybert":  # its stages have epochs of their own, and its augmented texts would be passes more
        settings += ["data.augment=null", *(f"stages.{stage}.epochs={options.epochs / 2}" for stage in range(2))]
    if options.start:
        settings += [f"student.model={options.start / 'student'}", "student.layers=null"]
    elif method == PLAIN:
        settings += [f"student.model={teacher / 'student'}"]
    if not options.start:
        settings += [f"student.layers={options.cut}"]
    if method != PLAIN:
        settings += [f"teacher.model={teacher}"]
    return settings + options.set


def _train(recipe: str, task: str, folder: Path, options: argparse.Namespace, settings: list[str]) -> None:
    if (folder / "results.json").is_file():
        return
    settings = [f"data.dir={options.data}", f"evaluate=[glue/{task}]", "export.onnx=false", *settings]
    command = [sys.executable, "-m", "potstill.cli", "train", f"{recipe}/{task}", "--out", str(folder), "--resume"]
    started = time.perf_counter()
    subprocess.run(command + [part for setting in settings for part in ("--set", setting)], check=True, stdout=subprocess.DEVNULL)
    print(f"{folder.name}: {time.perf_counter() - started:.0f} s", flush=True)


def _cell(task: str, method: str, seed: str, folder: Path) -> dict[str, Any]:
    run = read_run(folder)
    scores = next(record for record in run.records if record.role == "student").scores[f"glue/{task}"]
    return {"task": task, "method": method, "seed": int(seed), "score": scores[PRIMARY[task]], "scores": scores, "training": run.training}


def markdown(task: str, cells: list[dict[str, Any]]) -> str:
    """Median and range over seeds, and the verdict against the same student without distillation."""
    names = [name for name, value in cells[0]["scores"].items() if isinstance(value, float)]
    plain = [cell["score"] for cell in cells if cell["method"] == PLAIN]
    lines = [f"| {task} | seeds | {' | '.join(names)} | range of {PRIMARY[task]} | of the teacher | verdict |"]
    lines += ["|" + "---|" * (len(names) + 5)]
    for method in dict.fromkeys(cell["method"] for cell in cells):
        runs = [cell for cell in cells if cell["method"] == method]
        scores = [cell["score"] for cell in runs]
        medians = " | ".join(f"{median(cell['scores'][name] for cell in runs):.2f}" for name in names)
        judged = "" if method in ("teacher", PLAIN) else verdict(scores, plain)
        spread = f"{min(scores):.2f}–{max(scores):.2f}" if len(scores) > 1 else ""
        lines.append(f"| {method} | {len(scores)} | {medians} | {spread} | {100 * median(scores) / cells[0]['score']:.1f} % | {judged} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
