r"""Whether a processor is faster in bf16 than in fp32: seconds of a training step and of a forward pass, as a Markdown table.

    OMP_NUM_THREADS=1 python benchmarks/precision.py MODEL [MODEL …]

Each is a BERT-like encoder's folder. Texts are random pieces, all of one length; the two precisions take turns.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel

SHAPES = ((32, 12), (32, 48), (8, 128))  # texts, pieces of each
TURNS, STEPS = 2, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+")
    options = parser.parse_args()
    print("| model | texts × pieces | | fp32, s | bf16, s | bf16 / fp32 |\n|---|---|---|---|---|---|")
    for training in (True, False):
        for texts, pieces in SHAPES:
            for path in options.models:
                model = AutoModel.from_pretrained(path, attn_implementation="eager" if training else "sdpa")
                taken = {torch.float32: 0.0, torch.bfloat16: 0.0}
                for _ in range(TURNS):
                    for dtype in taken:
                        taken[dtype] += seconds(model, texts, pieces, dtype, training) / TURNS
                fp32, bf16 = taken.values()
                what = "step" if training else "forward"
                print(f"| {path.name} | {texts} × {pieces} | {what} | {fp32:.3f} | {bf16:.3f} | {bf16 / fp32:.2f} |", flush=True)


def seconds(model: Any, texts: int, pieces: int, dtype: torch.dtype, training: bool) -> float:
    """Seconds of one step, or of one forward pass; the first one is not counted."""
    inputs = {"input_ids": torch.randint(1000, 9000, (texts, pieces)), "attention_mask": torch.ones(texts, pieces, dtype=torch.long)}
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    start = 0.0
    for number in range(STEPS + 1):
        if number == 1:
            start = time.perf_counter()
        with torch.set_grad_enabled(training), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            states = model(**inputs).last_hidden_state
        if training:
            states.float().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    return (time.perf_counter() - start) / STEPS


if __name__ == "__main__":
    main()
