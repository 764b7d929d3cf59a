"""Runs that differ only in the seed are one row: its medians, its spread, and what its folders say of its shape."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from helpers.samples import make_run, save_model
from potstill.report.grouped import group_runs
from potstill.report.shape import Shape, model_shape, student_shape
from potstill.results import Run


def seeded(seed: int, shift: float = 0.0, **settings: Any) -> Run:
    """A run of the sample recipe with another seed, and maybe other settings of its training."""
    run = make_run(shift=shift)
    recipe = copy.deepcopy(run.recipe)
    recipe["training"] |= {"seed": seed, **settings}
    return run.model_copy(update={"seed": seed, "recipe": recipe})


def test_seeds_are_one_group_and_other_settings_another() -> None:
    runs = [seeded(13), seeded(14, 1.0), seeded(13, epochs=5), seeded(15, -3.0)]
    first, second = group_runs(runs, [None] * 4)
    assert (first.name, first.seeds, first.title) == ("mpnet-to-3-layers", "13, 14, 15", "mpnet-to-3-layers, median of 3 runs")
    assert (second.name, second.title) == ("mpnet-to-3-layers, epochs 5",) * 2
    int8 = next(place for place, row in enumerate(first.rows) if row.role == "int8")
    assert first.rows[int8].score == pytest.approx(78.71) and first.scores[int8] == pytest.approx([78.71, 79.71, 75.71])
    assert first.rows[int8].scores["sts/12"] == pytest.approx(71.40)


def test_a_seed_that_is_there_twice_is_no_second_seed() -> None:
    groups = group_runs([seeded(13), seeded(13, 1.0), seeded(14)], [None] * 3)
    assert [(group.name, group.seeds) for group in groups] == [("mpnet-to-3-layers", "13, 14"), ("mpnet-to-3-layers (2)", "13")]


def test_a_run_without_a_recipe_stands_alone() -> None:
    runs = [make_run().model_copy(update={"recipe": {}}) for _ in range(2)]
    assert [group.name for group in group_runs(runs, [None, None])] == ["mpnet-to-3-layers", "mpnet-to-3-layers (2)"]


def test_figures_are_set_against_the_teacher() -> None:
    (group,) = group_runs([make_run()], [None])
    teacher, *_, int8 = group.rows
    assert teacher.compress == teacher.speed_up == 1
    assert int8.compress == pytest.approx(109.486464 / 17.241984) and int8.speed_up == pytest.approx(1987.4 / 61.4)


def test_threads_that_differ_give_no_speed_up() -> None:
    run = make_run()
    assert run.records[4].cost is not None
    run.records[4].cost.threads = 1
    (group,) = group_runs([run], [None])
    assert group.rows[4].speed_up is None and group.rows[3].speed_up is not None


def test_labels_alone_are_set_against_the_others_teacher() -> None:
    plain = make_run("finetune", roles=("student",))
    plain.recipe["teacher"] = None
    one, two = group_runs([plain, make_run()], [None, None])
    assert not one.distilled and two.distilled
    assert one.rows[0].of_teacher == pytest.approx(100 * 78.898 / 80.638, abs=0.02)
    assert group_runs([plain], [None])[0].rows[0].of_teacher is None


def test_shapes_come_out_of_the_folders(tmp_path: Path) -> None:
    save_model(tmp_path / "run" / "student", width=8)
    save_model(tmp_path / "teacher", width=32, layers=6)
    run = make_run(roles=("teacher", "student"), cost=False)
    run.records[0].model = str(tmp_path / "teacher")
    run.records[1].files = {"model.safetensors": 1_500_000}
    (group,) = group_runs([run], [tmp_path / "run"])
    teacher, student = group.rows
    assert (teacher.width, teacher.layers, student.width, student.layers) == (32, 6, 8, 2)
    assert (teacher.parameters, student.parameters, student.compress) == (320 / 1e6, 80 / 1e6, 4.0)
    assert (student.megabytes, teacher.megabytes) == (1.5, None)


def test_a_folder_that_is_gone_or_broken_costs_a_dash(tmp_path: Path) -> None:
    assert model_shape(tmp_path / "gone") == Shape() == model_shape(None)
    folder = save_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"\xff" * 20)
    assert model_shape(folder) == Shape(8, 2, None)
    (folder / "model.safetensors").write_bytes(b"")
    assert model_shape(folder) == Shape(8, 2, None)
    (folder / "config.json").write_text("[1]")
    assert model_shape(folder) == Shape(None, None, None)
    save_model(tmp_path / "static" / "student", layers=0)
    assert student_shape(make_run(), tmp_path / "static").layers == 0
    assert student_shape(make_run(), tmp_path / "gone") == Shape(None, 3, None), "what the recipe says"
