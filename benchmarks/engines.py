"""One exported model in onnxruntime and in OpenVINO, with and without the graph's second output, as one JSON object.

    python benchmarks/engines.py --model RUN [--threads 2] [--sentences 4000] [--rounds 7]

RUN is a run folder, a bundle or an exported folder of an encoder; OpenVINO's sides need the extra `openvino`. Every measurement
runs in a process of its own, held to --threads cores, all sides in turn in each round. A side's ratio is that of its rate to the
side it is compared with, in the same round: the median of the rounds, with the least and the greatest. What is timed is text to
vector. "one output" is the same file without last_hidden_state.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

WARM = 256  # sentences before the clock starts


class Side(NamedTuple):
    """What is measured, and the side that its ratio is to."""

    precision: str
    engine: str = "onnxruntime"
    outputs: str = "both"
    against: str = "int8 onnxruntime both"

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"{self.precision} {self.engine} {self.outputs}"


SIDES = [
    Side("int8"),
    Side("int8", outputs="one"),
    Side("int8", "openvino"),
    Side("fp32"),
    Side("fp32", outputs="one", against="fp32 onnxruntime both"),
    Side("fp32", "openvino"),
]


def with_one_output(folder: Path, place: Path) -> Path:
    """A copy of an exported folder whose graphs give the vector alone.

    Raises:
        SystemExit: they give nothing else as they are.
    """
    import onnx

    from potstill.runtime.folder import CONFIG, FILES, OUTPUT, TOKENIZER, model_file

    place.mkdir()
    for name in (CONFIG, TOKENIZER):
        shutil.copy(folder / name, place / name)
    for precision in ("fp32", "int8"):
        graph = onnx.load(str(model_file(folder, precision)))
        kept = [output for output in graph.graph.output if output.name == OUTPUT]
        if len(kept) == len(graph.graph.output):
            raise SystemExit(f"{folder}: its graphs have no second output")
        del graph.graph.output[:]
        graph.graph.output.extend(kept)
        onnx.save(graph, str(place / FILES[precision][0]))
    return place


def measure(folder: str, precision: str, engine: str, args: argparse.Namespace) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.threads])
    from potstill import Encoder
    from potstill.evaluation.sentences import mixed_sentences

    encoder = Encoder(folder, precision=precision, threads=args.threads, engine=engine)  # type: ignore[arg-type]
    texts = mixed_sentences(args.sentences, seed=1)
    encoder.encode(texts[:WARM])
    started = time.perf_counter()
    encoder.encode(texts)
    print(json.dumps(args.sentences / (time.perf_counter() - started)))


def one_round(folders: dict[str, Path], args: argparse.Namespace) -> dict[str, float]:
    """Sentences a second of each side, by its name.

    Raises:
        SystemExit: a side's process failed.
    """
    rates = {}
    environment = os.environ | {"RAYON_NUM_THREADS": str(args.threads), "OMP_NUM_THREADS": str(args.threads)}
    for side in SIDES:
        command = [sys.executable, __file__, *sys.argv[1:], "--only", str(folders[side.outputs]), side.precision, side.engine]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{side.name} failed:\n{done.stderr}")
        rates[side.name] = float(done.stdout.splitlines()[-1])
    return rates


def report(rounds: list[dict[str, float]], args: argparse.Namespace) -> dict[str, Any]:
    from potstill.results import machine, versions

    rows = {}
    for side in SIDES:
        ratios = [rates[side.name] / rates[side.against] for rates in rounds]
        rows[side.name] = {
            "sentences_per_s": round(statistics.median(rates[side.name] for rates in rounds), 1),
            "to": side.against,
            "ratio": {"median": round(statistics.median(ratios), 3), "least": round(min(ratios), 3), "greatest": round(max(ratios), 3)},
        }
    return {"sides": rows, "threads": args.threads, "rounds": args.rounds, "machine": machine().model_dump(), "versions": versions()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--sentences", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)  # one measurement, in its own process
    args = parser.parse_args()
    if args.only:
        folder, precision, engine = args.only
        measure(folder, precision, engine, args)
        return
    from potstill.runtime.folder import exported_folder

    with tempfile.TemporaryDirectory() as place:
        folder = exported_folder(args.model)
        folders = {"both": folder, "one": with_one_output(folder, Path(place) / "one")}
        print(json.dumps(report([one_round(folders, args) for _ in range(args.rounds)], args), indent=2))


if __name__ == "__main__":
    main()
