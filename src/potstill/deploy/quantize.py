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

from potstill.deploy.calibration import calibrate
from potstill.deploy.gate import MAX_ERROR, MIN_AGREEMENT, Gate, Limits, Score
from potstill.deploy.int8 import write_int8
from potstill.deploy.rounded import Roundings, roundings
from potstill.errors import PotstillError
from potstill.files import require_space, write_aside
from potstill.progress import progress
from potstill.results import cpu_flags
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import CARD, MODEL, QUANTIZED, TOKENIZER, exported_folder
from potstill.runtime.tokens import Text, suited

SENSITIVE = 6  # one MatMul in so many is spared
WEIGHT_LEVELS, REDUCED_LEVELS = 127, 63  # greatest weight, of 8 and of 7 bits


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


class Refused(PotstillError):
    """No setting passes the gate.

    Attributes:
        rows: as `quantize_int8` would return them.
        roundings: of the first setting that is fast enough, for a training under them; None where no training can help:
            every setting is too slow, or its rounding has no likeness in torch.
    """

    def __init__(self, place: object, rows: list[dict[str, Any]], roundings: Roundings | None) -> None:
        tried = "; ".join(f"{row['setting']} ({', '.join(row['failed'])})" for row in rows)
        super().__init__(place, f"no int8 setting passes the gate: {tried}", "widen the limits, or ship the fp32 file")
        self.rows, self.roundings = rows, roundings


def quantize_int8(
    folder: str | Path,
    *,
    texts: Sequence[Text],
    score: Score | None = None,
    max_drop: float = 0.5,
    min_cosine_mean: float = 0.98,
    min_cosine: float = 0.9,
    min_invariance: float = 0.98,
    min_speedup: float = 1.0,
    min_agreement: float = MIN_AGREEMENT,
    max_error: float = MAX_ERROR,
    threads: int | None = None,
    tuned: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Add model_quantized.onnx to an exported folder: the first setting of LADDER that passes the gate.

    Args:
        folder: holds model.onnx.
        texts: like those that the model will read, plain ones for tagging too. Every other one sets the ranges of the int8 inputs,
            the gate measures on the rest.
        score: a task's score of an encoder, higher is better.
        max_drop, min_cosine_mean, min_cosine, min_invariance, min_speedup, min_agreement, max_error:
            see gate.Limits.
        threads: of the gate's measurements.
        tuned: a folder of the same model, exported with weights that were trained under a refusal's roundings: those are
            written. Ranges are those of the training, and the gate's figures stay against the model.onnx of `folder`.

    Returns:
        A row for each setting tried, the last is the one written (results.Run.gate).

    Raises:
        Refused: no setting passes, with the figures of all. The folder is left as it was.
        PotstillError: the folder is broken. It is left as it was.
    """
    if len(texts) < 2:
        raise PotstillError(
            "texts", f"the int8 gate needs two texts at least and got {len(texts)}", "give it a few hundred like those to be read"
        )
    folder = exported_folder(folder)
    reference = Encoder(folder, precision="fp32", threads=threads)
    require_space(folder, 2 * reference.file.stat().st_size, "quantisation")
    texts = suited(texts, reference.kind)
    limits = Limits(max_drop, min_cosine_mean, min_cosine, min_invariance, min_speedup, min_agreement, max_error)
    gate = Gate(reference, texts[1::2], score, limits)
    levels = REDUCED_LEVELS if products_overflow() else WEIGHT_LEVELS
    weights = (folder if tuned is None else exported_folder(tuned)) / MODEL
    rows: list[dict[str, Any]] = []
    with progress("int8", len(LADDER) + 1, "settings") as advance, tempfile.TemporaryDirectory(dir=folder, prefix=".int8-") as scratch:
        place = Path(scratch)
        for name in (CARD, TOKENIZER):
            shutil.copy(folder / name, place / name)
        calibration = calibrate(folder / MODEL, reference, texts[::2], levels)
        ranked = calibration.sensitive()
        worst = ranked[: -(-len(ranked) // SENSITIVE)]
        advance(1)
        for setting in LADDER:
            spared = worst if setting.spare else ()
            write_int8(weights, place / QUANTIZED, calibration, levels, spared=spared, embedding=setting.embedding)
            name = setting.name if tuned is None else f"{setting.name}, tuned"
            rows.append(gate.measure(name, Encoder(place, precision="int8", threads=threads)) | {"tuned": tuned is not None})
            advance(1, setting.name)
            if rows[-1]["passed"]:
                with write_aside(folder / QUANTIZED) as aside:
                    os.replace(place / QUANTIZED, aside)
                return rows
        quick = next((n for n, row in enumerate(rows) if not any(reason.startswith("speedup") for reason in row["failed"])), None)
        learnable = None
        if quick is not None:
            setting = LADDER[quick]
            spared = worst if setting.spare else ()
            learnable = roundings(weights, calibration, levels, setting.name, spared=spared, embedding=setting.embedding)
    raise Refused(folder, rows, learnable)


def products_overflow() -> bool:
    """Whether sums of 8-bit products overflow here: x86 before VNNI adds two of them in 16 bits.

    Weights of 7 bits avoid that; such a file is right on newer processors too.
    """
    return platform.machine().lower() in ("x86_64", "amd64", "x86", "i686") and not any("vnni" in flag for flag in cpu_flags())
