"""A model as ONNX, outside a run."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from potstill.errors import PotstillError
from potstill.machine.files import write_aside
from potstill.recipe.file import read_recipe
from potstill.recipe.recipe import Int8
from potstill.run.folder import RECIPE
from potstill.run.ship import SAMPLE
from potstill.runtime.folder import STUDENT

SAMPLE_PACKAGES = ("email", "logging", "unittest", "asyncio", "concurrent", "importlib", "http", "json", "argparse", "pathlib", "decimal")


def export(model: str | Path, out: str | Path, *, int8: bool = False, texts: Sequence[str] = (), threads: int | None = None) -> Path:
    """Export a model folder (or a run's student) to ONNX, and to int8 behind the gate, which has the run's own limits or the defaults.

    Args:
        texts: like those to be encoded: parity, calibration and the gate read them. Default: prose out
            of the standard library's docstrings.

    Raises:
        PotstillError: the model cannot be loaded, parity is not reached, `out` holds something else,
            or no int8 setting passes.
    """
    from potstill.data.python.docstrings import collect_docstrings
    from potstill.data.python.prose import sentences
    from potstill.deploy.gate import Limits
    from potstill.deploy.onnx import export_onnx, require_replaceable
    from potstill.deploy.quantize import quantize_int8
    from potstill.models.loading import load_encoder

    out = Path(out)
    require_replaceable(out)
    of_run = (Path(model) / STUDENT).is_dir()
    limits = read_recipe(str(Path(model) / RECIPE)).export.limits if of_run and int8 else None
    source = load_encoder(Path(model) / STUDENT if of_run else model)
    sample = list(texts) or list(islice(sentences(found.text for found in collect_docstrings(SAMPLE_PACKAGES)), SAMPLE))
    try:
        with write_aside(out) as aside:  # a refused int8 file leaves no half-made folder behind
            export_onnx(source, aside, sample)
            if int8:
                quantize_int8(aside, texts=sample, limits=Limits(**(limits or Int8()).limits), threads=threads)
    except PotstillError as error:  # said of the folder aside, which is gone
        raise PotstillError(out, error.problem, error.remedy) from error
    return out
