"""Every recipe that ships, for two tiny steps a stage: its own terms and settings, a tiny teacher, a few texts; on every kind of task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.check.check import check_recipe
from potstill.errors import PotstillError
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder
from potstill.recipe.file import parse_recipe, read_recipe, shipped, whole
from potstill.recipe.recipe import OWN_KINDS, Recipe
from potstill.results import read_metrics, read_run
from potstill.run.distil import distil

COMPARE_STATES = {"cos_nce", "cosine", "hidden_mse", "patient_mse"}  # these have angles to show, layer by layer
WORDS = "river village cat owl house tree stone boat night snow".split()
GLUE = {  # folder → (header, a row of number n)
    "RTE": ("index\tsentence1\tsentence2\tlabel", lambda n, text: f"{n}\t{text}\ta {text}\t{('entailment', 'not_entailment')[n % 2]}"),
    "SST-2": ("sentence\tlabel", lambda n, text: f"{text}\t{n % 2}"),
    "CoLA": (None, lambda n, text: f"gj\t{n % 2}\t\t{text}"),
    "STS-B": ("index\tsentence1\tsentence2\tscore", lambda n, text: f"{n}\t{text}\ta {text}\t{n % 5}.{n % 7}"),
}
NINE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
THIN = {name for name in shipped() if name.endswith(("/cola", "/rte", "/sst2"))}  # they say their task and, of SST-2, fewer epochs
KINDS = {name for name in shipped() if name.partition("/")[2] in OWN_KINDS and whole(name)["task"] in OWN_KINDS}  # of a file of one's own
SIZES = {f"dualtrain/{width}-{project}": (width, project) for width in (96, 48) for project in ("up", "down")}  # other sizes of two
EVERY = [name for name in shipped() if name not in {*THIN, *SIZES, *KINDS} or name in ("finetune/cola", "finetune/rte", "finetune/sst2")]
LABELLED = [name for name in EVERY if name not in THIN and read_recipe(name).labelled]
STSB, TAGS, SENTIMENT = "glue/stsb", "tagging/tiny", "glue/sst2"
# A recipe on a task of another kind → what it needs beside the task's name.
OTHER_KINDS: dict[tuple[str, str], list[str]] = {
    ("bilstm/mrpc", SENTIMENT): [],  # of single texts
    ("tang/mrpc", SENTIMENT): [],
    ("bilstm/mrpc", STSB): [],
    ("tang/mrpc", STSB): [],
    **{
        (f"{method}/mrpc", task): []
        for method in ("finetune", "kd", "pkd-skip", "pkd-last", "distilbert", "minilm", "minilmv2", "lrc-bert")
        for task in (STSB, TAGS)
    },
    ("tinybert/mrpc", STSB): [],
    ("tinybert/tagging", TAGS): [],  # words that are tagged are not replaced
    ("codir-fine/regression", STSB): [],  # a score has no other class
    ("codir-fine/tagging", TAGS): [],
}
NO_MEANING = {
    ("bilstm/mrpc", TAGS): "a bilstm has no head for words to be tagged",
    ("mukherjee/mrpc", STSB): "soft_logit: the head has one logit, whose softmax is 1 whatever it says; use logit_mse for a score",
    ("codir-fine/mrpc", STSB): "crd.other_labels takes texts of another class as negatives, and regression has not one class a text",
    ("codir-fine/mrpc", TAGS): "crd.other_labels takes texts of another class as negatives, and tagging has not one class a text",
    ("tinybert/mrpc", TAGS): "data.augment: needs a teacher, and a task whose labels are not one a word; drop it",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts, a search task, and GLUE's files with a few rows each."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "retrieval").mkdir()
    rows = [{"query": f"query {n}", "document": f"document {n}"} for n in range(6)]
    (folder / "retrieval" / "tiny.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "texts.txt").write_text("".join(f"text number {n}\n" for n in range(48)))
    texts = [f"the {a} and the {b}" for a in WORDS for b in WORDS]
    for name, (header, row) in GLUE.items():
        place = folder / "glue" / name
        place.mkdir(parents=True)
        for split, part in (("train", texts[:44]), ("dev", texts[44:60])):
            lines = [row(n, text) for n, text in enumerate(part)]
            (place / f"{split}.tsv").write_text("\n".join([header, *lines] if header else lines) + "\n")
    for name in ("tiny", "entities"):
        (folder / "tagging" / name).mkdir(parents=True)
        for split, part in (("train", texts[:44]), ("dev", texts[44:60])):
            tagged = ["".join(f"{word} {'B-THING' if word in WORDS[:5] else 'O'}\n" for word in text.split()) for text in part]
            (folder / "tagging" / name / f"{split}.conll").write_text("\n".join(tagged))
    mrpc = folder / "senteval" / "MRPC"
    mrpc.mkdir(parents=True)
    for split, part in (("train", texts[:44]), ("test", texts[44:60])):
        lines = [f"{n % 2}\t{n}\t{n}\t{text}\tsome {text}" for n, text in enumerate(part)]
        (mrpc / f"msr_paraphrase_{split}.txt").write_text("\n".join(["Quality\t#1 ID\t#2 ID\t#1 String\t#2 String", *lines]) + "\n")
    return folder


@pytest.fixture(scope="module")
def teachers(tiny_encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By task: the tiny encoder with a head for it, a language model's too."""
    names = {
        "glue/mrpc": ["not_equivalent", "equivalent"],
        "glue/rte": ["entailment", "not_entailment"],
        "glue/cola": ["unacceptable", "acceptable"],
        "glue/sst2": ["negative", "positive"],
    }
    found = {"embed": tiny_encoder_dir, "mlm": tmp_path_factory.mktemp("teachers") / "mlm"}
    load_encoder(tiny_encoder_dir, head="mlm").save(found["mlm"])
    found["distilbert"] = tmp_path_factory.mktemp("teachers") / "distilbert"
    _distilbert(load_encoder(tiny_encoder_dir)).save(found["distilbert"])
    for task, labels in names.items():
        found[task] = tmp_path_factory.mktemp("teachers") / task.replace("/", "-")
        load_encoder(tiny_encoder_dir, head="classification", labels=labels).save(found[task])
    found["regression"], found["tagging"] = (tmp_path_factory.mktemp("teachers") / kind for kind in ("regression", "tagging"))
    load_encoder(tiny_encoder_dir, head="regression").save(found["regression"])
    load_encoder(tiny_encoder_dir, head="tagging", labels=["O", "B-THING"]).save(found["tagging"])
    return found | {STSB: found["regression"], TAGS: found["tagging"], "tagging/entities": found["tagging"]}


def _distilbert(like: EncoderModel) -> EncoderModel:
    """A random DistilBERT, which has neither token types nor a pooler."""
    import torch
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    words = like.network.config.vocab_size
    config = DistilBertConfig(vocab_size=words, dim=32, n_layers=4, n_heads=4, hidden_dim=64, max_position_embeddings=128)
    return EncoderModel(DistilBertModel(config), like.hf_tokenizer, max_length=64)


def tiny(name: str, data: Path, teachers: dict[str, Path], overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """The recipe with small sizes and two steps a stage; nothing of its method is changed."""
    shipped = read_recipe(name, overrides)
    content = shipped.model_dump(mode="json")
    content["data"] |= {"dir": str(data), "texts": [] if shipped.labelled else ["texts.txt"], "held_out": 8, "pairs": []}
    if content["teacher"]:
        content["teacher"]["model"] = str(teachers[shipped.task])
    built = content["student"].get("heads") is not None
    dual = any(stage.dual for stage in shipped.stages)  # with as many layers as the teacher
    kept = [1, 2, 3, 4] if "four" in (shipped.student.pooling or "") else [1, 3]
    if content["student"]["kind"] == "bilstm":
        content["student"] |= {"width": 8, "embedding": 16, "dense": 32}  # as wide as the tiny teacher
    elif content["student"]["kind"] == "static":
        content["student"] |= {"width": 8}
    else:
        content["student"] |= (
            {"width": 16, "heads": 4, "ffn": 32, "layers": 4 if dual else 2} if built else {"layers": kept, "rule": "uniform"}
        )
        content["student"] |= {"embedding_rank": 8} if content["student"]["embedding_rank"] else {}
    source = teachers["distilbert" if "distilbert" in (shipped.student.model or "") else "embed"]
    content["student"] |= {"model": None if content["teacher"] else str(source)}
    content["training"] |= {"epochs": 2 * len(shipped.stages) / 2, "batch_size": 20, "select": None if shipped.labelled else "last"}
    for stage in content["stages"]:
        stage |= {"steps": 2, "share": None, "epochs": None}
        for term in stage["terms"]:
            if term["loss"] == "relation":
                term["heads"] = 4  # the tiny widths are not divisible by 48
            if term["loss"] == "crd":
                term["count"] = 5
    return content | {"evaluate": [shipped.task] if shipped.labelled else ["retrieval/tiny"], "export": {"onnx": False}}


def two_steps(content: dict[str, Any], folder: Path) -> None:
    """Train, and look at what was logged and scored."""
    if content["task"] == "mlm":
        content["evaluate"] = []
    run = distil(parse_recipe(content), out=folder / "run")
    assert run.training["steps"] == 2 * len(content["stages"])
    logged = [line for line in read_metrics(folder / "run") if "terms" in line]
    for stage in content["stages"]:
        last = [line for line in logged if line["stage"] == stage["name"]][-1]
        beside = {"shared_projection", "teacher_norm"} if stage.get("dual") else set()
        assert {key.partition("-")[0] for key in last["terms"]} == {term["loss"] for term in stage["terms"]} | beside
        assert all(value == value for value in last["terms"].values())
    assert [record.role for record in read_run(folder / "run").records][-1] == "student"
    losses = {term["loss"] for stage in content["stages"] for term in stage["terms"]}
    angles = [case["angles"] for case in run.cases if case.get("angles")]  # other cases are wrong answers
    assert bool(angles) == bool(losses & COMPARE_STATES)
    assert all(0 <= row["degrees"] <= 180 for rows in angles for row in rows)


@pytest.mark.parametrize("name", EVERY)
def test_two_steps(name: str, data: Path, teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    two_steps(tiny(name, data, teachers), tmp_path)


@pytest.mark.parametrize(("name", "task"), OTHER_KINDS)
def test_two_steps_on_a_task_of_another_kind(
    name: str, task: str, data: Path, teachers: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POTSTILL_CACHE", str(tmp_path / "cache"))
    two_steps(tiny(name, data, teachers, (f"task={task}", *OTHER_KINDS[name, task])), tmp_path)


@pytest.mark.parametrize(("name", "task"), NO_MEANING)
def test_what_has_no_meaning_on_a_task_is_refused_in_one_line(name: str, task: str, data: Path, teachers: dict[str, Path]) -> None:
    with pytest.raises(PotstillError) as caught:
        check_recipe(parse_recipe(tiny(name, data, teachers, (f"task={task}",))))
    lines = str(caught.value).splitlines()
    assert all(NO_MEANING[name, task] in line for line in lines), "of several stages each says so"


def test_dual_training_in_other_sizes_is_the_same_but_for_them() -> None:
    for name, (width, project) in SIZES.items():
        recipe, other = read_recipe(name), read_recipe("dualtrain/general" if project == "up" else "dualtrain/192-down")
        assert recipe.student == other.student.model_copy(update={"width": width, "ffn": 4 * width})
        assert recipe.model_copy(update={"name": other.name, "student": other.student}) == other


@pytest.mark.parametrize("name", LABELLED)
def test_a_recipe_follows_its_task(name: str) -> None:
    called = read_recipe(name).name.removesuffix(read_recipe(name).task.partition("/")[2])
    for short in NINE:
        recipe = read_recipe(name, [f"task=glue/{short}"])
        assert recipe.evaluate == [f"glue/{short}", "cost"] and recipe.select == f"glue/{short}-dev"
        assert recipe.name == called + short
        assert recipe.teacher is None or recipe.teacher.model == f"runs/{short}-teacher"
    assert read_recipe(name, ["task=tagging/places"]).evaluate == ["tagging/places", "cost"]


@pytest.mark.parametrize("name", sorted(THIN))
def test_the_names_of_four_tasks_are_the_recipe_with_another_task(name: str) -> None:
    method, task = name.split("/")
    recipe, other = read_recipe(name), read_recipe(f"{method}/mrpc", [f"task=glue/{task}"])
    assert recipe.model_copy(update={"training": other.training}) == other
    assert task == "sst2" or recipe.training == other.training


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_kind_is_the_recipe_on_a_file_of_ones_own(name: str) -> None:
    method, kind = name.split("/")
    recipe = read_recipe(name, ["data.file=own.csv"])
    other = read_recipe(f"{method}/{'classification' if method == 'recommended' else 'mrpc'}", [f"task={kind}/own"])
    assert recipe.task == f"{kind}/own" and (recipe.name, recipe.student, recipe.training) == (other.name, other.student, other.training)
    losses = [[(term.loss, term.weight) for term in stage.terms] for stage in recipe.stages]
    assert losses == [[(term.loss, term.weight) for term in stage.terms] for stage in other.stages]


@pytest.mark.parametrize("name", ["kd/multilabel", "recommended/multilabel", "minilm/multilabel", "tang/multilabel"])
def test_any_number_of_labels_passes_the_check(name: str, tiny_head_dirs: dict[str, Path], tmp_path: Path) -> None:
    labels = ("red", "green|blue", "", "blue")
    (tmp_path / "own.csv").write_text("text,label\n" + "".join(f"{a} {b},{labels[n % 4]}\n" for n, a in enumerate(WORDS) for b in WORDS))
    content = read_recipe(name, [f"data.dir={tmp_path}", "data.file=own.csv"]).model_dump(mode="json")
    content["teacher"]["model"] = content["student"]["model"] = str(tiny_head_dirs["multilabel"])
    content["student"] |= {"vocabulary": None} if content["student"]["kind"] != "bilstm" else {"width": 8, "embedding": 8, "dense": 8}
    content["student"] |= {"layers": 1}
    for term in (term for stage in content["stages"] for term in stage["terms"] if "heads" in term):
        term["heads"] = 2
    check_recipe(parse_recipe(content))


def test_what_a_recipe_says_itself_goes_before_its_task() -> None:
    changed = ["task=glue/rte", "evaluate=[cost]", "name=mine", "teacher.model=t", "student.model=runs/{task}-teacher"]
    recipe = read_recipe("kd/mrpc", changed)
    assert (recipe.evaluate, recipe.name, recipe.teacher and recipe.teacher.model) == (["cost"], "mine", "t")
    assert recipe.student.model == "runs/rte-teacher"
    several = read_recipe("kd/mrpc", ["teacher={models: ['runs/{task}-1', 'runs/{task}-2']}"]).teacher
    assert several is not None and several.models == ["runs/mrpc-1", "runs/mrpc-2"] and several.model == "runs/mrpc-1"
    plain = read_recipe("embed/mpnet-to-3-layers").model_dump(exclude={"evaluate"})
    assert Recipe.model_validate(plain).evaluate == ["cost"], "vectors have no task of their own"
