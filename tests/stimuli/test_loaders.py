"""Loaders: what people have becomes stimuli and tasks, or a typed error that names the way out."""

import json
import sys

import numpy as np
import pandas as pd
import pytest

from microtome.errors import Degenerate, FormatError, MicrotomeError, MissingExtra, UsageError
from microtome.stimuli import agreement, greater_than, images, pairs, texts


def test_paragraphs_of_a_text_file(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("one\ntwo\n\n  \nthree\n")
    assert texts(file).inputs == ["one\ntwo", "three"]
    assert texts(file, limit=1).inputs == ["one\ntwo"]
    assert texts(file).name == "a"


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "csv"])
def test_tables_of_texts_are_the_same_in_every_format(tmp_path, suffix):
    table = pd.DataFrame({"text": ["b c", "d, \"e\"", "f"], "document": [0, 0, 1], "mood": ["x", "y", "z"]})
    file = tmp_path / f"t.{suffix}"
    if suffix == "jsonl":
        file.write_text("\n".join(json.dumps(row) for row in table.to_dict("records")) + "\n")
    else:
        getattr(table, f"to_{suffix}")(file, index=False)
    found = texts(file)
    assert found.inputs == table["text"].tolist()
    assert found.table["document"].tolist() == [0, 0, 1]
    assert found.labels("mood").tolist() == ["x", "y", "z"]
    assert texts(file, column="mood").inputs == ["x", "y", "z"]


def test_empty_texts_are_dropped_with_their_rows(tmp_path):
    file = tmp_path / "t.jsonl"
    file.write_text('{"text": "a", "k": 1}\n{"text": null, "k": 2}\n{"text": " ", "k": 3}\n{"text": "b", "k": 4}\n')
    assert texts(file).labels("k").tolist() == [1, 4]


def test_texts_refuse(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"body": "a"}\n')
    with pytest.raises(UsageError, match=r"no column 'boby'.*Did you mean 'body'"):
        texts(rows, column="boby")
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("text\n1\n2\n")
    with pytest.raises(FormatError, match="not text"):
        texts(numbers)
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    with pytest.raises(Degenerate, match="no text"):
        texts(empty)
    with pytest.raises(UsageError, match="cannot tell the format"):
        texts(tmp_path / "a.docx")
    with pytest.raises(MicrotomeError):
        texts(tmp_path / "missing.txt")
    with pytest.raises(UsageError, match="limit"):
        texts(rows, column="body", limit=0)
    rows.write_text('{"text": "a"\n{"text": \n')
    with pytest.raises(FormatError):
        texts(rows)


def test_dataset_folders_need_their_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"microtome\[data\]"):
        texts(tmp_path)


def test_dataset_folder(tmp_path):
    datasets = pytest.importorskip("datasets")
    splits = {name: datasets.Dataset.from_dict({"text": [name, "x"]}) for name in ("train", "test")}
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "d"))
    assert texts(tmp_path / "d", split="test").inputs == ["test", "x"]
    with pytest.raises(UsageError, match="Did you mean 'train'"):
        texts(tmp_path / "d", split="trian")


def test_pairs_from_a_table(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text("clean,corrupt,answer,wrong\nthe cat,the cats,is,are\nthe dogs,the dog,are,is\n")
    task = pairs(file)
    assert (task.name, task.clean, task.answers, task.wrong) == ("p", ["the cat", "the dogs"], ["is", "are"], ["are", "is"])
    with pytest.raises(UsageError, match=r"no column 'claen'.*Did you mean 'clean'"):
        pairs(file, clean="claen")
    file.write_text("clean,corrupt,answer,wrong\na,b,x,x\n")
    with pytest.raises(Degenerate, match="answer equals"):
        pairs(file)
    file.write_text("clean,corrupt,answer,wrong\na,b,,x\n")
    with pytest.raises(FormatError, match="no 'answer' in row 0"):
        pairs(file)
    file.write_text("clean,corrupt,answer,wrong\n")
    with pytest.raises(Degenerate, match="no pairs"):
        pairs(file)


@pytest.mark.parametrize("key", ["y, x", "y, x, channel"])
def test_images(tmp_path, key):
    shape = (3, 4, 5) if key == "y, x" else (3, 4, 5, 3)
    pixels = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    np.savez(tmp_path / "i.npz", images=pixels, labels=np.array([1, 0, 1]), classes=np.array(["cat", "dog"]))
    found = images(tmp_path / "i.npz")
    assert found.inputs.shape == (3, 1 if len(shape) == 3 else 3, 4, 5)
    assert found.labels("class").tolist() == ["dog", "cat", "dog"]
    last = pixels[2, 3, 4] if len(shape) == 3 else pixels[2, 3, 4, -1]
    assert found.inputs[2, -1, 3, 4].item() == pytest.approx(last / 255)


def test_images_refuse(tmp_path):
    np.savez(tmp_path / "i.npz", pictures=np.zeros((2, 2)))
    with pytest.raises(FormatError, match="needs an array 'images'"):
        images(tmp_path / "i.npz")
    np.savez(tmp_path / "i.npz", images=np.zeros((2, 2, 2)), labels=np.zeros(3))
    with pytest.raises(FormatError, match="2 images but labels"):
        images(tmp_path / "i.npz")


@pytest.mark.assets
def test_public_behaviours(assets):
    task = agreement(assets / "behaviours" / "agreement_nounpp_train.json")
    assert task.clean[0] == "The teachers near the desk"
    assert (task.answers[0], task.wrong[0]) == (" are", " is")
    assert len(task) > 1000
    assert len(agreement(assets / "behaviours" / "agreement_simple_train.json")) > 100
    years = greater_than(assets / "behaviours" / "greater_than.csv")
    table = pd.read_csv(assets / "behaviours" / "greater_than.csv")
    assert years.clean == table["clean"].tolist()
    for label, answer, wrong in zip(table["label"], years.answers, years.wrong):
        assert int(wrong) <= label < int(answer) <= 99
        assert len(answer) == len(wrong) == 2


@pytest.mark.assets
def test_public_texts_and_images(assets):
    stories = texts(assets / "stories260k_samples.jsonl", limit=50)
    assert len(stories) == 50
    assert stories.inputs[0].startswith("One day")
    assert len(texts(assets / "text" / "wikitext2_valid.txt")) > 500
    digits = images(assets / "mnist_t10k.npz")
    assert digits.inputs.shape == (10000, 1, 28, 28)
    assert 0.9 < digits.inputs.max() <= 1
    assert set(images(assets / "cifar10_test_2000.npz").labels("class")) >= {"cat", "ship"}
