"""Training steps a second of potstill against TextBrewer: `python benchmarks/textbrewer_steps.py --help`. Prints JSON.

TextBrewer needs an environment of its own, with potstill's transformers (X, as `pip show transformers` says):
    python -m venv tb && tb/bin/pip install -c constraints.txt textbrewer torch transformers==X
Both sides: one student (3 layers cut from the teacher, its head too), the same MRPC rows, at most 128 tokens, batches of 32,
hidden MSE on uniformly mapped layers without projection (real tokens only), cross-entropy with the teacher at temperature 4
without T². Each measurement is a process of its own with pinned threads, the sides in turn; the best of REPEATS counts.
- textbrewer: GeneralDistiller at its defaults, the teacher run in every step, fp32, random batches, every text padded
  to 128 as its examples do; textbrewer_dynamic pads to the batch's longest text, which a user has to write alone.
- potstill: what a recipe runs by default: batches of similar lengths, the teacher's answers read from a cache, bf16
  where the processor has it; potstill_fp32 is the same without bf16.
Loading, the final checkpoint and the making of the cache are left out of steps a second; the cache's seconds stand
beside them, and `with_cache` spreads them over --epochs epochs (the rows of this run are one epoch here, and all that
is cached). `cpu` counts processor time, which other programs disturb less. Linux only: peak memory is read in /proc.
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

# potstill is imported inside functions alone: TextBrewer's interpreter, which lacks it, runs this file too.

REPEATS, WARM_STEPS = 2, 3
BATCH, LENGTH, LAYERS = 32, 128, 3
TEMPERATURE, LEARNING_RATE, WARMUP = 4.0, 5e-5, 0.1


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def result(times: list[tuple[float, float]], steps: int) -> dict[str, Any]:
    """Of one reading of the clocks a step: rates after the warm-up, and the peak (getrusage's would begin with the parent's)."""
    wall, cpu = (last - first for first, last in zip(times[WARM_STEPS], times[WARM_STEPS + steps]))
    with open("/proc/self/status", encoding="utf-8") as stream:
        peak = next(int(line.split()[1]) for line in stream if line.startswith("VmHWM:"))
    return {"steps_per_s": round(steps / wall, 4), "steps_per_cpu_s": round(steps / cpu, 4), "peak_mb": round(peak / 1024)}


def textbrewer(folder: Path, steps: int, padding: str) -> dict[str, Any]:
    from importlib.metadata import version

    import torch
    from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
    from torch.utils.data import DataLoader
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

    torch.manual_seed(1)
    setup = json.loads((folder / "setup.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(folder / "teacher")
    load = AutoModelForSequenceClassification.from_pretrained
    teacher, student = (load(folder / side, output_hidden_states=True) for side in ("teacher", "student"))
    texts = [list(side) for side in zip(*setup["texts"])]
    encoded = tokenizer(*texts, truncation=True, max_length=LENGTH, padding=padding)
    rows: Any = [{key: value[number] for key, value in encoded.items()} for number in range(len(texts[0]))]

    def adaptor(batch: dict[str, torch.Tensor], output: Any) -> dict[str, Any]:
        return {"logits": output.logits, "hidden": output.hidden_states, "inputs_mask": batch["attention_mask"]}

    # Pads to the longest of the rows: to LENGTH where all are padded already.
    loader = DataLoader(rows, BATCH, shuffle=True, drop_last=True, collate_fn=lambda rows: dict(tokenizer.pad(rows, return_tensors="pt")))
    matches = [{"layer_T": t, "layer_S": s, "feature": "hidden", "loss": "hidden_mse", "weight": 1} for s, t in setup["layers"]]
    distilled = DistillationConfig(temperature=TEMPERATURE, intermediate_matches=matches)
    trained = TrainingConfig(device="cpu", output_dir=str(folder / "textbrewer"))
    distiller = GeneralDistiller(trained, distilled, teacher, student, adaptor, adaptor)
    optimizer = torch.optim.AdamW(student.parameters(), lr=LEARNING_RATE)
    times: list[tuple[float, float]] = []
    optimizer.register_step_post_hook(lambda *_: times.append(clocks()))
    schedule = {"num_warmup_steps": int(WARMUP * len(loader)), "num_training_steps": len(loader)}
    with distiller:
        distiller.train(optimizer, loader, num_epochs=1, scheduler_class=get_linear_schedule_with_warmup, scheduler_args=schedule)
    return {**result(times, steps), "versions": {name: version(name) for name in ("textbrewer", "torch", "transformers")}}


def potstill(folder: Path, steps: int, precision: str) -> dict[str, Any]:
    import numpy as np
    import torch

    from potstill.data.batches import training_plan
    from potstill.losses.base import make_loss
    from potstill.machine.precision import choose_precision
    from potstill.models.loading import load_encoder
    from potstill.models.output import EncoderOutput
    from potstill.objective.objective import Objective
    from potstill.objective.sizes import Sizes, TermSpec
    from potstill.runtime.tokens import tokenize
    from potstill.teacher.answers import Teacher
    from potstill.teacher.cached import build_cache
    from potstill.training.distillation import Distillation
    from potstill.training.trainer import Settings, StagePlace, train_stage
    from potstill.training.training_set import TrainingSet

    torch.manual_seed(1)
    setup = json.loads((folder / "setup.json").read_text(encoding="utf-8"))
    student, model = (load_encoder(folder / side, max_length=LENGTH) for side in ("student", "teacher"))
    soft_target = make_loss("soft_target", {"temperature": TEMPERATURE, "scale_by_t2": False})
    terms = [TermSpec("hidden_mse", make_loss("hidden_mse", {}), pairs=setup["layers"]), TermSpec("soft_target", soft_target)]
    texts = [(first, second) for first, second in setup["texts"]]
    sizes = [Sizes(0, side.width, len(side.labels)) for side in (student, model)]
    objective = Objective(terms, sizes[0], sizes[1], rows=len(texts))
    cpu = torch.device("cpu")
    chosen = choose_precision(precision, cpu)
    settings = Settings(LEARNING_RATE, WARMUP, "linear", 0.0, 1.0, 1, chosen, cpu, 1)
    times: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        before = clocks()
        tokens = tokenize(student.tokenizer, texts, LENGTH)
        cached = build_cache(Path(name, "cache"), model, tokens, objective.teacher_reads, precision=chosen)
        wall, processor = (end - start for start, end in zip(before, clocks()))
        plan = training_plan(tokens.lengths, batch_size=BATCH, batch_tokens=16384, epochs=1, seed=1)

        class Timed(Teacher):
            reads = cached.reads

            def __call__(self, rows: np.ndarray, device: torch.device, inputs: Any = None) -> EncoderOutput:
                times.append(clocks())
                return cached(rows, device, inputs)

        place = StagePlace("bench", Path(name), Path(name, "checkpoints"))
        train_stage(Distillation(student, objective), TrainingSet(tokens), Timed(), plan, None, settings, place)
    return {**result(times, steps), "bf16": chosen == torch.bfloat16, "cache": {"steps": len(plan), "s": wall, "cpu_s": processor}}


SIDES = {
    "textbrewer": (textbrewer, "max_length"),
    "potstill": (potstill, "auto"),
    "textbrewer_dynamic": (textbrewer, "do_not_pad"),
    "potstill_fp32": (potstill, "fp32"),
}


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """Teacher and student as transformers folders, and what both sides read: rows and pairs of layers.

    Raises:
        SystemExit: more steps are asked than MRPC has rows for.
    """
    import numpy as np

    from potstill.models.loading import load_encoder
    from potstill.student.transformer import choose_layers, cut_student
    from potstill.tasks.labelled import training_data

    data = training_data("glue/mrpc", options.data)
    count = (options.steps + WARM_STEPS + 1) * BATCH
    if count > len(data.train):
        raise SystemExit(f"--steps {options.steps}: MRPC has rows for {len(data.train) // BATCH - WARM_STEPS - 1}")
    teacher = load_encoder(options.model, max_length=LENGTH, head="classification", labels=data.labels)
    kept = choose_layers(LAYERS, "uniform", len(teacher.layers))
    teacher.save(folder / "teacher")
    cut_student(teacher, kept, pooling=teacher.pooling, normalize=teacher.normalize, max_length=LENGTH).save(folder / "student")
    rows = np.random.default_rng(1).permutation(len(data.train))[:count]
    setup = {"texts": data.train.take(rows).texts, "layers": list(enumerate(kept, 1))}
    (folder / "setup.json").write_text(json.dumps(setup), encoding="utf-8")


def measure(side: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    pinned = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
    python = options.textbrewer_python if side.startswith("textbrewer") else sys.executable
    command = [python, __file__, "--side", side, str(folder), str(options.steps)]
    done = subprocess.run(command, env=os.environ | pinned | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from potstill.results import machine, versions

    prepare(options, folder)
    runs = [{side: measure(side, options, folder) for side in SIDES} for _ in range(REPEATS)]
    best = {side: max((run[side] for run in runs), key=lambda found: found["steps_per_s"]) for side in SIDES}
    ratio = {}
    for ours in ("potstill", "potstill_fp32"):
        for unit in ("s", "cpu_s"):
            rate, steps = best[ours][f"steps_per_{unit}"], best[ours]["cache"]["steps"] * options.epochs
            spread = best[ours][f"steps_per_{unit}_with_cache"] = round(steps / (best[ours]["cache"][unit] + steps / rate), 4)
            for other in ("textbrewer", "textbrewer_dynamic"):
                theirs = best[other][f"steps_per_{unit}"]
                ratio[f"{ours} / {other}, per {unit}"] = {"steps": round(rate / theirs, 2), "with_cache": round(spread / theirs, 2)}
    every = {side: [round(run[side]["steps_per_s"], 3) for run in runs] for side in SIDES}
    about = {"steps": options.steps, "epochs": options.epochs, "threads": options.threads, "machine": machine().model_dump()}
    return {"ratio": ratio, **best, "all_steps_per_s": every, **about, "versions": versions()}


def main() -> None:
    if sys.argv[1:2] == ["--side"]:
        worker, option = SIDES[sys.argv[2]]
        print(json.dumps(worker(Path(sys.argv[3]), int(sys.argv[4]), option)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--textbrewer-python", required=True, help="tb/bin/python of the environment above")
    parser.add_argument("--data", required=True, help="folder that holds glue/MRPC or senteval/MRPC")
    parser.add_argument("--model", required=True, help="a BERT-like classifier, or an encoder that gets a new head")
    parser.add_argument("--steps", type=int, default=40, help="steps to measure")
    parser.add_argument("--epochs", type=int, default=5, help="epochs that share one cache; default: those of the recipe kd/mrpc")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compare(options, Path(folder)), indent=2))


if __name__ == "__main__":
    main()
