"""The quickstart's questions: the teacher answers them, and its hit stands below the student's."""

from __future__ import annotations

import json
import shutil
import sysconfig
from pathlib import Path

import pytest
import yaml

from potstill.cli import quickstart, show
from potstill.data.python.docstrings import collect_docstrings
from potstill.data.python.python_docs import PAIRS, retrieval_pairs
from potstill.demo.texts import read_entries, read_questions

ANSWERS = ("gzip.open", "bisect.insort_right", "shutil.disk_usage")
NEAR = (
    "gzip",
    "bz2",
    "lzma",
    "tarfile",
    "bisect",
    "heapq",
    "shutil",
    "tempfile",
    "random",
)  # modules whose documents could be taken for the answers


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / PAIRS).parent.mkdir()
    library = folder / "library"
    library.mkdir()
    for name in NEAR:  # the whole library would take half a minute to parse and to encode
        shutil.copy(Path(sysconfig.get_paths()["stdlib"]) / f"{name}.py", library)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(library)})
        pairs = retrieval_pairs(collect_docstrings())
    rows = [{"query": pair.query, "document": pair.document, "name": pair.source.name, "held_out": False} for pair in pairs]
    (folder / PAIRS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def run(tiny_export_dir: Path, minilm_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose student knows nothing, and whose teacher is the real one."""
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    shutil.copytree(tiny_export_dir, tmp_path / "run" / "onnx")
    recipe = {
        "name": "tiny", "data": {"texts": ["t.txt"]}, "teacher": {"model": str(minilm_dir)},
        "student": {"layers": 2}, "stages": [{"name": "embed", "terms": [{"loss": "embedding_mse"}]}],
    }  # fmt: skip
    (tmp_path / "run" / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path / "run"


def test_the_teacher_answers_the_questions_and_is_shown(run, data, capsys):
    found = quickstart.answer(run, data)
    assert [answer.question for answer in found] == list(quickstart.QUESTIONS)
    assert [answer.taught[0][0] for answer in found] == list(ANSWERS)
    assert all(len(answer.found) == len(answer.taught) == 3 for answer in found)
    show.answers(found)
    lines = capsys.readouterr().out.splitlines()
    for answer in found:
        place = lines.index(answer.question)
        assert all(hit[0] in line for hit, line in zip(answer.found, lines[place + 1 :]))
        assert lines[place + 4].split()[0] == "teacher" and answer.taught[0][0] in lines[place + 4]


def test_without_its_teacher_the_student_answers_alone(run, data):
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe["teacher"]["model"] = "./gone"
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert all(answer.found and not answer.taught for answer in quickstart.answer(run, data))


def test_what_the_page_is_made_of_reads_as_a_demo_reads_it(data, capsys):
    documents, questions = quickstart.write_documents(data)
    row = json.loads((data / PAIRS).read_text().splitlines()[0])
    entry = read_entries(documents)[0]
    assert (entry.title, entry.text) == (row["name"], f"{row['query']} {row['document']}")
    assert read_questions(questions) == list(quickstart.QUESTIONS)
    show.next_steps(Path("runs/quickstart/run"), documents, questions)
    said = capsys.readouterr().out
    assert f"potstill demo runs/quickstart/run --texts {documents} --questions {questions} --out runs/quickstart/demo" in said
    assert "python -m http.server --directory runs/quickstart/demo" in said
