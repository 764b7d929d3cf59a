"""Where an int8 file's time goes on one thread, and what the processor's matrix products allow; as JSON.

    python benchmarks/operators.py --model RUN [--sentences 2000] [--rounds 7]

- `products`: billions of operations a second of a product alone, 512 × 384 by 384 × 1,536: torch in fp32, onnxruntime in int8.
- `needed`: billions of operations that a text takes in the products of the file's layers, by its tokens; attention's own are left out.
- `operators`: the share of each kind of node in the time of all, by onnxruntime's profiler.
- `fusions`: how much faster a call is without each fusion that the package leaves out, by processor time, in turn:
  the best of each side, and the median ratio with its quartiles.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS, WIDTH, INNER = 512, 384, 1536


def rate(call: Callable[[], Any], times: int = 30) -> float:
    """Billions of operations a second of a product of the size above: the best of several tries."""
    call()
    best = float("inf")
    for _ in range(7):
        started = time.perf_counter()
        for _ in range(times):
            call()
        best = min(best, (time.perf_counter() - started) / times)
    return round(2 * ROWS * WIDTH * INNER / best / 1e9)


def products() -> dict[str, float]:
    import numpy as np
    import onnxruntime
    import torch
    from onnx import TensorProto, helper, numpy_helper

    torch.set_num_threads(1)
    left, right, out = torch.randn(ROWS, WIDTH), torch.randn(WIDTH, INNER), torch.empty(ROWS, INNER)
    weights = np.random.default_rng(0).integers(-127, 128, (WIDTH, INNER)).astype(np.int8)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w", "zero"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [ROWS, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [ROWS, INNER])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.uint8(128), "zero")],
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    feed = {"x": np.random.default_rng(1).integers(0, 256, (ROWS, WIDTH)).astype(np.uint8)}
    return {"fp32": rate(lambda: torch.mm(left, right, out=out)), "int8": rate(lambda: session.run(None, feed))}


def needed(file: Path, tokens: float) -> float:
    """Of the weights of the file's own products each is used once a token."""
    import onnx

    graph = onnx.load(str(file)).graph
    sizes = {entry.name: entry.dims for entry in graph.initializer}
    weights = [sizes[name] for node in graph.node if node.op_type == "MatMul" for name in node.input if name in sizes]
    return round(2 * tokens * sum(size[0] * size[1] for size in weights if len(size) == 2) / 1e9, 3)


def operators(folder: Path, texts: list[str]) -> dict[str, float]:
    import onnxruntime

    from potstill.runtime.encoder import Encoder

    plain = onnxruntime.SessionOptions
    with tempfile.TemporaryDirectory() as place:

        class Profiled(plain):  # type: ignore[misc, valid-type]
            def __init__(self) -> None:
                super().__init__()
                self.enable_profiling, self.profile_file_prefix = True, f"{place}/profile"

        onnxruntime.SessionOptions = Profiled
        try:
            encoder = Encoder(folder, precision="int8", threads=1)
        finally:
            onnxruntime.SessionOptions = plain
        encoder.encode(texts)
        events = json.loads(Path(encoder._graph._session.end_profiling()).read_text(encoding="utf-8"))  # type: ignore[attr-defined]
    found: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            found[event["args"]["op_name"]] += event["dur"]
    return {name: round(100 * taken / found.total(), 1) for name, taken in found.most_common(12)}


def fusions(folder: Path, texts: list[str], rounds: int) -> dict[str, list[float]]:
    from potstill.runtime import session
    from potstill.runtime.encoder import Encoder

    left_out = list(session.SLOW_FUSIONS)
    sides = {}
    for name in ("", *left_out):
        session.SLOW_FUSIONS[:] = [other for other in left_out if other != name]
        sides[name] = Encoder(folder, precision="int8", threads=1)
    session.SLOW_FUSIONS[:] = left_out
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, encoder in sides.items():
            started = time.process_time()
            encoder.encode(texts)
            taken[name] += [time.process_time() - started] if turn else []  # the first one warms up
    found = {}
    for name in left_out:
        low, middle, high = statistics.quantiles([fused / apart for fused, apart in zip(taken[name], taken[""])], n=4)
        found[name] = {"best": min(taken[name]) / min(taken[""]), "median": middle, "quartiles": [low, high]}
    return json.loads(json.dumps(found), parse_float=lambda text: round(float(text), 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sentences", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    from potstill.evaluation.sentences import mixed_sentences
    from potstill.results import machine, versions
    from potstill.runtime.encoder import Encoder
    from potstill.runtime.folder import ATTENTION_MASK, exported_folder, model_file

    folder, texts = exported_folder(args.model), mixed_sentences(args.sentences, seed=1)
    tokens = float(Encoder(folder, precision="int8", threads=1).feeds(texts)[ATTENTION_MASK].sum() / len(texts))
    found = {
        "products": products(),
        "needed": {"tokens": round(tokens, 1), "billions": needed(model_file(folder, "fp32"), tokens)},
        "operators": operators(folder, texts),
        "fusions": fusions(folder, texts, args.rounds),
        "machine": machine().model_dump(),
        "versions": versions(),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
