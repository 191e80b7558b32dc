"""A subject's fingerprint is computed once, and again when anything was changed."""

import pytest
import torch
from torch import nn

import microtome as mt
from microtome.subject.fingerprint import current_fingerprint, fingerprint


@pytest.fixture
def subject():
    torch.manual_seed(0)
    return mt.Subject(nn.Sequential(nn.Linear(20, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Linear(30, 2)))


def test_it_is_that_of_the_module_and_hashed_once(subject, monkeypatch):
    calls = []

    def counted(*arguments):
        calls.append(1)
        return fingerprint(*arguments)

    monkeypatch.setattr("microtome.subject.fingerprint.fingerprint", counted)
    first = subject.fingerprint()
    assert first == fingerprint(subject.module)
    assert [subject.fingerprint(), current_fingerprint(subject)] == [first, first]
    assert len(calls) == 1


CHANGES = {
    "a number in place": lambda m: m[0].weight[3, 4].add_(1),
    "all through .data": lambda m: m[3].weight.data.mul_(1.01),
    "the last through .data": lambda m: m[3].bias.data[-1].add_(1),
    "another tensor": lambda m: setattr(m[3], "bias", nn.Parameter(m[3].bias + 0)) or m[3].bias.add_(1),
    "a buffer": lambda m: m[1].running_mean.add_(1),
    "a step of an optimiser": lambda m: (
        [setattr(p, "grad", torch.ones_like(p)) for p in m.parameters()] and torch.optim.SGD(m.parameters(), lr=0.1).step()
    ),
    "a setting": lambda m: setattr(m[1], "eps", 0.5),
    "another layer": lambda m: m.__setitem__(2, nn.GELU()),
    "weights of a file": lambda m: m.load_state_dict({k: v * 2 for k, v in m.state_dict().items()}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(subject, change):
    before = subject.fingerprint()
    with torch.no_grad():
        CHANGES[change](subject.module)
    assert subject.fingerprint() != before
    assert subject.fingerprint() == fingerprint(subject.module)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.complex64, torch.int64, torch.bool, torch.uint8])
def test_tensors_of_any_kind(dtype):
    module = nn.Linear(2, 2)
    module.register_buffer("extra", torch.ones(3, 5, dtype=dtype).T)
    module.register_buffer("none", torch.ones(0, dtype=dtype))
    subject = mt.Subject(module)
    before = subject.fingerprint()
    module.extra.data.zero_()
    assert subject.fingerprint() != before


def test_parameters_of_inference_mode_are_hashed_each_time():
    with torch.inference_mode():
        module = nn.Linear(2, 2)
    subject = mt.Subject(module)
    before = subject.fingerprint()
    with torch.inference_mode():
        module.weight[0, 0] += 1
    assert subject.fingerprint() != before
