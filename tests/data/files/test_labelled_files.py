from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from potstill.data.files.labelled_files import own_data, read_inputs, read_labelled
from potstill.errors import PotstillError


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_quotes_and_tsv_does_not(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", 'id,text,label\n1,"one, two",a\n2,"he said ""no""",b\n')
    assert read_labelled(table, "classification")[0].texts == ["one, two", 'he said "no"']
    table = write(tmp_path / "a.tsv", 'text\tlabel\n"lone\ta\nother\tb\n')
    assert read_labelled(table, "classification")[0].texts == ['"lone', "other"]


def test_pairs(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", "text,text_pair,label\nx,y,0.5\nv,w,1\n")
    examples, names = read_labelled(table, "regression")
    assert (examples.texts, examples.labels.tolist(), names) == ([("x", "y"), ("v", "w")], [0.5, 1], [])
    lines = write(tmp_path / "a.jsonl", '{"text": "x", "text_pair": "y", "label": 1}\n{"text": "v", "text_pair": "w", "label": 0}\n')
    assert read_labelled(lines, "classification")[0].texts == [("x", "y"), ("v", "w")]


def test_several_labels_in_either_format(tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", "text,label\nx,news|sport\ny,\nz,sport\n")
    lines = write(
        tmp_path / "a.jsonl", '{"text": "x", "label": ["news", "sport"]}\n{"text": "y", "label": []}\n{"text": "z", "label": ["sport"]}\n'
    )
    for path in (table, lines):
        examples, names = read_labelled(path, "multilabel")
        assert (names, examples.labels.tolist()) == (["news", "sport"], [[1, 1], [0, 0], [0, 1]])


def test_tagged_files(tmp_path: Path) -> None:
    for ending in (".conll", ".txt"):
        examples, names = read_labelled(write(tmp_path / f"a{ending}", "Rome B-LOC\nis O\n"), "tagging")
        assert (examples.texts, names) == ([["Rome", "is"]], ["O", "B-LOC"])


@pytest.mark.parametrize(
    ("name", "text", "kind", "message"),
    [
        # A misspelt column.
        ("a.csv", "text,lable\nx,1\n", "classification", "a.csv:1: the header has no column 'label'; did you mean 'lable'"),
        ("a.csv", "text,text,label\nx,y,1\n", "classification", "a.csv:1: the header has 'text' twice"),  # a column twice
        ("a.csv", "text,label\nx,1\n ,2\n", "classification", "a.csv:3: 'text' is ' '; write a text that is not blank"),  # a blank text
        ("a.csv", "text,text_pair,label\nx,,2\n", "classification", "a.csv:2: 'text_pair' is ''"),  # an empty second text
        ("a.csv", "text,label\nx,\ny,2\n", "regression", "a.csv:2: the score is missing"),  # no score
        ("a.csv", "text;label\nx;1\n", "classification", "a.csv:1: the header has no column 'text'; the columns seem to be parted by ';'"),
        ("a.csv", 'text;label\n"x, y";1\n', "regression", "columns seem to be parted by ';': save it with commas, or with tabs as .tsv"),
        ("a.csv", "text;label\nx, y;1\n", "regression", "a.csv:1: the header has no column 'text'; the columns seem to be parted by ';'"),
        ("a.csv", '"text";"label"\n"x";1\n', "regression", "the columns seem to be parted by ';': save it with commas"),
        ("a.csv", "text,label\nx,1,2\n", "regression", "a.csv:2: 3 columns where the first row has 2"),  # a column too many
        ("a.csv", "text,label\n", "classification", "a.csv: holds no examples"),  # a header alone
        ("a.csv", "text,label\nx,a||b\n", "multilabel", "a.csv:2: the label is missing"),  # an empty label between bars
        ("a.jsonl", '{"text": "x"}\n', "classification", "a.jsonl:1: has no field 'label'"),  # no label
        ("a.jsonl", '{"text": 3, "label": "a"}\n', "classification", "a.jsonl:1: 'text' is 3"),  # a number instead of a text
        # A text, then a pair.
        (
            "a.jsonl",
            '{"text": "x", "label": 1}\n{"text": "x", "text_pair": "y", "label": 2}\n',
            "classification",
            "a.jsonl:2: some rows have",
        ),
        ("a.jsonl", '{"text": "x", "label": ["\\ud800"]}\n', "multilabel", "a.jsonl:1: half a character"),  # half a character in a label
        # A format that is not read.
        (
            "a.parquet",
            "x",
            "classification",
            "a.parquet: ends in '.parquet'; for classification name a file that ends in one of .csv, .json, .jsonl, .ndjson, .tsv, also",
        ),
        (
            "a.csv",
            "x",
            "tagging",
            r"for tagging name a file that ends in one of \.conll, .*\.txt, also with \.gz",
        ),  # a format without words
    ],
)
def test_refused(tmp_path: Path, name: str, text: str, kind: str, message: str) -> None:
    with pytest.raises(PotstillError, match=message):
        read_labelled(write(tmp_path / name, text), kind)


def test_inputs_need_no_labels(tmp_path: Path) -> None:
    assert read_inputs(write(tmp_path / "a.csv", "text\nx\ny\n"), "multilabel") == ["x", "y"]
    assert read_inputs(write(tmp_path / "a.jsonl", '{"text": "x", "text_pair": "y"}\n'), "regression") == [("x", "y")]
    assert read_inputs(write(tmp_path / "a.conll", "Rome\nis\n"), "tagging") == [["Rome", "is"]]
    with pytest.raises(PotstillError, match="holds no texts"):
        read_inputs(write(tmp_path / "b.csv", "text\n"), "classification")


def test_own_data_takes_its_labels_from_train(tmp_path: Path) -> None:
    folder = tmp_path / "classification" / "mood"
    write(folder / "train.csv", "text,label\nx,sad\ny,glad\n")
    write(folder / "test.jsonl", '{"text": "z", "label": "sad"}\n')
    data = own_data("classification", "mood", tmp_path)
    assert (data.labels, list(data.splits)) == (["glad", "sad"], ["train", "test"])
    assert data.reported().labels.tolist() == [1]
    write(folder / "test.jsonl", '{"text": "z", "label": "bad"}\n')
    with pytest.raises(PotstillError, match=r"test.jsonl:1: label 'bad' is outside the set of labels; did you mean 'sad'"):
        own_data("classification", "mood", tmp_path).reported()


def test_own_data_without_train_is_for_evaluation(tmp_path: Path) -> None:
    write(tmp_path / "classification" / "mood" / "test.csv", "text,label\nx,sad\ny,glad\n")
    data = own_data("classification", "mood", tmp_path)
    assert data.labels == ["glad", "sad"] and len(data.reported()) == 2
    with pytest.raises(PotstillError, match="classification/mood: has no train split"):
        data.choosing()


def test_own_data_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "classification" / "mood").mkdir(parents=True)
    with pytest.raises(PotstillError, match=r"mood: holds no train, dev or test file; add one; endings: \.csv, .*\.tsv, also with \.gz"):
        own_data("classification", "mood", tmp_path)
    for name in ("moods", "", "../classification", "."):
        with pytest.raises(PotstillError, match=f"classification/{name}: no such folder: .*; there: mood"):
            own_data("classification", name, tmp_path)
    with pytest.raises(PotstillError, match="regression/x: no such folder: .*; make .* with train, dev and test files"):
        own_data("regression", "x", tmp_path)


def test_own_data_in_files_of_any_ending(tmp_path: Path) -> None:
    folder = tmp_path / "classification" / "mood"
    write(folder / "train.CSV", "text,label\nx,sad\ny,glad\n")
    (folder / "dev.jsonl.gz").write_bytes(gzip.compress(b'{"text": "z", "label": "sad"}\n', mtime=0))
    write(folder / "test.notes.csv", "text,label\nw,sad\n")  # another name, so no split
    data = own_data("classification", "mood", tmp_path)
    assert sorted(data.splits) == ["dev", "train"] and data.reported().texts == ["z"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test.parquet", "is parquet, a table of columns, and not read for classification"),
        ("test.arrow", "is an Arrow table, and not read for"),
        ("test.csv.zip", "is a zip archive, and not read for"),
        ("test.txt", "is not read for classification; name it test, with one of these endings: .csv"),  # as columns of words have it
        ("Test.csv", "is not read for classification; name it test"),  # another name where names have cases
    ],
)
def test_no_split_is_left_out_in_silence(tmp_path: Path, name: str, said: str) -> None:
    write(tmp_path / "classification" / "mood" / "train.csv", "text,label\nx,sad\ny,glad\n")
    write(tmp_path / "classification" / "mood" / name, "x")
    with pytest.raises(PotstillError, match=f"{name}: {said}"):
        own_data("classification", "mood", tmp_path)


def test_names_for_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "multilabel" / "mood"
    write(folder / "train.csv", "text,label\nx,0|1\ny,1|1\n")
    write(folder / "test.jsonl", '{"text": "z", "label": [1.0, 0.0]}\n')
    with pytest.raises(PotstillError, match=r"train.csv:3: names label '1' twice: \['1', '1'\]; write every label once; of one-hot lists"):
        own_data("multilabel", "mood", tmp_path)
    data = own_data("multilabel", "mood", tmp_path, ["sad", "glad"])
    assert data.labels == data.numbered == ["sad", "glad"]
    assert data.reported().labels.tolist() == [[1, 0]]


@pytest.mark.parametrize(
    ("labels", "numbered"),
    [
        (["1", "0"], ["0", "1"]),  # the numbers themselves
        (["1", "2"], []),  # numbers that begin elsewhere
        (["no", "yes"], []),  # names
    ],
)
def test_what_the_data_says_of_numbers(tmp_path: Path, labels: list[str], numbered: list[str]) -> None:
    write(tmp_path / "classification" / "mood" / "train.csv", "text,label\n" + "".join(f"x,{label}\n" for label in labels))
    assert own_data("classification", "mood", tmp_path).numbered == numbered


def test_a_label_twice_in_a_table(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match=r"a.csv:3: names label 'a' twice: \['a', 'a'\]; write every label once$"):
        read_labelled(write(tmp_path / "a.csv", "text,label\nx,b\ny,a|a\n"), "multilabel")


@pytest.mark.parametrize("names", [["train.csv", "train.tsv"], ["train.csv", "train.csv.gz"]])
def test_two_files_for_one_split(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        write(tmp_path / "classification" / "mood" / name, "text,label\n")
    with pytest.raises(PotstillError, match=f"mood: holds {names[0]} and {names[1]}; keep one file a split"):
        own_data("classification", "mood", tmp_path)
