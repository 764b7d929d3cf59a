from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.tasks.base import load_task

# The cosine of ("x", angle) with "zero" is cos(angle): texts carry the prediction that is wanted.
YEAR = {"A": [(0.1, 1.0), (0.2, 2.0), (0.3, 3.0)], "B": [(0.7, 1.5), (0.8, 1.5), (0.9, 0.5), (0.95, 4.0)]}


def by_cosine(texts: Sequence[str]) -> np.ndarray:
    """Two numbers a text: "c 0.3" is the unit vector whose cosine with "c 1" is 0.3."""
    cosines = [float(text.split()[1]) for text in texts]
    return np.array([[c, math.sqrt(1 - c * c)] for c in cosines], dtype=np.float32)


def write_year(folder: Path, subsets: dict[str, list[tuple[float, float]]], year: str = "STS12-en-test") -> Path:
    place = folder / "senteval" / "STS" / year
    place.mkdir(parents=True)
    for name, pairs in subsets.items():
        (place / f"STS.input.{name}.txt").write_text("".join(f"c 1\tc {cosine}\n" for cosine, _ in pairs))
        (place / f"STS.gs.{name}.txt").write_text("".join(f"{score}\n" for _, score in pairs))
    return folder


def write_benchmark(folder: Path, pairs: list[tuple[float, float]]) -> Path:
    place = folder / "senteval" / "STS" / "STSBenchmark"
    place.mkdir(parents=True)
    lines = (f"g\tf\ty\t{number}\t{score}\tc 1\tc {cosine}\n" for number, (cosine, score) in enumerate(pairs))
    (place / "sts-test.csv").write_text("".join(lines))
    return folder


def ranks_by_loops(values: Sequence[float]) -> list[float]:
    return [sum(other < value for other in values) + (1 + sum(other == value for other in values)) / 2 for value in values]


def correlation_by_loops(a: Sequence[float], b: Sequence[float]) -> float:
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    shared = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    return shared / math.sqrt(sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b))


def test_all_protocol_pools_the_subsets(tmp_path: Path) -> None:
    score = load_task("sts/12", write_year(tmp_path, YEAR)).evaluate(by_cosine)
    predicted, gold = zip(*(pair for pairs in YEAR.values() for pair in pairs), strict=True)

    assert score["spearman"] == pytest.approx(16.21687, abs=1e-4)
    assert score["spearman"] == pytest.approx(100 * correlation_by_loops(ranks_by_loops(predicted), ranks_by_loops(gold)), abs=1e-9)
    assert score["pearson"] == pytest.approx(100 * correlation_by_loops(predicted, gold), abs=1e-4)
    assert score["pairs"] == 7
    assert score["subsets"] == {
        "A": {"spearman": pytest.approx(100), "pairs": 3},
        "B": {"spearman": pytest.approx(31.62278, abs=1e-4), "pairs": 4},
    }


def test_unjudged_pairs_count_for_nothing(tmp_path: Path) -> None:
    folder = write_year(tmp_path, YEAR)
    inputs = folder / "senteval/STS/STS12-en-test/STS.input.A.txt"
    golds = folder / "senteval/STS/STS12-en-test/STS.gs.A.txt"
    inputs.write_text("c 1\tc -0.9\n" + inputs.read_text())
    golds.write_text("\n" + golds.read_text())
    assert load_task("sts/12", folder).evaluate(by_cosine)["spearman"] == pytest.approx(16.21687, abs=1e-4)


def test_benchmark_file(tmp_path: Path) -> None:
    score = load_task("sts/stsb", write_benchmark(tmp_path, YEAR["B"])).evaluate(by_cosine)
    assert score["spearman"] == pytest.approx(31.62278, abs=1e-4)
    assert score["pairs"] == 4


def test_length_of_the_vectors_does_not_matter(tmp_path: Path) -> None:
    task = load_task("sts/12", write_year(tmp_path, YEAR))
    stretch = np.arange(1, 1 + len(task.texts()))[:, None]
    assert task.evaluate(lambda texts: by_cosine(texts) * stretch)["spearman"] == pytest.approx(16.21687, abs=1e-4)


def test_zero_vectors_have_cosine_zero(tmp_path: Path) -> None:
    pairs = [(0.0, 1.0), (0.5, 2.0), (0.9, 3.0)]
    task = load_task("sts/stsb", write_benchmark(tmp_path, pairs))
    score = task.evaluate(lambda texts: np.where(np.array([text == "c 0.0" for text in texts])[:, None], 0, by_cosine(texts)))
    assert score["spearman"] == pytest.approx(100)


def test_constant_prediction_is_an_error_and_no_nan(tmp_path: Path) -> None:
    task = load_task("sts/12", write_year(tmp_path, YEAR))
    noise = np.random.default_rng(0).normal(scale=1e-8, size=(len(task.texts()), 2))
    with pytest.raises(PotstillError, match=r"sts/12: all 7 pairs have the same cosine \(1\.0000\).*train again"):
        task.evaluate(lambda texts: np.ones((len(texts), 2)) + noise)


def test_constant_subset_gives_none(tmp_path: Path) -> None:
    folder = write_year(tmp_path, YEAR | {"C": [(0.4, 2.0), (0.4, 3.0)]})
    assert load_task("sts/12", folder).evaluate(by_cosine)["subsets"]["C"] == {"spearman": None, "pairs": 2}


def test_constant_gold_is_an_error(tmp_path: Path) -> None:
    folder = write_benchmark(tmp_path, [(0.1, 2.0), (0.2, 2.0)])
    with pytest.raises(PotstillError, match="all 2 gold scores are 2"):
        load_task("sts/stsb", folder)


def test_broken_vectors_are_an_error(tmp_path: Path) -> None:
    task = load_task("sts/12", write_year(tmp_path, YEAR))
    with pytest.raises(PotstillError, match="14 of 14 vectors hold NaN"):
        task.evaluate(lambda texts: np.full((len(texts), 2), np.nan))


def test_missing_data(tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="STS13-en-test"):
        load_task("sts/13", tmp_path)
    with pytest.raises(PotstillError, match=r"sts-test\.csv"):
        load_task("sts/stsb", tmp_path)


def test_published_pair_counts(data_dir: Path) -> None:
    counts = {name: len(load_task(f"sts/{name}", data_dir).texts()) // 2 for name in ("12", "13", "14", "15", "stsb", "stsb-dev")}
    assert counts == {"12": 3108, "13": 1500, "14": 3750, "15": 3000, "stsb": 1379, "stsb-dev": 1500}
