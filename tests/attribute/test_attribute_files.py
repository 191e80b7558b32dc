"""Attributions on disk: they come back as they were, and damaged or foreign files are refused by name."""

import json

import pytest
import torch

from microtome.attribute import Attribution, gradient, integrated_gradients
from microtome.errors import FormatError, MicrotomeError, NonFinite, ShapeError
from microtome.io import write_tensors
from microtome.testing.planted_network import planted_network


@pytest.fixture(scope="module")
def found() -> Attribution:
    planted = planted_network(0)
    return integrated_gradients(planted.subject, planted.task, steps=4, baseline="corrupt")


def test_save_and_load_are_equal(found, tmp_path):
    found.save(tmp_path / "a.safetensors")
    back = Attribution.load(tmp_path / "a.safetensors")
    assert torch.equal(back.values, found.values)
    assert torch.equal(back.residual, found.residual)
    assert (back.axes, back.site, back.settings, back.tokens) == (found.axes, found.site, found.settings, found.tokens)
    assert (back.subject, back.data, repr(back)) == (found.subject, found.data, repr(found))
    assert back.table.equals(found.table)
    first = (tmp_path / "a.safetensors").read_bytes()
    back.save(tmp_path / "b.safetensors")
    assert (tmp_path / "b.safetensors").read_bytes() == first


def facts(**changes) -> dict[str, str]:
    usual = {
        "format": "microtome.attribution", "axes": ["batch", "unit"], "site": "x", "method": "gradient", "evaluations": 2,
        "tokens": None, "subject": "", "data": "", "settings": {},
    }  # fmt: skip
    return {"facts": json.dumps({k: v for k, v in (usual | changes).items() if v != "absent"})}


TENSORS = {"values": torch.ones(2, 3), "output": torch.ones(2)}


def test_the_plain_form_loads(tmp_path):
    write_tensors(tmp_path / "a", TENSORS, facts())
    assert Attribution.load(tmp_path / "a").axes == ("batch", "unit")


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (TENSORS, {}),
        (TENSORS, {"facts": "[1]"}),
        (TENSORS, {"facts": "{"}),
        (TENSORS, facts(format="microtome.basis")),
        (TENSORS, facts(axes="absent")),
        (TENSORS, facts(axes="batch")),
        (TENSORS, facts(axes=["batch"])),
        (TENSORS, facts(evaluations="2")),
        (TENSORS, facts(tokens=[["a"]])),
        (TENSORS, facts(settings=[])),
        (TENSORS, facts(surprise=1)),
        ({"values": torch.ones(2, 3)}, facts()),
        (TENSORS | {"more": torch.ones(1)}, facts()),
        (TENSORS | {"output": torch.ones(3)}, facts()),
        (TENSORS | {"mask": torch.ones(5, 3)}, facts()),
    ],
)
def test_hostile_files_are_refused(tensors, said, tmp_path):
    write_tensors(tmp_path / "a", tensors, said)
    with pytest.raises(FormatError):
        Attribution.load(tmp_path / "a")


def test_bytes_that_are_no_safetensors(found, tmp_path):
    found.save(tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    for damage in (b"", b"\x80\x04N.", whole[:20], whole[:-3]):
        (tmp_path / "b").write_bytes(damage)
        with pytest.raises(MicrotomeError):
            Attribution.load(tmp_path / "b")


def test_numbers_that_are_none_are_refused():
    bad = torch.ones(2, 3)
    bad[1, 2] = float("inf")
    with pytest.raises(NonFinite, match=r"\[1, 2\]"):
        Attribution(bad, ("batch", "unit"), "x", "gradient", torch.ones(2))
    with pytest.raises(ShapeError, match="output"):
        Attribution(torch.ones(2, 3), ("batch", "unit"), "x", "gradient", torch.ones(3))


def test_gradient_of_half_precision_saves(tmp_path):
    planted = planted_network(1)
    planted.subject.module.bfloat16()
    found = gradient(planted.subject, planted.task)
    found.save(tmp_path / "a")
    assert torch.equal(Attribution.load(tmp_path / "a").values, found.values)
