"""`potstill predict`: a file of texts in, one answer a line out, from torch and from ONNX alike."""

from __future__ import annotations

import csv
import gzip
import json
import shutil

import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForTokenClassification,
)

from potstill.deploy.onnx import export_onnx
from potstill.errors import PotstillWarning
from potstill.evaluation.subject import open_subject
from potstill.machine.hardware import PER_CORE, usable_cores
from potstill.models.encoder import EncoderModel
from potstill.models.loading import load_encoder

SENTENCES = "the river and the village near the old river"


def predicted(call, model, file, out):
    status, _, err = call("predict", model, file, "--out", out, "--threads", 1)
    assert (status, err) == (0, "")
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_pairs(call, tmp_path, tiny_head_dirs, tiny_head_exports):
    file = tmp_path / "pairs.csv"
    file.write_text("text,text_pair\nthe river,a village\n9,and again\nx,y\n")
    torch = predicted(call, tiny_head_dirs["classification"], file, tmp_path / "torch.jsonl")
    onnx = predicted(call, tiny_head_exports["classification"], file, tmp_path / "onnx.jsonl")
    assert len(torch) == 3 and {answer["label"] for answer in torch} <= {"no", "yes", "maybe"}
    assert [answer["label"] for answer in torch] == [answer["label"] for answer in onnx]
    assert [answer["score"] for answer in torch] == pytest.approx([answer["score"] for answer in onnx], abs=1e-4)


def test_every_kind(call, tmp_path, tiny_head_dirs, tiny_head_exports):
    (tmp_path / "texts.txt").write_text("the river\n\nvillage\n")
    (tmp_path / "words.conll").write_text("the\nriver\n\nx\n")
    (number, empty, _) = predicted(call, tiny_head_exports["regression"], tmp_path / "texts.txt", tmp_path / "out.jsonl")
    assert number == {"text": "the river", "score": number["score"]} and isinstance(number["score"], float) and empty["text"] == ""
    several = predicted(call, tiny_head_dirs["multilabel"], tmp_path / "texts.txt", tmp_path / "out.jsonl")
    assert all(set(answer["labels"]) <= {"red", "green", "blue"} for answer in several)
    tags = predicted(call, tiny_head_exports["tagging"], tmp_path / "words.conll", tmp_path / "out.jsonl")
    assert [len(answer["tags"]) for answer in tags] == [2, 1]


@pytest.mark.parametrize("name", ["x.ndjson", "x.csv.gz"])
def test_a_table_by_its_other_endings(call, tmp_path, tiny_head_exports, name):
    table = gzip.compress(b"text\nthe river\nvillage\n", mtime=0)
    content = b'{"text": "the river"}\n{"text": "village"}\n' if name == "x.ndjson" else table
    (tmp_path / name).write_bytes(content)
    (tmp_path / "x.txt").write_text("the river\nvillage\n")
    found, plain = (
        predicted(call, tiny_head_exports["classification"], tmp_path / file, tmp_path / "out.jsonl") for file in (name, "x.txt")
    )
    assert found == plain and len(found) == 2


def test_a_run_folder(call, tmp_path, tiny_head_dirs, tiny_head_exports):
    shutil.copytree(tiny_head_dirs["classification"], tmp_path / "run" / "student")
    (tmp_path / "texts.txt").write_text("the river\n")
    torch = predicted(call, tmp_path / "run", tmp_path / "texts.txt", tmp_path / "out.jsonl")
    shutil.copytree(tiny_head_exports["classification"], tmp_path / "run" / "onnx")
    assert predicted(call, tmp_path / "run", tmp_path / "texts.txt", tmp_path / "out.jsonl")[0]["label"] == torch[0]["label"]


@pytest.fixture
def run_of_pairs(tmp_path, tiny_head_exports):
    """A run folder whose recipe has columns of its own."""
    shutil.copytree(tiny_head_exports["classification"], tmp_path / "run" / "onnx")
    (tmp_path / "run" / "results.json").write_text("{}")
    data = {"file": "reviews.csv", "text": "body", "text_pair": "reply", "label": "mood"}
    terms = [{"loss": "hard_label"}]
    recipe = {"name": "run", "task": "classification/reviews", "data": data, "student": {"model": "m"}}
    (tmp_path / "run" / "recipe.yaml").write_text(json.dumps(recipe | {"stages": [{"name": "all", "terms": terms}]}))
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("t.csv", "text,reply,body\nx,a village,the river\n"),  # the run's own columns go first
        ("t.jsonl", '{"body": "the river", "reply": "a village"}\n'),
        ("t.csv", "text,text_pair\nthe river,a village\n"),
    ],
)
def test_a_run_reads_the_columns_that_its_recipe_names_or_the_usual_ones(call, tmp_path, run_of_pairs, file, content):
    (tmp_path / file).write_text(content)
    (answer,) = predicted(call, run_of_pairs, tmp_path / file, tmp_path / "out.jsonl")
    assert (answer["text"], answer["text_pair"]) == ("the river", "a village")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("review,reply\na,b\n", "t.csv: has no column 'body', which the run's recipe names, and no 'text'; rename the column of the texts"),
        ("body;reply\na;b\n", "and no 'text'; the columns seem to be parted by ';'"),
        ("body,more\na,b\n", "t.csv:1: the header has no column 'reply'"),
    ],
)
def test_columns_that_are_neither_the_runs_own_nor_the_usual_ones_are_told(call, tmp_path, run_of_pairs, content, said):
    (tmp_path / "t.csv").write_text(content)
    status, _, err = call("predict", run_of_pairs, tmp_path / "t.csv", "--out", tmp_path / "out.jsonl")
    assert status == 2 and said in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("model", "file", "content", "words"),
    [
        (None, "t.txt", "a\n", "has no head: it gives vectors, no labels"),
        ("classification", "t.csv", "txt,label\na,b\n", "the header has no column 'text'"),
        ("classification", "t.jsonl", '{"text": "a", "text_pair": "b"}\n{"text": "c"}\n', "holds single texts and pairs"),
        ("classification", "t.csv", "text,text_pair\na,b\n,\n", "t.csv:3: 'text' is ''"),
        ("classification", "t.jsonl", '{"tokens": ["a"]}\n', "has no field 'text'"),
        ("tagging", "t.csv", "text\na\n", "for tagging name a file that ends in"),
        ("classification", "missing.txt", None, "missing.txt: does not exist"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(call, tmp_path, tiny_export_dir, tiny_head_exports, model, file, content, words):
    if content is not None:
        (tmp_path / file).write_text(content)
    before = sorted(tmp_path.rglob("*"))
    folder = tiny_head_exports[model] if model else tiny_export_dir
    status, _, err = call("predict", folder, tmp_path / file, "--out", tmp_path / "out.jsonl")
    assert status == 2 and words in err and len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="session")
def byte_tagger(tmp_path_factory):
    """A random tagger over byte-level BPE that puts no space before the first word, as RoBERTa is published."""
    special = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bare.train_from_iterator(
        [SENTENCES] * 9,
        trainers.BpeTrainer(vocab_size=330, special_tokens=list(special.values()), initial_alphabet=alphabet, show_progress=False),
    )
    bare.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 40}
    labels = dict(enumerate(["O", "B-PLACE", "I-PLACE"]))
    network = RobertaForTokenClassification(RobertaConfig(vocab_size=bare.get_vocab_size(), id2label=labels, pad_token_id=1, **sizes))
    with torch.no_grad():  # else all words are tagged alike
        for parameter in network.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, **{f"{name}_token": token for name, token in special.items()})
    folder = tmp_path_factory.mktemp("byte-tagger") / "tagger"
    EncoderModel(network, tokenizer, max_length=32).save(folder)
    return folder


def test_words_are_tagged_as_transformers_tags_the_text(call, tmp_path, byte_tagger):
    (tmp_path / "texts.txt").write_text(f"{SENTENCES}\n\nthe river, near São Paulo\n")
    (tmp_path / "words.jsonl").write_text("".join(json.dumps({"tokens": text.split()}) + "\n" for text in (SENTENCES, "the river's bank")))
    status, _, err = call("export", byte_tagger, "--out", tmp_path / "onnx")
    assert (status, err) == (0, "")
    network = AutoModelForTokenClassification.from_pretrained(byte_tagger).eval()
    tokenizer = AutoTokenizer.from_pretrained(byte_tagger)
    seen = set()
    for file in ("texts.txt", "words.jsonl"):
        found = predicted(call, byte_tagger, tmp_path / file, tmp_path / "torch.jsonl")
        assert found == predicted(call, tmp_path / "onnx", tmp_path / file, tmp_path / "onnx.jsonl")
        for answer in found:
            text = " ".join(answer["tokens"])
            encoded = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
            offsets = encoded.pop("offset_mapping")[0].tolist()
            with torch.no_grad():
                tags = network(**encoded).logits[0].argmax(-1).tolist()
            starts = [sum(len(word) + 1 for word in answer["tokens"][:number]) for number in range(len(answer["tokens"]))]
            # Its first piece, which may be the space before it, as where transformers reads lists of words.
            first = [next(place for place, (start, _) in enumerate(offsets) if place and start == begin) for begin in starts]
            assert answer["tags"] == [network.config.id2label[tags[place]] for place in first]
            seen.update(answer["tags"])
    assert len(seen) > 1
    assert [answer["tokens"] for answer in predicted(call, byte_tagger, tmp_path / "texts.txt", tmp_path / "torch.jsonl")] == [
        SENTENCES.split(),
        [],
        ["the", "river,", "near", "São", "Paulo"],  # byte-level BPE reads a space before the comma as another piece
    ]


def test_a_text_to_be_tagged_is_split_as_its_tokenizer_splits_it(call, tmp_path, tiny_head_dirs, tiny_head_exports):
    (tmp_path / "texts.txt").write_text("The river's bank, and x.\n\nx\n")
    found = predicted(call, tiny_head_dirs["tagging"], tmp_path / "texts.txt", tmp_path / "out.jsonl")
    assert [answer["tokens"] for answer in found] == [["The", "river", "'", "s", "bank", ",", "and", "x", "."], [], ["x"]]
    assert [len(answer["tags"]) for answer in found] == [9, 0, 1]
    assert predicted(call, tiny_head_exports["tagging"], tmp_path / "texts.txt", tmp_path / "onnx.jsonl") == found


@pytest.mark.parametrize(
    "names",
    [
        ["input_ids", "attention_mask"],  # as a plain fast tokenizer of transformers 5
        ["input_ids", "token_type_ids", "attention_mask"],  # as a BERT's
    ],
    ids=["without types", "with types"],
)
def test_pairs_have_types_where_the_tokenizer_gives_them(call, tmp_path, tiny_head_dirs, names):
    folder = shutil.copytree(tiny_head_dirs["classification"], tmp_path / "model")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_input_names": names}))
    pairs = [("the river", "a village"), ("9", "and again"), ("x", "the village and the river")]
    (tmp_path / "pairs.csv").write_text("text,text_pair\n" + "".join(f"{a},{b}\n" for a, b in pairs))
    load_encoder(folder).save(tmp_path / "again")
    export_onnx(load_encoder(folder), tmp_path / "onnx", pairs)
    network, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        wanted = [network(**tokenizer(*pair, return_tensors="pt")).logits.softmax(-1)[0] for pair in pairs]
    for model in ("model", "again", "onnx"):
        found = predicted(call, tmp_path / model, tmp_path / "pairs.csv", tmp_path / "out.jsonl")
        assert [answer["score"] for answer in found] == pytest.approx([row.max().item() for row in wanted], abs=1e-4)
        assert AutoTokenizer.from_pretrained(tmp_path / model).model_input_names == names
    inputs = {entry.name for entry in onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx").get_inputs()}
    assert inputs == set(names)


@pytest.fixture
def overflowing(tiny_encoder_dir, tiny_head_dirs, tmp_path):
    """By kind, models that give NaN for a text with "village" alone: a row of finite numbers whose sum no float holds."""
    made = {}
    for kind, source in (("embed", tiny_encoder_dir), ("tagging", tiny_head_dirs["tagging"])):
        model = load_encoder(source)
        with torch.no_grad():
            model.backbone.get_input_embeddings().weight[model.tokenizer.token_to_id("village")] = 3e38
        made[kind] = tmp_path / kind
        model.save(made[kind])
    return made


def test_what_is_no_number_is_not_written(call, tmp_path, overflowing):
    (tmp_path / "texts.txt").write_text("the river\nthe village\nvillage\n")
    (tmp_path / "words.jsonl").write_text('{"tokens": ["river"]}\n{"tokens": ["village"]}\n')
    for command, kind, file, said in [
        ("encode", "embed", "texts.txt", "vectors of 2 of 3 texts hold NaN or infinity, first of text 2"),
        ("predict", "tagging", "words.jsonl", "logits of 1 of 2 texts hold NaN or infinity, first of text 2"),
    ]:
        status, _, err = call(command, overflowing[kind], tmp_path / file, "--out", tmp_path / "out")
        assert (status, len(err.splitlines())) == (2, 1) and said in err
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["encode", "predict"])
def test_more_threads_than_a_machine_can_bear_are_refused(call, tmp_path, tiny_export_dir, command):
    (tmp_path / "texts.txt").write_text("the river\n")
    status, _, err = call(command, tiny_export_dir, tmp_path / "texts.txt", "--out", tmp_path / "out", "--threads", 100_000)
    most = PER_CORE * usable_cores()
    assert (status, err) == (
        2,
        f"error: threads: 100000 is not from 1 to {most}, which are {PER_CORE} for each usable core; leave it out to use every core\n",
    )


def test_a_system_without_room_for_threads_is_no_fault_of_the_model(call, tmp_path, tiny_export_dir, monkeypatch):
    def full(*arguments: object, **settings: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("potstill.run.encode.open_subject", full)
    (tmp_path / "texts.txt").write_text("the river\n")
    status, _, err = call("encode", tiny_export_dir, tmp_path / "texts.txt", "--out", tmp_path / "out")
    assert status == 2 and err.startswith("error: threads: the system starts no more of them;") and len(err.splitlines()) == 1


def test_every_class_has_its_probability_beside_the_text(call, tmp_path, tiny_head_dirs, tiny_head_exports):
    (tmp_path / "pairs.csv").write_text('text,text_pair\n"the river, and",a village\nx,y\n')
    (tmp_path / "texts.txt").write_text("the river\nx\n")
    (one, _) = predicted(call, tiny_head_exports["classification"], tmp_path / "pairs.csv", tmp_path / "out.jsonl")
    assert (one["text"], one["text_pair"]) == ("the river, and", "a village")
    assert one["probabilities"].keys() == {"no", "yes", "maybe"} and sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert one["probabilities"][one["label"]] == one["score"] == max(one["probabilities"].values())
    (several, _) = predicted(call, tiny_head_dirs["multilabel"], tmp_path / "texts.txt", tmp_path / "out.jsonl")
    assert [name for name, chance in several["probabilities"].items() if chance >= 0.5] == several["labels"]
    assert call("predict", tiny_head_exports["classification"], tmp_path / "pairs.csv", "--out", tmp_path / "out.csv")[0] == 0
    with (tmp_path / "out.csv").open(newline="") as stream:
        (row, _) = csv.DictReader(stream)
    assert row == {
        "text": "the river, and", "text_pair": "a village", "label": one["label"], "score": str(one["score"]),
        **{f"probability of {label}": str(chance) for label, chance in one["probabilities"].items()},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("file", "content", "text"),
    [
        ("t.txt", "The river's\tbank, and x.\nx\n", "The river's\tbank, and x."),  # as the user wrote it
        (  # words with single spaces between them
            "t.jsonl",
            json.dumps({"tokens": ["The", "river", "'", "s", "bank", ",", "and", "x", "."]}) + '\n{"tokens": ["x"]}\n',
            "The river ' s bank , and x .",
        ),
    ],
)
def test_entities_are_told_by_their_characters(call, tmp_path, tiny_head_dirs, tiny_head_exports, file, content, text):
    (tmp_path / file).write_text(content)
    (found, _) = predicted(call, tiny_head_exports["tagging"], tmp_path / file, tmp_path / "out.jsonl")
    assert found["text"] == text and len(found["tags"]) == len(found["tokens"]) == len(found["scores"])
    assert found["entities"] and all(text[one["start"] : one["end"]] == one["text"] for one in found["entities"])
    # By hand: every run of tags that are not O, where B- begins a new one.
    wanted: list[str] = []
    for before, word, tag in zip(["O", *found["tags"]], found["tokens"], found["tags"]):
        if tag == "B-PER" or (tag == "I-PER" and before == "O"):
            wanted.append(word)
        elif tag == "I-PER":
            wanted[-1] += word
    assert ["".join(one["text"].split()) for one in found["entities"]] == wanted


def test_a_tagger_of_something_else_than_entities_names_none(call, tmp_path, tiny_head_dirs):
    folder = shutil.copytree(tiny_head_dirs["tagging"], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "NOUN", "1": "VERB", "2": "X"}, "label2id": {"NOUN": 0, "VERB": 1, "X": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    (tmp_path / "t.txt").write_text("the river runs\n")
    with pytest.warns(PotstillWarning, match="its tags are not all O, B-x or I-x"):
        status, out, _ = call("predict", folder, tmp_path / "t.txt", "--out", "-")
    found = json.loads(out)
    assert status == 0 and "entities" not in found and set(found["tags"]) <= {"NOUN", "VERB", "X"}


def test_a_torch_tagger_reads_lower_case_where_its_folder_says_so(call, tmp_path, tiny_head_dirs):
    folder = shutil.copytree(tiny_head_dirs["tagging"], tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["normalizer"] = None  # upper case is unknown to it
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "modules.json").write_text(
        json.dumps([{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}])
    )
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 32, "do_lower_case": True}))
    assert open_subject(folder).tokenizer.encode("THE RIVER").tokens == ["[CLS]", "the", "river", "[SEP]"]
    (tmp_path / "t.txt").write_text("THE RIVER, X\nthe river, x\n")
    upper, lower = predicted(call, folder, tmp_path / "t.txt", tmp_path / "out.jsonl")
    assert (upper["tags"], upper["scores"]) == (lower["tags"], lower["scores"]) and upper["tokens"] == ["THE", "RIVER", ",", "X"]


@pytest.mark.parametrize("out", ["x.parquet", "x.jsonl.gz", "x.tsv"])
def test_a_form_that_is_not_written_is_told(call, tmp_path, tiny_head_exports, out):
    (tmp_path / "t.txt").write_text("the river\n")
    status, _, err = call("predict", tiny_head_exports["classification"], tmp_path / "t.txt", "--out", tmp_path / out)
    assert status == 2 and "which is not written; end it in .jsonl or .csv" in err and not (tmp_path / out).exists()
