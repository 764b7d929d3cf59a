"""Checkpoints of a stage: which one a run that was stopped goes on from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from potstill.machine.files import write_text

STATE = "trainer_state.json"  # Trainer writes it last into a checkpoint


def checkpoint_to_resume(folder: Path, resume: bool) -> Path | None:
    """The checkpoint to go on from; without one the folder is removed.

    Args:
        folder: of the stage's checkpoints; it need not exist.
        resume: whether to go on at all.
    """
    checkpoint = newest_checkpoint(folder) if resume else None
    if checkpoint is None:
        shutil.rmtree(folder, ignore_errors=True)
    return checkpoint


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written whole; newer ones that were not (a killed run's) are removed.

    Args:
        folder: of the stage's checkpoints; it need not exist.
    """
    for path in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        try:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            best = state.get("best_model_checkpoint")
            if best:  # kept as a path, which no longer leads there when the run, or the working folder, was moved
                write_text(path / STATE, json.dumps(state | {"best_model_checkpoint": str(folder / Path(best).name)}))
            return path
        except (OSError, ValueError):
            shutil.rmtree(path, ignore_errors=True)
    return None


def step_of(checkpoint: Path) -> int:
    """The step of the optimizer after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])
