"""What happens beside the steps of a stage: scoring, saving, the log, the progress bar, Ctrl-C."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from potstill.machine.distributed import any_of
from potstill.machine.files import write_text
from potstill.machine.processes import count, is_main
from potstill.results import read_metrics
from potstill.training.perturbation import RATIO

METRIC = "dev"  # Trainer's name for the score that chooses the best checkpoint
TERMS = "terms/"  # before a term's name in Trainer's log, which holds numbers alone: other callbacks report them


class StageCallback(TrainerCallback, ExportableState):
    """When to score and to save, what a line of metrics.jsonl says, and what Ctrl-C does.

    A line is the mean over the steps since the line before. What was summed up for the next line stands in each checkpoint,
    so that a stage that was stopped writes the lines of one that was not.

    Args:
        stage: its name in the log and on the progress bar.
        texts: how many each step of the optimizer takes, whatever the batches it is made of.
        every: steps from one checkpoint to the next.
        metrics: the log; its lines after step `done` of this stage are dropped.
        done: steps of an earlier process that this one goes on after.
        dev_name: of the score that chooses the best checkpoint; None for no scoring.
        advance: of the progress bar, as machine.progress.progress gives it.

    Attributes:
        interrupted: set by a signal; the stage then ends after a checkpoint.
        line_due: whether the present step's line is due, and not only its checkpoint.
        summed_until: the last step that is in the sums.
        sums: of the steps since the last line: how many, their loss, and each term's part of it.
    """

    def __init__(
        self,
        stage: str,
        texts: Sequence[int],
        every: int,
        metrics: Path,
        done: int,
        dev_name: str | None,
        advance: Callable[..., None],
    ) -> None:
        self.stage, self.every, self.metrics, self.dev_name, self.advance = stage, every, metrics, dev_name, advance
        self.texts_done = np.cumsum(texts)
        self.started = time.perf_counter()
        self.seconds_before = _forget_after(metrics, stage, done) if is_main() else 0.0
        self.interrupted, self.line_due, self.summed_until = False, False, done
        self.sums: dict[str, Any] = {"steps": 0, "loss": 0.0, "terms": {}}
        self.loss, self.best, self.steps = "", "", len(texts)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps of this, in the form that Trainer asks for."""
        seconds = round(self.seconds_before + time.perf_counter() - self.started, 2)
        return {"args": {}, "attributes": {"sums": self.sums, "seconds": seconds}}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start the clock, and put the sums and the progress bar where a resumed stage goes on."""
        # Of a checkpoint of an earlier version nothing is kept, and Trainer would miss the key.
        states: Any = state.stateful_callbacks  # a mapping by now, whatever its annotation says
        kept = states.setdefault(type(self).__name__, self.state())["attributes"]
        if state.global_step:
            self.sums, self.seconds_before = kept["sums"], kept["seconds"]
        self.started = time.perf_counter()
        if state.global_step:
            self.advance(int(self.texts_done[state.global_step - 1]))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for scoring, saving and logging where they are due."""
        step = state.global_step
        self.interrupted = any_of(self.interrupted)  # a signal may reach one process a step earlier than another
        last = step >= state.max_steps
        self.advance(int(self.texts_done[step - 1] - (self.texts_done[step - 2] if step > 1 else 0)))
        due = last or step % self.every == 0
        control.should_evaluate = due and self.dev_name is not None
        control.should_save = due or self.interrupted
        self.line_due = control.should_log or last
        control.should_log = self.line_due or control.should_save  # a checkpoint keeps what was summed up until then

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop an interrupted stage now that its checkpoint is there."""
        # Not before the save: the checkpoint would remember that it was told to stop.
        if self.interrupted:
            control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Append a line to the log: the loss and its parts, or a score; other logs of Trainer are left out."""
        logs = logs or {}
        line: dict[str, Any] = {"step": state.global_step, "stage": self.stage}
        terms = {name.removeprefix(TERMS): value for name, value in logs.items() if name.startswith(TERMS)}
        if terms:
            self._add(logs["loss"], terms, state.global_step)
            if not self.line_due:
                return
            seconds = round(self.seconds_before + time.perf_counter() - self.started, 2)
            line |= {"texts": int(self.texts_done[state.global_step - 1]), "seconds": seconds}
            line |= self._mean() | {"learning_rate": logs["learning_rate"]}
            if RATIO in line["terms"]:  # it is no loss
                line[RATIO] = line["terms"].pop(RATIO)
            self.loss = f"loss {line['loss']:.4f}"
        elif f"eval_{METRIC}" in logs:
            value = logs[f"eval_{METRIC}"]
            line |= {"dev": {"name": self.dev_name, "value": value}}
            best = value if state.best_metric is None else max(value, state.best_metric)
            self.best = f"best {self.dev_name} {best:.2f}"
        else:
            return
        said = [f"step {state.global_step:,} of {self.steps:,}", self.loss, self.best]
        self.advance(0, note=", ".join(filter(None, said)))
        if not is_main():
            return
        with self.metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def _add(self, loss: float, means: dict[str, float], step: int) -> None:
        """Add the means over the steps since the last time to the sums."""
        steps, sums = step - self.summed_until, self.sums
        terms = {name: sums["terms"].get(name, 0.0) + steps * value for name, value in means.items()}
        self.sums = {"steps": sums["steps"] + steps, "loss": sums["loss"] + steps * loss, "terms": terms}
        self.summed_until = step

    def _mean(self) -> dict[str, Any]:
        """The loss and its parts, each the mean over the steps that were summed up; the sums begin again."""
        steps, sums = self.sums["steps"], self.sums
        self.sums = {"steps": 0, "loss": 0.0, "terms": {}}
        return {"loss": sums["loss"] / steps, "terms": {name: value / steps for name, value in sums["terms"].items()}}


def _forget_after(metrics: Path, stage: str, step: int) -> float:
    """Drop the lines that a broken run wrote after the step at which it is taken up; return the seconds it had taken till there."""
    others, own, seconds = [], [], 0.0
    for line in read_metrics(metrics.parent):
        if line["stage"] != stage:
            others.append(line)
        elif line["step"] <= step:
            own.append(line)
            seconds = line.get("seconds", seconds)
    # Stages begin in their order: with its own lines moved behind the others each time, they stand in it.
    write_text(metrics, "".join(json.dumps(line) + "\n" for line in [*others, *own]))
    return seconds


class interruptible:
    """Within the block the first Ctrl-C or SIGTERM asks for a checkpoint, after which the stage ends.

    A second one raises a KeyboardInterrupt at once; where several processes train together it is ignored.

    Args:
        flow: the stage's callback, which is told.
    """

    def __init__(self, flow: StageCallback) -> None:
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
        if self.flow.interrupted and count() == 1:  # torchrun repeats a signal that the terminal has sent already
            raise KeyboardInterrupt
        self.flow.interrupted = True
