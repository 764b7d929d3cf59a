"""One model, measured in this fresh process: `python -m potstill.evaluation.probe MODEL` prints a Cost as JSON.

With `--pass-of TASK` it prints the seconds of one pass over a task's texts instead.

A process of its own because peak memory is a high-water mark of the whole process, and because
thread pools take their size when their library is loaded.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from potstill.evaluation.subject import Subject
    from potstill.results import Cost
    from potstill.runtime.tokens import Text

POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "RAYON_NUM_THREADS")

# As many sentences for every model: fewer together leave more padding in a batch, so that a slow
# model, given fewer for the sake of time, would look slower still.
ALONE = 100
TOGETHER = 256
FEW = 8  # sentences of a brief measurement, alone and together
PASSES = 10
PASSES_SECONDS = 4.0  # no further pass begins after that


def pin(threads: int) -> None:
    """Fix the size of every thread pool to come; only libraries loaded after this call see it."""
    os.environ.update(dict.fromkeys(POOLS, str(threads)))
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"


def measure(subject: Subject, threads: int, brief: bool = False) -> Cost:
    """Time and weigh a model: some seconds for a small one, up to twenty for a BERT-base on one slow core.

    The throughput is the best of some passes: another process can only ever slow one down.
    """
    import numpy as np

    from potstill.evaluation.sentences import mixed_sentences
    from potstill.results import Cost
    from potstill.runtime.tokens import suited

    # One sentence a text for every kind of model: what differs is then the model.
    together, most = (FEW, 1) if brief else (TOGETHER, PASSES)
    sentences = suited(mixed_sentences(together), subject.head)
    subject.run(sentences[:16])
    _warm_up(subject, sentences)
    alone = [1000 * _seconds(subject, [sentence]) for sentence in sentences[:ALONE]]
    passes: list[float] = []
    while len(passes) < most and sum(passes) < PASSES_SECONDS:
        passes.append(_seconds(subject, sentences))
    return Cost(
        parameters=subject.parameters,
        embedding_parameters=subject.embedding_parameters,
        encoder_parameters=subject.parameters - subject.embedding_parameters,
        bytes=sum(subject.files.values()),
        threads=threads,
        latency_p50_ms=round(float(np.percentile(alone, 50)), 3),
        latency_p95_ms=round(float(np.percentile(alone, 95)), 3),
        sentences_per_second=round(together / min(passes), 1),
        peak_memory_mb=round(peak_memory() / 1e6, 1),
    )


def one_pass(subject: Subject, texts: Sequence[Text]) -> float:
    """Seconds for all texts, one after the other."""
    _warm_up(subject, texts)
    started = time.perf_counter()
    for text in texts:
        subject.run([text])
    return time.perf_counter() - started


def peak_memory() -> int:
    """Most bytes that this process has had resident.

    getrusage is the second choice on Linux: its ru_maxrss survives exec, so a process started by a
    large one begins with the parent's peak.
    """
    try:
        with open("/proc/self/status", encoding="utf-8") as stream:
            return next(1024 * int(line.split()[1]) for line in stream if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main(arguments: list[str] | None = None) -> int:
    """Measure the model that the arguments name and print one line; the exit status, 2 where it cannot be opened."""
    parser = argparse.ArgumentParser(prog="python -m potstill.evaluation.probe", description="Measure one model; prints one line of JSON.")
    parser.add_argument("model")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--pooling")
    parser.add_argument("--max-length", type=int)
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--pass-of", metavar="TASK")
    parser.add_argument("--data", default=".")
    parser.add_argument("--brief", action="store_true")
    chosen = parser.parse_args(arguments)
    pin(chosen.threads)
    from potstill.errors import PotstillError
    from potstill.evaluation.subject import open_subject

    try:
        own = {"pooling": chosen.pooling, "max_length": chosen.max_length, "engine": chosen.engine}
        subject = open_subject(chosen.model, chosen.precision, chosen.threads, **own)
        if chosen.pass_of:
            from potstill.tasks.base import load_task

            answer = str(round(one_pass(subject, load_task(chosen.pass_of, chosen.data).texts()), 3))
        else:
            answer = measure(subject, chosen.threads, chosen.brief).model_dump_json()
    except PotstillError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(answer + "\n")
    return 0


def _warm_up(subject: Subject, texts: Sequence[Text]) -> None:
    """First calls allocate and choose kernels."""
    for text in texts[:5]:
        subject.run([text])


def _seconds(subject: Subject, texts: list[Text]) -> float:
    started = time.perf_counter()
    subject.run(texts)
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
