"""Twins: the same architecture, other weights, the original and the world untouched."""

import random

import numpy as np
import pytest
import torch
from subject_slow import convolutional, language
from tiny import BY_NAME

from microtome.errors import UsageError
from microtome.subject.subject import Subject


def weights(subject):
    return {k: v.clone() for k, v in subject.module.state_dict().items()}


@pytest.mark.parametrize("kind", ["reinit", "weight_shuffle"])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "bert", "t5", "whisper", "vit", "mamba", "compiled", "cnn"])
def test_a_twin_is_another_network_of_the_same_kind(name, kind):
    subject = convolutional()[0] if name == "cnn" else Subject(BY_NAME[name].build())
    before, known = weights(subject), subject.fingerprint()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    twin, same, other = (subject.twin(kind, seed=s) for s in (0, 0, 1))
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())
    assert subject.fingerprint() == known
    assert all(torch.equal(v, before[k]) for k, v in subject.module.state_dict().items())
    assert len({known, twin.fingerprint(), other.fingerprint()}) == 3
    assert twin.fingerprint() == same.fingerprint()
    assert [s.name for s in twin.sites()] == [s.name for s in subject.sites()]
    pointers = {p.data_ptr() for p in subject.module.parameters()}
    assert not pointers & {p.data_ptr() for p in twin.module.parameters()}
    assert not twin.module.training
    for key, value in twin.module.state_dict().items():
        assert value.shape == before[key].shape
        assert value.dtype == before[key].dtype
        assert torch.isfinite(value.float()).all()
        if kind == "weight_shuffle":
            assert torch.equal(value.flatten().sort().values, before[key].flatten().sort().values)


@pytest.mark.parametrize("kind", ["reinit", "weight_shuffle"])
def test_what_is_kept_is_kept(kind):
    subject, inputs = language("llama")
    twin = subject.twin(kind, keep=["*embed*", "*layers.0.*"])
    names = {k: torch.equal(v, dict(subject.module.named_parameters())[k]) for k, v in twin.module.named_parameters()}
    assert all(same for k, same in names.items() if "embed" in k or "layers.0." in k)
    assert not any(same for k, same in names.items() if k.endswith("proj.weight") and "layers.1." in k)
    site = "blocks.0.resid_post"
    assert torch.equal(subject.run(inputs, record=[site])[site], twin.run(inputs, record=[site])[site])
    assert not torch.allclose(subject.run(inputs).logits, twin.run(inputs).logits)


def test_tied_weights_stay_tied():
    subject, _ = language("gpt2")
    for kind in ("reinit", "weight_shuffle"):
        twin = subject.twin(kind).module
        assert twin.lm_head.weight is twin.transformer.wte.weight
    with pytest.raises(UsageError, match="kind must be"):
        subject.twin("other")
