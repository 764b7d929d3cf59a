"""int8 behind a gate: one setting after another, the smallest file first, until one is good enough."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.deploy.calibration import Calibration, calibrate
from potstill.deploy.gate import Gate, Limits, Score
from potstill.deploy.int8 import FP32, INT4, INT8, write_int8
from potstill.deploy.rounded import Roundings, roundings
from potstill.errors import PotstillError
from potstill.machine.files import require_space, write_aside
from potstill.machine.hardware import cpu_flags
from potstill.machine.progress import progress
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import CONFIG, QUANTIZED, TOKENIZER, exported_folder, model_file
from potstill.runtime.tokens import Text, suited

SENSITIVE = 6  # one MatMul in so many is spared
WEIGHT_LEVELS, REDUCED_LEVELS = 127, 63  # greatest weight, of 8 and of 7 bits


@dataclass(frozen=True)
class Setting:
    """A step of the ladder: what stays in fp32.

    Attributes:
        name: of the setting.
        spare: whether the most sensitive MatMuls stay in fp32, one of `SENSITIVE`.
        tables: what the embedding tables become, as in `write_int8`.
    """

    name: str
    spare: bool
    tables: str

    def spared(self, calibration: Calibration) -> list[str]:
        """Names of the MatMuls that stay in fp32."""
        ranked = calibration.sensitive()
        return ranked[: -(-len(ranked) // SENSITIVE)] if self.spare else []


LADDER = (
    Setting("all int8", spare=False, tables=INT8),
    Setting("sensitive MatMuls fp32", spare=True, tables=INT8),
    Setting("embedding fp32", spare=False, tables=FP32),
    Setting("sensitive MatMuls and embedding fp32", spare=True, tables=FP32),
)
INT4_FIRST = (Setting("int8, embedding int4", spare=False, tables=INT4), *LADDER)


class Refused(PotstillError):
    """No setting passes the gate.

    Attributes:
        rows: as `quantize_int8` would return them.
        roundings: of the first setting that is fast enough, for a training under them. None where no training can help:
            every setting is too slow, or torch has no like of its rounding.
    """

    def __init__(self, place: object, rows: list[dict[str, Any]], roundings: Roundings | None) -> None:
        tried = "; ".join(f"{row['setting']} ({', '.join(row['failed'])})" for row in rows)
        super().__init__(place, f"no int8 setting passes the gate: {tried}", "widen the limits, or ship the fp32 file")
        self.rows, self.roundings = rows, roundings


def quantize_int8(
    folder: str | Path,
    *,
    texts: Sequence[Text],
    limits: Limits,
    score: Score | None = None,
    threads: int | None = None,
    tuned: str | Path | None = None,
    tables: str = INT8,
) -> list[dict[str, Any]]:
    """Add model_quantized.onnx to an exported folder: the first setting of the ladder that passes the gate.

    Args:
        folder: holds model.onnx.
        texts: like those that the model will read, plain ones for tagging too. Every other one sets the ranges of the
            int8 inputs; on the rest the gate measures.
        limits: what the int8 file must reach.
        score: a task's score of an encoder, higher is better.
        threads: of the gate's measurements; default all usable cores.
        tuned: a folder of the same model, exported with weights that were trained under a refusal's roundings: these are
            quantised. The ranges are those of that training, and the gate still compares with the model.onnx of `folder`.
        tables: "int4" puts a setting before LADDER, whose embedding tables have two numbers a byte; "int8": LADDER alone.

    Returns:
        A row for each setting tried; the last is the one written (results.Run.gate).

    Raises:
        Refused: no setting passes; it has the figures of all. The folder is left as it was.
        PotstillError: the folder is broken, or there are fewer than two texts. The folder is left as it was.
    """
    if len(texts) < 2:
        raise PotstillError(
            "texts", f"the int8 gate needs two texts at least and got {len(texts)}", "give it a few hundred like those to be read"
        )
    folder = exported_folder(folder)
    reference = Encoder(folder, precision="fp32", threads=threads)
    require_space(folder, 2 * reference.file.stat().st_size, "quantisation")
    texts = suited(texts, reference.head)
    gate = Gate(reference, texts[1::2], score, limits)
    levels = REDUCED_LEVELS if products_overflow() else WEIGHT_LEVELS
    weights = reference.file if tuned is None else model_file(exported_folder(tuned), "fp32")
    rows: list[dict[str, Any]] = []
    ladder = INT4_FIRST if tables == INT4 else LADDER
    with progress("int8", len(ladder) + 1, "settings") as advance, tempfile.TemporaryDirectory(dir=folder, prefix=".int8-") as scratch:
        place = Path(scratch)
        for name in (CONFIG, TOKENIZER):
            shutil.copy(folder / name, place / name)
        calibration = calibrate(reference.file, reference, texts[::2], levels)
        advance(1)
        for setting in ladder:
            spared = setting.spared(calibration)
            write_int8(weights, place / QUANTIZED, calibration, levels, spared=spared, tables=setting.tables)
            name = setting.name if tuned is None else f"{setting.name}, tuned"
            rows.append(gate.measure(name, Encoder(place, precision="int8", threads=threads)) | {"tuned": tuned is not None})
            advance(1, setting.name)
            if rows[-1]["passed"]:
                with write_aside(reference.file.with_name(QUANTIZED)) as aside:
                    os.replace(place / QUANTIZED, aside)
                return rows
    raise Refused(folder, rows, _trainable(ladder, rows, weights, calibration, levels))


def _trainable(
    ladder: Sequence[Setting], rows: Sequence[dict[str, Any]], weights: Path, calibration: Calibration, levels: int
) -> Roundings | None:
    """The roundings of the first setting that is fast enough: training makes a file better, and never faster."""
    for setting, row in zip(ladder, rows):
        if not any(reason.startswith("speedup") for reason in row["failed"]):
            spared = setting.spared(calibration)
            return roundings(weights, calibration, levels, setting.name, spared=spared, tables=setting.tables)
    return None


def products_overflow() -> bool:
    """Whether sums of 8-bit products overflow on this processor: x86 before VNNI adds two of them in 16 bits.

    Weights of 7 bits avoid that. Such a file is right on newer processors too.
    """
    return platform.machine().lower() in ("x86_64", "amd64", "x86", "i686") and not any("vnni" in flag for flag in cpu_flags())
