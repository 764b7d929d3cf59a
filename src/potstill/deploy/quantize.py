"""int8 behind a gate: setting after setting, from the smallest file on, until one is good enough."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.deploy.gate import Gate, Limits, Score
from potstill.deploy.int8 import analyse, write_int8
from potstill.errors import PotstillError
from potstill.files import require_space, write_aside
from potstill.progress import progress
from potstill.results import cpu_flags
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import CARD, MODEL, QUANTIZED, TOKENIZER, exported_folder

SENSITIVE = 6  # one MatMul in so many is spared


@dataclass(frozen=True)
class Setting:
    """A step of the ladder: what stays in fp32."""

    name: str
    spare: bool
    embedding: bool


LADDER = (
    Setting("all int8", spare=False, embedding=True),
    Setting("sensitive MatMuls fp32", spare=True, embedding=True),
    Setting("embedding fp32", spare=False, embedding=False),
    Setting("sensitive MatMuls and embedding fp32", spare=True, embedding=False),
)


def quantize_int8(
    folder: str | Path,
    *,
    texts: Sequence[str],
    score: Score | None = None,
    max_drop: float = 0.5,
    min_cosine_mean: float = 0.98,
    min_cosine: float = 0.9,
    min_invariance: float = 0.98,
    min_speedup: float = 1.0,
    threads: int | None = None,
) -> list[dict[str, Any]]:
    """Add model_quantized.onnx to an exported folder: the first setting of LADDER that passes the gate.

    Args:
        folder: holds model.onnx.
        texts: like those that will be encoded: the weights are fitted to them and the gate reads them.
        score: a task's score of an encoder, higher is better.
        max_drop, min_cosine_mean, min_cosine, min_invariance, min_speedup: see gate.Limits.
        threads: of the gate's measurements.

    Returns:
        A row for each setting tried, the last is the one written (results.Run.gate).

    Raises:
        PotstillError: no setting passes, with the figures of all; or the folder is broken. It is left as it was.
    """
    if not texts:
        raise PotstillError("texts", "the int8 gate needs texts and got none", "give it a few hundred like those to be encoded")
    folder = exported_folder(folder)
    reference = Encoder(folder, precision="fp32", threads=threads)
    require_space(folder, 2 * reference.file.stat().st_size, "quantisation")
    gate = Gate(reference, texts, score, Limits(max_drop, min_cosine_mean, min_cosine, min_invariance, min_speedup))
    reduce_range = needs_reduced_range()
    rows: list[dict[str, Any]] = []
    with progress("int8", len(LADDER) + 1, "settings") as advance, tempfile.TemporaryDirectory(dir=folder, prefix=".int8-") as scratch:
        place = Path(scratch)
        for name in (CARD, TOKENIZER):
            shutil.copy(folder / name, place / name)
        analysis = analyse(folder / MODEL, reference, texts, reduce_range)
        worst = analysis.sensitive[: -(-len(analysis.sensitive) // SENSITIVE)]
        advance(1)
        for setting in LADDER:
            write_int8(
                folder / MODEL,
                place / QUANTIZED,
                analysis,
                spared=worst if setting.spare else (),
                embedding=setting.embedding,
                reduce_range=reduce_range,
            )
            rows.append(gate.measure(setting.name, Encoder(place, precision="int8", threads=threads)))
            advance(1, setting.name)
            if rows[-1]["passed"]:
                with write_aside(folder / QUANTIZED) as aside:
                    os.replace(place / QUANTIZED, aside)
                return rows
    tried = "; ".join(f"{row['setting']} ({', '.join(row['failed'])})" for row in rows)
    raise PotstillError(folder, f"no int8 setting passes the gate: {tried}", "widen the limits, or ship the fp32 file")


def needs_reduced_range() -> bool:
    """Whether products of 8-bit numbers overflow here: x86 before VNNI adds two of them in 16 bits.

    The weights then get 7 bits, and the file is right on newer processors too.
    """
    return platform.machine().lower() in ("x86_64", "amd64", "x86", "i686") and not any("vnni" in flag for flag in cpu_flags())
