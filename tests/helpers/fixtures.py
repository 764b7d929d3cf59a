"""Fixtures of more than one folder: parts of a stage, run folders on disk, a browser, an exported folder to break."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from potstill.results import Run


@pytest.fixture
def save_run(tmp_path: Path) -> Callable[..., Path]:
    """Write a run folder (results.json, and metrics.jsonl unless there are no lines) and name it."""

    def save(run: Run, metrics: Sequence[dict[str, Any]] = ()) -> Path:
        folder = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        run.write(folder)
        if metrics:
            (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics), encoding="utf-8")
        return folder

    return save


@pytest.fixture(scope="session")
def browse(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], str]:
    """Open a page in headless Chromium and give back its document after the scripts have run."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine: nothing can draw the page")

    def open_once(page: Path) -> subprocess.CompletedProcess[str]:
        profile = tmp_path_factory.mktemp("chromium")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
        command += ["--enable-logging=stderr", "--virtual-time-budget=8000", "--window-size=1200,2400", "--dump-dom", page.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=100)

    def dump(page: Path) -> str:
        try:
            done = open_once(page)
        except subprocess.TimeoutExpired:
            done = None
        if done is None or done.returncode:  # the browser's own fault: once more, with another profile
            done = open_once(page)
        assert done.returncode == 0, done.stderr[-2000:]
        # Errors of scripts and whatever the page's own policy refused to fetch.
        assert "CONSOLE" not in done.stderr, done.stderr[-2000:]
        return done.stdout

    return dump


@pytest.fixture
def exported(tiny_export_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(tiny_export_dir, tmp_path / "exported"))


@pytest.fixture
def parts(tiny_encoder_dir):
    """A teacher, a student of two layers, texts, and an objective of both."""
    from helpers.stages import LIKE, TEXTS, spec
    from potstill.models.loading import load_encoder
    from potstill.objective.objective import Objective
    from potstill.objective.sizes import Sizes
    from potstill.runtime.tokens import tokenize
    from potstill.student.transformer import build_student
    from potstill.training.training_set import TrainingSet

    teacher = load_encoder(tiny_encoder_dir)
    student = build_student(teacher, layers=2, width=32, heads=4, ffn=64, seed=3, **LIKE)
    data = TrainingSet(tokenize(student.tokenizer, TEXTS, 64))
    objective = Objective([spec("embedding_mse", 32.0)], Sizes(32, 32), Sizes(32, 32))
    return teacher, student, data, objective


@pytest.fixture
def classes(tiny_encoder_dir):
    """A student with a head, texts, and whether a river or a village is in each."""
    import numpy as np

    from helpers.stages import LIKE, TEXTS
    from potstill.models.loading import load_encoder
    from potstill.runtime.tokens import tokenize
    from potstill.student.transformer import cut_student
    from potstill.training.training_set import TrainingSet

    student = cut_student(load_encoder(tiny_encoder_dir, head="classification", labels=["inside", "outside"], seed=1), [1, 2], **LIKE)
    return student, TrainingSet(tokenize(student.tokenizer, TEXTS, 64), np.repeat([1, 0], 64))


@pytest.fixture
def scaler_on_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[Any]]:
    """Gives every trainer from the call on a gradient scaler of that scale, and with fp16 autocast, which accelerate does on GPUs alone.

    The call returns the scalers, as they are made.
    """
    import torch

    from potstill.training.trainer import StageTrainer

    def give(scale: float) -> list[Any]:
        made: list[Any] = []
        create = StageTrainer.create_accelerator_and_postprocess

        def with_scaler(self: StageTrainer) -> None:
            create(self)
            made.append(torch.amp.GradScaler("cpu", init_scale=scale))
            self.accelerator.scaler, self.accelerator.native_amp = made[-1], self.args.fp16

        monkeypatch.setattr(StageTrainer, "create_accelerator_and_postprocess", with_scaler)
        return made

    return give
