"""An exported folder to read and to break."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def exported(tiny_export_dir: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(tiny_export_dir, tmp_path / "exported"))
