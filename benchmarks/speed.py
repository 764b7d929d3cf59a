"""potstill against sentence-transformers on the same student and texts, as one JSON object.

    python benchmarks/speed.py [--model FOLDER] [--threads 1,2] [--encode 4000] [--train 1600]

FOLDER is a run folder, or an encoder that the 3-layer student is cut from (default: the wheel of
the quickstart). Every measurement runs in a process of its own, with its threads pinned, the two
sides in turn; of each side the best of REPEATS counts. `--threads 1,2` measures with one thread and with two. What is compared:

- encoding mixed sentences: potstill's runtime (int8, fp32, and int8 by OpenVINO where that is installed) / SentenceTransformer.encode
  at its defaults;
- a step of embedding distillation with the teacher's vectors at hand: potstill's trainer as recipes run
  it / SentenceTransformerTrainer with MSELoss at its defaults; same batch size, same texts;
- resident memory of a process that loads the runtime and encodes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REPEATS = 2
BATCH = 64
WARM_STEPS = 3


def sentences(count: int) -> list[str]:
    from potstill.evaluation.sentences import mixed_sentences

    return mixed_sentences(count, seed=1)


def encode_sentence_transformers(student: Path, onnx: Path, args: argparse.Namespace) -> dict[str, float]:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(args.threads)
    model = SentenceTransformer(str(student), device="cpu")
    texts = sentences(args.encode)
    model.encode(texts[:64])
    started = time.perf_counter()
    model.encode(texts)
    return {"rate": args.encode / (time.perf_counter() - started)}


def encode_runtime(
    student: Path, onnx: Path, args: argparse.Namespace, precision: str = "int8", engine: str = "onnxruntime"
) -> dict[str, float]:
    from potstill import Encoder
    from potstill.evaluation.probe import peak_memory

    encoder = Encoder(onnx, precision=precision, threads=args.threads, engine=engine)  # type: ignore[arg-type]
    texts = sentences(args.encode)
    encoder.encode(texts[:64])
    started = time.perf_counter()
    encoder.encode(texts)
    rate = args.encode / (time.perf_counter() - started)
    return {"rate": rate, "memory_mb": peak_memory() / 1e6}


def encode_runtime_fp32(student: Path, onnx: Path, args: argparse.Namespace) -> dict[str, float]:
    return encode_runtime(student, onnx, args, "fp32")


def encode_openvino(student: Path, onnx: Path, args: argparse.Namespace) -> dict[str, float]:
    return encode_runtime(student, onnx, args, engine="openvino")


def targets(rows: int, width: int) -> Any:
    """Unit vectors that stand for the teacher's: what they say does not change what a step costs."""
    import numpy as np

    vectors = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def train_sentence_transformers(student: Path, onnx: Path, args: argparse.Namespace) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.losses import MSELoss
    from transformers import TrainerCallback

    torch.set_num_threads(args.threads)
    model = SentenceTransformer(str(student), device="cpu")
    vectors = targets(args.train, model.get_sentence_embedding_dimension() or 0)
    data = Dataset.from_dict({"sentence": sentences(args.train), "label": vectors.tolist()})
    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = SentenceTransformerTrainingArguments(
            output_dir=folder,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=MSELoss(model), callbacks=[Clock()])
        trainer.train()
    return {"rate": BATCH * (len(times) - 1 - WARM_STEPS) / (times[-1] - times[WARM_STEPS])}


def train_potstill(student: Path, onnx: Path, args: argparse.Namespace) -> dict[str, float]:
    import numpy as np
    import torch

    from potstill.data.batches import training_plan
    from potstill.losses.base import make_loss
    from potstill.machine.precision import choose_precision
    from potstill.models.loading import load_encoder
    from potstill.models.output import EMBEDDING, EncoderOutput
    from potstill.objective.objective import Objective
    from potstill.objective.sizes import Sizes, TermSpec
    from potstill.runtime.tokens import tokenize
    from potstill.teacher.answers import Teacher
    from potstill.training.distillation import Distillation
    from potstill.training.trainer import Settings, StagePlace, train_stage
    from potstill.training.training_set import TrainingSet

    torch.set_num_threads(args.threads)
    model = load_encoder(student)
    tokens = tokenize(model.tokenizer, sentences(args.train), model.max_length)
    plan = training_plan(tokens.lengths, batch_size=BATCH, batch_tokens=16384, epochs=1, seed=1)
    vectors = targets(args.train, model.dimension)
    times: list[tuple[float, int]] = []

    class Ready(Teacher):
        reads = frozenset({EMBEDDING})

        def __call__(self, rows: np.ndarray, device: torch.device, inputs: Any = None) -> EncoderOutput:
            times.append((time.perf_counter(), len(rows)))
            return EncoderOutput(values={EMBEDDING: torch.from_numpy(vectors[rows])})

    cpu = torch.device("cpu")
    settings = Settings(2e-5, 0.0, "linear", 0.0, 1.0, 1, choose_precision("auto", cpu), cpu, 1)
    objective = Objective([TermSpec("embedding_mse", make_loss("embedding_mse", {}))], Sizes(model.dimension, model.width))
    with tempfile.TemporaryDirectory() as folder:
        place = StagePlace("bench", Path(folder), Path(folder, "checkpoints"))
        train_stage(Distillation(model, objective), TrainingSet(tokens), Ready(), plan, None, settings, place)
    measured = times[WARM_STEPS:]
    return {"rate": sum(rows for _, rows in measured[:-1]) / (measured[-1][0] - measured[0][0])}


WORKERS = {
    worker.__name__: worker
    for worker in (encode_sentence_transformers, encode_runtime, encode_runtime_fp32, train_sentence_transformers, train_potstill)
}
if find_spec("openvino"):
    WORKERS["encode_openvino"] = encode_openvino


def measure(worker: str, student: Path, onnx: Path, args: argparse.Namespace, threads: int) -> dict[str, float]:
    pinned = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")}
    command = [sys.executable, __file__, "--worker", worker, "--student", str(student), "--onnx", str(onnx)]
    command += ["--threads", str(threads), "--encode", str(args.encode), "--train", str(args.train)]
    done = subprocess.run(command, env=os.environ | pinned | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{worker} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def prepare(model: str | None, folder: Path) -> tuple[Path, Path]:
    """(student, exported folder): those of a run, or a 3-layer cut made and exported here."""
    if model and (Path(model) / "student").is_dir():
        return Path(model) / "student", Path(model) / "onnx"
    from potstill import export
    from potstill.cli.quickstart import teacher_folder
    from potstill.models.loading import load_encoder
    from potstill.student.transformer import choose_layers, cut_student

    source = load_encoder(model or teacher_folder())
    layers = choose_layers(3, "uniform", source.backbone.config.num_hidden_layers)
    cut_student(source, layers, pooling=source.pooling, normalize=True, max_length=128).save(folder / "student")
    export(folder / "student", folder / "onnx", int8=True)
    return folder / "student", folder / "onnx"


def compare(student: Path, onnx: Path, args: argparse.Namespace, threads: int) -> dict[str, Any]:
    best: dict[str, dict[str, float]] = {}
    for _ in range(REPEATS):
        for worker in WORKERS:
            found = measure(worker, student, onnx, args, threads)
            if worker not in best or found["rate"] > best[worker]["rate"]:
                best[worker] = found
    rates = {worker: round(found["rate"], 1) for worker, found in best.items()}
    return {
        "sentences": args.encode,
        "per_s": rates,
        "encode_ratio": {
            worker: round(rate / rates["encode_sentence_transformers"], 2) for worker, rate in rates.items() if worker.startswith("encode")
        },
        "batch_size": BATCH,
        "train_ratio": round(rates["train_potstill"] / rates["train_sentence_transformers"], 2),
        "runtime_memory_mb": round(best["encode_runtime"]["memory_mb"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model")
    parser.add_argument("--threads", default="2", help="how many, or several numbers with commas between")
    parser.add_argument("--encode", type=int, default=4000)
    parser.add_argument("--train", type=int, default=1600)
    for hidden in ("--worker", "--student", "--onnx"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        args.threads = int(args.threads)
        print(json.dumps(WORKERS[args.worker](Path(args.student), Path(args.onnx), args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        student, onnx = prepare(args.model, Path(folder))
        found = {count: compare(student, onnx, args, int(count)) for count in args.threads.split(",")}
    from potstill.results import machine, versions

    print(json.dumps({"threads": found, "machine": machine().model_dump(), "versions": versions()}, indent=2))


if __name__ == "__main__":
    main()
