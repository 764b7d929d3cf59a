"""A model as a bundle, or as ONNX alone, outside a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.data.files.given import texts_given
from potstill.deploy.int8 import INT4, INT8
from potstill.errors import PotstillError, shown
from potstill.machine.files import kind_of_place, sha256_of, write_aside, write_text
from potstill.machine.places import as_path, place_of_model
from potstill.models.given import as_folder, called, name_of
from potstill.recipe.file import read_recipe
from potstill.recipe.recipe import Int8, Recipe
from potstill.results import RECIPE_FILE, RESULTS_FILE, read_run
from potstill.run.ship import SAMPLE
from potstill.runtime.folder import GATE, MODEL, ONNX, QUANTIZED, STUDENT

if TYPE_CHECKING:
    from potstill.models.encoder import EncoderModel
    from potstill.models.given import Model

SAMPLE_PACKAGES = ("email", "logging", "unittest", "asyncio", "concurrent", "importlib", "http", "json", "argparse", "pathlib", "decimal")
TABLES = (INT8, INT4)
PARTS = ".parts"  # the bundle's two halves, until they are put together


def export(
    model: Model,
    out: str | Path,
    *,
    int8: bool = False,
    texts: Iterable[str] = (),
    threads: int | None = None,
    only: str | None = None,
    tables: str | None = None,
) -> Path:
    """Export a model folder (or a run's student) to a bundle: the torch model at its root, its ONNX files in onnx/, and a card.

    With `int8`, gate.json beside the int8 file has every setting that the gate measured.

    Args:
        model: a folder, or a name on the hub; a run; or a model in memory: a SentenceTransformer, or (model, tokenizer) of
            transformers.
        out: the folder to write.
        int8: whether to add the int8 file, behind the gate, which has the run's own limits or the defaults.
        texts: like those to be encoded, in a list, a generator or a data set: parity, calibration and the gate read them.
            Default: prose out of the standard library's docstrings.
        threads: of the gate's measurements; default all usable cores.
        only: "onnx" for the light folder: the ONNX files with tokenizer and configuration, and nothing for torch.
        tables: "int4": embedding tables of two numbers a byte are tried first; "int8"; default: as the run's recipe has it, else int8.

    Returns:
        `out`.

    Raises:
        PotstillError: the model cannot be loaded or saved, parity is not reached, `out` holds something else,
            no int8 setting passes, `only` or `tables` names nothing, or `tables` is given without `int8`.
    """
    if only not in (None, ONNX):
        raise PotstillError("only", f"unknown value {shown(only)}", f"give {ONNX}, or leave it out for the whole bundle")
    if tables not in (None, *TABLES):
        raise PotstillError("tables", f"unknown value {shown(tables)}", f"give {' or '.join(TABLES)}")
    if tables is not None and not int8:
        raise PotstillError("tables", "says what becomes of an int8 file's tables, and none is asked for", "ask for int8 too (--int8)")
    out = as_path(out, "out")
    from potstill.deploy.onnx import require_replaceable

    require_replaceable(out)
    sample = texts_given(texts)
    with as_folder(model) as place:
        _export(place, name_of(model) or f"{called(model)}, from memory", out, int8, sample, threads, only, tables)
    return out


def _export(
    model: str, origin: str, out: Path, int8: bool, texts: Sequence[str], threads: int | None, only: str | None, tables: str | None
) -> None:
    """As `export`, of a model that has a name, which the card calls `origin`.

    Raises:
        PotstillError: as `export`.
    """
    from potstill.data.python.docstrings import collect_docstrings
    from potstill.data.python.prose import sentences
    from potstill.deploy.gate import Limits
    from potstill.deploy.onnx import export_onnx
    from potstill.deploy.quantize import quantize_int8
    from potstill.models.loading import load_encoder

    place = place_of_model(model)
    of_run = kind_of_place(place / STUDENT) == "a folder"
    written = place / RECIPE_FILE
    recipe = read_recipe(str(written)) if of_run and (int8 or written.is_file()) else None
    source = load_encoder(place / STUDENT if of_run else model)
    sample = list(texts) or list(islice(sentences(found.text for found in collect_docstrings(SAMPLE_PACKAGES)), SAMPLE))
    try:
        with write_aside(out) as aside:  # a refused int8 file leaves no half-made folder behind
            graphs = aside if only else aside / PARTS / ONNX
            export_onnx(source, graphs, sample)
            if int8:
                own = (recipe.export.limits if recipe else None) or Int8()
                rows = quantize_int8(graphs, texts=sample, limits=Limits(**own.limits), threads=threads, tables=tables or own.tables)
                write_text(graphs / GATE, json.dumps(rows, indent=2) + "\n")
            if not only:
                _put_together(source, aside)
            records = _measured(place, aside if only else aside / ONNX) if recipe else []
            _describe(source, aside, origin, out.name, recipe, records)
    except PotstillError as error:  # said of the folder aside, which is gone
        raise PotstillError(out, error.problem, error.remedy) from error


def _put_together(source: EncoderModel, folder: Path) -> None:
    """Make the bundle of a model and of its graphs, which lie in the folder already, in PARTS."""
    from potstill.deploy.bundle import write_bundle

    parts = folder / PARTS
    source.save(parts / STUDENT)
    write_bundle(folder, parts / STUDENT, parts / ONNX)
    shutil.rmtree(parts)


def _measured(run: Path, graphs: Path) -> list[dict[str, Any]]:
    """What a run measured of models that an export of it has or tells of: its torch models, and the graphs that came out the same.

    Args:
        run: its folder.
        graphs: where the exported ones lie. One made anew may be another, int8 above all, whose gate measures the machine's speed.
    """
    if not (run / RESULTS_FILE).is_file():
        return []
    files = {"onnx": MODEL, "int8": QUANTIZED}
    pairs = {role: (run / ONNX / file, graphs / file) for role, file in files.items()}
    same = {role for role, pair in pairs.items() if all(file.is_file() for file in pair) and len(set(map(sha256_of, pair))) == 1}
    return [record.model_dump() for record in read_run(run).records if record.role not in files or record.role in same]


def _describe(source: EncoderModel, folder: Path, model: str, name: str, recipe: Recipe | None, records: Sequence[dict[str, Any]]) -> None:
    """Write the card.

    Args:
        source: the model.
        folder: of the bundle, or of the ONNX files alone.
        model: what the user called it.
        name: of the folder when it is done.
        recipe: of the run that made the model, if any.
        records: of the run's results, which stand in the card.
    """
    from potstill.deploy.card import write_card
    from potstill.teacher.make import short_name

    if recipe is None:
        write_card(folder, name=name, teacher=None, origin=model, kind=source.head)
        return
    teacher = (recipe.teacher.name or short_name(recipe.teacher.model)) if recipe.teacher else None
    aligned = recipe.student.align is not None
    base = recipe.teacher.model if recipe.teacher else None
    write_card(folder, name=recipe.name, teacher=teacher, records=records, kind=source.head, aligned=aligned, base=base)
