"""Run folders on disk, and a browser to look at pages with."""

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
