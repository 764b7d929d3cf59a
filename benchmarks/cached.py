"""LRC-BERT's recipe with the teacher's answers kept on disk against the teacher run in every step: `python benchmarks/cached.py --help`.

End to end: each side is one `potstill train` in a process of its own, the cache's making included, in
one run, on the same rows; export and scores are left out of both. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--teacher", required=True, help="a fine-tuned teacher (a run or model folder)")
    parser.add_argument("--data", required=True, help="folder that holds glue/ and senteval/")
    parser.add_argument("--recipe", default="lrc-bert/mrpc")
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--precision", default="auto", help="of both sides")
    parser.add_argument("--rows", type=int, help="of the training set; default: all")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sides = {name: _side(options, Path(folder), cached) for name, cached in (("cached", True), ("live", False))}
    ratios = {f"ratio_{name}": sides["live"][name] / sides["cached"][name] for name in ("seconds", "cpu_seconds")}
    print(json.dumps({**sides, **ratios, "epochs": options.epochs, "rows": options.rows}))


def _side(options: argparse.Namespace, folder: Path, cached: bool) -> dict[str, Any]:
    settings = [
        f"data.dir={options.data}",
        f"teacher.model={options.teacher}",
        f"teacher.cache={str(cached).lower()}",
        f"training.epochs={options.epochs}",
        "training.evaluations=1",
        f"training.precision={options.precision}",
        "evaluate=[]",
        "export.onnx=false",
        *([f"data.limit={options.rows}"] if options.rows else []),
    ]
    command = [sys.executable, "-m", "potstill.cli", "train", options.recipe, "--out", str(folder / f"run-{cached}")]
    started = time.perf_counter()
    process = subprocess.Popen(
        command + [part for setting in settings for part in ("--set", setting)],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"POTSTILL_CACHE": str(folder / "cache")},
    )
    _, status, usage = os.wait4(process.pid, 0)  # its own high-water mark, not that of all children so far
    if status:
        sys.exit(f"{options.recipe} failed with status {os.waitstatus_to_exitcode(status)}")
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


if __name__ == "__main__":
    main()
