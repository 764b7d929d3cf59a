"""What a recipe may say. A recipe is read once, checked as a whole, and never written to.

The classes check keys, types and what must fit together inside a recipe. Whether a named loss, task, pooling or file
exists is checked by `potstill check`, which knows the parts.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from unicodedata import normalize

from pydantic import ConfigDict, Field, field_validator, model_validator

from potstill.recipe.part import MOST, MOST_FLOAT, Count, Named, Part, Positive, Seed
from potstill.recipe.part import TextSource as TextSource
from potstill.recipe.student import BiLSTMStudent as BiLSTMStudent
from potstill.recipe.student import StaticStudent as StaticStudent
from potstill.recipe.student import Student as Student
from potstill.recipe.student import TransformerStudent as TransformerStudent
from potstill.recipe.student import Vocabulary as Vocabulary
from potstill.registry import CLASSIFICATION, COST, DEV, MULTILABEL, REGRESSION, TAGGING
from potstill.registry import EMBED as EMBED
from potstill.registry import MLM as MLM

AGREEMENT, LAST = "agreement", "last"
"""Values of `training.select` beside the name of a dev task."""
TASK = "{task}"
"""Stands for the last part of the recipe's task in its name and in the models of both sides: one file serves every task."""

OWN_KINDS = (CLASSIFICATION, MULTILABEL, REGRESSION, TAGGING)
"""Families of tasks of one's own data. Such a name alone is the task of `data.file`, and called as the file is."""

Epochs = Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]


class Augment(Part):
    """Copies of the training texts in which words are replaced (Jiao et al. 2020, TinyBERT, algorithm 1)."""

    copies: Count = Field(20, description="of each text, at most")
    probability: float = Field(0.4, gt=0, le=1, description="that a word is replaced")
    candidates: Count = Field(15, description="words that one word may be replaced by")
    model: Named | None = Field(
        None, description="a masked language model that names them; default: neighbours in the teacher's embedding table"
    )


class Split(Part):
    """How the rows of `data.file` are parted into those to train on, to choose by (dev) and to report on (test)."""

    dev: float | None = Field(None, ge=0, lt=1, description="share of the rows; default: 0.1, and 0 where files are named by split")
    test: float | None = Field(None, ge=0, lt=1, description="likewise")
    stratify: bool | None = Field(None, description="every class has its share in every split; default: true with one label for each text")
    group: Named | None = Field(None, description="column: rows with the same value stay in one split")

    @model_validator(mode="after")
    def _leaves_some(self) -> Split:
        if (self.dev or 0) + (self.test or 0) >= 1:
            raise ValueError(f"dev {self.dev:g} and test {self.test:g} leave nothing to train on; together they must be below 1")
        return self


class Data(Part):
    """What the student is trained on."""

    dir: str = Field(".", description="folder that `texts`, `file` and the tasks' files are under")
    file: Named | list[Named] | dict[Literal["train", "dev", "test"], Named | list[Named]] | None = Field(
        None,
        description="for a task of your own data: its file or files (table, JSON lines, parquet, CoNLL, data set), or those of each split",
    )
    text: Named | None = Field(None, description="column of `file` with the text; default: text, or tokens of tagged words")
    text_pair: Named | None = Field(None, description="column of `file` with a pair's second text; default: text_pair where it is there")
    label: Named | None = Field(None, description="column of `file` with the label; default: label, or tags of tagged words")
    split: Split | None = Field(None, description="how the rows of `file` are parted; default: a tenth each for dev and test")
    texts: list[Named | TextSource] = Field([], description="for the tasks embed and mlm: texts without labels")
    pairs: list[TextSource] = Field(
        [], description="for a contrastive loss: rows of a text, its pair, and maybe a hard negative, in two or three `columns`"
    )
    held_out: Count = Field(1000, description="texts kept from training, to measure agreement with the teacher")
    limit: Count | None = Field(None, description="for a labelled task: keep this many rows of the training set, drawn with the run's seed")
    augment: Augment | None = Field(
        None, description="for a labelled task: more rows, which only the teacher labels; a stage that uses only labels leaves them out"
    )
    edits: float = Field(
        0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="for the task embed: share of `texts` of which a new text is made by one change (a negation, a number, the order, an "
        "opposite); only the teacher says how far the two are apart",
    )
    labels: list[Named] | None = Field(
        None,
        min_length=1,
        description="of a labelled task: names in the order of the label numbers, for data that has 0 and 1 or one-hot lists in place of "
        "names, and for a teacher that has LABEL_0 and LABEL_1; default: the names that the data has",
    )
    transfer: list[Named | TextSource] = Field(
        [],
        description="for a task of classes: texts without labels, or pairs in two `columns`, which the teacher labels",
    )

    @model_validator(mode="after")
    def _of_a_file(self) -> Data:
        told = [key for key in ("text", "text_pair", "label", "split") if getattr(self, key) is not None]
        if self.file is None and told:
            raise ValueError(f"{told[0]} is said of no file; name `file`, or drop it")
        columns = [column for column in (self.text, self.text_pair, self.label) if column is not None]
        if twice := [column for column in columns if columns.count(column) > 1]:
            raise ValueError(f"column {twice[0]!r} is named twice; text, text_pair and label are columns of their own")
        if self.file in ([], {}):
            raise ValueError("file names none; name one, or drop it")
        return self

    @field_validator("labels")
    @classmethod
    def _different(cls, labels: list[str] | None) -> list[str] | None:
        stripped = [label.strip() for label in labels or ()]
        if twice := [label for label in stripped if stripped.count(label) > 1 or not label]:
            raise ValueError(f"{twice[0]!r} is twice in it, or blank; every label has a name of its own")
        return stripped or None


class Teacher(Part):
    """The model that the student learns from.

    Attributes:
        model: a model folder, a run folder, or a hub name.
        models: of several teachers, whose logits or vectors are averaged. The first one is `model`: a student that names no
            model of its own is cut from it.
        max_length: tokens that its texts are cut to, special tokens included.
    """

    model: Named
    models: list[Named] = Field([], description="several, whose logits or vectors are averaged; `model` is then the first one")
    name: str | None = Field(None, description="what tables call it; default: the last part of `model`")
    pooling: str | None = Field(None, description="default: what the folder says, else mean")
    max_length: Count = 128
    cache: bool = Field(True, description="teacher outputs are cached on disk, for further epochs and further students")
    cache_gb: float = Field(
        20,
        gt=0,
        le=MOST,
        allow_inf_nan=False,
        description="the most that is kept of training texts, in GB; the rest, the largest first, the teacher computes in every step",
    )
    cache_half: bool = Field(False, description="cache them in half precision")

    @model_validator(mode="before")
    @classmethod
    def _first_of_several(cls, content: Any) -> Any:
        several = content.get("models") if isinstance(content, dict) else None
        if isinstance(several, list) and several and "model" not in content:
            return {**content, "model": several[0]}
        return content

    @model_validator(mode="after")
    def _all_different(self) -> Teacher:
        if self.models and self.model != self.models[0]:
            raise ValueError(f"model is {self.model!r} and the first of models {self.models[0]!r}: drop one of the two keys")
        if twice := [name for name in self.models if self.models.count(name) > 1]:
            raise ValueError(f"models names {twice[0]!r} twice: name each once")
        return self

    @property
    def others(self) -> list[str]:
        """The models that are averaged with `model`."""
        return self.models[1:]


class Term(Part):
    """One row of the objective. Further keys are the loss's own options. A number may be a schedule over the stage.

    Attributes:
        loss: its name (`potstill list losses`), or `package.module:Class` of a loss of your own.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    loss: Named
    weight: Any = Field(1.0, description="a number, {from, to, shape} or {steps: [[progress, value], …]}")
    layers: str | list[int] | list[list[int]] | None = Field(None, description="of a loss of layers: a layer map by name or by list")
    project: Literal["none", "linear", "shared", "mlp"] = Field(
        "none",
        description="the student's width to the teacher's: one for each layer, or one; mlp: a dense layer and tanh of the same width",
    )

    @property
    def active(self) -> bool:
        """False where the weight is 0 at every step. A malformed weight counts as active, since an error is due for it."""
        weight = self.weight
        if not isinstance(weight, dict):
            return not _is_zero(weight)
        if "steps" in weight:
            steps = weight["steps"]
            pairs = isinstance(steps, list) and steps and all(isinstance(step, list) and len(step) == 2 for step in steps)
            return not (pairs and all(_is_zero(value) for _, value in steps))
        return not (_is_zero(weight.get("from")) and _is_zero(weight.get("to")))


def _is_zero(value: Any) -> bool:
    """Whether a schedule takes the value for 0: text that is a number is one to it, and false is none."""
    try:
        return not isinstance(value, bool) and float(value) == 0
    except (TypeError, ValueError, OverflowError):
        return False


class Perturb(Part):
    """A step along the loss's gradient on the student's embedding output (Fu et al. 2021, LRC-BERT, gradient perturbation).

    Attributes:
        epsilon: factor of the gradient; of a relative step, its share of the embedding output's length.
        normalize: l2: each text's gradient is first scaled to length 1; relative: to the length of its embedding output.
    """

    epsilon: Positive = 1.0
    normalize: Literal["none", "l2", "relative"] = "none"

    @model_validator(mode="after")
    def _is_a_share(self) -> Perturb:
        if self.normalize == "relative" and self.epsilon >= 1:
            raise ValueError("epsilon of a relative step is a share of the embedding's length: write less than 1, for example 0.05")
        return self


class Dual(Part):
    """Dual training with shared projections (Zhao et al. 2019 v1): a language model as teacher, taught along."""

    probability: float = Field(0.5, ge=0, le=1, description="that the teacher reads a word in the student's pieces")
    project: Literal["up", "down", "none"] = Field("up", description="which side's weights are projected onto the other's")
    weight: Positive = Field(1.0, description="of the weights' mean squared distance beside both masked-word losses; the paper's 1/ε")


def top_layers(train: str) -> int:
    """How many of the student's highest layers `Stage.train` names; 0 where it names none (output, head) or all of the student."""
    return int(train.partition(":")[2] or 0)


class Stage(Part):
    """A part of the training with its own objective.

    Attributes:
        name: lower-case letters, digits, `-` and `_`; different in each stage.
        perturb: a step on the embedding output in every batch; true: with the defaults.
        terms: rows of the objective, whose weighted losses are added up.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=200)
    share: float | None = Field(None, ge=0, le=1, description="part of the run's steps; 0 leaves the stage out")
    epochs: Epochs | None = Field(None, description="instead of a share: as many passes of its own")
    steps: Count | None = Field(None, description="instead of a share: as many steps of the optimizer of its own")
    learning_rate: Positive | None = Field(None, description="default: training.learning_rate")
    schedule: Literal["linear", "cosine", "constant"] | None = Field(None, description="default: training.schedule")
    perturb: bool | Perturb = False
    dual: Dual | None = Field(None, description="of the task mlm, with a teacher and a vocabulary of the student's own")
    train: str = Field(
        "all",
        pattern=r"^(all|head|output|top:[1-9][0-9]{0,5})$",
        description="of the student: output, the layer that gives the logits; head, all above its layers; top:2, that and its 2 highest "
        "layers; or all. The rest stays as it is",
    )
    terms: list[Term] = Field(min_length=1)

    @property
    def perturbation(self) -> Perturb | None:
        """The perturbation with its defaults filled in; None: none."""
        return (Perturb() if self.perturb else None) if isinstance(self.perturb, bool) else self.perturb


class Neighbours(Part):
    """Batches of groups of texts whose vectors by the teacher are near: the similarities within a batch then teach fine differences.

    Attributes:
        group: texts of a group, at most; a batch holds as many groups as fit.
    """

    group: int = Field(8, ge=2, le=256)
    share: float = Field(1.0, gt=0, le=1, description="of the texts of an epoch; the others are in random batches")


class Training(Part):
    """How the student is trained, in every stage that says nothing else.

    Attributes:
        epochs: passes over the training set, in all stages together.
        batch_size: global batch size: texts (or groups of texts) in a batch, of all processes together.
        batches: which texts are in one; neighbours: with the defaults.
        learning_rate: the highest learning rate of the run.
        schedule: how the learning rate falls after the warm-up.
        weight_decay: of AdamW.
        max_grad_norm: norm that the gradients are clipped to.
        seed: of every random choice of the run.
        device: auto: a GPU where there is one.
    """

    epochs: Epochs = 1
    batch_size: Count = 64
    batch_tokens: Count = Field(
        16384, description="padded tokens a batch holds at most, whatever batch_size says; a contrastive one is computed in such pieces"
    )
    batches: Literal["random", "neighbours"] | Neighbours = Field("random", description="of the task embed, with a teacher: neighbours")
    max_length: Count | None = Field(None, description="tokens a training text is cut to, on both sides; default: their own max_length")
    accumulate: Count = Field(1, description="batches for one optimizer step; each keeps its own negatives, and its own perturbation")
    learning_rate: Positive = 1e-4
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises from 0")
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(0.01, ge=0, le=MOST_FLOAT, allow_inf_nan=False)
    max_grad_norm: Positive = 1.0
    dropout: float | None = Field(None, ge=0, lt=1, description="of the student in training; default: what its configuration says")
    seed: Seed = 13
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: bf16 where it is faster; fp16: on a GPU")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    evaluations: Count = Field(10, description="times in the run that a checkpoint is scored and kept")
    select: Named | None = Field(
        None, description="the best checkpoint by `agreement` with the teacher on held-out texts, by a dev task, or the `last`"
    )

    report_to: list[Literal["tensorboard", "wandb", "trackio"]] = Field(
        [], description="where loss, terms and dev scores are reported too, as transformers' callbacks do it"
    )

    @property
    def neighbours(self) -> Neighbours | None:
        """How batches of neighbours are made, with the defaults filled in; None: all batches are random."""
        if isinstance(self.batches, str):
            return Neighbours() if self.batches == "neighbours" else None
        return self.batches

    @model_validator(mode="after")
    def _groups_fit(self) -> Training:
        if self.neighbours is not None and self.neighbours.group > self.batch_size:
            raise ValueError(f"batches.group is {self.neighbours.group}, and batch_size {self.batch_size}; a group is part of a batch")
        return self


class Tune(Part):
    """Quantization-aware fine-tuning: more training with simulated int8 rounding, towards the student's own fp32 answers."""

    steps: Count = Field(200, description="of the optimizer, in batches as `training` has them")
    learning_rate: Positive = Field(1e-5, description="a weight has to move by a part of an int8 step, whatever taught it before")


class Int8(Part):
    """Limits of the int8 file's quality gate, each against the fp32 ONNX file.

    Attributes:
        min_cosine_mean: mean cosine between the two files' vectors of a text.
        min_cosine: the lowest such cosine.
    """

    max_drop: float = Field(0.5, ge=0, description="points that the gate's task score may lose")
    min_cosine_mean: float = Field(0.98, le=1)
    min_cosine: float = Field(0.90, le=1)
    min_invariance: float = Field(0.98, le=1, description="cosine of a text encoded alone and in a padded batch, at least")
    min_agreement: float = Field(0.95, ge=0, le=1, description="of a head that names labels: share of answers that stay the same")
    max_error: float = Field(0.2, gt=0, description="of a regression: root mean square change, in standard deviations of the scores")
    min_speedup: float = Field(1.0, ge=0, description="throughput on this machine over the fp32 file's")
    tables: Literal["int8", "int4"] = Field("int8", description="int4: embedding tables of two numbers a byte are tried first")
    tune: bool | Tune = Field(True, description="where the gate refuses: quantization-aware fine-tuning, and another try")

    @property
    def tuning(self) -> Tune | None:
        """The further training with its defaults filled in; None: none."""
        return (Tune() if self.tune else None) if isinstance(self.tune, bool) else self.tune

    @property
    def limits(self) -> dict[str, Any]:
        """Name → value of every limit."""
        return self.model_dump(exclude={"tables", "tune"})


class Export(Part):
    """Which files are made of the student.

    Attributes:
        onnx: model.onnx, in fp32.
        int8: model_quantized.onnx, where it passes the gate; true: with the default limits.
    """

    onnx: bool = True
    int8: bool | Int8 = True
    torch_int8: bool = Field(False, description="score torch's own dynamic int8 of the student too; nothing of it is kept")

    @property
    def limits(self) -> Int8 | None:
        """The gate with its defaults filled in; None: no int8 file."""
        return (Int8() if self.int8 else None) if isinstance(self.int8, bool) else self.int8


def _with_task(part: Any, task: str) -> Any:
    """A name, or the models of one side, with the task's name in the place of TASK."""
    if isinstance(part, dict):
        return {key: _with_task(value, task) if key in ("model", "models") else value for key, value in part.items()}
    if isinstance(part, list):
        return [_with_task(each, task) for each in part]
    return part.replace(TASK, task) if isinstance(part, str) else part


def first_file(file: Any) -> str | None:
    """The first of the files that `data.file` names, in any of its forms; None where it names none."""
    if isinstance(file, dict):
        file = list(file.values())
    if isinstance(file, list):
        return first_file(file[0]) if file else None
    return file if isinstance(file, str) else None


def own_name(file: str) -> str:
    """What a data set of one's own is called: as its file, or as the file's folder where that is only called after its split."""
    *folders, last = [part for part in re.split(r"[/\\]", file) if part.strip(".")] or ["data"]
    stem = last.lstrip(".").partition(".")[0]
    if stem.lower() in ("train", "dev", "test", "data") and folders:
        stem = folders[-1]
    plain = normalize("NFKD", stem).encode("ascii", "ignore").decode()  # without accents
    return re.sub(r"[^A-Za-z0-9_-]+", "-", plain).strip("-_")[:100].removesuffix(DEV) or "data"


class Recipe(Part):
    """A whole recipe.

    Attributes:
        name: of the run, and of its folder; {task} in it is the task's last part.
        student: its kind and sizes.
        stages: in the order in which they are trained.
        evaluate: names of tasks that the exported file is scored on, and `cost` (`potstill list tasks`).
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)
    task: Named = Field(EMBED, description="embed, mlm, or a labelled task by its name (potstill list tasks)")
    data: Data
    teacher: Teacher | None = Field(None, description="none: plain training on the labels, or of a language model")
    student: Student
    training: Training = Training()
    stages: list[Stage] = Field(min_length=1)
    evaluate: list[Named] = Field([COST], description="default of a labelled task: the task itself, and cost")
    export: Export = Export()
    smoke: bool = Field(False, description="set by --smoke: dev and test tasks have few rows, and scores mean nothing")

    @property
    def select(self) -> str:
        """What chooses the best checkpoint: AGREEMENT, LAST, or the name of a dev task."""
        if self.training.select is not None:
            return self.training.select
        if self.task == EMBED:
            return AGREEMENT if self.teacher else LAST
        return LAST if self.task == MLM else self.task + DEV

    @property
    def masks(self) -> bool:
        """Whether words are masked for the student to predict."""
        return self.task == MLM or any(term.loss == "mlm" and term.active for stage in self.stages for term in stage.terms)

    @property
    def labelled(self) -> bool:
        """Whether the task has labels."""
        return self.task not in (EMBED, MLM)

    @model_validator(mode="before")
    @classmethod
    def _follows_its_task(cls, content: Any) -> Any:
        task = content.get("task") if isinstance(content, dict) else None
        if not isinstance(task, str):
            return content
        if task in OWN_KINDS:
            data = content.get("data")
            file = first_file(data.get("file") if isinstance(data, dict) else None)
            if file is None:
                raise ValueError(f"task {task} says no data; give it data.file, or name a folder under data.dir: {task}/NAME")
            task = f"{task}/{own_name(file)}"
            content = {**content, "task": task}
        filled = content if "evaluate" in content or task in (EMBED, MLM) else {**content, "evaluate": [task, COST]}
        short = task.rpartition("/")[2]
        return {key: _with_task(value, short) if key in ("name", "teacher", "student") else value for key, value in filled.items()}

    @model_validator(mode="after")
    def _shares(self) -> Recipe:
        own = [stage.name for stage in self.stages if stage.epochs is not None or stage.steps is not None]
        mixed = [stage for stage in self.stages if sum(value is not None for value in (stage.share, stage.epochs, stage.steps)) > 1]
        if mixed:
            raise ValueError(f"stage {mixed[0].name} has more than one of share, epochs and steps; give one")
        if own and len(own) < len(self.stages):
            raise ValueError(f"stage {own[0]} has epochs or steps of its own and another has none; give every stage a share, or none")
        total = sum(1.0 if stage.share is None else stage.share for stage in self.stages)
        if not own and abs(total - 1) > 1e-6:
            raise ValueError(f"the stages' shares add up to {total:g}; they must add up to 1")
        if self.teacher is None and self.student.model is None:
            raise ValueError("neither a teacher nor student.model; name the encoder that the student starts from")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("two stages have the same name; give each its own")
        return self
