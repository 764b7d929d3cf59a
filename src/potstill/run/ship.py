"""What a run ships: its student as ONNX, and int8 behind the gate; tuned under the rounding where the gate refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from potstill.check.plan import RunPlan
from potstill.errors import PotstillError
from potstill.machine.files import write_aside, write_text
from potstill.recipe.recipe import Recipe
from potstill.run.dev import dev_score
from potstill.run.tune import TUNED, tune
from potstill.runtime.folder import GATE, ONNX, STUDENT
from potstill.teacher.make import LoadedTeacher

if TYPE_CHECKING:
    from potstill.deploy.rounded import Roundings
    from potstill.training.trainer import CheckpointScore

SAMPLE = 512  # texts that an export without texts of its own is checked and calibrated on


def ship(recipe: Recipe, plan: RunPlan, teacher: LoadedTeacher | None, folder: Path, dev: CheckpointScore | None, resume: bool) -> None:
    """Write the run's onnx/, unless it is there. Every process calls it alike: they tune together.

    Args:
        dev: what chose the checkpoints, where this process has it already.
        resume: go on with a tuning that was stopped.

    Raises:
        PotstillError: no int8 setting passes the gate, tuned neither; or the student cannot be exported. There is no onnx/ then.
    """
    from potstill.machine.distributed import tell

    def judge() -> CheckpointScore | None:
        return dev or dev_score(recipe, plan, teacher)

    refused = tell(lambda: _export(recipe, plan, folder, judge, teacher))
    if refused is not None:
        rows, roundings = refused
        tune(recipe, plan, folder, resume, roundings)
        tell(lambda: _export(recipe, plan, folder, judge, teacher, rows))


def _export(
    recipe: Recipe,
    plan: RunPlan,
    folder: Path,
    judge: Callable[[], CheckpointScore | None],
    teacher: LoadedTeacher | None,
    refused: list[dict[str, Any]] | None = None,
) -> tuple[list[dict[str, Any]], Roundings] | None:
    """Write onnx/, with the int8 file where a setting passes the gate. The gate's rows go beside it.

    Args:
        refused: the gate's rows of the student as it was taught, when the tuned one is to be tried.

    Returns:
        Where the gate refused and tuning may help: its rows, and what to tune under.

    Raises:
        Refused: no setting passes, and no tuning is to help.
        PotstillError: the student cannot be exported.
    """
    from potstill.deploy.gate import Limits
    from potstill.deploy.onnx import export_onnx
    from potstill.deploy.quantize import Refused, quantize_int8
    from potstill.models.loading import load_encoder

    if (folder / ONNX).is_dir():
        return None
    int8 = recipe.export.limits
    # Every so many of the held-out texts, which are in the files' order: each source has its part.
    sample = plan.corpus.held_out[:: max(1, len(plan.corpus.held_out) // SAMPLE)][:SAMPLE]
    try:
        with write_aside(folder / ONNX) as aside:
            export_onnx(load_encoder(folder / STUDENT), aside, sample, teacher=teacher.name if teacher else None)
            if int8 is not None:
                judged = judge()
                score = judged.score if judged else None
                quantize = partial(quantize_int8, aside, texts=sample, limits=Limits(**int8.limits), score=score, tables=int8.tables)
                if refused is None:
                    rows = quantize()
                else:
                    with TemporaryDirectory(dir=aside) as scratch:
                        tuned = export_onnx(load_encoder(folder / TUNED), Path(scratch) / TUNED, sample)
                        rows = [*refused, *quantize(tuned=tuned)]
                write_text(aside / GATE, json.dumps(rows, indent=2) + "\n")
    except Refused as error:
        if refused is None and error.roundings is not None and int8 is not None and int8.tuning is not None:
            return error.rows, error.roundings
        raise Refused(folder / ONNX, [*(refused or []), *error.rows], None) from error
    except PotstillError as error:  # said of the folder aside, which is gone
        raise PotstillError(folder / ONNX, error.problem, error.remedy) from error
    if refused is None:  # of earlier, stricter limits
        shutil.rmtree(folder / TUNED, ignore_errors=True)
    return None
