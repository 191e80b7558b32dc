"""Fused activations: the same function, only within the context, hooks as before."""

import pytest
import torch
from tiny import BY_NAME
from transformers.activations import ACT2FN

from microtome.subject.fused import TANH_GELU, fused


@pytest.mark.parametrize("name", ["gelu_new", "gelu_fast"])
def test_a_fused_activation_is_the_same_function(name):
    """At large and small values, to rounding."""
    activation = ACT2FN[name]
    assert type(activation).__name__ in TANH_GELU
    x = torch.cat([torch.linspace(-12, 12, 4001), torch.tensor([0.0, 1e-8, -1e-8, 100.0, -100.0])]).double()
    plain = activation(x)
    with fused(activation):
        torch.testing.assert_close(activation(x), plain, rtol=1e-7, atol=1e-7)


def test_hooks_see_it_and_it_ends_with_the_context():
    """The module keeps nothing of its own."""
    model = BY_NAME["gpt2"].build()
    activation = model.transformer.h[0].mlp.act
    seen = []
    handle = activation.register_forward_hook(lambda _m, args, out: seen.append((args[0], out)))
    with fused(model):
        activation(torch.ones(3))
        assert "forward" in vars(activation)
    handle.remove()
    assert len(seen) == 1
    assert "forward" not in vars(activation)


def test_it_ends_after_an_error_too():
    activation = ACT2FN["gelu_new"]
    with pytest.raises(TypeError), fused(activation):
        activation("no tensor")
    assert "forward" not in vars(activation)


def test_other_classes_of_the_same_name_are_left_alone():
    """Only the classes of transformers are known to be this function."""

    class NewGELUActivation(torch.nn.Module):
        def forward(self, x):
            return x

    mine = NewGELUActivation()
    with fused(mine):
        assert torch.equal(mine(torch.ones(2)), torch.ones(2))
