"""Projections at the changed positions only: the same numbers as projecting everything."""

import pytest
import torch
from torch import nn

from microtome.subject.edit import ablate
from microtome.subject.frame import Frame
from microtome.subject.partial import changed, filled

FRAME = Frame(torch.zeros(2, dtype=torch.long), torch.full((2,), 5), 3, 2)  # a window of 3 positions that begins at 2
SITES = {"a": "resid_pre", "b": "attn.z", "c": "attn.q"}


def edit(site, position=None):
    return ablate(site, position=position)


def test_changed_positions_are_those_of_edits_before_the_projections():
    mask = changed([None, [edit("a", 3)], [edit("b")], [edit("a", torch.tensor([2, 4])), edit("b")]], FRAME, SITES)
    assert mask is not None
    assert mask.view(4, 2, 3).int().tolist() == [
        [[1, 1, 1], [1, 1, 1]],
        [[0, 1, 0], [0, 1, 0]],
        [[0, 0, 0], [0, 0, 0]],
        [[1, 0, 0], [0, 0, 1]],
    ]


@pytest.mark.parametrize("own", [[edit("a")], [edit("c", 3)], None])
def test_where_everything_may_change_or_the_site_is_another_all_is_projected(own):
    assert changed([own], FRAME, SITES) is None


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_filled_modules_give_what_they_give_in_full(share):
    generator = torch.Generator().manual_seed(0)
    modules = [nn.Linear(4, 6), nn.Linear(4, 2)]
    before = torch.randn(2, 3, 4, generator=generator)
    where = torch.rand(6, 3, generator=generator) < share
    now = torch.where(where[..., None], torch.randn(6, 3, 4, generator=generator), before.repeat(3, 1, 1))
    seen = []
    with torch.no_grad(), filled(modules, [m(before) for m in modules], where):
        watch = modules[0].register_forward_pre_hook(lambda _m, args: seen.append(args[0].shape))
        for module in modules:
            # the product of fewer rows may be summed in another order
            assert torch.allclose(module(now), nn.functional.linear(now, module.weight, module.bias))
        watch.remove()
    assert seen == [(int(where.sum()), 4)]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules)
