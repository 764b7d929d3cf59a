"""SentEval's files: the counts of the protocol on the real data, and every way a file can be wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from potstill.data.files.senteval import read_sts_benchmark, read_sts_folder
from potstill.errors import PotstillError

# Pairs of each subset in SentEval's files, those without a score left out.
COUNTS = {
    "12": {"MSRpar": 750, "MSRvid": 750, "SMTeuroparl": 459, "surprise.OnWN": 750, "surprise.SMTnews": 399},
    "13": {"FNWN": 189, "headlines": 750, "OnWN": 561},
    "14": {"deft-forum": 450, "deft-news": 300, "headlines": 750, "images": 750, "OnWN": 750, "tweet-news": 750},
    "15": {"answers-forums": 375, "answers-students": 750, "belief": 375, "headlines": 750, "images": 750},
    "16": {"answer-answer": 254, "headlines": 249, "plagiarism": 230, "postediting": 244, "question-question": 209},
}


@pytest.mark.parametrize("year", sorted(COUNTS))
def test_pair_counts_of_the_real_data(data_dir: Path, year: str) -> None:
    folder = data_dir / "senteval" / "STS" / f"STS{year}-en-test"
    if not folder.is_dir():
        pytest.skip(f"no {folder.name} in the data folder")
    subsets = read_sts_folder(folder)
    assert {subset.name: len(subset) for subset in subsets} == COUNTS[year]
    for subset in subsets:
        assert len(subset.first) == len(subset.second) == len(subset)
        assert 0 <= min(subset.scores) <= max(subset.scores) <= 5


@pytest.mark.parametrize(
    ("split", "count"),
    [
        ("train", 5749),  # with a column of sources
        ("dev", 1500),  # quotes that nothing closes
        ("test", 1379),  # the split that is reported
    ],
)
def test_sts_benchmark_counts(data_dir: Path, split: str, count: int) -> None:
    pairs = read_sts_benchmark(data_dir / "senteval" / "STS" / "STSBenchmark" / f"sts-{split}.csv")
    assert pairs.name == f"sts-{split}"
    assert len(pairs.first) == len(pairs.second) == len(pairs) == count


def subset(folder: Path, name: str, sentences: str, scores: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"STS.input.{name}.txt").write_text(sentences, encoding="utf-8")
    (folder / f"STS.gs.{name}.txt").write_text(scores, encoding="utf-8")


def test_unjudged_pairs_and_smt_are_left_out(tmp_path: Path) -> None:
    subset(tmp_path, "news", "a  b\tc\nd\te\nf\tg h \n", "1.5\n\n4\n")
    subset(tmp_path, "SMT", "a\tb\n", "1\n")
    [pairs] = read_sts_folder(tmp_path)
    assert (pairs.name, pairs.first, pairs.second, pairs.scores) == ("news", ["a b", "f"], ["c", "g h"], [1.5, 4.0])


def test_quotes_are_characters(tmp_path: Path) -> None:
    file = tmp_path / "sts-dev.csv"
    file.write_text('x\ty\tz\t1\t2.5\t"he said\tno" way\nx\ty\tz\t2\t3\ta\tb\tsource\n', encoding="utf-8")
    pairs = read_sts_benchmark(file)
    assert (pairs.first, pairs.second, pairs.scores) == (['"he said', "a"], ['no" way', "b"], [2.5, 3.0])


@pytest.mark.parametrize(
    ("sentences", "scores", "message"),
    [
        ("a\tb\nc\td\n", "1\n", r"STS\.gs\.x\.txt: 1 lines, but STS\.input\.x\.txt has 2"),  # a score too few
        ("a\tb\nc\n", "1\n2\n", r"STS\.input\.x\.txt:2: 1 columns where 2 are expected"),  # a sentence alone
        ("a\tb\tc\n", "1\n", r"STS\.input\.x\.txt:1: 3 columns where 2 are expected"),  # three sentences
        ("a\tb\nc\td\n", "1\nhigh\n", r"STS\.gs\.x\.txt:2: the score 'high' is not a number; a score is"),  # a word instead of a score
        ("a\tb\n", "nan\n", r"STS\.gs\.x\.txt:1: the score 'nan' is not a number"),  # NaN
        ("a\tb\nc\td\n", "\n\n", r"STS\.gs\.x\.txt: no pair has a score"),  # nobody judged a pair
        ("", "1\n", r"STS\.input\.x\.txt: is empty"),  # no sentence
    ],
)
def test_bad_subsets(tmp_path: Path, sentences: str, scores: str, message: str) -> None:
    subset(tmp_path, "x", sentences, scores)
    with pytest.raises(PotstillError, match=message):
        read_sts_folder(tmp_path)


def test_missing_parts(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="no such folder"):
        read_sts_folder(tmp_path / "STS12-en-test")
    with pytest.raises(PotstillError, match=r"holds no STS\.input"):
        read_sts_folder(tmp_path)
    (tmp_path / "STS.input.x.txt").write_text("a\tb\n")
    with pytest.raises(PotstillError, match=r"STS\.gs\.x\.txt: does not exist"):
        read_sts_folder(tmp_path)
    with pytest.raises(PotstillError, match=r"sts-dev\.csv: does not exist"):
        read_sts_benchmark(tmp_path / "sts-dev.csv")


def test_bad_benchmark_rows(tmp_path: Path) -> None:
    file = tmp_path / "sts-dev.csv"
    file.write_text("g\tf\ty\t0\t1.0\ta\tb\ng\tf\ty\t0\t1.0\ta b\n")
    with pytest.raises(PotstillError, match=r"sts-dev\.csv:2: 6 columns where at least 7"):
        read_sts_benchmark(file)
    file.write_text("genre\tfile\tyear\tid\tscore\tfirst\tsecond\n")
    with pytest.raises(PotstillError, match=r"sts-dev\.csv:1: the score 'score' is not a number"):
        read_sts_benchmark(file)
