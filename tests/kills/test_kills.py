"""A few kills, and full disks, of a whole small run one after the other: what is taken up each time ends as an unbroken run does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import signal, sys
from pathlib import Path
from kills.kills import COMMANDS, Kill, attempt, check, clear, left_behind, prepare, result, small_teacher, unbroken, write_work

signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of a suite that a shell runs in the background; the kills strike all the same
folder = Path(sys.argv[1])
prepare()
write_work(folder, small_teacher(folder / "made"))
whole, _, writes = unbroken(folder, "train")
assert writes > 30, writes
kills = [
    Kill(write=0),  # the folder is there, and recipe.yaml under another name
    Kill(write=3, after=True),  # the teacher's cache
    Kill(signal.SIGTERM, write=12),  # a checkpoint, which it finishes
    Kill(write=9),
    Kill(write=14, after=True),
    Kill(signal.SIGINT, write=3),
]
struck = check(folder, "train", whole, kills)
assert struck == len(kills), struck

for name, what in [("train", "run/checkpoints/0-first"), ("export", "exported")]:
    command = COMMANDS[name]
    clear(folder, command)
    status, said, _ = attempt(folder, command.arguments, largest=40_000)
    (line,) = [line for line in said.splitlines() if "teacher cache" not in line]
    assert status == 2 and line.startswith("error: ") and f"{what}: no space is left on the disk" in line, said
    assert not left_behind(folder), left_behind(folder)
    assert attempt(folder, (*command.arguments, *command.resume))[0] == 0
    if name == "train":
        assert result(folder, command) == whole
"""


@pytest.mark.timeout(900)  # under a minute where the machine has nothing else to do
def test_a_run_that_is_killed_or_meets_a_full_disk_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    # A fork needs a process that has no threads, which this one may have.
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")])),
    }
    done = subprocess.run([sys.executable, "-c", CODE, str(tmp_path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
