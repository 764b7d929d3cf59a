"""Continuous integration fails where a test skips that should run there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ALLOWED = "import pytest\n\n@pytest.mark.skipif(True, reason='needs a GPU')\ndef test_on_a_gpu(): pass\n\ndef test_runs(): pass\n"
ONE = "import pytest\n\ndef test_skips(): pytest.skip('no weights')\n\ndef test_runs(): pass\n"
WHOLE = "import pytest\n\npytest.importorskip('no_such_module')\n\ndef test_never_seen(): pass\n"


@pytest.mark.parametrize(
    ("code", "ci", "workers", "line"),
    [
        (ALLOWED, "1", [], ""),  # on the list
        (ONE, "", [], ""),  # a machine without the weights, in development
        (ONE, "1", [], "test_it.py::test_skips: no weights"),
        (ONE, "1", ["-n", "1"], "test_it.py::test_skips: no weights"),  # as `make test` runs: the worker skips, the session fails
        (WHOLE, "1", [], "test_it.py: could not import 'no_such_module'"),  # a file that is never collected
    ],
    ids=["allowed", "at home", "in CI", "in a worker", "whole file"],
)
def test_a_skip_that_is_not_allowed_fails_the_session(tmp_path: Path, code: str, ci: str, workers: list[str], line: str) -> None:
    (tmp_path / "test_it.py").write_text(code + "\n")
    (tmp_path / "test_other.py").write_text("def test_passes(): pass\n")
    # Only this project's hooks, and nothing of the session that this test is part of.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "CI"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-c", os.devnull, "--rootdir", ".", *workers, "."]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment | {"PYTHONPATH": str(TESTS), "CI": ci}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == (1 if line else 0), done.stdout + done.stderr
    assert ("SKIPPED, and should run here: " in done.stdout) == bool(line)
    assert line in done.stdout
