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

from potstill.data.batches import rows_of_steps, some_rows
from potstill.errors import PotstillError
from potstill.machine import distributed
from potstill.machine.precision import autocast
from potstill.machine.processes import count, number
from potstill.machine.progress import progress
from potstill.models.encoder import EncoderModel
from potstill.models.output import EncoderOutput
from potstill.models.recording import prepare_inside
from potstill.objective.objective import Objective
from potstill.objective.schedule import progress_of
from potstill.results import METRICS_FILE
from potstill.runtime.folder import REGRESSION
from potstill.teacher.answers import Teacher
from potstill.training.checkpoints import KEPT, checkpoint_to_resume, require_steps, step_of
from potstill.training.distillation import INPUTS, Distillation
from potstill.training.dropout import MASKS, draws_quick, quick_masks
from potstill.training.dual import DualTraining
from potstill.training.flow import METRIC, TERMS, StageCallback, interruptible
from potstill.training.training_set import TrainingSet


@dataclass(frozen=True)
class Settings:
    """How a stage is trained.

    Attributes:
        learning_rate: the highest one, at the end of the warm-up.
        warmup: part of the stage's steps in which the learning rate rises from 0.
        schedule: transformers' name of what the learning rate does afterwards.
        weight_decay: of AdamW.
        max_grad_norm: length to which a longer gradient is cut.
        seed: of dropout, and of the negatives and masks that are drawn.
        precision: what to autocast to; float32 is not at all, float16 comes with a gradient scaler.
        device: that the stage runs on.
        evaluations: how often in the stage a checkpoint is scored and kept.
        accumulate: batches of the plan that an optimizer's step takes the mean of; each counts the same, whatever its rows.
        report_to: names of transformers' callbacks that get what is logged.
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
    report_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckpointScore:
    """What chooses the best checkpoint: a score of a model, torch or exported.

    Attributes:
        name: of the score, for the log.
        score: the model → its score; higher is better.
        watch: gets the student, the step and the score after each scoring in training; what it raises ends the training.
    """

    name: str
    score: Callable[[Any], float]
    watch: Callable[[EncoderModel, int, float], None] | None = None


class StageTrainer(Trainer):
    """Trainer that takes its batches from a plan, the targets from a teacher and its score from `dev`.

    The whole stage is one epoch to it: the plan lists every batch, so that a resumed run skips
    exactly those that are done.

    Args:
        model: the student with what it minimises.
        plan: every batch of the stage, rows of `data`.
        data: what the batches are made of.
        teacher: None where no term needs one.
        dev: None where the last checkpoint is taken.
        precision: that `dev` scores in.
        quick: whether dropout draws `quick_masks`, which its checkpoints say.
        **kwargs: Trainer's own.
    """

    def __init__(
        self,
        model: Distillation | DualTraining,
        plan: Sequence[np.ndarray],
        data: TrainingSet,
        teacher: Teacher | None,
        dev: CheckpointScore | None,
        precision: torch.dtype,
        quick: bool,
        **kwargs: Any,
    ) -> None:
        # Trainer wants data sets; the rows are numbers into `data`, and nothing but their count is read of the second.
        super().__init__(model=model, train_dataset=range(len(data)), eval_dataset=range(1), **kwargs)  # type: ignore[arg-type]
        self.student: EncoderModel = model.student
        self.objective: Objective = model.objective
        self.plan, self.data, self.teacher, self.dev, self.precision, self.quick = plan, data, teacher, dev, precision, quick
        if self.accelerator.ddp_handler is not None:
            self.accelerator.ddp_handler.gradient_as_bucket_view = True  # of several processes: else averaged gradients are copied back
        # The loss that compute_loss gives is a batch's own mean: Trainer is to divide it by the batches of the step.
        self.model_accepts_loss_kwargs = False
        self.batch_of_step = (-1, 0)  # a step, and which of its batches
        self.parts: dict[str, Tensor] = {}
        self.parts_steps = 0.0

    def get_train_dataloader(self) -> DataLoader:
        """A loader whose items are the plan's batches, this process's rows of each."""
        # not self: the cycle would keep all of it beyond the stage
        plan, data, pad_id, seed = self.plan, self.data, self.student.pad_id, self.args.seed

        def collate(batches: list[int]) -> dict[str, Any]:
            (place,) = batches
            own, share = distributed.shard_rows(plan[place].tolist())
            batch = data.batch(np.array(own, dtype=np.int64), pad_id, seed, place)
            if distributed.together():
                batch[distributed.SHARE] = np.array(share, dtype=np.float32)
            return {key: torch.from_numpy(value) for key, value in batch.items()}

        # An item is a batch of the plan by its number. Not through accelerate, which would give whole batches to each process in turn.
        return DataLoader(range(len(plan)), batch_size=1, collate_fn=collate)  # type: ignore[arg-type]

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """Compute the mean loss of a batch; what its terms add to it is kept for the log.

        A PotstillError comes through: the loss is NaN or infinite.

        Args:
            model: the student with what it minimises, maybe wrapped for several processes.
            inputs: the batch, on the device.
            return_outputs: not read; Trainer passes it.
            num_items_in_batch: likewise.

        Returns:
            The scalar, which Trainer divides by the batches of the step.
        """
        step = self.state.global_step
        self.batch_of_step = (step, self.batch_of_step[1] + 1 if step == self.batch_of_step[0] else 0)
        self.objective.set_progress(progress_of(step, self.state.max_steps))
        # The share of the step that this batch is; the last step of a plan may be of fewer batches than the others.
        share = 1 / self.current_gradient_accumulation_steps
        scaler = self.accelerator.scaler
        scale = share * scaler.get_scale() if scaler is not None else 1.0
        rows = inputs["rows"].cpu().numpy()
        masks = self.data.masking is not None and not self.data.masked_beside  # the teacher must see the same masks
        seen = {key: inputs[key] for key in INPUTS if key in inputs} if masks else None
        teacher = self.teacher(rows, self.args.device, seen) if self.teacher is not None else None
        loss, parts = model(inputs, teacher, self._negatives(rows), scale)
        for name, value in parts.items():
            self.parts[name] = self.parts.get(name, torch.zeros_like(value)) + share * value
        self.parts_steps += share
        if not torch.isfinite(loss.detach()):
            self._stop_at(inputs, parts)
        return loss

    def _negatives(self, rows: np.ndarray) -> tuple[EncoderOutput, dict[str, Tensor]] | None:
        """The teacher's outputs for rows of the training set that are not in the batch, drawn anew for each batch.

        As many are drawn as the term with the greatest pool asks for, in random order: another term reads the first ones.
        """
        if not self.objective.pool or self.teacher is None:
            return None
        step, number = self.batch_of_step
        rng = np.random.default_rng([self.args.seed, step * self.args.gradient_accumulation_steps + number, 1])
        others = some_rows(len(self.data.texts), self.objective.pool + len(rows), rng)
        others = rng.permutation(others[~np.isin(others, rows)])[: self.objective.pool]
        own = {"negative_rows": torch.from_numpy(others).to(self.args.device)}
        if isinstance(self.data.labels, np.ndarray):
            own["negative_labels"] = torch.from_numpy(self.data.labels_of(others)).to(self.args.device)
        return self.teacher(others, self.args.device), own

    def _stop_at(self, inputs: dict[str, Tensor], parts: dict[str, Tensor]) -> None:
        """Say which term broke, and keep the batch for whoever looks into it.

        Raises:
            PotstillError: always.
        """
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
        """Score the student by `dev`; the score is logged and shown to `dev.watch`.

        Args:
            *args: not read; Trainer passes them.
            **kwargs: likewise.

        Returns:
            The score under Trainer's name for it.
        """
        dev = self.dev
        assert dev is not None
        # In half precision close predictions are equal, and a correlation of ranks lives on their order.
        with autocast(self.args.device, torch.float32 if self.student.head == REGRESSION else self.precision):
            value = distributed.tell(lambda: dev.score(self.student))
        metrics = {f"eval_{METRIC}": value}
        self.log(metrics)
        # It takes the request back; without it the end of the stage would score the same weights again.
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        if dev.watch is not None:
            dev.watch(self.student, self.state.global_step, value)
        return metrics

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self.quick and number() == 0:
            Path(output_dir, MASKS).touch()
        distributed.wait()  # the file that says that a checkpoint is whole comes after everybody's

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log, with a loss each term's part of it: the mean over the steps since the last time and over all processes.

        Args:
            logs: what Trainer logs.
            start_time: as Trainer has it.
        """
        if "loss" in logs and self.parts_steps:
            means = distributed.mean_of(torch.stack(list(self.parts.values())))
            logs = {**logs, **{f"{TERMS}{name}": float(value) / self.parts_steps for name, value in zip(self.parts, means)}}
            self.parts, self.parts_steps = {}, 0
        super().log(logs, start_time)


@dataclass(frozen=True)
class StagePlace:
    """Where a stage leaves its traces.

    Attributes:
        name: of the stage, in the log and on the progress bar.
        run: the run folder; the log's lines are appended to its metrics.jsonl.
        folder: of this stage's checkpoints.
    """

    name: str
    run: Path
    folder: Path


def train_stage(
    model: Distillation | DualTraining,
    data: TrainingSet,
    teacher: Teacher | None,
    plan: Sequence[np.ndarray],
    dev: CheckpointScore | None,
    settings: Settings,
    place: StagePlace,
    resume: bool = False,
) -> None:
    """Train one stage; the student ends with the weights of its best checkpoint, without `dev` with the last.

    A PotstillError from below comes through: the loss is NaN or infinite; the disk is full; a term reads from inside
    attention that the student computes by itself; the stage has other steps than when the checkpoint to go on from was written.

    Args:
        model: the student with what it minimises. The student ends on the CPU, in eval mode.
        data: what the batches are made of.
        teacher: None where no term needs one.
        plan: every batch of the stage, rows of `data`. What is left of it for the last step may be
            fewer batches than `settings.accumulate`; their mean is what that step takes.
        dev: what chooses the best checkpoint; None takes the last.
        settings: how it is trained.
        place: where its log and its checkpoints go.
        resume: go on at the newest whole checkpoint in the stage's folder, to the same weights as an unbroken run.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM, after a checkpoint was written.
    """
    checkpoint = distributed.tell(lambda: checkpoint_to_resume(place.folder, resume))
    # Everything below counts steps of the optimizer; batches are counted nowhere but in the plan.
    texts = rows_of_steps(plan, settings.accumulate).tolist()
    if checkpoint:
        require_steps(checkpoint, len(texts))
    every = max(1, -(-len(texts) // settings.evaluations))
    arguments = _arguments(settings, place, len(texts), every, chooses=dev is not None)
    _choose_attention(model, settings.device)
    quick = settings.device.type == "cpu" and distributed.tell(lambda: draws_quick(place.folder.parent))
    with progress(f"train {place.name}", sum(texts)) as advance:
        done, metrics = step_of(checkpoint) if checkpoint else 0, place.run / METRICS_FILE
        callback = StageCallback(place.name, texts, every, metrics, done, dev.name if dev else None, advance)
        trainer = StageTrainer(model, plan, data, teacher, dev, settings.precision, quick, args=arguments, callbacks=[callback])
        if number():  # Trainer has seeded all alike: their dropout would draw the same
            set_seed(settings.seed + number() * 1_000_003)
        _keep_reports(trainer, place)
        trainer.remove_callback(PrinterCallback)
        trainer.remove_callback(ProgressCallback)
        with interruptible(callback), quick_masks(quick):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if callback.interrupted:
        raise KeyboardInterrupt
    model.student.to("cpu").eval()


def _keep_reports(trainer: Trainer, place: StagePlace) -> None:
    """Let TensorBoard's files lie in the run folder: by default they lie among the checkpoints, which go at the end."""
    for each in trainer.callback_handler.callbacks:
        if type(each).__name__ == "TensorBoardCallback" and each.logging_dir is None:
            each.logging_dir = str(place.run / "tensorboard" / place.name)


def _arguments(settings: Settings, place: StagePlace, steps: int, every: int, chooses: bool) -> TrainingArguments:
    """What Trainer is told.

    Args:
        place: of the stage.
        steps: of the optimizer, in all.
        every: steps between two checkpoints.
        chooses: whether each is scored, and the best one kept.
    """
    arguments = TrainingArguments(
        output_dir=str(place.folder),
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
        eval_strategy="steps" if chooses else "no",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=KEPT,
        load_best_model_at_end=chooses,
        metric_for_best_model=METRIC if chooses else None,
        greater_is_better=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        ddp_broadcast_buffers=False,  # a loss's memory is the same everywhere, and large
        disable_tqdm=True,
        report_to=list(settings.report_to) or "none",
        run_name=f"{place.run.name}-{place.name}",
        project="potstill",
    )
    # More than one GPU in one process would split the batch and not the teacher's answers.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _choose_attention(model: Distillation | DualTraining, device: torch.device) -> None:
    """Tell the networks which attention to compute, the one that records where a term reads from inside it.

    On short texts the processor's fused attention is slow backwards: written out, a step of a 3-layer
    student takes two thirds of the time.
    """
    fused = device.type != "cpu" and getattr(type(model.student.network), "_supports_sdpa", False)
    plain = "sdpa" if fused else "eager"
    prepare_inside(model.student.network, model.objective.student_reads, plain)
    if isinstance(model, DualTraining):
        prepare_inside(model.teacher.network, (), plain)
