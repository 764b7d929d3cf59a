"""`potstill demo`: a model's files, texts with their vectors, and a page that searches them, as one static folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.demo.library import read_library
from potstill.demo.teacher import Taught, find_teacher, teach
from potstill.demo.texts import Entry, read_entries, read_questions
from potstill.errors import PotstillError, shown
from potstill.machine.files import read_json, require_nameable, write_aside
from potstill.recipe.file import read_recipe
from potstill.recipe.recipe import Recipe
from potstill.report.page import TEMPLATE as REPORT
from potstill.results import RECIPE_FILE
from potstill.runtime.encoder import Encoder
from potstill.runtime.folder import AGAIN, BUNDLE, COSINE, EMBED, ONNX, QUANTIZED, ExportConfig, exported_folder, model_file, read_config
from potstill.runtime.vectors import quantize

PAGE = Path(__file__).parent / "page"
PARTS = ("index.html", "page.js", "NOTICE.txt")
DATA = "demo.json"  # what the page reads first; a folder that has it is a demo
STYLE, VECTORS, TEACHER = "page.css", "vectors.bin", "teacher.bin"
LIBRARY, MODEL = "lib", "model"
LOADED = ("config.json", "tokenizer.json", "tokenizer_config.json")  # of an exported folder, by transformers.js
SAME_ORDER = ("dot", "euclidean")  # of vectors of unit length: what is nearest by cosine is so by these


@dataclass(frozen=True)
class Demo:
    """A folder that was written.

    Attributes:
        folder: to be served as it is.
        texts: how many it searches.
        teacher: name of the teacher whose hits it shows; None for none.
        missing: why there is none, where the student has one; else "".
        bytes: of the whole folder.
        weights: bytes of the model's file.
    """

    folder: Path
    texts: int
    teacher: str | None
    missing: str
    bytes: int
    weights: int


def write_demo(
    model: str | Path,
    texts: str | Path,
    out: str | Path | None = None,
    *,
    questions: str | Path | None = None,
    teacher: str | None = None,
    npm: Path | None = None,
) -> Demo:
    """Write a folder that searches texts by meaning in the browser; once it is loaded it needs no network.

    Args:
        model: a run folder, a bundle or an exported folder. The int8 file is taken where there is one.
        texts: the file of what is searched, see `read_entries`.
        out: the folder to write; default: beside the run or the model, `-demo` behind its name. An earlier demo is replaced.
        questions: a file of examples, one a line, that the page offers. Of them the teacher's hits are shown too.
        teacher: a model whose hits are shown beside; default: the run's own teacher, where its folder is at hand.
        npm: see `read_library`.

    Raises:
        PotstillError: `model` gives no vectors, or vectors that no cosine compares; `out` holds something else; a file
            cannot be read; the teacher that is named cannot be loaded; transformers.js is not to be had.
    """
    folder = exported_folder(model)
    config = read_config(folder)
    _require_searchable(folder, config)
    home = _home(Path(model))
    out = Path(out) if out is not None else home.with_name(f"{home.name}-demo")
    _require_replaceable(out)
    entries, asked = read_entries(texts), read_questions(questions)
    recipe = _recipe(home)
    loaded, missing = find_teacher(recipe, teacher)
    library = read_library(npm)
    encoder = Encoder(folder)
    whole = [entry.text for entry in entries]
    vectors = quantize(encoder.encode(whole, title="texts"), "int8")
    taught = teach(loaded, whole, asked) if loaded else None
    with write_aside(out) as aside:
        aside.mkdir()
        _write_model(aside / MODEL, folder, encoder.file)
        (aside / VECTORS).write_bytes(vectors.tobytes())
        if taught is not None:
            (aside / TEACHER).write_bytes(b"".join(quantize(part, "int8").tobytes() for part in (taught.texts, taught.questions)))
        _write_page(aside, library)
        name = recipe.name if recipe else home.name
        data = _data(name, config, encoder.file, entries, asked, taught)
        (aside / DATA).write_text(json.dumps(data, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
        size = sum(file.stat().st_size for file in aside.rglob("*") if file.is_file())
    return Demo(out, len(entries), taught.name if taught else None, missing, size, encoder.file.stat().st_size)


def _require_searchable(folder: Path, config: ExportConfig) -> None:
    """Check that a model's vectors can be searched by cosine, and that a browser can load it.

    Raises:
        PotstillError: it has a head, its vectors are compared otherwise, its weights lie beside its graph, or a file that
            transformers.js loads is missing or broken.
    """
    if config.head != EMBED:
        raise PotstillError(folder, f"is a {config.head} model, and a search needs one vector a text", "name a model without a head")
    if config.similarity != COSINE and not (config.normalize and config.similarity in SAME_ORDER):
        problem = f"compares vectors by {config.similarity}, and a page with vectors in int8 compares by cosine"
        raise PotstillError(folder, problem, "name a model that is compared by cosine, or that gives vectors of unit length")
    file = model_file(folder)
    beside = sorted(path.name for path in file.parent.glob(f"{file.name}?*"))
    if beside:
        raise PotstillError(file, f"has its weights in {beside[0]}: more than 2 GB, which no browser loads", "name a smaller model")
    for name in LOADED:
        if not (folder / name).is_file():
            raise PotstillError(folder / name, "no such file, and a browser needs it", AGAIN)
        if not isinstance(content := read_json(folder / name), dict):
            raise PotstillError(folder / name, f"holds {shown(content)}, and a browser needs an object", AGAIN)


def _require_replaceable(out: Path) -> None:
    """Check that a demo may be written to a place.

    Raises:
        PotstillError: no file could have its name; it is a file, or a folder that holds something else.
    """
    require_nameable(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / DATA).is_file()):
        raise PotstillError(out, "exists and is no demo", "choose another --out, or remove it")


def _home(model: Path) -> Path:
    """The folder whose name says what a model is: the run, also where its onnx/ or bundle/ was named."""
    folder = model.expanduser()
    folder = folder if folder.name else folder.absolute()
    return folder.parent if folder.name in (ONNX, BUNDLE) and (folder.parent / RECIPE_FILE).is_file() else folder


def _recipe(home: Path) -> Recipe | None:
    """The recipe of a run; None of a model without one."""
    file = home / RECIPE_FILE
    return read_recipe(str(file)) if file.is_file() else None


def _write_model(place: Path, folder: Path, file: Path) -> None:
    """Copy what transformers.js loads: configuration and tokenizer, and the one graph in the folder where it looks for it."""
    (place / ONNX).mkdir(parents=True)
    for name in LOADED:
        shutil.copyfile(folder / name, place / name)
    shutil.copyfile(file, place / ONNX / file.name)


def _write_page(place: Path, library: dict[str, bytes]) -> None:
    """Write all that is the same for every model."""
    for name in PARTS:
        shutil.copyfile(PAGE / name, place / name)
    styles = (REPORT.with_name("page.css"), PAGE / "page.css")  # the reports' colours and letters, then the page's own
    (place / STYLE).write_text("\n".join(style.read_text(encoding="utf-8") for style in styles), encoding="utf-8")
    (place / LIBRARY).mkdir()
    for name, content in library.items():
        (place / LIBRARY / name).write_bytes(content)


def _data(
    name: str, config: ExportConfig, file: Path, entries: Sequence[Entry], questions: Sequence[str], taught: Taught | None
) -> dict[str, Any]:
    """What the page needs to know, as JSON can hold it."""
    return {
        "name": name,
        "dtype": "q8" if file.name == QUANTIZED else "fp32",
        "bytes": file.stat().st_size,
        "dimension": config.dimension,
        "max_length": config.max_length,
        "prompt": config.prompt,
        "teacher": {"name": taught.name, "dimension": int(taught.texts.shape[1])} if taught else None,
        "questions": list(questions),
        "texts": [[entry.title, entry.text] for entry in entries],
    }
