"""`distil`, `evaluate`, `export` and `compare` with models and texts in memory, and what is told where they are none."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import potstill
from potstill.errors import PotstillError, PotstillWarning
from potstill.models.loading import load_encoder
from potstill.results import RECIPE_FILE
from potstill.run.given import Given

TEXTS = [f"text number {n}\nof several lines" for n in range(40)]
ROWS = [{"text": text, "label": ("river", "village")[n % 2]} for n, text in enumerate(TEXTS)]
SHORT = ["training.epochs=1", "training.batch_size=16", "training.evaluations=1", "evaluate=[]", "export.onnx=false"]


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def sentence_model(tiny_encoder_dir):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    return sentence_transformers.SentenceTransformer(str(tiny_encoder_dir), device="cpu")


def test_a_sentence_transformer_is_distilled_on_a_list_and_the_recipe_repeats_the_run(sentence_model):
    run = potstill.distil(teacher=sentence_model, texts=iter(TEXTS), layers=2, out="runs/mine", overrides=SHORT)
    agreements = {record.role: record.scores["agreement/teacher"]["agreement"] for record in run.records[1:]}
    assert run.records[0].scores == {} and agreements.keys() == {"undistilled", "student"}  # there is no gold of texts of one's own
    assert run.training["best"]["value"] == pytest.approx(agreements["student"], abs=1e-3)
    assert run.name == "mine" and run.folder == Path("runs/mine") and run.training["steps"] == 3
    written = yaml.safe_load(Path("runs/mine", RECIPE_FILE).read_text())
    assert written["teacher"]["model"].startswith("runs/mine/given/tiny-encoder-") and written["teacher"]["name"] == "tiny-encoder"
    again = potstill.distil(f"runs/mine/{RECIPE_FILE}", out="runs/again")
    assert again.records[-1].files == run.records[-1].files
    one, other = (load_encoder(f"runs/{name}/student").encode(TEXTS[:3]) for name in ("mine", "again"))
    assert (one == other).all()
    assert len(list(Path("cache/teacher").iterdir())) == 2  # training and held-out texts: the second run found both

    with pytest.raises(PotstillError, match="holds a run already"):
        potstill.distil(teacher=sentence_model, texts=TEXTS, layers=2, out="runs/mine", overrides=SHORT)
    with pytest.raises(PotstillError, match="begun with another recipe"):  # other texts have another digest
        potstill.distil(teacher=sentence_model, texts=TEXTS[1:], layers=2, out="runs/mine", overrides=SHORT, resume=True)
    comparison, _ = potstill.compare([run, "runs/again"])
    assert len(comparison.groups) == 2  # a second run of a seed is no second seed


def test_a_mistake_leaves_no_folder_behind(sentence_model):
    with pytest.raises(PotstillError, match="student.layers"):
        potstill.distil(teacher=sentence_model, texts=TEXTS, layers=9, out="runs/mine", overrides=SHORT)
    assert not Path("runs").exists()


def test_a_classifier_with_its_tokenizer_is_distilled_on_a_data_set(tiny_teachers):
    datasets = pytest.importorskip("datasets")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    place = tiny_teachers["classification"]
    teacher = (AutoModelForSequenceClassification.from_pretrained(place), AutoTokenizer.from_pretrained(place))
    names = ["river", "village"]
    features = datasets.Features({"review": datasets.Value("string"), "stars": datasets.ClassLabel(names=names)})
    data = datasets.Dataset.from_dict(
        {"review": [f"the {names[n % 2]} {n}" for n in range(40)], "stars": [n % 2 for n in range(40)]}, features
    ).rename_column("review", "text")
    run = potstill.distil(teacher=teacher, texts={"train": data, "test": data}, labels="stars", layers=1, overrides=SHORT)
    assert run.recipe["task"] == "classification/given" and run.recipe["data"]["labels"] == names
    assert run.recipe["student"]["layers"] == 1 and Path("runs/distilled/student").is_dir()


def test_a_run_is_scored_again_on_its_own_data_which_scores_other_models_too(tiny_teachers):
    lines = [f"the {['river', 'village'][n % 2]} {n},{['river', 'village'][n % 2]}\n" for n in range(60)]
    Path("mine.csv").write_text("body,mood\n" + "".join(lines))
    place = tiny_teachers["classification"]
    data = ["task=classification/mine", "data.file=mine.csv", "data.text=body", "data.label=mood", f"teacher.model={place}"]
    student = [f"student.model={place}", "student.layers=1", "evaluate=[classification/mine]"]
    run = potstill.distil("kd/classification", overrides=[*SHORT, *data, *student], out="runs/mine")
    again = potstill.evaluate("runs/mine")
    assert again.scores == run.records[-1].scores and again.cost is None
    assert potstill.evaluate(place, "classification/mine", "runs/mine").scores == run.records[0].scores
    assert potstill.evaluate("runs/mine", "classification/mine-dev").scores.keys() == {"classification/mine-dev"}
    Path("mine.csv").rename("elsewhere.csv")
    assert potstill.evaluate(
        "runs/mine", {"classification/other": [{"text": f"the {name}", "label": name} for name in ("river", "village")]}
    ).scores
    with pytest.raises(PotstillError, match="mine.csv"):
        potstill.evaluate("runs/mine")
    Path("recipe.yaml").write_text("no: run")  # a file of that name alone makes no run of a folder
    with pytest.raises(PotstillError, match="classification/mine"):  # a folder without that task
        potstill.evaluate("runs/mine", "classification/mine", ".")


def test_a_run_is_scored_again_with_the_names_that_its_recipe_gives_to_numbers(tiny_teachers):
    place = tiny_teachers["classification"]
    Path("classification/mine").mkdir(parents=True)
    rows = "text,label\n" + "".join(f"the {['river', 'village'][n % 2]} {n},{n % 2}\n" for n in range(40))
    for split in ("train", "dev", "test"):
        Path(f"classification/mine/{split}.csv").write_text(rows)
    data = ["task=classification/mine", "data.dir=.", "data.labels=[river, village]", f"teacher.model={place}", f"student.model={place}"]
    run = potstill.distil(
        "kd/classification", overrides=[*SHORT, *data, "student.layers=1", "evaluate=[classification/mine]"], out="runs/n"
    )
    assert potstill.evaluate("runs/n").scores == run.records[-1].scores


def test_rows_in_memory_are_a_task_and_a_row_is_named_where_it_is_wrong(tiny_encoder_dir, tiny_teachers):
    rows = [{"query": f"the river {n}", "document": f"a village {n}"} for n in range(5)]
    record = potstill.evaluate(tiny_encoder_dir, {"retrieval/mine": iter(rows)})
    assert record.scores["retrieval/mine"]["queries"] == 5 and record.model == str(tiny_encoder_dir)
    for name, given, said in (
        ("sts/mine", rows, "sts/mine: is no name for rows of your own; take one of retrieval/NAME, classification/NAME"),
        ("retrieval/mine", [*rows, {"query": "the river"}], "retrieval/mine.jsonl:6: "),
        ("classification/mine", [{"text": "a", "label": "x"}, "b"], "classification/mine[1]: is 'b', not a mapping of fields"),
    ):
        with pytest.raises(PotstillError) as caught:
            potstill.evaluate(tiny_encoder_dir, {name: given})
        assert str(caught.value).startswith(said)


def test_a_text_or_anything_else_in_a_paths_place_is_told_in_a_line(tiny_encoder_dir):
    ways = {
        "Encoder": potstill.Encoder,
        "evaluate": potstill.evaluate,
        "folder": lambda given: potstill.evaluate(tiny_encoder_dir, "cost", given),
        "export": lambda given: potstill.export(given, "out"),
        "out": lambda given: potstill.export(tiny_encoder_dir, given),
        "compare": lambda given: potstill.compare([given]),
        "html": lambda given: potstill.compare(["nowhere"], given),
        "teacher": lambda given: potstill.distil(teacher=given, texts=TEXTS, layers=1),
    }
    for name, way in ways.items():
        for given in ("A sentence.", "A long sentence. " * 40, "two\nlines", "a\0b", ["a list"], 3):
            if name in ("folder", "out", "html") and given in ("A sentence.", "two\nlines"):
                continue  # a folder may be called so
            with pytest.raises(PotstillError) as caught:
                way(given)
            assert "\n" not in str(caught.value), name
    for way in (potstill.Encoder, potstill.evaluate):
        with pytest.raises(PotstillError, match="A sentence.: is no folder; it looks like a text; name the model's folder; texts go to"):
            way("A sentence.")


def test_labels_that_nothing_learns_from_are_told(tiny_encoder_dir):
    said = "texts: have labels, and the teacher has no use for them; to learn from them give a teacher that was fine-tuned on the task"
    given = Given(teacher=str(tiny_encoder_dir), texts=iter(ROWS), layers=1)
    with pytest.warns(PotstillWarning, match=said):
        content = given.written(None, Path("run"), None)
    (file,) = content["data"]["texts"]
    assert len(Path(file).read_text().splitlines()) == len(ROWS)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({}, "distil: neither a recipe nor a teacher is given; give a recipe, or teacher, texts and layers"),
        ({"teacher": "t"}, "distil: neither a recipe nor texts is given"),
        ({"teacher": "t", "texts": TEXTS}, "distil: nothing says how small the student is to be; give layers=3"),
        ({"teacher": "t", "texts": TEXTS, "layers": 1}, "t: no such folder"),
        ({"teacher": 3, "texts": TEXTS, "layers": 1}, "teacher: is a int, which is no model; give a path, a SentenceTransformer"),
        ({"teacher": "TINY", "texts": "A sentence.", "layers": 1}, "texts: 'A sentence.' is no file; name a file of texts, or give a list"),
        ({"teacher": "TINY", "texts": ["a", None], "layers": 1}, "texts[1]: is None, not a text"),
        ({"teacher": "TINY", "texts": [{"title": "a", "body": "b"}], "layers": 1}, "texts[0]: has no field 'text' (there: title, body)"),
        ({"teacher": "TINY", "texts": {"train": TEXTS}, "layers": 1}, "texts: is a mapping with train; give one split of a data set"),
        ({"teacher": "TINY", "texts": [], "layers": 1}, "texts: is empty; give at least one text"),
        ({"teacher": "TINY", "texts": iter([]), "layers": 1}, "texts: is empty; give at least one text"),
        ({"teacher": "HEAD", "texts": [], "labels": [], "layers": 1}, "texts: is empty; give at least one row"),
        ({"teacher": "HEAD", "texts": {"train": ROWS, "dev": []}, "layers": 1}, "dev: is empty; give at least one row"),
        ({"teacher": "TINY", "texts": 7, "layers": 1}, "texts: is 7, not a list, a generator or a data set"),
        ({"teacher": "TINY", "texts": TEXTS, "labels": [1] * 40, "layers": 1}, "labels: are given, and the teacher has no use for them"),
        ({"teacher": "HEAD", "texts": TEXTS, "layers": 1}, "texts[0]: is 'text number 0\\nof several lines', not a mapping of fields"),
        ({"teacher": "HEAD", "texts": TEXTS, "labels": [1], "layers": 1}, "labels: are 1, and texts are 40; give one label for each text"),
        ({"teacher": "HEAD", "texts": {"trian": TEXTS}, "labels": [1], "layers": 1}, "texts: has a part 'trian'; did you mean 'train'?"),
    ],
)
def test_what_is_no_model_and_no_text_is_told_in_a_line(tiny_encoder_dir, tiny_teachers, parts, said):
    known = {"TINY": str(tiny_encoder_dir), "HEAD": str(tiny_teachers["classification"])}
    if isinstance(parts.get("teacher"), str):
        parts = {**parts, "teacher": known.get(parts["teacher"], parts["teacher"])}
    with pytest.raises(PotstillError) as caught:
        potstill.distil(**parts, out="run")
    assert said in str(caught.value) and "\n" not in str(caught.value) and not Path("run").exists()
