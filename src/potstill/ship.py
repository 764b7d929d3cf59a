"""What a run ships: its student as ONNX, and int8 behind the gate; tuned under the rounding where the gate refuses."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from potstill import recipe as recipes
from potstill.errors import PotstillError
from potstill.files import write_aside, write_text
from potstill.preflight import Facts
from potstill.runtime.folder import ONNX, STUDENT
from potstill.teach import dev_score
from potstill.tune import TUNED, tune

if TYPE_CHECKING:
    from potstill.deploy.rounded import Roundings
    from potstill.training.trainer import Dev

GATE = "gate.json"
SAMPLE = 512  # texts that an export without texts of its own is checked and calibrated on


def ship(recipe: recipes.Recipe, facts: Facts, folder: Path, dev: Dev | None, resume: bool, teacher: str | None) -> None:
    """Write the run's onnx/, unless it is there. Every process calls it alike: they tune together.

    Args:
        dev: what chose the checkpoints, where this process has it already.
        teacher: its name, for the description.

    Raises:
        PotstillError: no int8 setting passes the gate, tuned neither; or the student cannot be exported. There is no onnx/ then.
    """
    from potstill.training.processes import tell

    refused = tell(lambda: _export(recipe, facts, folder, dev, teacher))
    if refused is not None:
        rows, roundings = refused
        tune(recipe, facts, folder, resume, roundings)
        tell(lambda: _export(recipe, facts, folder, dev, teacher, rows))


def _export(
    recipe: recipes.Recipe, facts: Facts, folder: Path, dev: Dev | None, teacher: str | None, refused: list[dict[str, Any]] | None = None
) -> tuple[list[dict[str, Any]], Roundings] | None:
    """Write onnx/, with the int8 file where a setting passes the gate. The gate's rows go beside it.

    Args:
        refused: the gate's rows of the student as it was taught, when the tuned one is to be tried.

    Returns:
        Where the gate refused and tuning may help: its rows, and what to tune under.
    """
    from potstill.deploy.onnx import export_onnx
    from potstill.deploy.quantize import Refused, quantize_int8
    from potstill.models.loading import load_encoder

    if (folder / ONNX).is_dir():
        return None
    int8 = recipe.export.limits
    # Every so many of the held-out texts, which are in the files' order: each source has its part.
    sample = facts.material.held_out[:: max(1, len(facts.material.held_out) // SAMPLE)][:SAMPLE]
    try:
        with write_aside(folder / ONNX) as aside:
            export_onnx(load_encoder(folder / STUDENT), aside, sample, teacher=teacher)
            if int8 is not None:
                judge = dev or dev_score(recipe, facts)
                quantize = partial(quantize_int8, aside, texts=sample, score=judge.score if judge else None, **int8.limits)
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
