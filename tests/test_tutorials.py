"""The tutorials work: each command of a page runs through the real command line, and its Python after it, on tiny data and models.

Of the README's three ways to begin, each recipe is written and checked.
"""

from __future__ import annotations

import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

PAGES = Path(__file__).parents[1] / "docs" / "tutorials"
Call = Callable[..., tuple[int, str, str]]
# What makes the runs short: one pass, and no int8, whose gate refuses random weights. `evaluate` is without cost, which takes processes.
SHORT = ["training.epochs=1", "training.evaluations=1", "training.precision=fp32", "export.int8=false"]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labelled_dir: Path, tiny_encoder_dir: Path) -> Path:
    """A working folder with the files that the pages name, and tiny models under the names of the real ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    for name in ("all-MiniLM-L6-v2", "all-mpnet-base-v2"):
        (tmp_path / "sentence-transformers").mkdir(exist_ok=True)
        (tmp_path / "sentence-transformers" / name).symlink_to(tiny_encoder_dir)
    texts = (labelled_dir / "texts-train.txt").read_text()
    (tmp_path / "texts.txt").write_text(texts)
    (tmp_path / "new.txt").write_text("we will come again\n")
    (tmp_path / "retrieval").mkdir()
    asked = [{"query": text, "document": text.upper()} for text in texts.splitlines()[:8]]
    (tmp_path / "retrieval" / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    with (labelled_dir / "classification/about/train.csv").open() as file:
        rows = [f"{row['text']},{row['label']}\n" for row in csv.DictReader(file)]
    (tmp_path / "reviews.csv").write_text("body,mood\n" + "".join(rows))
    (tmp_path / "news").mkdir()
    for split in ("train", "dev", "test"):
        tagged = map(json.loads, (labelled_dir / f"tagging/about/{split}.jsonl").read_text().splitlines())
        blocks = ["".join(f"{word} {tag}\n" for word, tag in zip(row["tokens"], row["tags"])) for row in tagged]
        (tmp_path / "news" / f"{split}.conll").write_text("\n".join(blocks))
    return tmp_path


# Page → the task that its run scores, and what its last command writes.
TUTORIALS = {
    "search": ("retrieval/questions", "vectors.npy"),
    "classify": ("classification/reviews", "answers.jsonl"),
    "tag": ("tagging/news", "answers.jsonl"),
}


@pytest.mark.parametrize("page", TUTORIALS)
def test_a_tutorial_works_as_it_stands(work: Path, call: Call, capsys: pytest.CaptureFixture[str], page: str) -> None:
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    task, written = TUTORIALS[page]
    commands = [shlex.split(line) for line in re.findall(r"^    (potstill .*)$", text, re.MULTILINE)]
    assert {"init", "train"} <= {words[1] for words in commands}
    for _, name, *words in commands:
        if name == "train":
            teacher = words[0].endswith("-teacher.yaml")
            less = ["evaluate=[]", "export.onnx=false"] if teacher else [f"evaluate=[{task}]"]
            words += [word for change in (*SHORT, *less) for word in ("--set", change)]
        status, _, err = call(name, *words)
        assert status == 0, f"{name} {words}: {err}"
    assert (work / written).stat().st_size
    for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(compile(code, page, "exec"), {"__name__": page})
    assert capsys.readouterr().out.strip()


def test_every_tutorial_is_tried() -> None:
    assert {file.stem for file in PAGES.glob("*.md")} == set(TUTORIALS)


def test_the_ways_to_begin_of_the_readme_pass_the_check(work: Path, call: Call, tiny_teachers: dict[str, Path]) -> None:
    ways = (PAGES.parents[1] / "README.md").read_text(encoding="utf-8").partition("## Three ways")[2].partition("\n## ")[0]
    (work / "runs").mkdir()
    (work / "runs" / "reviews-teacher").symlink_to(tiny_teachers["classification"])  # what the second command would have made
    commands = [shlex.split(line)[1:] for line in re.findall(r"^    (potstill .*)$", ways, re.MULTILINE)]
    checked = [["check" if name == "train" else name, *words] for name, *words in commands if name in ("init", "train")]
    assert len(checked) == 9
    for name, *words in checked:
        status, _, err = call(name, *words)
        assert status == 0, f"{name} {words}: {err}"
