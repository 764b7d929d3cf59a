from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from potstill.deploy.card import write_card
from potstill.runtime.folder import EMBED, MODEL, QUANTIZED, REGRESSION, ExportConfig

RUNTIMES = ["onnx", "transformers.js", "potstill"]
COST = {"parameters": 17_241_984, "bytes": 17_846_766, "threads": 2, "sentences_per_second": 1234.5}
RECORDS = [
    {"name": "teacher", "role": "teacher", "scores": {"sts/stsb": {"spearman": 83.42, "pearson": 80.0}}, "cost": None},
    {
        "name": "int8 | small",
        "role": "int8",
        "scores": {"sts/stsb": {"pearson": 79.0, "spearman": 80.104, "primary": "spearman"}},
        "cost": COST,
    },
]


def make_export(folder: Path, kind: str = EMBED) -> None:
    """What a card reads of an exported folder."""
    (folder / MODEL).touch()
    (folder / "config.json").write_text('{"model_type": "bert"}')
    said = {"pooling": "mean", "normalize": True} if kind == EMBED else {"labels": [] if kind == REGRESSION else ["O", "B-PER"]}
    ExportConfig(max_length=64, dimension=8, parameters=9, embedding_parameters=1, head=kind, **said).write(folder)


def test_an_export_is_told_with_its_scores(tmp_path):
    make_export(tmp_path)
    (tmp_path / QUANTIZED).touch()
    write_card(tmp_path, name="pocket", teacher="/home/someone/models/all-mpnet-base-v2", records=RECORDS)
    text = (tmp_path / "README.md").read_text()
    assert "# pocket" in text and "distilled from all-mpnet-base-v2" in text and "/home" not in text
    assert "from potstill import Encoder" in text and 'dtype: "q8"' in text and "SentenceTransformer" not in text
    assert "| Model | sts/stsb | Parameters | MB | Sentences/s |" in text and "| teacher | 83.42 |  |  |  |" in text
    assert "| int8 \\| small | 80.10 |" in text and "| 17,241,984 | 17.8 | 1,234 |" in text
    assert "state yours" in text


def test_the_front_matter_holds_the_scores_of_the_folder_s_own_model(tmp_path):
    make_export(tmp_path)
    write_card(tmp_path, name="pocket", teacher="t", records=RECORDS)
    assert ModelCard.load(tmp_path / "README.md").data.eval_results is None, "only int8 was scored, and the folder has none"
    (tmp_path / QUANTIZED).touch()
    write_card(tmp_path, name="pocket", teacher="t", records=RECORDS)
    data = ModelCard.load(tmp_path / "README.md").data
    (found,) = data.eval_results
    assert (data.model_name, data.library_name, data.tags) == ("pocket", "onnxruntime", ["sentence-embeddings", "distillation", *RUNTIMES])
    assert (found.task_type, found.dataset_type, found.dataset_name) == ("sentence-similarity", "sts/stsb", "STS-B")
    assert (found.metric_type, found.metric_value) == ("spearman", 80.1)


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"teacher": "mpnet", "base": "sentence-transformers/all-mpnet-base-v2"}, "sentence-transformers/all-mpnet-base-v2"),
        ({"teacher": None, "origin": "BAAI/bge-small-en-v1.5"}, "BAAI/bge-small-en-v1.5"),
        ({"teacher": "mpnet", "base": "/home/someone/mpnet"}, None),  # the user's own business
        ({"teacher": "mpnet", "base": "models/mpnet"}, None),  # a folder that is there
        ({"teacher": "mpnet", "base": "~/mpnet"}, None),
        ({"teacher": None}, None),
    ],
)
def test_the_front_matter_names_a_base_of_the_hub(tmp_path, monkeypatch, named, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models" / "mpnet").mkdir(parents=True)
    write_card(tmp_path, name="pocket", **named)
    assert ModelCard.load(tmp_path / "README.md").data.base_model == told


def test_names_are_neither_markup_nor_a_template(tmp_path):
    evil = "a_b_ {{ name }} | <img src=x>\n# heading\n---\ntags: x"
    record = RECORDS[1] | {"name": evil, "role": "student"}
    write_card(tmp_path, name=evil, teacher=evil, records=[record])
    card = ModelCard.load(tmp_path / "README.md")
    assert (card.data.model_name, card.data.tags) == (evil, ["sentence-embeddings", "distillation", "potstill"])
    said = r"a\_b\_ {{ name }} \| \<img src=x\> \# heading --- tags: x"
    assert card.text.splitlines()[1] == f"# {said}" and f"| {said} | 80.10 |" in card.text and "<img" not in card.text.replace("\\<", "")


def test_a_student_is_told_without_scores(tmp_path):
    write_card(tmp_path, name="pocket", teacher="sentence-transformers/all-mpnet-base-v2")
    text = (tmp_path / "README.md").read_text()
    assert "SentenceTransformer" in text and "potstill import Encoder" not in text and "## Scores" not in text
    assert "distilled from sentence-transformers/all-mpnet-base-v2" in text and "lie in the space" not in text
    write_card(tmp_path, name="pocket", teacher="/home/someone/big", aligned=True)
    assert "Its vectors lie in the space of big: it searches documents that big has encoded." in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(
    ("kind", "tag", "torch", "onnx"),
    [
        # one label
        ("classification", "text-classification", 'pipeline("text-classification", model="path/to/this/folder")', "SequenceClassification"),
        # any of them
        ("multilabel", "text-classification", "top_k=None", "SequenceClassification"),
        # a number
        ("regression", "text-classification", 'function_to_apply="none"', "SequenceClassification"),
        # a label for each word
        ("tagging", "token-classification", 'pipeline("token-classification"', 'classify(["The words of a text .".split()])'),
    ],
)
def test_a_head_is_told_as_what_it_is(tmp_path, kind, tag, torch, onnx):
    write_card(tmp_path, name="pocket", teacher="a-teacher", kind=kind)
    text = (tmp_path / "README.md").read_text()
    assert f"pipeline_tag: {tag}" in text and "library_name: transformers" in text and torch in text and "distilled from a-teacher" in text
    assert "sentence-embeddings" not in text and "potstill predict" in text and "{" not in text
    make_export(tmp_path, kind)
    write_card(tmp_path, name="pocket", teacher="a-teacher", kind=kind)
    text = (tmp_path / "README.md").read_text()
    assert "library_name: onnxruntime" in text and onnx in text and "const { logits }" in text and "{{" not in text


def test_a_model_without_a_teacher(tmp_path):
    write_card(tmp_path, name="plain", teacher=None, kind="classification")
    text = (tmp_path / "README.md").read_text()
    assert "fine-tuned with potstill" in text and "distil" not in text and "None" not in text.split("## Licence")[0]


def test_one_answer_to_everything_stands_beside_the_student(tmp_path):
    scores = {"f1": 81.0, "accuracy": 70.0, "primary": "f1", "majority": {"f1": 79.87, "accuracy": 66.49}, "majority_answer": "a|b"}
    record = {"name": "student", "role": "student", "scores": {"glue/mrpc": scores}, "cost": COST}
    write_card(tmp_path, name="pocket", teacher="t", records=[record], kind="classification")
    text = (tmp_path / "README.md").read_text()
    assert "| student | 81.00 | 17,241,984 |" in text and "| always “a\\|b”, no model | 79.87 |  |  |  |" in text
    assert len(ModelCard.load(tmp_path / "README.md").data.eval_results) == 1, "no model has no result of its own"
    other = record | {"scores": {"glue/mrpc": scores, "glue/rte": scores | {"majority_answer": "c"}, "sts/stsb": {"spearman": 80.0}}}
    write_card(tmp_path, name="pocket", teacher="t", records=[other], kind="classification")
    assert "| always the most frequent answer, no model | 79.87 | 79.87 |  |  |  |  |" in (tmp_path / "README.md").read_text()
    write_card(tmp_path, name="pocket", teacher="t", records=RECORDS)
    assert "always" not in (tmp_path / "README.md").read_text()
