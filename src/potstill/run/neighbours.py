"""The neighbours of a run's training texts by the teacher's vectors, kept beside its checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from potstill.data.neighbours import CANDIDATES, Neighbours, near_rows
from potstill.machine.distributed import main_first
from potstill.machine.files import write_aside
from potstill.models.output import EMBEDDING
from potstill.recipe.recipe import Training
from potstill.teacher.answers import Teacher
from potstill.training.training_set import TrainingSet

FILE = "neighbours.npy"


def find_neighbours(training: Training, data: TrainingSet, teacher: Teacher, folder: Path, device: torch.device) -> Neighbours | None:
    """Find the neighbours of every row, or read what this run found before; None where the recipe wants none.

    They are kept because the batches follow from them: cosines are rounded otherwise on another
    machine, and a run that goes on there takes the batches of an unbroken one. Of a group of texts
    the first one counts.

    A PotstillError comes through where the disk is full.

    Args:
        training: of the recipe.
        data: the training set.
        teacher: gives vectors among its fields.
        folder: of the run's checkpoints.
        device: that the teacher runs on.
    """
    wanted = training.neighbours
    if wanted is None:
        return None
    count = CANDIDATES * (wanted.group - 1)
    texts = np.arange(len(data)) if data.groups is None else data.groups[:, 0]
    gives = teacher.giving([EMBEDDING])

    def vectors(rows: np.ndarray) -> np.ndarray:
        return gives(texts[rows], device)[EMBEDDING].float().cpu().numpy()

    with main_first():
        near = _kept(folder / FILE, (len(data), count))
        if near is None:
            near = near_rows(vectors, data.lengths, count)
            with write_aside(folder / FILE) as aside, aside.open("wb") as stream:
                np.save(stream, near)
    return Neighbours(near, wanted.group, wanted.share)


def _kept(file: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """What the file holds; None where it is not there, or damaged."""
    try:
        near = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return near if near.shape == shape and near.dtype == np.int32 else None
