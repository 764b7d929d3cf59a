"""Training steps a second of potstill against TextBrewer: `python benchmarks/textbrewer_steps.py --help`. Prints JSON.

TextBrewer needs an environment of its own, with the torch and transformers of potstill's:
    python -m venv tb && tb/bin/pip install -c constraints.txt textbrewer torch transformers==<potstill's>
then give this script `--textbrewer-python tb/bin/python`.

Both sides: one student (3 layers cut from the teacher, with its head), the same MRPC rows, at most
128 tokens, batches of 32, hidden MSE on uniformly mapped layers without projection (real tokens
only) and cross-entropy with the teacher at temperature 4 without T². Each measurement is a process
of its own with pinned threads, the sides in turn; of each side the best of REPEATS counts.

- textbrewer: GeneralDistiller at its defaults, the teacher run in every step, fp32, every text padded
  to 128 as in its examples, random batches; textbrewer_dynamic pads a batch to its longest text, which a user writes alone.
- potstill: what a recipe runs at its defaults: batches of similar lengths, the teacher's answers
  read from a cache, bf16 where the processor has it; potstill_fp32 is the same without bf16.

Steps a second leave out loading, the final checkpoint and the cache's making; the latter stands
beside them, and `with_cache` spreads it over `--epochs` epochs (5: the recipe kd/mrpc's). The cache
covers just the rows of this run, which are one epoch here, so the shares are those of the whole set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

# potstill is imported inside functions only: TextBrewer's interpreter, which has none, runs this file too.

REPEATS = 2
BATCH = 32
LENGTH = 128
LAYERS = 3
TEMPERATURE = 4.0
LEARNING_RATE = 5e-5
WARMUP = 0.1
WARM_STEPS = 3


def rate(times: list[float], steps: int) -> float:
    """Steps a second, of one time a step."""
    return steps / (times[WARM_STEPS + steps] - times[WARM_STEPS])


def peak_mb() -> float:
    """VmHWM and not getrusage, whose peak of a child begins with its parent's."""
    with open("/proc/self/status", encoding="utf-8") as stream:
        return next(int(line.split()[1]) / 1024 for line in stream if line.startswith("VmHWM:"))


def textbrewer(folder: Path, steps: int, threads: int, padding: str = "max_length") -> dict[str, Any]:
    from importlib.metadata import version

    import torch
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
    from torch.utils.data import DataLoader
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    setup = json.loads((folder / "setup.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder / "teacher")
    models = [
        AutoModelForSequenceClassification.from_pretrained(folder / side, output_hidden_states=True) for side in ("teacher", "student")
    ]
    texts = list(zip(*setup["texts"]))
    encoded = tokenizer(
        list(texts[0]), list(texts[1]), truncation=True, max_length=LENGTH, padding="max_length" if padding == "max_length" else False
    )
    rows = [{key: value[number] for key, value in encoded.items()} for number in range(len(texts[0]))]

    def collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        return dict(tokenizer.pad(rows, padding="longest", return_tensors="pt"))

    def adaptor(batch: dict[str, torch.Tensor], output: Any) -> dict[str, Any]:
        return {"logits": output.logits, "hidden": output.hidden_states, "inputs_mask": batch["attention_mask"]}

    if padding == "max_length":
        tensors = [{key: torch.tensor(value) for key, value in row.items()} for row in rows]
        loader = DataLoader(tensors, batch_size=BATCH, shuffle=True, drop_last=True)
    else:
        loader = DataLoader(rows, batch_size=BATCH, shuffle=True, drop_last=True, collate_fn=collate)
    matches = [{"layer_T": t, "layer_S": s, "feature": "hidden", "loss": "hidden_mse", "weight": 1} for s, t in setup["layers"]]
    distiller = GeneralDistiller(
        train_config=TrainingConfig(device="cpu", output_dir=str(folder / "textbrewer")),
        distill_config=DistillationConfig(temperature=TEMPERATURE, intermediate_matches=matches),
        model_T=models[0],
        model_S=models[1],
        adaptor_T=adaptor,
        adaptor_S=adaptor,
    )
    optimizer = torch.optim.AdamW(models[1].parameters(), lr=LEARNING_RATE)
    times: list[float] = []
    optimizer.register_step_post_hook(lambda *_: times.append(time.perf_counter()))
    schedule = {"num_warmup_steps": int(WARMUP * len(loader)), "num_training_steps": len(loader)}
    with distiller:
        distiller.train(optimizer, loader, num_epochs=1, scheduler_class=get_linear_schedule_with_warmup, scheduler_args=schedule)
    packages = {name: version(name) for name in ("textbrewer", "torch", "transformers")}
    return {"steps_per_s": rate(times, steps), "peak_mb": peak_mb(), "versions": packages}


def textbrewer_dynamic(folder: Path, steps: int, threads: int) -> dict[str, Any]:
    return textbrewer(folder, steps, threads, "longest")


def potstill(folder: Path, steps: int, threads: int, precision: str = "auto") -> dict[str, Any]:
    import numpy as np
    import torch

    from potstill.data.batches import tokenize, training_plan
    from potstill.losses.base import make_loss
    from potstill.models.encoder import load_encoder
    from potstill.models.output import EncoderOutput
    from potstill.training.cache import build_cache
    from potstill.training.objective import Objective, Sizes, TermSpec
    from potstill.training.precision import use_bf16
    from potstill.training.trainer import Settings, TrainingSet, train_stage

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    setup = json.loads((folder / "setup.json").read_text(encoding="utf-8"))
    student, model = (load_encoder(folder / side, max_length=LENGTH) for side in ("student", "teacher"))
    terms = [
        TermSpec("hidden_mse", make_loss("hidden_mse", {}), pairs=[(s, t) for s, t in setup["layers"]]),
        TermSpec("soft_target", make_loss("soft_target", {"temperature": TEMPERATURE, "scale_by_t2": False})),
    ]
    texts = [(first, second) for first, second in setup["texts"]]
    objective = Objective(terms, Sizes(0, student.width, len(student.labels)), Sizes(0, model.width, len(model.labels)), rows=len(texts))
    cpu = torch.device("cpu")
    bf16 = use_bf16(precision, cpu)
    tokens = tokenize(student.tokenizer, texts, LENGTH)
    plan = training_plan(tokens.lengths, batch_size=BATCH, batch_tokens=16384, epochs=1, seed=1)
    settings = Settings(LEARNING_RATE, WARMUP, "linear", 0.0, 1.0, 1, bf16, cpu, 1)
    times: list[float] = []
    with tempfile.TemporaryDirectory(dir=folder) as run:
        started = time.perf_counter()
        cached = build_cache(Path(run) / "cache", model, texts, objective.teacher_reads, bf16=bf16)
        seconds = time.perf_counter() - started

        def teacher(rows: np.ndarray, device: torch.device, inputs: Any = None) -> EncoderOutput:
            times.append(time.perf_counter())
            return cached(rows, device, inputs)

        data, checkpoints = TrainingSet(tokens), Path(run) / "c"
        train_stage(student, objective, data, teacher, plan, None, settings, name="bench", run=Path(run), folder=checkpoints, resume=False)
    return {"steps_per_s": rate(times, steps), "peak_mb": peak_mb(), "bf16": bf16, "cache_seconds": seconds, "cached_steps": len(plan)}


def potstill_fp32(folder: Path, steps: int, threads: int) -> dict[str, Any]:
    return potstill(folder, steps, threads, "fp32")


SIDES = {side.__name__: side for side in (textbrewer, potstill, textbrewer_dynamic, potstill_fp32)}


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """Teacher and student as transformers folders, and what both sides read: rows and pairs of layers."""
    import numpy as np

    from potstill.models.encoder import load_encoder
    from potstill.models.transformer import choose_layers, cut_student
    from potstill.quickstart import teacher_folder
    from potstill.tasks.labelled import training_data
    from potstill.training.layer_map import layer_map

    data = training_data("glue/mrpc", options.data)
    count = (options.steps + WARM_STEPS + 1) * BATCH
    if count > len(data.train):
        raise SystemExit(f"--steps {options.steps}: MRPC's {len(data.train)} rows hold {len(data.train) // BATCH - WARM_STEPS - 1}")
    teacher = load_encoder(options.model or teacher_folder(), max_length=LENGTH, kind="classification", labels=data.labels)
    depth = len(teacher.layers)
    student = cut_student(
        teacher, choose_layers(LAYERS, "uniform", depth), pooling=teacher.pooling, normalize=teacher.normalize, max_length=LENGTH
    )
    teacher.save(folder / "teacher")
    student.save(folder / "student")
    rows = np.random.default_rng(1).permutation(len(data.train))[:count]
    setup = {"texts": data.train.take(rows).texts, "layers": layer_map("uniform", LAYERS, depth)}
    (folder / "setup.json").write_text(json.dumps(setup), encoding="utf-8")


def measure(side: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    pinned = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
    python = options.textbrewer_python if side.startswith("textbrewer") else sys.executable
    command = [python, __file__, "--side", side, "--folder", str(folder), "--steps", str(options.steps), "--threads", str(options.threads)]
    done = subprocess.run(command, env=os.environ | pinned | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from potstill.results import machine, versions

    prepare(options, folder)
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(REPEATS):
        for side, found in runs.items():
            found.append(measure(side, options, folder))
    best = {side: max(found, key=lambda run: run["steps_per_s"]) for side, found in runs.items()}
    theirs = best["textbrewer"].pop("versions")
    best["textbrewer_dynamic"].pop("versions")
    for side in ("potstill", "potstill_fp32"):
        own = best[side]
        steps = own.pop("cached_steps") * options.epochs
        own["steps_per_s_with_cache"] = steps / (own["cache_seconds"] + steps / own["steps_per_s"])
    ratios = {
        f"{ours} / {other}{suffix}": best[ours][f"steps_per_s{suffix}"] / best[other]["steps_per_s"]
        for ours in ("potstill", "potstill_fp32")
        for other in ("textbrewer", "textbrewer_dynamic")
        for suffix in ("", "_with_cache")
    }
    return {
        **{side: {key: round(value, 3) if isinstance(value, float) else value for key, value in run.items()} for side, run in best.items()},
        "all_steps_per_s": {side: [round(run["steps_per_s"], 3) for run in found] for side, found in runs.items()},
        "ratio": {name: round(value, 2) for name, value in ratios.items()},
        **{"steps": options.steps, "epochs": options.epochs, "threads": options.threads},
        **{"machine": machine().model_dump(), "versions": versions(), "textbrewer_versions": theirs},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--textbrewer-python", help="interpreter of the environment that has TextBrewer")
    parser.add_argument("--data", help="folder that holds glue/MRPC or senteval/MRPC")
    parser.add_argument("--model", help="a BERT-like classifier, or an encoder that gets a new head; default: the quickstart's")
    parser.add_argument("--steps", type=int, default=40, help="steps to measure")
    parser.add_argument("--epochs", type=int, default=5, help="epochs that share one cache")
    parser.add_argument("--threads", type=int, default=1)
    for hidden in ("--side", "--folder"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](Path(options.folder), options.steps, options.threads)))
        return
    if not options.textbrewer_python or not options.data:
        parser.error("--textbrewer-python and --data are needed")
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compare(options, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
