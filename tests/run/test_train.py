"""Whole small runs of every kind of task through the command, in this process: what is learned, kept and written."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from helpers.families import save_family
from potstill import cli
from potstill.models.loading import load_encoder
from potstill.report.answers import read_mistakes
from potstill.results import read_metrics, read_run


@pytest.fixture
def work(tmp_path, monkeypatch):
    """A working folder of its own, with its own cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def train(name: str, folder: Path, task: str, terms: list[dict[str, Any]], *overrides: str, **parts: Any) -> Path:
    """`potstill train` of a recipe with one stage (or `stages`); the run folder."""
    recipe: dict[str, Any] = {
        "name": name,
        "task": task,
        "data": {"dir": str(folder)},
        "student": {"layers": 2, "max_length": 32},
        "training": {"epochs": 3, "batch_size": 16, "learning_rate": 5e-3, "dropout": 0, "evaluations": 3, "precision": "fp32"},
        "stages": [{"name": "task", "terms": terms}],
        "evaluate": [task] if "/" in task else [],
        "export": {"onnx": False},
    }
    Path(f"{name}.yaml").write_text(yaml.safe_dump(recipe | parts))
    arguments = ["train", f"{name}.yaml", *(part for override in overrides for part in ("--set", override))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["potstill", *arguments])
        try:
            cli.main()
        except SystemExit as end:
            assert not end.code, end.code
    return Path("runs") / name


def weights(run: Path) -> dict[str, np.ndarray]:
    return load_file(run / "student" / "model.safetensors")


def student_score(run: Path, task: str, measure: str) -> float:
    (record,) = [record for record in read_run(run).records if record.role == "student"]
    return record.scores[task][measure]


HARD = [{"loss": "hard_label"}]


@pytest.mark.parametrize(
    ("task", "measure", "least"),
    [
        ("classification/about", "accuracy", 95),
        ("multilabel/about", "micro_f1", 40),
        ("regression/about", "spearman", 60),
        ("tagging/about", "f1", 95),
    ],
)
def test_fine_tuning_learns_every_kind(work, labelled_dir, tiny_encoder_dir, task, measure, least):
    parts = {"student": {"model": str(tiny_encoder_dir), "layers": 2, "max_length": 32}}
    run = train("fine", labelled_dir, task, HARD, "training.epochs=6", **parts)
    assert student_score(run, task, measure) >= least
    model = load_encoder(run)
    assert model.head == task.partition("/")[0] and len(model.layers) == 2
    assert not (run / "checkpoints").exists()
    devs = [line["dev"]["name"] for line in read_metrics(run) if "dev" in line]
    assert devs == [f"{task}-dev"] * 3
    # What was fine-tuned teaches the next student: its folder is enough.
    terms = [{"loss": "logit_mse" if "regression" in task else "soft_target", **({"multilabel": True} if "multilabel" in task else {})}]
    kept = train("next", labelled_dir, task, terms, "training.epochs=0.3", teacher={"model": str(run)})
    assert (kept / "results.json").is_file()
    assert [record.role for record in read_run(kept).records] == ["teacher", "student"]


def test_pairs_and_the_exported_file(work, labelled_dir, tiny_teachers):
    terms = [{"loss": "soft_target", "temperature": {"from": 4, "to": 1}}, {"loss": "hard_label", "weight": 0.5}]
    parts = {"teacher": {"model": str(tiny_teachers["pairs"])}, "export": {"onnx": True, "int8": False}}
    run = train("pairs", labelled_dir, "classification/pairs", terms, **parts)
    records = {record.role: record.scores["classification/pairs"] for record in read_run(run).records}
    assert set(records) == {"teacher", "student", "onnx"} and records["student"]["confusion"] == records["onnx"]["confusion"]
    assert "token_type_ids" in (run / "onnx" / "potstill.json").read_text() or (run / "onnx" / "model.onnx").stat().st_size > 0
    terms_seen = [line["terms"] for line in read_metrics(run) if "terms" in line]
    assert set(terms_seen[0]) == {"soft_target", "hard_label"}


def test_cached_and_live_teachers_train_the_same_student(work, labelled_dir, tiny_teachers):
    terms = [
        {"loss": "soft_target", "temperature": 2},
        {"loss": "hidden_mse", "layers": [[0, 0], [1, 2], [2, 4]], "project": "linear", "weight": {"from": 1, "to": 0.1}},
        {"loss": "attention_mse", "layers": "uniform"},
        {"loss": "relation", "layers": "final", "of": "values", "heads": 2},
        {"loss": "cos_nce", "layers": "final", "mode": "mean", "negatives": "train", "count": 7, "project": "linear"},
    ]
    student = {"layers": 2, "width": 16, "heads": 4, "ffn": 32, "max_length": 32}
    runs = []
    for cache in ("true", "false"):
        parts = {"teacher": {"model": str(tiny_teachers["classification"])}, "student": student}
        runs.append(train(f"cache-{cache}", labelled_dir, "classification/about", terms, f"teacher.cache={cache}", **parts))
    cached, live = map(weights, runs)
    assert max(abs(cached[name] - live[name]).max() for name in cached) < 1e-5
    fields = {path.name for path in (work / "cache" / "teacher").glob("*/*")}
    assert fields == {
        "logits", "hidden_states-0", "hidden_states-2", "hidden_states-4", "attention_scores-2", "attention_scores-4", "values-4",
        "mean_states-4",
    }  # fmt: skip


def test_a_teacher_that_is_partly_cached_trains_the_same_student(work, labelled_dir, tiny_teachers):
    bulky = [
        {"loss": "soft_target"},
        {"loss": "hidden_mse", "layers": [[0, 0], [1, 2], [2, 4]], "project": "linear"},
        {"loss": "attention_mse", "layers": [[1, 1]]},
        {"loss": "cos_nce", "layers": [[1, 2], [2, 4]], "mode": "flatten", "negatives": "train", "count": 7, "project": "linear"},
    ]
    stages = [{"name": "all", "epochs": 1, "terms": bulky}, {"name": "small", "epochs": 1, "terms": bulky[:1]}]
    student = {"layers": 2, "width": 16, "heads": 4, "ffn": 32, "max_length": 32}
    runs, gigabytes = [], {"whole": 1.0, "part": 2e-4, "nothing": 1e-9}
    for name, budget in gigabytes.items():
        shutil.rmtree(work / "cache", ignore_errors=True)
        parts = {"teacher": {"model": str(tiny_teachers["classification"]), "cache_gb": budget}, "student": student, "stages": stages}
        runs.append(weights(train(name, labelled_dir, "classification/about", [], **parts)))
        kept = {path.name for path in (work / "cache" / "teacher").glob("*/*")}
        every = {"logits", "hidden_states-0", "hidden_states-2", "hidden_states-4", "attention_scores-1"}
        assert kept == {"whole": every, "part": {"logits", "hidden_states-4"}, "nothing": set()}[name]
    whole, part, live = runs
    for found in (whole, part):
        assert max(abs(found[name] - live[name]).max() for name in live) < 1e-5


def test_a_cache_above_its_budget_is_not_made(work, labelled_dir, tiny_teachers):
    parts = {"teacher": {"model": str(tiny_teachers["classification"]), "cache_gb": 1e-9}}
    train("small", labelled_dir, "classification/about", [{"loss": "soft_target"}], "training.epochs=0.5", **parts)
    assert not (work / "cache" / "teacher").exists()


def test_tags_are_taught_token_by_token(work, labelled_dir, tiny_teachers):
    parts = {"teacher": {"model": str(tiny_teachers["tagging"])}}
    terms = [{"loss": "soft_target"}, {"loss": "hard_label"}, {"loss": "hidden_mse", "layers": "uniform"}]
    runs = [
        train(f"tags-{cache}", labelled_dir, "tagging/about", terms, f"teacher.cache={cache}", "training.epochs=1", **parts)
        for cache in ("true", "false")
    ]
    cached, live = map(weights, runs)
    assert max(abs(cached[name] - live[name]).max() for name in cached) < 1e-5


def test_stages_with_epochs_of_their_own_and_perturbation(work, labelled_dir, tiny_teachers):
    stages = [
        {
            "name": "intermediate",
            "epochs": 1,
            "perturb": {"epsilon": 0.5, "normalize": "l2"},
            "terms": [{"loss": "hidden_mse", "layers": "uniform", "project": "shared"}],
        },
        {"name": "prediction", "steps": 4, "learning_rate": 1e-3, "schedule": "constant", "terms": [{"loss": "soft_target"}]},
    ]
    parts = {"teacher": {"model": str(tiny_teachers["classification"])}, "stages": stages}
    run = train("staged", labelled_dir, "classification/about", [], **parts)
    lines = read_metrics(run)
    last = {stage: max(line["step"] for line in lines if line["stage"] == stage) for stage in ("intermediate", "prediction")}
    assert last == {"intermediate": 6, "prediction": 4}
    # A stage that gives no logits is not scored; the one that does is.
    assert {line["stage"] for line in lines if "dev" in line} == {"prediction"}
    assert {line["learning_rate"] for line in lines if line["stage"] == "prediction" and "loss" in line} == {1e-3}
    # The case table has the data's own label of each text, and what teacher and student answer.
    cases = read_run(run).cases
    assert [case["labels"]["gold"] in case["text"] for case in cases] == [True] * len(cases) and cases
    assert all({case["labels"][side] for side in ("teacher", "student")} <= {"river", "village"} for case in cases)
    again = train("staged-plain", labelled_dir, "classification/about", [], "stages.0.perturb=false", **parts)
    first, second = weights(run), weights(again)
    assert any((first[name] != second[name]).any() for name in first)


def test_a_language_model_is_adapted_and_starts_the_next_run(work, labelled_dir, tiny_encoder_dir, tiny_teachers):
    texts = {"dir": str(labelled_dir), "texts": ["texts-train.txt"], "held_out": 8}
    student = {"model": str(tiny_encoder_dir), "max_length": 32}
    run = train("adapted", labelled_dir, "mlm", [{"loss": "mlm"}], data=texts, student=student)
    losses = [line["loss"] for line in read_metrics(run) if "loss" in line]
    assert losses[-1] < losses[0] and not [line for line in read_metrics(run) if "dev" in line]
    adapted = load_encoder(run, head="mlm")
    assert adapted.network.get_output_embeddings().weight is adapted.network.get_input_embeddings().weight
    before, after = weights(run), load_file(tiny_encoder_dir / "model.safetensors")
    assert len(load_encoder(run).layers) == 4 and not np.allclose(
        before["bert.embeddings.word_embeddings.weight"], after["embeddings.word_embeddings.weight"]
    )
    # An embedding student that starts from it, taught by another model; then a language model that this one teaches.
    terms = [{"loss": "embedding_mse", "weight": 32}]
    parts = {"data": texts, "teacher": {"model": str(tiny_encoder_dir)}, "student": {"model": str(run), "layers": 2, "max_length": 32}}
    embedded = train("embedded", labelled_dir, "embed", terms, "training.epochs=0.5", **parts)
    assert load_encoder(embedded).head == "embed" and (embedded / "student" / "modules.json").is_file()
    terms = [{"loss": "mlm"}, {"loss": "soft_target", "tokens": "labelled"}, {"loss": "cosine", "layers": "final"}]
    parts = {"data": texts, "teacher": {"model": str(run)}}
    taught = train("distilbert", labelled_dir, "mlm", terms, "training.epochs=1", **parts)
    assert set([line for line in read_metrics(taught) if "terms" in line][-1]["terms"]) == {"mlm", "soft_target", "cosine"}


def test_general_distillation_needs_no_labels_and_starts_a_narrow_student(work, labelled_dir, tiny_encoder_dir, tiny_teachers):
    texts = {"dir": str(labelled_dir), "texts": ["texts-train.txt"], "held_out": 8}
    student = {"layers": 2, "width": 16, "heads": 4, "ffn": 32, "max_length": 32}
    terms = [{"loss": "hidden_mse", "layers": "uniform", "project": "linear"}, {"loss": "attention_mse", "layers": "uniform"}]
    parts = {"data": texts, "teacher": {"model": str(tiny_teachers["classification"])}, "student": student}
    run = train("general", labelled_dir, "embed", terms, "training.epochs=1", "training.select=last", **parts)
    parts = {"teacher": {"model": str(tiny_teachers["classification"])}, "student": {"model": str(run), "max_length": 32}}
    task = train("task", labelled_dir, "classification/about", [{"loss": "soft_target"}], "training.epochs=1", **parts)
    model = load_encoder(task)
    assert (model.head, model.width, len(model.layers)) == ("classification", 16, 2)


def test_augmented_rows_are_taught_too(work, labelled_dir, tiny_teachers):
    data = {"dir": str(labelled_dir), "limit": 40, "augment": {"copies": 3, "probability": 0.5, "candidates": 2}}
    parts = {"teacher": {"model": str(tiny_teachers["classification"])}, "data": data}
    run = train("more", labelled_dir, "classification/about", [{"loss": "soft_target"}], "training.epochs=1", **parts)
    assert [line for line in read_metrics(run) if "texts" in line][-1]["texts"] > 40
    assert list((work / "cache").rglob("neighbours.json"))  # the neighbours are kept for the next run


def test_the_run_is_told_as_it_was(work, labelled_dir, tiny_teachers):
    parts = {"teacher": {"model": str(tiny_teachers["classification"])}}
    run = train("told", labelled_dir, "classification/about", [{"loss": "soft_target"}], "training.epochs=1", **parts)
    summary = read_run(run).training
    assert summary["steps"] == 6 and summary["texts"] == 96 and summary["best"]["name"] == "classification/about-dev"
    assert json.loads((run / "student" / "config.json").read_text())["id2label"] == {"0": "river", "1": "village"}
    mistakes, (record, *_) = read_mistakes(run), read_run(run).records
    assert {side[0] for one in mistakes for side in one["student"]} <= {"river", "village"} and all(one["teacher"] for one in mistakes)
    dev = load_encoder(run / "student")
    wrong = [one["text"] for one in mistakes]
    assert [dev.labels[number] for number in dev.predict(wrong).argmax(1)] == [one["student"][0][0] for one in mistakes] if wrong else True
    page, card = ((run / part).read_text(encoding="utf-8") for part in ("report.html", "student/README.md"))
    answer = record.scores["classification/about"]["majority_answer"]
    assert f"always “{answer}”" in page and ('id="mistakes"' in page) is bool(mistakes) and f"always “{answer}”, no model | 50.00" in card


@pytest.mark.parametrize("own", [{}, {"vocabulary": {"method": "trim"}}])  # the teacher's pieces, and the student's own
def test_texts_that_are_mapped_teach_the_same(work, tiny_encoder_dir, monkeypatch, own):
    """Batch by batch, and the teacher's answers that were kept for texts in memory serve them."""
    (work / "a.txt").write_text("\n".join(f"the river {number} " + "and a village " * (number % 4) for number in range(150)))
    texts = {"dir": ".", "texts": ["a.*"], "held_out": 10}
    parts = {"data": texts, "teacher": {"model": str(tiny_encoder_dir)}, "student": {"layers": 2, "max_length": 24, **own}}

    def student(name: str) -> dict[str, np.ndarray]:
        return weights(train(name, work, "embed", [{"loss": "embedding_mse"}], "training.epochs=1.5", **parts))

    plain, kept = student("plain"), sorted((work / "cache").rglob("*"))
    monkeypatch.setattr("potstill.corpus.read.LARGE", 100)
    mapped, after = student("mapped"), sorted((work / "cache").rglob("*"))
    assert plain.keys() == mapped.keys() and all(np.array_equal(plain[name], mapped[name]) for name in plain)
    more = {path.relative_to(work / "cache").parts[0] for path in set(after) - set(kept)}
    assert more == {"texts", "tokens"} and set(kept) <= set(after)


@pytest.mark.parametrize(
    ("stages", "batches"),
    [
        ([{}], [13]),  # of 13 batches: the last step is one batch
        ([{"share": 0.3}, {"share": 0.7}], [6, 7]),  # of 5 steps 2 and 3: no stage begins within a step
        ([{"steps": 2}, {"steps": 7}], [6, 21]),
        ([{"epochs": 1}, {"epochs": 0.5}], [13, 7]),
    ],
)
def test_stages_are_cut_between_steps_of_several_batches(stages, batches):
    from potstill.recipe.recipe import Recipe
    from potstill.runtime.tokens import TokenizedTexts
    from potstill.training.plans import plans_of
    from potstill.training.training_set import TrainingSet

    named = [{"name": f"s{number}", "terms": HARD, **stage} for number, stage in enumerate(stages)]
    training = {"batch_size": 8, "accumulate": 3}
    recipe = Recipe.model_validate(
        {"name": "cut", "task": "classification/about", "data": {}, "student": {"model": "x"}, "training": training, "stages": named}
    )
    data = TrainingSet(TokenizedTexts(np.zeros(520, dtype=np.int32), np.arange(0, 521, 5)))
    assert [len(plan) for plan in plans_of(recipe, data)] == batches


def test_the_greatest_values_that_a_recipe_takes_are_trained_with(work, labelled_dir, tiny_encoder_dir):
    """The second stage's seed would be one that numpy does not take."""
    stages = [{"name": name, "steps": 1, "terms": HARD} for name in ("one", "two")]
    parts = {"student": {"model": str(tiny_encoder_dir), "layers": 2, "max_length": 32}, "stages": stages}
    most = [
        "training.seed=4294967295",
        "training.batch_size=1000000000",
        "training.batch_tokens=1000000000",
        "training.evaluations=1000000000",
    ]
    run = train("most", labelled_dir, "classification/about", [], *most, **parts)
    assert read_run(run).training["steps"] == 2 and read_run(run).seed == 2**32 - 1


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"epochs": 1e5}, "training.epochs: 52,000,000,000 texts are to be read"),
        ({"steps": 10**9}, "batch_size times steps: 8,000,000,000"),
    ],
)
def test_more_batches_than_the_memory_holds_are_refused(stage, words):
    from potstill.errors import PotstillError
    from potstill.recipe.recipe import Recipe
    from potstill.runtime.tokens import TokenizedTexts
    from potstill.training.plans import plans_of
    from potstill.training.training_set import TrainingSet

    content = {"name": "x", "task": "classification/x", "data": {}, "student": {"model": "x"}, "training": {"batch_size": 8}}
    recipe = Recipe.model_validate(content | {"stages": [{"name": "s", "terms": HARD, **stage}]})
    data = TrainingSet(TokenizedTexts(np.zeros(520_000, dtype=np.int32), np.arange(520_001)))
    with pytest.raises(PotstillError, match=words):
        plans_of(recipe, data)


@pytest.mark.parametrize("family", ["albert", "xlm"])
@pytest.mark.parametrize("cache", [True, False])
def test_a_teacher_without_a_stack_of_layers_teaches_by_its_vectors(work, family, cache, tiny_encoder_dir):
    """Its layers are shared, or lie apart, and none of them is read."""
    texts = [f"the {a} sees the {b}" for a in ("river", "owl", "cat", "village") for b in range(16)]
    (work / "texts.txt").write_text("\n".join(texts) + "\n")
    student = {"model": str(tiny_encoder_dir), "layers": 1, "max_length": 16}
    teacher = {"model": str(save_family(family, work / "teacher")), "cache": cache}
    run = train(
        "any",
        work,
        "embed",
        [{"loss": "embedding_cosine", "project": "linear"}],
        "data.texts=[texts.txt]",
        teacher=teacher,
        student=student,
    )
    losses = [line["loss"] for line in read_metrics(run) if "loss" in line]
    assert losses[-1] < losses[0]


def test_a_default_prompt_stands_before_every_text_of_teacher_and_student(work, tiny_encoder_dir):
    """Also in training: the student's own vectors are the teacher's where it is the teacher whole."""
    (work / "texts.txt").write_text("\n".join(f"the {number} village" for number in range(40)) + "\n")
    for name, prompt in (("plain", ""), ("prompted", "river and village: ")):
        folder = Path(shutil.copytree(tiny_encoder_dir, work / name))
        settings = {"prompts": {"own": prompt}, "default_prompt_name": "own" if prompt else None}
        (folder / "config_sentence_transformers.json").write_text(json.dumps(settings))
    losses = {}
    for name in ("plain", "prompted"):
        parts = {"teacher": {"model": name}, "student": {"model": "prompted", "layers": 4, "max_length": 64}}
        run = train(name, work, "embed", [{"loss": "embedding_mse"}], "data.texts=[texts.txt]", "training.learning_rate=1e-9", **parts)
        losses[name] = next(line["loss"] for line in read_metrics(run) if "loss" in line)
    assert losses["prompted"] < 1e-9 < 1e-4 < losses["plain"]
