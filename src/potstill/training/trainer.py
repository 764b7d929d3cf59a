"""One stage of training: transformers' Trainer over a plan of batches and a teacher's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.output import EncoderOutput
from potstill.processes import count, number
from potstill.progress import progress
from potstill.results import METRICS_FILE
from potstill.training import processes
from potstill.training.checkpoints import checkpoint_to_resume, step_of
from potstill.training.distillation import INPUTS, Distillation
from potstill.training.dual import DualTraining
from potstill.training.flow import METRIC, Flow, interruptible
from potstill.training.objective import Objective
from potstill.training.perturbation import Perturbation
from potstill.training.precision import autocast
from potstill.training.schedule import progress_of
from potstill.training.teacher import Teacher, prepare_inside
from potstill.training.training_set import TrainingSet


@dataclass(frozen=True)
class Settings:
    """How a stage is trained.

    Attributes:
        precision: what to autocast to; float32 is not at all, float16 comes with a gradient scaler.
        evaluations: how often in the stage a checkpoint is scored and kept.
        accumulate: batches of the plan that an optimizer's step takes the mean of; each counts the same, whatever its rows.
        cached_tokens: as Distillation has it.
    """

    learning_rate: float
    warmup: float
    schedule: str
    weight_decay: float
    max_grad_norm: float
    seed: int
    precision: torch.dtype
    device: torch.device
    evaluations: int
    accumulate: int = 1
    cached_tokens: int | None = None


@dataclass(frozen=True)
class Dev:
    """What chooses the best checkpoint: a name and a score of a model, torch or exported; higher is better.

    Attributes:
        watch: gets the student, the step and the score after each scoring in training; what it raises ends the training.
    """

    name: str
    score: Callable[[Any], float]
    watch: Callable[[EncoderModel, int, float], None] | None = None


class StageTrainer(Trainer):
    """Trainer that takes its batches from a plan, the targets from a teacher and its score from `dev`.

    The whole stage is one epoch to it: the plan lists every batch, so that a resumed run skips
    exactly those that are done.
    """

    def __init__(
        self,
        model: Distillation,
        plan: Sequence[np.ndarray],
        data: TrainingSet,
        teacher: Teacher | None,
        dev: Dev | None,
        precision: torch.dtype,
        **kwargs: Any,
    ) -> None:
        # Trainer wants data sets; the rows are numbers into `data`, and nothing but their count is read of the second.
        super().__init__(model=model, train_dataset=range(len(data)), eval_dataset=range(1), **kwargs)  # type: ignore[arg-type]
        self.student: EncoderModel = model.student
        self.objective: Objective = model.objective
        self.plan, self.data, self.teacher, self.dev, self.precision = plan, data, teacher, dev, precision
        # The loss that compute_loss gives is a batch's own mean: Trainer is to divide it by the batches of the step.
        self.model_accepts_loss_kwargs = False
        self.batch_of_step = (-1, 0)  # a step, and which of its batches
        self.parts: dict[str, Tensor] = {}
        self.parts_steps = 0.0

    def get_train_dataloader(self) -> DataLoader:
        data, pad_id, seed = self.data, self.student.pad_id, self.args.seed  # not self: the cycle would keep all of it beyond the stage

        def collate(rows: list[int]) -> dict[str, Any]:
            own, share = processes.own_rows(rows)
            batch = data.batch(np.array(own, dtype=np.int64), pad_id, seed)
            if processes.together():
                batch[processes.SHARE] = np.array(share, dtype=np.float32)
            return {key: torch.from_numpy(value) for key, value in batch.items()}

        # Not through accelerate, which would give whole batches to each process in turn.
        return DataLoader(self.train_dataset, batch_sampler=[rows.tolist() for rows in self.plan], collate_fn=collate)  # type: ignore[arg-type]

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        step = self.state.global_step
        self.batch_of_step = (step, self.batch_of_step[1] + 1 if step == self.batch_of_step[0] else 0)
        self.objective.set_progress(progress_of(step, self.state.max_steps))
        # The share of the step that this batch is; the last step of a plan may be of fewer batches than the others.
        share = 1 / self.current_gradient_accumulation_steps
        scaler = self.accelerator.scaler
        scale = share * scaler.get_scale() if scaler is not None else 1.0
        rows = inputs["rows"].cpu().numpy()
        seen = {key: inputs[key] for key in INPUTS if key in inputs} if self.data.masking is not None and not self.data.beside else None
        teacher = self.teacher(rows, self.args.device, seen) if self.teacher is not None else None
        loss, parts = model(inputs, teacher, self._negatives(rows), scale)
        for name, value in parts.items():
            self.parts[name] = self.parts.get(name, torch.zeros_like(value)) + share * value
        self.parts_steps += share
        if not torch.isfinite(loss.detach()):
            self._stop_at(inputs, parts)
        return loss

    def _negatives(self, rows: np.ndarray) -> tuple[EncoderOutput, dict[str, Tensor]] | None:
        """The teacher's answers for rows of the training set that are not in the batch, drawn anew for each batch."""
        if not self.objective.pool or self.teacher is None:
            return None
        step, number = self.batch_of_step
        rng = np.random.default_rng([self.args.seed, step * self.args.gradient_accumulation_steps + number, 1])
        others = rng.permutation(len(self.data.texts))[: self.objective.pool + len(rows)]
        others = rng.permutation(others[~np.isin(others, rows)])[: self.objective.pool]
        own = {"negative_rows": torch.from_numpy(others).to(self.args.device)}
        if isinstance(self.data.labels, np.ndarray):
            own["negative_labels"] = torch.from_numpy(self.data.labels_of(others)).to(self.args.device)
        return self.teacher(others, self.args.device), own

    def _stop_at(self, inputs: dict[str, Tensor], parts: dict[str, Tensor]) -> None:
        """Say which term broke, and keep the batch for whoever looks into it."""
        from safetensors.torch import save_file

        step = self.state.global_step + 1
        name = next((name for name, value in parts.items() if not torch.isfinite(value)), "the sum of the terms")
        mine = f"-process-{number()}" if count() > 1 else ""
        file = Path(str(self.args.output_dir)).parent.parent / f"broken-batch-{step}{mine}.safetensors"
        save_file({key: value.detach().cpu().contiguous() for key, value in inputs.items()}, file)
        value = float(parts.get(name, torch.tensor(float("nan"))))
        raise PotstillError(
            f"step {step}", f"the term {name} is {value}; its batch is in {file}", "lower the learning rate, or set precision: fp32"
        )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        dev = self.dev
        assert dev is not None
        # In half precision close predictions are equal, and a correlation of ranks lives on their order.
        with autocast(self.args.device, torch.float32 if self.student.kind == "regression" else self.precision):
            value = processes.tell(lambda: dev.score(self.student))
        metrics = {f"eval_{METRIC}": value}
        self.log(metrics)
        # It takes the request back; without it the end of the stage would score the same weights again.
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if dev.watch is not None:
            dev.watch(self.student, self.state.global_step, value)
        return metrics

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        processes.wait()  # the file that says that a checkpoint is whole comes after everybody's

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self.parts_steps:
            means = processes.mean_of(torch.stack(list(self.parts.values())))
            terms = {name: float(value) / self.parts_steps for name, value in zip(self.parts, means)}
            logs = {**logs, "terms": terms}  # type: ignore[dict-item]
            self.parts, self.parts_steps = {}, 0
        super().log(logs, start_time)


def train_stage(
    student: EncoderModel,
    objective: Objective,
    data: TrainingSet,
    teacher: Teacher | None,
    plan: Sequence[np.ndarray],
    dev: Dev | None,
    settings: Settings,
    *,
    name: str,
    run: Path,
    folder: Path,
    resume: bool,
    perturbation: Perturbation | None = None,
    dual: DualTraining | None = None,
) -> None:
    """Train one stage; the student ends with the weights of its best checkpoint, without `dev` with the last.

    Args:
        plan: every batch of the stage, rows of `data`. What is left of it for the last step may be
            fewer batches than `settings.accumulate`; their mean is what that step takes.
        run: the run folder; the log's lines are appended to its metrics.jsonl.
        folder: where this stage's checkpoints go.
        dual: the student and the objective with a teacher that is taught along.
        resume: go on at the newest whole checkpoint in `folder`, to the same weights as an unbroken run.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a checkpoint was written.
        PotstillError: the loss became NaN or infinite.
    """
    checkpoint = processes.tell(lambda: checkpoint_to_resume(folder, resume))
    # Everything below counts steps of the optimizer; batches are counted nowhere but in the plan.
    texts = [sum(map(len, plan[start : start + settings.accumulate])) for start in range(0, len(plan), settings.accumulate)]
    steps = len(texts)
    every = max(1, -(-steps // settings.evaluations))
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        gradient_accumulation_steps=settings.accumulate,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=int(settings.warmup * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        optim="adamw_torch_fused",
        bf16=settings.precision == torch.bfloat16,
        fp16=settings.precision == torch.float16,
        use_cpu=settings.device.type == "cpu",
        seed=settings.seed,
        logging_steps=max(1, min(50, steps // 20)),
        logging_nan_inf_filter=False,
        eval_strategy="steps" if dev is not None else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=dev is not None,
        metric_for_best_model=METRIC if dev is not None else None,
        greater_is_better=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_broadcast_buffers=False,  # a loss's memory is the same everywhere, and large
        disable_tqdm=True,
        report_to="none",
    )
    # On short texts the processor's fused attention is slow backwards: written out, a step of a 3-layer
    # student takes two thirds of the time.
    fused = settings.device.type != "cpu" and getattr(type(student.network), "_supports_sdpa", False)
    prepare_inside(student, objective.student_reads, "sdpa" if fused else "eager")
    # More than one GPU in one process would split the batch and not the teacher's answers.
    arguments._n_gpu = min(1, arguments.n_gpu)
    model = dual or Distillation(student, objective, perturbation, settings.cached_tokens)
    if dual is not None:
        prepare_inside(dual.teacher, (), "sdpa" if fused else "eager")
    with progress(f"train {name}", sum(texts)) as advance:
        flow = Flow(name, texts, every, run / METRICS_FILE, step_of(checkpoint) if checkpoint else 0, dev.name if dev else None, advance)
        trainer = StageTrainer(model, plan, data, teacher, dev, settings.precision, args=arguments, callbacks=[flow])
        if number():  # Trainer has seeded all alike: their dropout would draw the same
            set_seed(settings.seed + number() * 1_000_003)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        with interruptible(flow):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if flow.interrupted:
        raise KeyboardInterrupt
    student.to("cpu").eval()
