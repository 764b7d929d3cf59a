"""`potstill init` and `potstill show`: from data and a model to a recipe that passes the check, in one command."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from potstill.cli import show
from potstill.recipe.file import read_recipe

Call = Callable[..., tuple[int, str, str]]
WORDS = "river village cat owl house tree stone boat night snow".split()
TEXTS = [f"the {a} and the {b}" for a in WORDS for b in WORDS]


def lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_head_dirs: dict[str, Path], tiny_encoder_dir: Path) -> Path:
    """A working folder with data of every kind, and the tiny models in it by their kind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for kind, folder in {**tiny_head_dirs, "encoder": tiny_encoder_dir}.items():
        (tmp_path / kind).symlink_to(folder)
    rows = [(text, ("no", "yes", "maybe")[n % 3], n * 0.37, f"u{n // 4}") for n, text in enumerate(TEXTS)]
    csv = "body,mood,score,user\n" + "".join(f"{','.join(map(str, row))}\n" for row in rows)
    Path("reviews.csv").write_text(csv)
    Path("semi.csv").write_text(csv.replace(",", ";"))
    Path("tags.jsonl").write_text(lines({"text": text, "label": ["red", "blue", "green"][: n % 4]} for n, text in enumerate(TEXTS)))
    Path("news").mkdir()
    for split, part in {"train": TEXTS[:60], "dev": TEXTS[60:80], "test": TEXTS[80:]}.items():
        tagged = ["".join(f"{word} {'B-PER' if word in WORDS[:5] else 'O'}\n" for word in text.split()) + "Ann I-PER\n" for text in part]
        Path(f"news/{split}.conll").write_text("\n".join(tagged))
    Path("texts.txt").write_text("\n".join(TEXTS))
    Path("pairs.tsv").write_text("question\tanswer\n" + "".join(f"{text}\twhere {text}\n" for text in TEXTS))
    return tmp_path


REVIEWS = ["--csv", "reviews.csv", "--text", "body"]
SEMI = ["--csv", "semi.csv", "--text", "body"]
NEWS = ["--conll", "news/train.conll", "--conll", "news/dev.conll", "--conll", "news/test.conll"]
# Options → the recipe that is taken, its task, and words of why.
KINDS = [
    ([*REVIEWS, "--label", "mood", "--teacher", "classification"], "recommended/classification", "classification/reviews", "3 different"),
    ([*REVIEWS, "--label", "score", "--teacher", "regression"], "recommended/regression", "regression/reviews", "100 different numbers"),
    (["--csv", "tags.jsonl", "--teacher", "multilabel"], "recommended/multilabel", "multilabel/tags", "some labels are several"),
    ([*NEWS, "--teacher", "tagging", "--student", "tagging"], "recommended/tagging", "tagging/news", "knows these labels"),
    (["--texts", "texts.txt", "--teacher", "encoder"], "recommended/embed", "embed", "texts without labels"),
    (["--pairs", "pairs.tsv", "--teacher", "encoder"], "recommended/pairs", "embed", "pairs of texts"),
    # a model without a head, or with one for other labels, is fine-tuned first
    ([*REVIEWS, "--label", "mood", "--teacher", "encoder"], "finetune/classification", "classification/reviews", "has no head for labels"),
    ([*NEWS, "--teacher", "classification"], "finetune/tagging", "tagging/news", "classification has a head for classification"),
    ([*REVIEWS, "--label", "user", "--teacher", "classification"], "finetune/classification", "classification/reviews", "on other labels"),
    ([*REVIEWS, "--label", "mood", "--student", "encoder"], "finetune/classification", "classification/reviews", "no teacher is named"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "base", "task", "why"), KINDS)
def test_from_data_to_the_check_in_two_commands(work: Path, call: Call, options: list[str], base: str, task: str, why: str) -> None:
    status, out, err = call("init", *options, "--out", "mine.yaml")
    assert (status, base in out, why in " ".join(out.split())) == (0, True, True), err
    content = yaml.safe_load(Path("mine.yaml").read_text())
    recipe = read_recipe("mine.yaml")
    assert (content["like"], recipe.task) == (base, task)
    assert recipe.evaluate == ([task, "cost"] if recipe.labelled else ["cost"])
    assert why in Path("mine.yaml").read_text()
    status, out, err = call("check", "mine.yaml")
    assert status == 0 and task in out, err


def test_what_it_writes_says_its_columns_its_splits_and_what_was_changed(work: Path, call: Call) -> None:
    assert call("init", *REVIEWS, "--label", "mood", "--teacher", "classification", "--group", "user")[0] == 0
    recipe = read_recipe("reviews.yaml")
    assert (recipe.name, recipe.data.file, recipe.data.text, recipe.data.label) == ("reviews", "reviews.csv", "body", "mood")
    assert recipe.data.split and (recipe.data.split.group, recipe.data.split.stratify) == ("user", None)
    text = Path("reviews.yaml").read_text()
    assert "cut from the teacher: 1 of its layers" in text and "all-MiniLM-L6-v2: no such folder" in text, (
        "and why not the recommended student"
    )
    assert call("init", *NEWS, "--teacher", "encoder")[0] == 0
    news = read_recipe("news-teacher.yaml")
    assert news.name == "news-teacher" and news.data.dir == "news" and news.data.file == {s: f"{s}.conll" for s in ("train", "dev", "test")}
    Path("retrieval").mkdir()
    Path("retrieval/own.jsonl").write_text(lines({"query": text, "document": f"d {text}"} for text in TEXTS[:20]))
    assert call("init", "--texts", "texts.txt", "--teacher", "encoder", "--student", "classification")[0] == 0
    texts = read_recipe("texts.yaml")
    assert texts.evaluate == ["retrieval/own", "cost"] and texts.stages[0].terms[0].project == "linear", "of another width"


# What is wrong → its line. Nobody is asked where there is no terminal.
WRONG = [
    ([], "init: no data is named; give one of --csv, --conll, --texts, --pairs with a file"),
    (["--csv", "reviews.csv", "--texts", "texts.txt"], "init: --csv and --texts name data of two forms; give one of them"),
    (["--csv", "reviews.csv"], "--text: is not given, and reviews.csv has no usual column; name one of body, mood, score, user"),
    (["--csv", "reviews.csv", "--text", "bdy"], "--label: is not given, and reviews.csv has no usual column"),
    (SEMI, "--label: is not given, and semi.csv has no usual column; the columns seem to be parted"),
    ([*SEMI, "--label", "mood"], "--text: semi.csv has no column 'body'; the columns seem to be parted by ';': save it with commas, or"),
    ([*REVIEWS, "--label", "mod"], "--label: reviews.csv has no column 'mod'; did you mean 'mood'?"),
    ([*REVIEWS, "--label", "mood", "--kind", "clasification"], "--kind: unknown kind 'clasification'; did you mean 'classification'?"),
    (["--csv", "reviews.csv", "--text", "user", "--label", "body"], "--label: 'body' has 100 different values in 100 rows; name"),
    (["--texts", "texts.txt", "--label", "mood"], "--label: says nothing of data that --texts names; drop it"),
    (["--csv", "texts.txt"], "texts.txt: ends in '.txt', and is no table; name a .csv, .tsv, .jsonl or .parquet"),
    ([*REVIEWS, "--label", "body", "--kind", "classification"], "init: data: column 'body' is named twice; text, text_pair and label are"),
    (["--csv", "gone.csv"], "gone.csv: does not exist; check the path, which is relative to the working folder"),
    ([*REVIEWS, "--label", "mood", "--out", "reviews.csv"], "reviews.csv: is there already; name another file with --out"),
    ([*REVIEWS, "--label", "mood", "--teacher", "nothing/there/at-all"], "nothing/there/at-all: no such folder; check the path"),
    # a model that nobody named
    (
        [*REVIEWS, "--label", "mood"],
        "bert-base-uncased: the recipe finetune/classification brings this model in: no such folder, and the hub cannot be reached to"
        " look for a model of that name; name another with --student MODEL or --teacher MODEL; name a local folder, or connect",
    ),
    (["--texts", "texts.txt"], "sentence-transformers/all-MiniLM-L6-v2: the recipe recommended/embed brings this model in: no such folder"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "said"), WRONG)
def test_what_is_wrong_is_one_line_and_nothing_is_written(work: Path, call: Call, options: list[str], said: str) -> None:
    before = sorted(work.iterdir())
    status, _, err = call("init", *options)
    assert status == 2 and f"error: {said}" in err and len(err.splitlines()) == 1
    assert sorted(work.iterdir()) == before


def test_the_command_that_it_advises_for_the_second_step_works(work: Path, call: Call) -> None:
    first = [*REVIEWS, "--label", "mood", "--student", "encoder"]
    Path("runs").mkdir()
    Path("runs/reviews-teacher").symlink_to((work / "classification").resolve())
    for named in ([], ["--out", "mine.yaml"]):
        status, out, err = call("init", *first, *named)
        advised = re.search(r"the same command with (.*?) (?:next|$)", " ".join(out.split()))
        assert status == 0 and advised is not None, err
        assert call("init", *first, *named, *advised[1].split())[0] == 0
    assert read_recipe("mine-student.yaml").name == read_recipe("reviews.yaml").name == "reviews"


def test_at_a_terminal_it_asks_for_what_is_missing(work: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["reviews.csv", "csv", "body", "mood", "encoder"])
    asked: list[tuple[str, list[str]]] = []

    def ask(question: str, choices: list[str]) -> str:
        asked.append((question, list(choices)))
        return next(answers)

    monkeypatch.setattr(show, "ask", ask)
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    status, _, err = call("init")
    assert status == 0, err
    assert [choices for _, choices in asked[1:4]] == [["csv", "texts", "pairs"], *[["body", "mood", "score", "user"]] * 2]
    recipe = read_recipe("reviews-teacher.yaml")
    assert (recipe.task, recipe.data.label, recipe.student.model) == ("classification/reviews", "mood", "encoder")


def test_show_prints_a_recipe_as_it_ships_and_whole(call: Call) -> None:
    status, out, _ = call("show", "kd/mrpc")
    assert status == 0 and out.startswith("# Knowledge distillation") and yaml.safe_load(out)["name"] == "kd-{task}"
    assert yaml.safe_load(call("show", "kd/cola")[1]) == {"like": "kd/mrpc", "task": "glue/cola"}
    whole = yaml.safe_load(call("show", "kd/cola", "--whole")[1])
    assert whole == yaml.safe_load(out) | {"task": "glue/cola"}
    status, _, err = call("show", "kd/colaa")
    assert status == 2 and "did you mean 'kd/cola'?" in err and len(err.splitlines()) == 1


def test_the_list_of_recipes_is_a_row_a_method_at_a_terminal_and_a_name_a_line_elsewhere(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = call("list", "recipes")[1].split()
    assert {"kd/classification", "kd/tagging", "finetune/regression", "recommended/multilabel", "kd/rte"} <= set(names)
    assert not {"tang/tagging", "mukherjee/regression"} & set(names), "these have no meaning"
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    out = call("list", "recipes")[1]
    assert len(out.splitlines()) < 40 and "embed/python-docs" in out
    (kd,) = [line for line in out.splitlines() if " kd " in f" {line} ".replace("\x1b[36m", " ").replace("\x1b[0m", " ")]
    assert kd.count("●") == 8
