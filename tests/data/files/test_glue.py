from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from potstill.data.files.glue import SETS, glue_data, hub_examples
from potstill.errors import PotstillError

MSR = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("variant", "rows", "chosen", "trained", "reported", "first"),
    [
        ("cola", 8551, 855, 7690, 1043, "Our friends won't buy this analysis, let alone the next one we propose."),  # no header
        ("rte", 2490, 249, 2241, 277, ("No Weapons of Mass Destruction Found in Iraq Yet.", "Weapons of Mass Destruction Found in Iraq.")),
        ("sst2", 67349, 688, 59477, 872, "when are bears bears and"),  # a tenth of 6,885 sentences; the other rows are phrases of them
        ("mrpc", 4076, 407, 3669, 1725, None),  # the original files, with a test split
    ],
)
def test_real_files(data_dir: Path, variant: str, rows: int, chosen: int, trained: int, reported: int, first: Any) -> None:
    data = glue_data(variant, data_dir)
    train = data.splits["train"]()
    assert (len(train), len(data.reported())) == (rows, reported)
    assert set(train.labels.tolist()) == {0, 1}
    if first:
        assert train.texts[0] == first
    rest, dev = data.train_and_dev()
    assert (len(dev), len(rest)) == (chosen, trained)
    assert not set(rest.texts) & set(dev.texts)


def test_no_row_of_sst2_is_a_phrase_of_a_sentence_that_chooses(data_dir: Path) -> None:
    train, dev = glue_data("sst2", data_dir).train_and_dev()
    sentences = " | ".join(f" {text.lower()} " for text in dev.texts)
    assert not any(f" {text.lower()} " in sentences for text in train.texts)


def test_labels_of_real_files_mean_what_they_say(data_dir: Path) -> None:
    rte = glue_data("rte", data_dir)
    assert rte.labels[rte.splits["train"]().labels[0]] == "not_entailment"
    mrpc = glue_data("mrpc", data_dir)
    test = mrpc.reported()
    assert mrpc.labels[test.labels[0]] == "equivalent" and test.texts[0][0].startswith("PCCW 's")
    assert int(test.labels.sum()) == 1147  # the majority class, 66.5 % of 1725


# Each header and row is as GLUE's own files have them.
FILES = {
    "cola": (
        "gj04\t1\t\tThe sailors rode the breeze.\ngj04\t0\t*\tSailors the rode.\n",
        ["The sailors rode the breeze.", "Sailors the rode."],
        [1, 0],
    ),
    "sst2": ("sentence\tlabel\nfine work \t1\nunflinchingly bleak \t0\n", ["fine work", "unflinchingly bleak"], [1, 0]),
    "mrpc": (MSR + '1\t5\t6\tHe said " no\tNo\n0\t7\t8\ta\tb\n', [('He said " no', "No"), ("a", "b")], [1, 0]),
    "stsb": (
        "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
        "0\tg\tf\t2012\t1\tn\tn\tA plane.\tAn air plane.\t5.000\n",
        [("A plane.", "An air plane.")],
        [5.0],
    ),
    "qqp": (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tWhy?\tHow?\t0\n1\t2\tbroken\n1\t2\t3\t\tHow?\t0\n4\t5\t6\tWho?\tWhom?\t1\n",
        [("Why?", "How?"), ("Who?", "Whom?")],
        [0, 1],
    ),
    "mnli": (
        "index\tsentence1\tsentence2\tlabel1\tgold_label\n0\ta\tb\tneutral\tcontradiction\n1\tc\td\tneutral\tentailment\n",
        [("a", "b"), ("c", "d")],
        [2, 0],
    ),
    "qnli": (
        "index\tquestion\tsentence\tlabel\n0\tWho?\tHe.\tnot_entailment\n1\tWhy?\tSo.\tentailment\n",
        [("Who?", "He."), ("Why?", "So.")],
        [1, 0],
    ),
    "rte": ("index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n", [("a", "b")], [0]),
    "wnli": ("index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n", [("a", "b")], [1]),
}


@pytest.mark.parametrize("variant", [variant for variant in SETS if variant != "mnli-mm"])
def test_every_form_of_file(tmp_path: Path, variant: str) -> None:
    text, texts, labels = FILES[variant]
    write(tmp_path / "glue" / SETS[variant].folder / f"{SETS[variant].dev}.tsv", text)
    data = glue_data(variant, tmp_path)
    examples = data.reported()
    assert (list(examples.texts), examples.labels.tolist()) == (texts, labels)
    assert data.kind == ("regression" if variant == "stsb" else "classification")


def test_mnli_has_two_devs(tmp_path: Path) -> None:
    for name, count in (("train", 20), ("dev_matched", 1), ("dev_mismatched", 2)):
        lines = "".join(f"{number}\ta {number}\tb\tneutral\n" for number in range(count))
        write(tmp_path / "glue" / "MNLI" / f"{name}.tsv", "index\tsentence1\tsentence2\tgold_label\n" + lines)
    matched, mismatched = glue_data("mnli", tmp_path), glue_data("mnli-mm", tmp_path)
    assert (len(matched.reported()), len(mismatched.reported())) == (1, 2)
    assert matched.choosing().texts == mismatched.choosing().texts and len(matched.choosing()) == 2


def test_mrpc_prefers_the_test_with_labels(tmp_path: Path) -> None:
    for name, count in (("train.tsv", 3), ("dev.tsv", 2), ("test.tsv", 9), ("msr_paraphrase_train.txt", 4)):
        write(tmp_path / "glue" / "MRPC" / name, MSR + "".join(f"1\t1\t2\ta {number}\tb\n" for number in range(count)))
    assert len(glue_data("mrpc", tmp_path).reported()) == 2  # no test with labels: dev
    write(tmp_path / "glue" / "MRPC" / "msr_paraphrase_test.txt", MSR + "0\t1\t2\ta\tb\n")
    data = glue_data("mrpc", tmp_path)
    assert (len(data.reported()), len(data.splits["train"]())) == (1, 4)


@pytest.mark.parametrize(
    ("variant", "text", "message"),
    [
        # No label of the set.
        ("rte", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tmaybe\n", "dev.tsv:2: label 'maybe' is outside the set"),
        # A column too few.
        ("rte", "index\tsentence1\tsentence2\tlabel\n0\ta\tentailment\n", "dev.tsv:2: 3 columns where the first row has 4"),
        ("rte", "index\tsentence1\tsentence2\n0\ta\tb\n", "dev.tsv:1: the header has no column 'label'"),  # no column of labels
        ("rte", "index\tsentence1\tsentence2\tlabel\n0\ta\t \tentailment\n", "dev.tsv:2: a sentence is blank"),  # a blank sentence
        ("cola", "sentence\tlabel\nHe.\t1\n", "dev.tsv:1: 2 columns where 4 are expected"),  # other columns than CoLA's
        ("cola", "gj04\t2\t\tHe.\n", "dev.tsv:1: label '2' is outside the set"),  # no label of the set
        ("stsb", "sentence1\tsentence2\tscore\na\tb\t\n", "dev.tsv:2: the score is missing"),  # no score
    ],
)
def test_refused(tmp_path: Path, variant: str, text: str, message: str) -> None:
    write(tmp_path / "glue" / SETS[variant].folder / "dev.tsv", text)
    with pytest.raises(PotstillError, match=message):
        glue_data(variant, tmp_path).reported()


def test_a_file_missing_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "glue" / "RTE").mkdir(parents=True)
    with pytest.raises(PotstillError, match="dev.tsv: does not exist"):
        glue_data("rte", tmp_path).reported()


def test_without_files_and_network_both_ways_out_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    with pytest.raises(
        PotstillError, match=r"glue/mrpc: no files here.*put GLUE's files in .*MRPC or .*senteval.MRPC, or run where the hub"
    ):
        glue_data("mrpc", tmp_path)


def test_the_hub_s_form() -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"premise": ["a", "c "], "hypothesis": ["b", "d"], "label": [2, 0], "idx": [0, 1]})
    examples = hub_examples(SETS["mnli"], rows, "hub")
    assert (examples.texts, examples.labels.tolist()) == ([("a", "b"), ("c", "d")], [2, 0])
    rows = datasets.Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"], "label": [2.5]})
    assert hub_examples(SETS["stsb"], rows, "hub").labels.tolist() == [2.5]
    rows = datasets.Dataset.from_dict({"sentence": ["a", "b"], "label": [1, -1]})
    with pytest.raises(PotstillError, match="hub: row 2: label '-1' is outside the set"):
        hub_examples(SETS["cola"], rows, "hub")
    rows = datasets.Dataset.from_dict({"question1": ["a", ""], "question2": ["b", "c"], "label": [1, 0]})
    assert len(hub_examples(SETS["qqp"], rows, "hub")) == 1
