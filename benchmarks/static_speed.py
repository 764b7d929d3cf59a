"""How many sentences a second a static student encodes, beside sentence-transformers on the same folder, as one JSON object.

    python benchmarks/static_speed.py --model RUN --data DATA [--threads 2]

RUN is the run folder of a static student. Every measurement runs in a process of its own, held to --threads cores, the sides
in turn; of each the best of REPEATS counts, since another process on the machine only ever slows it. The sentences are real
ones: every sentence of the five STS sets, short, and as many of the corpus, twice as long. What is timed is text to vector:
tokenizing, batches, the model.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPEATS = 3
SETS = ("12", "13", "14", "15", "stsb")


def sentences(which: str, data: Path) -> list[str]:
    from potstill.data.files.texts import read_texts
    from potstill.tasks.base import load_task

    if which == "sts":
        return [text for name in SETS for text in load_task(f"sts/{name}", data).texts()]
    return read_texts(data / "corpora" / "sentences.txt.gz", limit=25000, seed=13)


def encoder_of(side: str, run: Path, threads: int) -> Any:
    if side == "sentence-transformers":
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(threads)
        return SentenceTransformer(str(run / "student"), device="cpu").encode
    import potstill

    return potstill.Encoder(run, precision=side, threads=threads).encode  # type: ignore[arg-type]


def measure(side: str, which: str, args: argparse.Namespace) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    texts = sentences(which, Path(args.data))
    encode = encoder_of(side, Path(args.model), args.threads)
    encode(texts[:1000])
    wall, work = time.perf_counter(), time.process_time()
    encode(texts)
    wall, work = time.perf_counter() - wall, time.process_time() - work
    print(json.dumps({"rate": len(texts) / wall, "cpu_us": 1e6 * work / len(texts)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)  # one measurement, in its own process
    args = parser.parse_args()
    if args.only:
        side, which = args.only
        measure(side, which, args)
        return
    sides, kinds = ("int8", "fp32", "sentence-transformers"), ("sts", "corpus")
    found: dict[str, dict[str, dict[str, float]]] = {which: {} for which in kinds}
    environment = os.environ | {"RAYON_NUM_THREADS": str(args.threads), "OMP_NUM_THREADS": str(args.threads)}
    for _ in range(REPEATS):
        for which in kinds:
            for side in sides:
                command = [sys.executable, __file__, *sys.argv[1:], "--only", side, which]
                output = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
                one, best = json.loads(output.splitlines()[-1]), found[which].get(side)
                found[which][side] = one if best is None or one["rate"] > best["rate"] else best
    report = {
        which: {side: {key: round(value, 1) for key, value in row.items()} for side, row in rows.items()} for which, rows in found.items()
    }
    print(json.dumps({"threads": args.threads, "sentences a second, and CPU microseconds of one": report}, indent=2))


if __name__ == "__main__":
    main()
