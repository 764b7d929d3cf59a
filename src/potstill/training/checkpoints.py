"""Checkpoints of a stage: which one a run that was stopped goes on from."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from potstill.errors import DiskFull, PotstillError, warn
from potstill.machine.files import is_full, write_text

STATE = "trainer_state.json"  # Trainer writes it last into a checkpoint
WEIGHTS = "model.safetensors"
PARTS = (WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state*.pth")  # of a checkpoint, beside its state; Trainer leaves out what is missing
BEST = ("best_model_checkpoint", "best_metric", "best_global_step")  # keys of the state
KEPT = 2  # checkpoints of a stage: the newest and the best
UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, KeyError, zipfile.BadZipFile, pickle.UnpicklingError, SafetensorError)


def room_for(parameters: int, stages: int = 1) -> int:
    """Bytes that the checkpoints take at most: those of each stage stay until the run is whole.

    Args:
        parameters: of all that is trained.
        stages: how many are trained, one after the other.
    """
    return 13 * parameters * (KEPT * stages + 1)  # weights, two means of AdamW and some room; an old one goes after a new one is there


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
    """The newest checkpoint that is whole; newer ones that are not are removed.

    One without its last file is what a killed run left. One whose files cannot be read was damaged, which a warning says.

    Args:
        folder: of the stage's checkpoints; it need not exist.
    """
    for path in sorted(folder.glob("checkpoint-*"), key=step_of, reverse=True):
        try:
            state = dict(json.loads((path / STATE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            shutil.rmtree(path, ignore_errors=True)
            continue
        broken = _broken_part(path, state)
        if broken is None:
            _find_best(path, state)
            return path
        warn(broken, "cannot be read, and its checkpoint is left out", "the stage goes on from an older one, or begins anew")
        shutil.rmtree(path, ignore_errors=True)
    return None


def require_steps(checkpoint: Path, steps: int) -> None:
    """Check that a stage has as many steps as when a checkpoint of it was written: its plan is made of the data, which may be another now.

    Args:
        checkpoint: a whole one.
        steps: of the stage.

    Raises:
        PotstillError: it has more or fewer.
    """
    before = json.loads((checkpoint / STATE).read_text(encoding="utf-8")).get("max_steps")
    if before != steps:
        problem = f"was written in a stage of {before} steps, and of its data as it is now there are {steps}"
        raise PotstillError(checkpoint, problem, "go on with the data that the run was begun with, or begin anew with another --out")


def _broken_part(path: Path, state: dict[str, Any]) -> Path | None:
    """The first file of a checkpoint, or of the best one that it names, that is missing or damaged; None: all are whole."""
    for pattern in PARTS:
        files = sorted(path.glob(pattern))
        for file in files or [path / pattern]:
            if not _is_whole(file):
                return file
    best = path.parent / Path(state.get(BEST[0]) or path).name
    return best / WEIGHTS if best.is_dir() and not _is_whole(best / WEIGHTS) else None


def _is_whole(file: Path) -> bool:
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as weights:  # it compares the file's size with its header
                return bool(weights.keys())
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as parts:  # each part of what torch writes has a checksum
                return parts.testzip() is None
        torch.load(file, map_location="cpu", weights_only=True)
        return True
    except UNREADABLE:
        return False


def _find_best(path: Path, state: dict[str, Any]) -> None:
    """Name the best checkpoint by where it lies now.

    It is kept as a path, which no longer leads there when the run, or the working folder, was moved. Where it is gone
    because a newer one was better, that one is to be made and chosen again.
    """
    if not state.get(BEST[0]):
        return
    best = path.parent / Path(state[BEST[0]]).name
    found = {BEST[0]: str(best)} if best.is_dir() else dict.fromkeys(BEST)
    write_text(path / STATE, json.dumps(state | found))


@contextmanager
def checkpointing(folder: Path) -> Iterator[None]:
    """Where the disk fills up within the block, say so in one line, and leave no checkpoint that is not whole.

    Args:
        folder: of the stage's checkpoints; it need not exist yet.

    Raises:
        DiskFull: the disk is full.
        Exception: whatever else the block raises.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        for path in folder.glob("checkpoint-*"):
            if not (path / STATE).is_file():
                shutil.rmtree(path, ignore_errors=True)
        raise DiskFull(folder, "no space is left on the disk for a checkpoint", "free some; --resume goes on") from error


def step_of(checkpoint: Path) -> int:
    """The step of the optimizer after which a checkpoint was written."""
    return int(checkpoint.name.rpartition("-")[2])
