"""The log of a stage that was stopped is that of one that was not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from helpers.stages import LIKE, TEXTS, spec, train
from potstill.models.loading import load_encoder
from potstill.objective.objective import Objective
from potstill.objective.sizes import Sizes
from potstill.results import METRICS_FILE, read_metrics
from potstill.runtime.tokens import tokenize
from potstill.student.transformer import cut_student
from potstill.training import trainer as module
from potstill.training.training_set import TrainingSet

STEPS = {"epochs": 5, "settings": {"evaluations": 8}}  # 40 steps: a line at every second one, a checkpoint at every fifth


@pytest.fixture
def stage(tiny_encoder_dir, tmp_path):
    """Trains a stage of 40 steps into a folder; what its loss is computed by may be patched."""

    def run(name, **more):
        torch.manual_seed(4)
        student = cut_student(load_encoder(tiny_encoder_dir, head="classification", labels=["inside", "outside"], seed=1), [1, 2], **LIKE)
        labels = torch.tensor([int("river" in text) for text in TEXTS]).numpy()
        data = TrainingSet(tokenize(student.tokenizer, TEXTS, 64), labels)
        train(student, Objective([spec("hard_label")], Sizes(0, 32, 2)), data, None, tmp_path / name, **STEPS, **more)

    return run


def lines(folder):
    """The lines of the log without what a clock decides."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in read_metrics(folder)]


def broken_at(step, how):
    """A loss that breaks in the step after `step`: the machine goes down, or a signal asks for the end."""
    compute = module.StageTrainer.compute_loss

    def compute_loss(self, *arguments, **options):
        if self.state.global_step == step:
            if how == "kill":
                raise ConnectionError("the machine goes down")
            (own,) = [each for each in self.callback_handler.callbacks if isinstance(each, module.StageCallback)]
            own.interrupted = True
        return compute(self, *arguments, **options)

    return compute_loss


@pytest.mark.parametrize(
    ("step", "how"),
    [
        (27, "kill"),  # on from the checkpoint at 25, in the middle of a line's two steps
        (22, "kill"),  # on from 20, where a line ends
        (3, "kill"),  # before the first checkpoint
        (12, "signal"),  # a checkpoint at 13, in the middle of a line's two steps
        (38, "signal"),  # and the last step after it
    ],
)
def test_a_stopped_stage_writes_the_lines_of_an_unbroken_one(stage, tmp_path, monkeypatch, step, how):
    stage("whole")
    with monkeypatch.context() as patch:
        patch.setattr(module.StageTrainer, "compute_loss", broken_at(step, how))
        with pytest.raises(ConnectionError if how == "kill" else KeyboardInterrupt):
            stage("broken")
    # A kill in the middle of a line.
    with (tmp_path / "broken" / METRICS_FILE).open("a") as stream:
        stream.write('{"step": 3')
    stage("broken", resume=True)
    whole, broken = lines(tmp_path / "whole"), lines(tmp_path / "broken")
    assert [line["step"] for line in whole if "loss" in line] == list(range(2, 41, 2))
    assert len(whole) == len(broken)
    for ours, theirs in zip(broken, whole):
        terms = theirs.pop("terms", None)
        assert ours.pop("terms", None) == (None if terms is None else pytest.approx(terms, rel=1e-6))
        assert ours == {**theirs, "loss": pytest.approx(theirs["loss"], rel=1e-6)} if "loss" in theirs else ours == theirs


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(stage, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module.StageTrainer, "compute_loss", broken_at(12, "kill"))
        with pytest.raises(ConnectionError):
            stage("run")
    state = tmp_path / "run" / "checkpoints" / "0-only" / "checkpoint-10" / "trainer_state.json"
    content = json.loads(state.read_text())
    del content["stateful_callbacks"]["StageCallback"]
    state.write_text(json.dumps(content))
    stage("run", resume=True)
    assert [line["step"] for line in lines(tmp_path / "run") if "loss" in line] == list(range(2, 41, 2))


def test_what_is_reported_has_every_term_and_the_dev_score_as_numbers(stage, tmp_path, monkeypatch):
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    from potstill.training.trainer import CheckpointScore

    seen: list[dict] = []

    class TensorBoardCallback(TrainerCallback):
        """In the place of the real one, which need not be installed."""

        logging_dir = None

        def on_log(self, args, state, control, logs=None, **kwargs):
            seen.append({**logs, "folder": self.logging_dir, "name": args.run_name})

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", TensorBoardCallback)
    settings = {**STEPS["settings"], "report_to": ("tensorboard",)}
    monkeypatch.setitem(STEPS, "settings", settings)
    stage("reported", dev=CheckpointScore("dev", lambda model: 50.0))
    losses = [logs for logs in seen if "loss" in logs]
    assert losses and all(isinstance(logs["terms/hard_label"], float) for logs in losses)
    assert {logs["eval_dev"] for logs in seen if "eval_dev" in logs} == {50.0}
    place = tmp_path / "reported"
    assert {Path(logs["folder"]).parent for logs in seen} == {place / "tensorboard"} and seen[0]["name"].startswith("reported-")
