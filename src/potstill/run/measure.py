"""Every file of a run scored alike: results, cards, report."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.check.plan import RunPlan, first_student
from potstill.corpus.read import Corpus
from potstill.errors import PotstillError
from potstill.evaluation.cheaper import cheaper_vectors, remembering
from potstill.evaluation.cost import measure_cost
from potstill.evaluation.evaluate import record_of
from potstill.evaluation.kept import kept
from potstill.evaluation.subject import TORCH_INT8, Subject, averaged, open_subject, torch_subject
from potstill.machine.cache import digest_of, fingerprint
from potstill.machine.files import write_aside, write_text
from potstill.recipe.recipe import EMBED, MLM, Recipe
from potstill.results import REPORT_FILE, SHIPPED, TEACHER_AGREEMENT, Cost, Record, Run, read_cases, read_metrics
from potstill.run.dev import agreement_with
from potstill.run.folder import UNDISTILLED
from potstill.run.tune import STAGE
from potstill.runtime.folder import BUNDLE, GATE, HEADS, ONNX, STUDENT
from potstill.tasks.base import COST, Encode, Task
from potstill.teacher.make import LoadedTeacher

if TYPE_CHECKING:
    from potstill.training.agreement import Agreement


def measure(recipe: Recipe, plan: RunPlan, teacher: LoadedTeacher | None, folder: Path) -> Run:
    """Score teacher, undistilled cut, student and every shipped file alike; write results.json, the cards, the bundle and the report.

    Raises:
        PotstillError: a file cannot be opened, scored or written.
    """
    from potstill.machine.precision import trained_on
    from potstill.report.page import write_report

    onnx = folder / ONNX
    gate = json.loads((onnx / GATE).read_text(encoding="utf-8")) if (onnx / GATE).is_file() else []
    tuned = bool(gate) and bool(gate[-1].get("tuned"))
    records, vectors = _records(recipe, plan, teacher, folder, tuned)
    run = Run(
        name=recipe.name,
        seed=recipe.training.seed,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        recipe=recipe.model_dump(mode="json"),
        training={**_training_summary(folder), **trained_on(plan.device, plan.precision)},
        gate=gate,
        cases=read_cases(folder),
        vectors=vectors,
        records=records,
    )
    _write_mistakes(plan.corpus, teacher, folder)
    _write_cards(recipe, plan, teacher, folder, run.records, tuned)
    run.write(folder)
    write_report(folder, folder / REPORT_FILE)
    return run


def _records(
    recipe: Recipe, plan: RunPlan, teacher: LoadedTeacher | None, folder: Path, tuned: bool
) -> tuple[list[Record], list[dict[str, Any]]]:
    """The records of a run, the teacher's first, and what the vectors of the file that ships are worth cut and rounded."""
    tasks = [plan.tasks[name] for name in dict.fromkeys(recipe.evaluate) if name != COST]
    costs = partial(measure_cost, brief=recipe.smoke) if COST in recipe.evaluate else None

    # Texts of the user's own have no gold: how near the student comes to its teacher is then all that can be said of it.
    agreement, about = None, ""
    if recipe.task == EMBED and not tasks and teacher is not None:
        agreement = agreement_with(plan, teacher)
        files = [f"{name} {digest}" for each in teacher.all for name, digest in fingerprint(each.folder).items()]
        about = digest_of([*files, *agreement.texts])

    def score(place: Path, name: str, role: str | None = None, precision: str = "auto", cost: bool = True) -> Record:
        measured = partial(costs, place, precision) if cost and costs is not None else None
        subject = remembering(open_subject(place, precision))
        record = record_of(subject, tasks, measured, model=str(place), name=name, role=role)
        opened[record.role] = subject
        return record if agreement is None else _agreeing(record, agreement, about, subject.encode)

    opened: dict[str, Subject] = {}

    records = [_teacher_record(teacher, tasks, costs)] if teacher is not None and _answers(plan.corpus, teacher.folder) else []
    if recipe.task == EMBED:  # a head that nothing taught has nothing to say
        before = folder / UNDISTILLED
        if not before.is_dir():
            first_student(recipe, plan).save(before)
        source = recipe.student.model or (recipe.teacher.model if recipe.teacher else "")
        record = score(before, "student, not distilled", "undistilled", cost=False)
        records.append(record.model_copy(update={"model": f"{source}, before training"}))
    records.append(score(folder / STUDENT, "student", "student"))
    if (folder / ONNX).is_dir():
        records.append(score(folder / ONNX, "student, ONNX", "onnx", "fp32"))
        if recipe.export.limits is not None:
            records.append(score(folder / ONNX, f"student, int8{', tuned' * tuned}", "int8", "int8"))
    if recipe.export.torch_int8:
        records.append(score(folder / STUDENT, "student, torch int8", precision=TORCH_INT8))
    ships = next(opened[role] for role in SHIPPED if role in opened)
    return records, cheaper_vectors(ships, tasks, recipe.student.dimensions) if recipe.task == EMBED else []


def _agreeing(record: Record, agreement: Agreement, about: str, encode: Encode) -> Record:
    """The record with the model's agreement with the teacher; `about` is a digest of the teacher and the texts.

    Raises:
        PotstillError: the model gives every text the same vector. One that nothing taught may do so.
    """
    try:
        value = agreement(encode)
    except PotstillError:
        if record.role != "undistilled":
            raise
        return record
    score = {"primary": "agreement", "agreement": value, "texts": len(agreement.texts), "digest": about}
    return record.model_copy(update={"scores": {**record.scores, TEACHER_AGREEMENT: score}})


def _teacher_record(teacher: LoadedTeacher, tasks: Sequence[Task], costs: Callable[..., Cost] | None) -> Record:
    subjects, own = [_opened(each) for each in teacher.all], teacher.settings
    subject = subjects[0]
    cost = partial(costs, teacher.folder, pooling=own.pooling, max_length=own.max_length) if costs is not None else None
    if len(subjects) > 1:  # nobody ships them: what they cost is not measured
        subject, cost = averaged(subjects, teacher.name), None
    return record_of(subject, tasks, cost, model=own.model, name=teacher.name, role="teacher")


def _opened(teacher: LoadedTeacher) -> Subject:
    """One model of a teacher, asked for nothing twice where it may be cached."""
    own, subject = teacher.settings, torch_subject(teacher.model.to("cpu"), teacher.folder, teacher.name)
    decides = {"pooling": own.pooling, "max_length": own.max_length, "task": teacher.task}
    return kept(subject, teacher.folder, decides) if own.cache else subject


def _write_mistakes(corpus: Corpus, teacher: LoadedTeacher | None, folder: Path) -> None:
    """Write mistakes.json, wrong answers to rows to choose by: whoever tunes by them has not seen the rows that are reported."""
    from potstill.report.answers import MISTAKES_FILE
    from potstill.training.case_study import mistakes

    if corpus.gold is None or corpus.kind not in HEADS:
        return
    student, other = open_subject(folder / STUDENT).predict, None
    if teacher is not None and _answers(corpus, teacher.folder):
        other = _opened(teacher).predict
    assert student is not None  # as the corpus has a kind
    found = mistakes(student, other, corpus.kind, corpus.names, corpus.held_out, corpus.gold, corpus.numbered)
    if found:
        write_text(folder / MISTAKES_FILE, json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    else:
        (folder / MISTAKES_FILE).unlink(missing_ok=True)  # of a run before


def _write_cards(
    recipe: Recipe, plan: RunPlan, teacher: LoadedTeacher | None, folder: Path, records: Sequence[Record], tuned: bool
) -> None:
    """A model card into each folder that ships, and the bundle of both."""
    from potstill.deploy.bundle import write_bundle
    from potstill.deploy.card import write_card

    card = partial(
        write_card,
        name=recipe.name,
        teacher=teacher.name if teacher else None,
        records=[record.model_dump() for record in records],
        kind=plan.corpus.kind,
        tuned=tuned,
        aligned=recipe.student.align is not None,
        base=recipe.teacher.model if recipe.teacher else None,
    )
    for part in (STUDENT, ONNX):
        if (folder / part).is_dir():
            card(folder / part)
    if (folder / ONNX).is_dir():
        with write_aside(folder / BUNDLE) as aside:
            write_bundle(aside, folder / STUDENT, folder / ONNX)
            card(aside)


def _answers(corpus: Corpus, folder: Path) -> bool:
    """Whether the teacher can be scored as its student is: it has the same kind of head, for the same labels."""
    from potstill.models.heads import saved_head, saved_kind
    from potstill.tasks.labelled import same_labels

    wanted = EMBED if corpus.kind == MLM else corpus.kind
    return saved_kind(folder) == wanted and same_labels(corpus.names, saved_head(folder)[1], corpus.numbered)


def _training_summary(folder: Path) -> dict[str, Any]:
    """Steps, texts, seconds and the best dev score, out of metrics.jsonl."""
    last: dict[str, dict[str, Any]] = {}
    best: dict[str, Any] = {}
    for line in read_metrics(folder):
        if "dev" in line:
            if line["stage"] == STAGE:  # of the int8 file alone
                continue
            if not best or line["stage"] != best["stage"] or line["dev"]["value"] > best["value"]:
                best = {"stage": line["stage"], "step": line["step"], **line["dev"]}
        else:
            last[line["stage"]] = line
    totals = {key: sum(line[key] for line in last.values()) for key in ("texts", "seconds")}
    return {"steps": sum(line["step"] for line in last.values()), **totals, "best": best}
