from __future__ import annotations

import json
from dataclasses import replace

import pytest

from potstill.errors import PotstillError
from potstill.runtime.folder import CONFIG, MODEL, QUANTIZED, ExportConfig, exported_folder, model_file, prompted, read_config

GOOD = ExportConfig(
    pooling="mean", normalize=True, max_length=64, dimension=32, parameters=900, embedding_parameters=300, pad_id=1, teacher="a-teacher"
)
HEAD = ExportConfig(max_length=64, dimension=32, parameters=900, embedding_parameters=300, head="classification", labels=["no", "yes"])


def test_what_is_written_is_read(tmp_path):
    GOOD.write(tmp_path)
    assert read_config(tmp_path) == GOOD
    content = json.loads((tmp_path / CONFIG).read_text())
    assert (content["format"], content["task"]) == (1, "embed") and "labels" not in content
    assert GOOD.outputs == 32


def test_a_head_has_labels_and_no_pooling(tmp_path):
    HEAD.write(tmp_path)
    assert read_config(tmp_path) == HEAD and HEAD.outputs == 2
    assert not {"pooling", "normalize"} & json.loads((tmp_path / CONFIG).read_text()).keys()
    number = replace(HEAD, head="regression", labels=[])
    number.write(tmp_path)
    assert read_config(tmp_path) == number and number.outputs == 1


def test_what_an_encoder_says_of_texts_is_written_where_it_says_something(tmp_path):
    GOOD.write(tmp_path)
    assert not {"prompts", "default_prompt_name", "similarity"} & json.loads((tmp_path / CONFIG).read_text()).keys()
    assert (GOOD.prompt, GOOD.similarity) == ("", "cosine")
    more = replace(GOOD, prompts={"query": "query: ", "text": ""}, default_prompt_name="query", similarity="dot")
    more.write(tmp_path)
    assert read_config(tmp_path) == more and more.prompt == "query: "
    none = replace(more, default_prompt_name=None)
    none.write(tmp_path)
    assert read_config(tmp_path).prompt == ""


def test_a_prompt_stands_before_the_first_text():
    assert prompted("query: ", ["a", ("b", "c")]) == ["query: a", ("query: b", "c")]
    texts = ["a", ["words", "to", "tag"]]
    assert prompted("", texts) is texts


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # none
        ({"labels": []}, "labels is \\[\\] and must not be empty where the task is classification"),
        # twice the same
        ({"labels": ["a", "a"]}, "must be a list of different names"),
        # no text
        ({"labels": ["a", 3]}, "must be a list of different names"),
        # no list
        ({"labels": "ab"}, "must be a list of different names"),
        # heads without labels
        ({"task": "regression"}, "must be empty where the task is regression"),
        ({"task": "embed"}, "labels is \\['no', 'yes'\\] and must be empty where the task is embed"),
        # no text where the task is asked for
        ({"task": ["classification"]}, "task is \\['classification'\\] and must be one of embed, "),
    ],
)
def test_wrong_labels_are_named(tmp_path, change, said):
    HEAD.write(tmp_path)
    content = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(content | change))
    with pytest.raises(PotstillError, match=said):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        # of a later version
        ({"format": 2}, "format is 2 and must be 1"),
        # no such task
        ({"task": "sing"}, "task is 'sing'"),
        # below the least
        ({"max_length": 0}, "max_length is 0 and must be at least 1"),
        # of another type
        ({"dimension": "32"}, "dimension is '32' and must be int"),
        ({"normalize": 1}, "normalize is 1 and must be bool"),
        ({"parameters": True}, "parameters is True and must be int"),
        ({"teacher": 3}, "teacher is 3 and must be text"),
        ({"pooling": None}, "pooling is None and must be str"),
        # of texts, and of comparing
        ({"prompts": ["query: "]}, "prompts is \\['query: '\\] and must be an object, from names to texts"),
        ({"prompts": {"query": None}}, "prompts is {'query': None} and must be an object"),
        ({"default_prompt_name": "query"}, "default_prompt_name is 'query' and must be null or a name that prompts has"),
        ({"default_prompt_name": []}, "default_prompt_name is \\[\\] and must be null"),
        ({"similarity": "maxsim"}, "similarity is 'maxsim' and must be one of cosine, dot, euclidean, manhattan"),
        ({"similarity": {}}, "similarity is {} and must be one of"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, change, said):
    GOOD.write(tmp_path)
    content = json.loads((tmp_path / CONFIG).read_text())
    (tmp_path / CONFIG).write_text(json.dumps(content | change))
    with pytest.raises(PotstillError, match=said) as caught:
        read_config(tmp_path)
    assert str(tmp_path / CONFIG) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not JSON"),  # cut off
        (b"\xff\xfe{}", "is not JSON"),  # not UTF-8
        (b"[]", "must hold an object"),  # a list
        (b"{}", "format is missing"),  # empty
    ],
)
def test_a_broken_file_is_one_line(tmp_path, content, said):
    (tmp_path / CONFIG).write_bytes(content)
    with pytest.raises(PotstillError, match=said) as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_run_folder_stands_for_its_export(tmp_path):
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / MODEL).touch()
    assert exported_folder(tmp_path) == tmp_path / "onnx"


def test_what_is_no_exported_folder(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, said in (("file", "is a file"), ("empty", "holds neither"), ("missing", "no such folder")):
        with pytest.raises(PotstillError, match=said):
            exported_folder(tmp_path / name)


def test_auto_prefers_int8(tmp_path):
    (tmp_path / MODEL).touch()
    assert model_file(tmp_path).name == MODEL
    with pytest.raises(PotstillError, match="choose precision 'fp32'"):
        model_file(tmp_path, "int8")
    (tmp_path / QUANTIZED).touch()
    assert model_file(tmp_path).name == QUANTIZED
    assert model_file(tmp_path, "fp32").name == MODEL
    with pytest.raises(PotstillError, match="did you mean 'int8'"):
        model_file(tmp_path, "int")
