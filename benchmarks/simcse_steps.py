"""SimCSE steps a second of potstill against the trainers that users have: `python benchmarks/simcse_steps.py --help`. Prints JSON.

All sides: one encoder with its own dropout and mean pooling, the same texts at most 32 tokens long, batches of 64, each text
beside itself, cosines / 0.05, cross-entropy in one direction. Each measurement is a process of its own with pinned threads,
the sides in turn; the best of REPEATS counts.
- sentence_transformers: SentenceTransformerTrainer with MultipleNegativesRankingLoss on pairs of equal texts, all at its
  defaults: fp32, random batches, texts tokenized in every step and padded to the batch's longest, a pass for each side of the pairs.
- transformers: princeton-nlp's loss in a plain Trainer at its defaults: fp32, random batches, tokenized ahead and padded to the
  batch's longest, both views in one pass. transformers_bf16 is the same with `bf16=True`, for which a user has to ask.
- potstill: what the recipe distilface/wiki1m runs: both views in one pass, batches of like lengths, equal texts no negatives of each
  other, bf16 where the processor is faster in it; potstill_fp32 is the same without bf16.
Loading, tokenizing ahead and the final checkpoint are left out. `cpu` counts processor time, which other programs disturb less.
Linux only: peak memory is read in /proc.
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

REPEATS, WARM_STEPS = 2, 3
BATCH, LENGTH, TEMPERATURE = 64, 32, 0.05
TRAINER: dict[str, Any] = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": BATCH,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}


def result(times: list[tuple[float, float]], steps: int) -> dict[str, Any]:
    """Of one reading of the clocks a step: rates after the warm-up, and the peak (getrusage's would begin with the parent's)."""
    wall, cpu = (last - first for first, last in zip(times[WARM_STEPS], times[WARM_STEPS + steps]))
    with open("/proc/self/status", encoding="utf-8") as stream:
        peak = next(int(line.split()[1]) for line in stream if line.startswith("VmHWM:"))
    return {"steps_per_s": round(steps / wall, 4), "steps_per_cpu_s": round(steps / cpu, 4), "peak_mb": round(peak / 1024)}


def sentence_transformers(model: str, texts: list[str], folder: str, precision: str) -> None:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    encoder = SentenceTransformer(model, device="cpu")
    encoder.max_seq_length = LENGTH
    data = Dataset.from_dict({"anchor": texts, "positive": texts})
    arguments = SentenceTransformerTrainingArguments(output_dir=folder, use_cpu=True, **TRAINER)
    loss = MultipleNegativesRankingLoss(encoder, scale=1 / TEMPERATURE)
    SentenceTransformerTrainer(model=encoder, args=arguments, train_dataset=data, loss=loss).train()


def transformers(model: str, texts: list[str], folder: str, precision: str) -> None:
    import torch
    from torch import Tensor, nn
    from transformers import AutoModel, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

    class TwoViews(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = AutoModel.from_pretrained(model)

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
            mask = torch.cat([attention_mask, attention_mask])  # (2b, l)
            states = self.encoder(input_ids=torch.cat([input_ids, input_ids]), attention_mask=mask).last_hidden_state
            vectors = (states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
            first, second = vectors.chunk(2)
            cosines = nn.functional.cosine_similarity(first[:, None], second[None], dim=-1)  # (b, b)
            loss = nn.functional.cross_entropy(cosines / TEMPERATURE, torch.arange(len(first), device=cosines.device))
            return {"loss": loss, "cosines": cosines}

    tokenizer = AutoTokenizer.from_pretrained(model)
    ids = tokenizer(texts, truncation=True, max_length=LENGTH, return_token_type_ids=False)
    rows: Any = [{key: ids[key][number] for key in ids} for number in range(len(texts))]
    arguments = TrainingArguments(output_dir=folder, use_cpu=True, bf16=precision == "bf16", **TRAINER)
    Trainer(model=TwoViews(), args=arguments, train_dataset=rows, data_collator=DataCollatorWithPadding(tokenizer)).train()


def potstill(model: str, texts: list[str], folder: str, precision: str) -> None:
    import numpy as np
    import torch

    from potstill.data.batches import training_plan
    from potstill.losses.base import make_loss
    from potstill.machine.precision import choose_precision
    from potstill.models.loading import load_encoder
    from potstill.objective.objective import Objective
    from potstill.objective.sizes import Sizes, TermSpec
    from potstill.runtime.tokens import tokenize
    from potstill.training.distillation import Distillation
    from potstill.training.trainer import Settings, StagePlace, train_stage
    from potstill.training.training_set import TrainingSet

    student = load_encoder(model, pooling="mean", normalize=False)
    tokens = tokenize(student.tokenizer, texts, LENGTH)
    data = TrainingSet(tokens, groups=np.arange(len(texts))[:, None].repeat(2, 1))
    plan = training_plan(data.lengths, batch_size=BATCH, batch_tokens=None, epochs=1, seed=1)
    term = TermSpec("info_nce", make_loss("info_nce", {"temperature": TEMPERATURE}))
    objective = Objective([term], Sizes(student.dimension, student.width), rows=len(texts))
    cpu = torch.device("cpu")
    settings = Settings(5e-5, 0.0, "linear", 0.0, 1.0, 1, choose_precision(precision, cpu), cpu, 1)
    place = StagePlace("bench", Path(folder), Path(folder, "checkpoints"))
    train_stage(Distillation(student, objective, cached_tokens=16384), data, None, plan, None, settings, place)


SIDES = {
    "sentence_transformers": (sentence_transformers, ""),
    "transformers": (transformers, ""),
    "potstill": (potstill, "auto"),
    "transformers_bf16": (transformers, "bf16"),
    "potstill_fp32": (potstill, "fp32"),
}


def work(side: str, model: str, file: str, steps: int) -> dict[str, Any]:
    """Run a side in this process; the clocks are read after each step of its optimizer, whoever made that."""
    import torch
    from torch.optim.optimizer import register_optimizer_step_post_hook

    torch.manual_seed(1)
    texts = json.loads(Path(file).read_text(encoding="utf-8"))
    times: list[tuple[float, float]] = []
    register_optimizer_step_post_hook(lambda *_: times.append((time.perf_counter(), time.process_time())))
    worker, precision = SIDES[side]
    with tempfile.TemporaryDirectory() as folder:
        worker(model, texts, folder, precision)
    return result(times, steps)


def measure(side: str, options: argparse.Namespace, file: Path) -> dict[str, Any]:
    pinned = {name: str(options.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
    command = [sys.executable, __file__, "--side", side, options.model, str(file), str(options.steps)]
    done = subprocess.run(command, env=os.environ | pinned | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr}")
    found = json.loads(done.stdout.splitlines()[-1])
    print(side, found, file=sys.stderr, flush=True)  # a run of many minutes that is stopped has then shown something
    return found


def compare(options: argparse.Namespace, file: Path) -> dict[str, Any]:
    import numpy as np

    from potstill.data.files.lines import read_lines
    from potstill.results import machine, versions

    count = (options.steps + WARM_STEPS + 1) * BATCH
    texts = list(dict.fromkeys(text for _, text in read_lines(options.texts) if text.strip()))
    if count > len(texts):
        raise SystemExit(f"--steps {options.steps}: the file has texts for {len(texts) // BATCH - WARM_STEPS - 1}")
    chosen = np.random.default_rng(1).permutation(len(texts))[:count]
    file.write_text(json.dumps([texts[number] for number in chosen]), encoding="utf-8")
    runs = [{side: measure(side, options, file) for side in SIDES} for _ in range(REPEATS)]
    best = {side: max((run[side] for run in runs), key=lambda found: found["steps_per_s"]) for side in SIDES}
    ratio = {
        f"{ours} / {other}": {unit: round(best[ours][f"steps_per_{unit}"] / best[other][f"steps_per_{unit}"], 2) for unit in ("s", "cpu_s")}
        for ours in SIDES
        for other in SIDES
        if ours.startswith("potstill") and not other.startswith("potstill")
    }
    every = {side: [run[side]["steps_per_s"] for run in runs] for side in SIDES}
    about = {"steps": options.steps, "threads": options.threads, "machine": machine().model_dump(), "versions": versions()}
    return {"ratio": ratio, **best, "all_steps_per_s": every, **about}


def main() -> None:
    if sys.argv[1:2] == ["--side"]:
        side, model, file, steps = sys.argv[2:]
        print(json.dumps(work(side, model, file, int(steps))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a folder of a BERT-like encoder")
    parser.add_argument("--texts", required=True, help="a text a line, plain or .gz")
    parser.add_argument("--steps", type=int, default=40, help="steps to measure")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(compare(options, Path(folder, "texts.json")), indent=2))


if __name__ == "__main__":
    main()
