"""One stage of training: transformers' Trainer over a plan of batches and a teacher's answers."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from potstill.data.batches import TokenizedTexts
from potstill.errors import PotstillError
from potstill.files import write_text
from potstill.models.encoder import EncoderModel
from potstill.models.output import EncoderOutput
from potstill.progress import progress
from potstill.results import METRICS_FILE, read_metrics
from potstill.training.agreement import Encode
from potstill.training.objective import Objective
from potstill.training.precision import autocast
from potstill.training.teacher import Teacher

STATE = "trainer_state.json"  # Trainer writes it last into a checkpoint
METRIC = "dev"


@dataclass(frozen=True)
class Settings:
    """How a stage is trained. `evaluations` is how often in the stage a checkpoint is scored and kept."""

    learning_rate: float
    warmup: float
    schedule: str
    weight_decay: float
    max_grad_norm: float
    seed: int
    bf16: bool
    device: torch.device
    evaluations: int


@dataclass(frozen=True)
class Dev:
    """What chooses the best checkpoint: a name and a score of what encodes texts, higher is better."""

    name: str
    score: Callable[[Encode], float]


class Distillation(nn.Module):
    """Student and objective in one module, so that the optimizer and the checkpoints hold the projections too."""

    def __init__(self, student: EncoderModel, objective: Objective) -> None:
        super().__init__()
        self.student, self.objective = student, objective

    def forward(self, batch: dict[str, Tensor], teacher: EncoderOutput) -> tuple[Tensor, dict[str, Tensor]]:
        return self.objective(self.student(**batch, reads=self.objective.reads), teacher, batch)


class StageTrainer(Trainer):
    """Trainer that takes its batches from a plan, the targets from a teacher and its score from `dev`.

    The whole stage is one epoch to it: the plan lists every batch, so that a resumed run skips
    exactly those that are done.
    """

    def __init__(
        self, model: Distillation, plan: Sequence[np.ndarray], texts: TokenizedTexts, teacher: Teacher, dev: Dev, **kwargs: Any
    ) -> None:
        # Trainer wants data sets; the rows are numbers into `texts`, and nothing but their count is read of the second.
        super().__init__(model=model, train_dataset=range(len(texts)), eval_dataset=range(1), **kwargs)  # type: ignore[arg-type]
        self.student = model.student
        self.plan, self.texts, self.teacher, self.dev = plan, texts, teacher, dev
        self.parts: dict[str, Tensor] = {}
        self.parts_steps = 0

    def get_train_dataloader(self) -> DataLoader:
        def collate(rows: list[int]) -> dict[str, Any]:
            # The rows stay numpy: the teacher looks them up on disk.
            batch = self.texts.pad(np.array(rows, dtype=np.int64), self.student.pad_id)
            return {"rows": np.array(rows, dtype=np.int64), **{key: torch.from_numpy(value) for key, value in batch.items()}}

        batches = [rows.tolist() for rows in self.plan]
        return self.accelerator.prepare(DataLoader(self.train_dataset, batch_sampler=batches, collate_fn=collate))  # type: ignore[arg-type]

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        rows = inputs.pop("rows")
        loss, parts = model(inputs, self.teacher(rows, self.args.device))
        for name, value in parts.items():
            self.parts[name] = self.parts.get(name, torch.zeros_like(value)) + value
        self.parts_steps += 1
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        with autocast(self.args.device, self.args.bf16):
            value = self.dev.score(self.student.encode)
        metrics = {f"eval_{METRIC}": value}
        self.log(metrics)
        # It takes the request back; without it the end of the stage would score the same weights again.
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self.parts_steps:
            terms = {name: float(value) / self.parts_steps for name, value in self.parts.items()}
            for name, value in terms.items():
                if not np.isfinite(value):
                    raise PotstillError(
                        f"step {self.state.global_step}", f"the term {name} is {value}", "lower the learning rate, or set precision: fp32"
                    )
            logs = {**logs, "terms": terms}  # type: ignore[dict-item]
            self.parts, self.parts_steps = {}, 0
        super().log(logs, start_time)


class Flow(TrainerCallback):
    """When to score and to save, what a line of metrics.jsonl says, and what Ctrl-C does."""

    def __init__(
        self, stage: str, plan: Sequence[np.ndarray], every: int, metrics: Path, done: int, dev_name: str, advance: Callable[..., None]
    ) -> None:
        self.stage, self.every, self.metrics, self.dev_name, self.advance = stage, every, metrics, dev_name, advance
        self.texts_done = np.cumsum([len(rows) for rows in plan])
        self.started = time.perf_counter()
        self.seconds_before = _forget_after(metrics, stage, done)
        self.interrupted = False

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.started = time.perf_counter()
        if state.global_step:
            self.advance(int(self.texts_done[state.global_step - 1]))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step = state.global_step
        last = step >= state.max_steps
        self.advance(int(self.texts_done[step - 1] - (self.texts_done[step - 2] if step > 1 else 0)))
        control.should_evaluate = last or step % self.every == 0
        control.should_save = control.should_evaluate or self.interrupted
        control.should_log = control.should_log or last

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # Not before the save: the checkpoint would remember that it was told to stop.
        if self.interrupted:
            control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        logs = logs or {}
        line: dict[str, Any] = {"step": state.global_step, "stage": self.stage}
        if "terms" in logs:
            seconds = round(self.seconds_before + time.perf_counter() - self.started, 2)
            line |= {"texts": int(self.texts_done[state.global_step - 1]), "seconds": seconds}
            line |= {key: logs[key] for key in ("loss", "terms", "learning_rate")}
            self.advance(0, note=f"{self.stage} loss {logs['loss']:.4f}")
        elif f"eval_{METRIC}" in logs:
            line |= {"dev": {"name": self.dev_name, "value": logs[f"eval_{METRIC}"]}}
        else:
            return
        with self.metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def train_stage(
    student: EncoderModel,
    objective: Objective,
    texts: TokenizedTexts,
    teacher: Teacher,
    plan: Sequence[np.ndarray],
    dev: Dev,
    settings: Settings,
    *,
    name: str,
    run: Path,
    folder: Path,
    resume: bool,
) -> None:
    """Train one stage; the student ends with the weights of its best checkpoint.

    Args:
        plan: every batch of the stage, rows of `texts`.
        run: the run folder; the log's lines are appended to its metrics.jsonl.
        folder: where this stage's checkpoints go.
        resume: go on at the newest whole checkpoint in `folder`, to the same weights as an unbroken run.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a checkpoint was written.
        PotstillError: a term became NaN or infinite.
    """
    checkpoint = newest_checkpoint(folder) if resume else None
    if checkpoint is None:
        shutil.rmtree(folder, ignore_errors=True)
    every = max(1, -(-len(plan) // settings.evaluations))
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=len(plan),
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=int(settings.warmup * len(plan)),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=settings.bf16,
        use_cpu=settings.device.type == "cpu",
        seed=settings.seed,
        logging_steps=max(1, min(50, len(plan) // 20)),
        logging_nan_inf_filter=False,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model=METRIC,
        greater_is_better=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to="none",
    )
    if settings.device.type == "cpu":
        # On short texts the processor's fused attention is slow backwards: written out, a step of a 3-layer
        # student takes two thirds of the time.
        student.backbone.set_attn_implementation("eager")
    # More than one GPU in one process would split the batch and not the teacher's answers.
    arguments._n_gpu = min(1, arguments.n_gpu)
    model = Distillation(student, objective)
    with progress(f"train {name}", int(sum(map(len, plan)))) as advance:
        flow = Flow(name, plan, every, run / METRICS_FILE, _step(checkpoint) if checkpoint else 0, dev.name, advance)
        trainer = StageTrainer(model, plan, texts, teacher, dev, args=arguments, callbacks=[flow])
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        with _interruptible(flow):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if flow.interrupted:
        raise KeyboardInterrupt
    student.to("cpu").eval()


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written whole; younger halves (a killed run's) are removed."""
    for path in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        try:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            best = state.get("best_model_checkpoint")
            if best:  # kept as a path, which no longer leads there when the run, or the working folder, was moved
                write_text(path / STATE, json.dumps(state | {"best_model_checkpoint": str(folder / Path(best).name)}))
            return path
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
    return None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _forget_after(metrics: Path, stage: str, step: int) -> float:
    """Drop the lines that a broken run wrote after the step at which it is taken up; return the seconds it had taken till there."""
    kept, seconds = [], 0.0
    for line in read_metrics(metrics.parent):
        if line["stage"] != stage:
            kept.append(line)
        elif line["step"] <= step:
            kept.append(line)
            seconds = line.get("seconds", seconds)
    write_text(metrics, "".join(json.dumps(line) + "\n" for line in kept))
    return seconds


class _interruptible:
    """Within the block the first Ctrl-C or SIGTERM asks `flow` for a checkpoint; a second one stops at once."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> None:
        try:
            self.previous = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread: signals are somebody else's
            self.previous = {}

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.flow.interrupted:
            raise KeyboardInterrupt
        self.flow.interrupted = True
